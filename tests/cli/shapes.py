"""Every format and every method on small models of odd shapes: rows that are no whole blocks of 32, 64, 128 or 256, heads of 10, 18
and 36, one layer, 257 tokens, tied and untied heads. Each runs with a divergence that its bits allow, or is refused with words that
name the tensor and what to do; what was written instead of the format asked for is told.

usage: shapes.py PARE
"""
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

pare = sys.argv[1]
VOCAB = 257
GROUPS = [f"i{bits}_g{size}{kind}" for bits in (4, 3, 2) for size in (32, 64, 128) for kind in ("", "_asym")]
# Nats that a format may cost at most; these models are of random weights, so that errors do not cancel as in real ones.
EXACT, BYTES, FIVE, FOUR, THREE, TWO = 1e-3, 0.02, 0.1, 0.3, 1.2, 6
FORMATS = {"f32": 1e-9, "f16": EXACT, "bf16": EXACT, "q8_0": BYTES, "q4_0": FOUR, "q4_1": FOUR, "q5_0": FIVE, "q5_1": FIVE, "q2_k": TWO,
           "q3_k": THREE, "q4_k": FOUR, "q5_k": FIVE, "q6_k": BYTES, "iq4_nl": FOUR, "iq4_xs": FOUR, "mxfp4": FOUR, "nvfp4": FOUR,
           "i8_ch": BYTES, "i8_tensor": BYTES, "f8_e4m3_ch": FIVE, "f8_e5m2_ch": FIVE, "nf4": FOUR, "fp4": FOUR, "nf4_dq": FOUR,
           "fp4_dq": FOUR, "nvfp4_ch": FOUR, **{name: (FOUR, THREE, TWO)[4 - int(name[1])] for name in GROUPS}}
TEXTS = ["--method", "gptq"], ["--method", "awq"], ["--method", "imatrix"], ["--method", "hqq"], ["--method", "pare"], ["--scale", "mse"]
METHODS = [(["--format", name, *method], FORMATS[name]) for method in TEXTS for name in ("q4_1", "q4_k", "i4_g128_asym")
           if method[1] != "hqq" or name != "q4_k"]
METHODS += [(["--method", "smoothquant"], BYTES), (["--method", "w8a8"], BYTES), (["--method", "llm_int8"], BYTES),
            (["--method", "ort_dynamic"], FIVE), (["--recipe", "pare-4bit"], FOUR), (["--recipe", "pare-3bit"], THREE),
            (["--recipe", "q4_k_m"], FOUR), (["--format", "q4_k", "--pure"], FOUR), (["--format", "i4_g64", "--pure"], FOUR)]
CALIBRATED = ("gptq", "awq", "imatrix", "pare", "smoothquant", "pare-4bit", "pare-3bit")
TEXT = "".join(random.Random(5).choice("etaoin shrdlu\n") for _ in range(600))


def tokenizer():
    """One token for each byte, and an end."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    letters = {b: chr(b) for b in shown}
    letters.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letters)})
    end = {"id": 256, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "vocab": {letters[b]: b for b in range(256)}, "merges": []}}


def llama(hidden, heads, kv_heads, head, mlp, layers, tied):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
              "intermediate_size": mlp, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head,
              "num_hidden_layers": layers, "vocab_size": VOCAB, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "tie_word_embeddings": tied, "bos_token_id": 256, "eos_token_id": 256}
    shapes = {"model.embed_tokens.weight": (VOCAB, hidden), "model.norm.weight": (hidden,)}
    if not tied:
        shapes["lm_head.weight"] = (VOCAB, hidden)
    for i in range(layers):
        block = f"model.layers.{i}."
        shapes.update({block + "input_layernorm.weight": (hidden,), block + "post_attention_layernorm.weight": (hidden,),
                       block + "self_attn.q_proj.weight": (heads * head, hidden),
                       block + "self_attn.k_proj.weight": (kv_heads * head, hidden),
                       block + "self_attn.v_proj.weight": (kv_heads * head, hidden),
                       block + "self_attn.o_proj.weight": (hidden, heads * head), block + "mlp.gate_proj.weight": (mlp, hidden),
                       block + "mlp.up_proj.weight": (mlp, hidden), block + "mlp.down_proj.weight": (hidden, mlp)})
    return config, shapes


def gpt2(hidden, heads, layers):
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": hidden,
              "n_head": heads, "n_layer": layers, "n_positions": 128, "vocab_size": VOCAB, "layer_norm_epsilon": 1e-5,
              "tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 256}
    shapes = {"wte.weight": (VOCAB, hidden), "wpe.weight": (128, hidden), "ln_f.weight": (hidden,), "ln_f.bias": (hidden,)}
    for i in range(layers):
        for name, inputs, outputs in (("attn.c_attn", hidden, 3 * hidden), ("attn.c_proj", hidden, hidden),
                                      ("mlp.c_fc", hidden, 4 * hidden), ("mlp.c_proj", 4 * hidden, hidden)):
            shapes.update({f"h.{i}.{name}.weight": (inputs, outputs), f"h.{i}.{name}.bias": (outputs,)})
        for name in ("ln_1", "ln_2"):
            shapes.update({f"h.{i}.{name}.weight": (hidden,), f"h.{i}.{name}.bias": (hidden,)})
    return config, shapes


MODELS = {"llama-96": llama(96, 3, 1, 32, 144, 1, True), "llama-144": llama(144, 4, 2, 36, 576, 1, False),
          "llama-576": llama(576, 9, 3, 64, 96, 1, True), "llama-40": llama(40, 5, 5, 10, 56, 2, True), "gpt2-72": gpt2(72, 4, 2)}


def write_model(folder, config, shapes):
    os.makedirs(folder)
    dice = random.Random(7)
    header, data = {}, b""
    for name, shape in shapes.items():
        count = math.prod(shape)
        if len(shape) == 1:
            values = [0.0 if name.endswith("bias") else 1.0] * count
        else:
            deviation = 1.0 if name.split(".")[-2] in ("embed_tokens", "wte", "lm_head", "wpe") else 1.5
            values = [dice.gauss(0, deviation / math.sqrt(min(shape))) for _ in range(count)]
        packed = struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    for file, content in (("model.safetensors", struct.pack("<Q", len(text)) + text + data), ("config.json", json.dumps(config).encode()),
                          ("tokenizer.json", json.dumps(tokenizer()).encode())):
        with open(os.path.join(folder, file), "wb") as out:
            out.write(content)


def run(*arguments):
    return subprocess.run([pare, *arguments, "--json", "--quiet", "-t", "1"], capture_output=True, text=True)


def check(folder, name, options, bound, out):
    """What went wrong, or nothing."""
    model, text = os.path.join(folder, name), os.path.join(folder, "text")
    method = [word for word in options if word in CALIBRATED]
    if method:
        options = [*options, "--calibration", text, "--length", "64", "--sequences", "4"]
    done = run("quantize", model, "-o", out, *options)
    if done.returncode > 2 or done.returncode < 0:
        return f"quantize ended with {done.returncode}: {done.stderr}"
    if done.returncode:
        return None if "tensor '" in done.stderr or "--format" in done.stderr else f"refused without a tensor: {done.stderr}"
    made = json.loads(done.stdout)
    for activations, more in (("f32", 1), ("fast", 3)) if options[0] == "--format" and len(options) == 2 else (("f32", 1),):
        done = run("eval", out, "--against", model, "--text", text, "--context", "64", "--windows", "4", "--no-store",
                   "--activations", activations)
        if done.returncode:
            return f"eval {activations} ended with {done.returncode}: {done.stderr}"
        kld = json.loads(done.stdout)["kld_mean"]
        allowed = max(bound, 0.05 if activations == "fast" else 0) * more
        if not kld <= allowed:
            return f"{activations}: {kld:.4f} nats, {allowed:g} allowed; {made['fallbacks']}"
        print(f"{name:10} {' '.join(options[:4]):40} {activations:5} {kld:.5f} {len(made['fallbacks'])} fallbacks")
    return None


with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "text"), "w") as file:
        file.write(TEXT)
    wrong = []
    for name, (config, shapes) in MODELS.items():
        write_model(os.path.join(folder, name), config, shapes)
        for options, bound in [(["--format", form], bound) for form, bound in FORMATS.items()] + METHODS:
            said = check(folder, name, options, bound, os.path.join(folder, "out.gguf"))
            if said:
                wrong.append(f"{name} {' '.join(options)}: {said.strip()}")
    # A head of an odd width cannot be turned by RoPE.
    write_model(os.path.join(folder, "odd"), *llama(96, 3, 1, 9, 144, 1, True))
    done = run("logits", os.path.join(folder, "odd"), "--ids", "1,2", "-o", os.path.join(folder, "logits"))
    if done.returncode != 1 or "head" not in done.stderr:
        wrong.append(f"a head of 9: {done.returncode}, {done.stderr}")
    assert not wrong, "\n".join(wrong)
