"""quantize --layout gptq and awq: folders that hold what the same quantization in a GGUF holds, built like those that the
real libraries write (where the golden checkpoints are there), and what is refused."""
import array
import json
import os
import struct
import subprocess
import sys
import tempfile

pare, source, shared = sys.argv[1], sys.argv[2], sys.argv[3]
model = os.path.join(source, "models", "ref-llama-11m")
golden = os.path.join(shared, "golden", "checkpoints")


def run(*arguments):
    return subprocess.run([pare, *arguments], capture_output=True, text=True)


def done(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, (arguments, result.stderr)
    return result


def refused(words, code, *arguments):
    result = run(*arguments)
    assert result.returncode == code and all(word in result.stderr for word in words), (arguments, result)


def header(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))


def structure(folder):
    return {name: (entry["dtype"], entry["shape"]) for name, entry in header(folder).items()
            if name != "__metadata__"}


with tempfile.TemporaryDirectory() as folder:
    def path(name):
        return os.path.join(folder, name)

    def logits(name):
        done("logits", path(name), "--ids", "1,300,301,302,303,304,305,306", "-o", path(name + ".f32"), "--quiet")
        return array.array("f", open(path(name + ".f32"), "rb").read())

    def same(a, b):
        a, b = logits(a), logits(b)
        assert len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) < 1e-3, max(abs(x - y) for x, y in zip(a, b))

    for fmt in ("i4_g128_asym", "i4_g64"):
        done("quantize", model, "-o", path(fmt + ".gguf"), "--format", fmt)
        for layout in ("gptq", "awq"):
            out = path(fmt + layout)
            done("quantize", model, "-o", out, "--layout", layout, "--format", fmt)
            config = json.load(open(os.path.join(out, "config.json")))["quantization_config"]
            assert (config["quant_method"], config["bits"]) == (layout, 4) and config["group_size"] == int(fmt.split("_g")[1].split("_")[0])
            same(fmt + ".gguf", fmt + layout)
            if os.path.isdir(golden) and fmt == "i4_g128_asym":
                real = os.path.join(golden, layout + "-g128")
                wanted, got = structure(real), structure(out)
                assert set(wanted) == set(got), set(wanted) ^ set(got)
                assert all(wanted[name] == got[name] for name in wanted), [(n, wanted[n], got[n]) for n in wanted if wanted[n] != got[n]][:3]
                real_config = json.load(open(os.path.join(real, "config.json")))["quantization_config"]
                library = {"autoround_version", "provider", "data_type", "enable_quanted_input", "to_quant_block_names"}
                assert set(real_config) - library <= set(config) | {"sym"}, set(real_config) - set(config)
    # Codes of 3 bits cross the words' borders.
    for fmt in ("i3_g128_asym", "i3_g32", "i2_g64_asym"):
        done("quantize", model, "-o", path(fmt + ".gguf"), "--format", fmt)
        done("quantize", model, "-o", path(fmt), "--layout", "gptq", "--format", fmt)
        config = json.load(open(os.path.join(path(fmt), "config.json")))["quantization_config"]
        assert config["bits"] == int(fmt[1]) and config["sym"] == ("asym" not in fmt), config
        same(fmt + ".gguf", fmt)
    if os.path.isdir(golden):
        wanted, got = structure(os.path.join(golden, "gptq-3bit")), structure(path("i3_g128_asym"))
        assert wanted == got, [(n, wanted.get(n), got.get(n)) for n in wanted.keys() | got.keys() if wanted.get(n) != got.get(n)][:3]
    # A method with calibration changes the norms too.
    calibration = ["--calibration", os.path.join(source, "models", "evaluation.txt"), "--length", "128", "--sequences", "4"]
    done("quantize", model, "-o", path("a"), "--layout", "awq", "--format", "i4_g64_asym", "--method", "awq", *calibration)
    assert structure(path("a"))["model.layers.0.input_layernorm.weight"][0] == "F32"
    logits("a")
    gpt2 = os.path.join(shared, "models", "ref-gpt2-30m")
    if os.path.isdir(gpt2):
        done("quantize", gpt2, "-o", path("g"), "--layout", "gptq", "--format", "i4_g64_asym")
        done("quantize", gpt2, "-o", path("g.gguf"), "--format", "i4_g64_asym")
        same("g", "g.gguf")

    none = ["quantize", model, "-o", path("none")]
    refused(["layout", "gptq, awq"], 2, *none, "--layout", "exl2", "--format", "i4_g128")
    refused(["i3_g128"], 1, *none, "--layout", "awq", "--format", "i3_g128")
    refused(["q4_k"], 1, *none, "--layout", "gptq", "--format", "q4_k")
    refused(["folder"], 1, "quantize", path("i4_g64.gguf"), "-o", path("none"), "--layout", "awq", "--format", "i4_g64")
    refused(["model itself"], 2, "quantize", model, "-o", model, "--layout", "awq", "--format", "i4_g64")
    refused(["token_embd"], 1, *none, "--layout", "gptq", "--format", "i4_g64", "--pure")
    assert not os.path.exists(path("none"))
