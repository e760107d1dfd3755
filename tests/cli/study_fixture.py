"""A results database with an invented study: 4 models x 6 recipes x 2 workloads on one machine, with intervals, failures and
absent energy. python3 study_fixture.py PARE STORE [MODELS RECIPES [gpu]]; also imported by report.py."""
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys

MODELS = {  # name: parameters, layers, hidden, heads, kv heads, head size, vocabulary, context, synthetic, perplexity
    "distilgpt2": (81912576, 6, 768, 12, 12, 64, 50257, 1024, False, 45.3),
    "DialoGPT-small": (124439808, 12, 768, 12, 12, 64, 50257, 1024, False, 61.2),
    "TinyLlama-1.1B": (1100048384, 22, 2048, 32, 4, 64, 32000, 2048, True, None),
    "Llama-3.2-1B": (1235814400, 16, 2048, 32, 8, 64, 128256, 131072, True, None),
}
RECIPES = {  # name: label, format, bits, decode factor on bytes, prefill factor, loss of perplexity
    "f32": ("FP32", "f32", 32.0, 1.0, 0.55, 0.0),
    "f16": ("FP16", "f16", 16.0, 0.97, 1.0, 0.0),
    "bnb-int8": ("INT8 (bitsandbytes)", "i8_ch", 8.02, 0.62, 0.8, 0.004),
    "ort-int8": ("INT8 (ONNX Runtime)", "q8_0", 8.5, 0.93, 1.7, 0.0007),
    "gguf-q4_k_m": ("INT4 (k-quant, q4_k_m)", "q4_k", 4.83, 0.9, 1.6, 0.021),
    "gptq-4bit-g128": ("INT4 (GPTQ, groups of 128)", "i4_g128", 4.25, 0.88, 1.5, 0.048),
}
WORKLOADS = {"chat": ("yes", 512, 128), "chat, KV cache off": ("no", 64, 16)}
BANDWIDTH, INT8, BF16, FP32 = 21.4e9, 1.61e12, 4.3e11, 1.9e11


class Writer:
    def __init__(self, path):
        self.db = sqlite3.connect(path)
        self.clock = 0

    def record(self, kind, conditions, metrics, failure=None):
        conditions = {k: str(v) for k, v in conditions.items()}
        digest = hashlib.sha256(json.dumps(sorted(conditions.items())).encode()).hexdigest()
        found = self.db.execute("SELECT id FROM configurations WHERE digest = ?", (digest,)).fetchone()
        if not found:
            found = (self.db.execute("INSERT INTO configurations(digest) VALUES (?)", (digest,)).lastrowid,)
            self.db.executemany("INSERT INTO conditions VALUES (?, ?, ?)", [(found[0], k, v) for k, v in conditions.items()])
        self.clock += 7
        time = f"2026-11-24T{10 + self.clock // 3600:02d}:{self.clock // 60 % 60:02d}:{self.clock % 60:02d}Z"
        run = self.db.execute("INSERT INTO runs(kind, time, configuration, status, failure) VALUES (?, ?, ?, ?, ?)",
                              (kind, time, found[0], "failed" if failure else "ok", failure)).lastrowid
        for i, (name, unit, value, half, samples) in enumerate(metrics):
            absent = value if isinstance(value, str) else None
            number = None if absent else value
            row = self.db.execute(
                "INSERT INTO metrics(run, position, name, unit, value, ci_low, ci_high, n, absent) VALUES (?,?,?,?,?,?,?,?,?)",
                (run, i, name, unit, number, None if absent else value - half, None if absent else value + half, len(samples), absent))
            self.db.executemany("INSERT INTO samples VALUES (?, ?, ?)", [(row.lastrowid, k, s) for k, s in enumerate(samples)])


def speed(rng, name, unit, value, spread=0.01):
    samples = [value * rng.gauss(1, spread) for _ in range(9)]
    median = sorted(samples)[4]
    return (name, unit, median, 0.6 * spread * value, samples)


def exact(name, unit, value):
    return (name, unit, value, 0, [])


def bench(rng, model, recipe, workload, gpu):
    parameters, layers, hidden, heads, kv_heads, size, vocab, context, synthetic, _ = MODELS[model]
    label, format_, bits, decode, prefill, _ = RECIPES[recipe]
    cache, n_prompt, n_gen = WORKLOADS[workload]
    blocks = parameters - vocab * hidden
    weights = blocks * bits / 8 + vocab * hidden * 2
    rate = BANDWIDTH * 0.82 * decode / weights / (1 if cache == "yes" else 17.3)
    fill = INT8 * 0.11 * prefill / (2 * blocks)
    kv = 2 * layers * kv_heads * size * 2 * (n_prompt + n_gen)
    scratch = 3.1e7 + hidden * 4 * n_prompt * 4
    other = 1.9e7
    rows = [speed(rng, "prefill_tokens_per_s", "tokens/s", fill, 0.02), speed(rng, "decode_tokens_per_s", "tokens/s", rate),
            speed(rng, "ttft_ms", "ms", 1000 * n_prompt / fill), exact("itl_ms_p50", "ms", 1000 / rate),
            exact("itl_ms_p90", "ms", 1060 / rate), exact("itl_ms_p99", "ms", 1180 / rate), exact("load_ms", "ms", weights / 1.4e6),
            exact("peak_rss_bytes", "bytes", weights + kv + scratch + other), exact("weights_bytes", "bytes", weights),
            exact("kv_bytes", "bytes", kv), exact("scratch_bytes", "bytes", scratch), exact("other_bytes", "bytes", other),
            exact("file_bytes", "bytes", weights), exact("bits_per_weight", "bits", bits),
            exact("read_bandwidth_bytes_per_s", "bytes/s", BANDWIDTH), speed(rng, "bandwidth_share", "ratio", 0.82 * decode),
            speed(rng, "peak_share", "ratio", 0.11 * prefill, 0.02), speed(rng, "prefill_ops_per_s", "op/s", fill * 2 * blocks, 0.02),
            speed(rng, "decode_bandwidth_bytes_per_s", "bytes/s", BANDWIDTH * 0.82 * decode),
            exact("arithmetic_intensity_prefill", "op/byte", 2 * blocks * n_prompt / weights),
            exact("arithmetic_intensity_decode", "op/byte", 2 * blocks / weights), exact("cpu_utilization", "ratio", 0.93 + 0.05 * rng.random()),
            exact("cpu_clock_hz", "Hz", 3.7e9), exact("other_cpu_share", "ratio", 0.021)]
    reason = "no /sys/class/powercap: the kernel or the hypervisor offers no energy counters"
    for name, unit in (("prefill_joules_per_token", "J/token"), ("decode_joules_per_token", "J/token"), ("prefill_watts", "W"),
                       ("decode_watts", "W"), ("tokens_per_s_per_watt", "tokens/s/W")):
        rows.append((name, unit, reason, 0, []) if not gpu else speed(rng, name, unit, 60 / rate if "joules" in name else 60.0))
    reason = "no NVIDIA GPU was used"
    rows.append(("ipc", "ratio", "perf_event_open: not permitted", 0, []))
    rows.append(speed(rng, "gpu_utilization", "ratio", 0.93) if gpu else ("gpu_utilization", "ratio", reason, 0, []))
    if gpu:
        rows += [speed(rng, "gpu_memory_utilization", "ratio", 0.71), speed(rng, "gpu_watts", "W", 310.0), exact("gpu_temperature_celsius", "°C", 61.0)]
    return rows


def quality(rng, model, recipe):
    base = MODELS[model][9]
    loss = RECIPES[recipe][5] * (1.3 if model == "distilgpt2" else 1)
    se = 0.0004 + loss * 0.08
    return [exact("perplexity", "perplexity", base * (1 + loss))[:3] + (1.96 * base * 0.012, []), exact("mean_nll", "nats", 3.8 + loss),
            exact("tokens", "tokens", 24576), exact("seconds", "s", 41.0), exact("base_perplexity", "perplexity", base),
            exact("perplexity_ratio", "ratio", 1 + loss + rng.gauss(0, 0.0002))[:3] + (1.96 * se, []),
            exact("kld_mean", "nats", 1e-5 + loss * 0.8)[:3] + (1.96 * se * 0.2, []), exact("top1", "ratio", 1 - 3 * loss - 0.001)[:3] + (0.004, [])]


def write(program, store, models=4, recipes=6, gpu=False, name="course"):
    subprocess.run([program, "report", "nothing", "--store", store], check=False, capture_output=True)  # makes the tables
    facts = json.loads(subprocess.run([program, "hw", "--json"], check=True, capture_output=True, text=True).stdout)
    rng = random.Random(7)
    w = Writer(store)
    machine = {"machine": f"{facts['cpu_name']}, {facts['cores']} cores", "machine_id": facts["fingerprint"], "version": "0.1.0", "commit": "abc"}
    w.db.execute("INSERT OR REPLACE INTO machines VALUES (?, ?, ?)", (facts["fingerprint"], json.dumps(facts), "2026-11-24T10:00:00Z"))
    w.record("limits", {"isa": "avx512vnni", "threads": 2, **machine},
             [exact(n, u, v) for n, u, v in (("read_bandwidth_bytes_per_s", "bytes/s", BANDWIDTH), ("int8_ops_per_s", "op/s", INT8),
                                             ("bf16_flops_per_s", "flop/s", BF16), ("fp32_flops_per_s", "flop/s", FP32))])
    common = {"study": name, "study_hash": "0" * 64, **machine}
    w.record("study", {**common, "title": "Quantizing small language models on a CPU", "baseline": "f16",
                       "goal": "Find which quantization to deploy on a two-core server, and what it costs.",
                       "questions": "How much faster is INT4 than FP16?\nHow much memory does it save?\nWhat does it cost in perplexity?\n"
                                    "Do bitsandbytes' and ONNX Runtime's ways of INT8 differ?",
                       "study_text": "name: course\nmodels: [distilgpt2, DialoGPT-small, TinyLlama-1.1B, Llama-3.2-1B]\n"}, [])
    backends = ["cpu"]
    for model in list(MODELS)[:models]:
        p = MODELS[model]
        synthetic = "yes" if p[8] else "no"
        w.record("model", {**common, "cell": model, "synthetic": synthetic, "architecture": "gpt2" if "gpt" in model.lower() else "llama"},
                 [exact(n, "", v) for n, v in zip(("parameters", "layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "context"), p)])
        for recipe in list(RECIPES)[:recipes]:
            label, format_, bits = RECIPES[recipe][:3]
            of = {**common, "model_label": model, "recipe": recipe, "label": label, "format": format_, "synthetic": synthetic}
            w.record("quantize", {**of, "cell": f"{model}/{recipe}", "method": "rtn"},
                     [exact("bytes", "bytes", p[0] * bits / 8), exact("bits_per_weight", "bits", bits), exact("seconds", "s", 12.5)])
            if not p[8]:
                w.record("eval", {**of, "cell": f"{model}/{recipe}", "text": "evaluation.txt", "protocol": "windows", "context": 512,
                                  "activations": "fast"}, quality(rng, model, recipe))
            for backend in backends:
                for workload, (cache, n_prompt, n_gen) in WORKLOADS.items():
                    cell = {**of, "cell": f"{model}/{recipe}/{backend}/{workload}", "backend": backend, "workload": workload, "kv_cache":
                            "on" if cache == "yes" else "off", "n_prompt": n_prompt, "n_gen": n_gen, "threads": 2, "isa": "avx512vnni",
                            "activations": "fast", "seed": 1, "kv_type": "f16", "batch": 1}
                    if model == "Llama-3.2-1B" and recipe == "f32":
                        w.record("bench", cell, [], failure="ended by signal 9 (out of memory, most likely)")
                    else:
                        w.record("bench", cell, bench(rng, model, recipe, workload, gpu))
    w.db.commit()
    w.db.close()


if __name__ == "__main__":
    if os.path.exists(sys.argv[2]):
        os.unlink(sys.argv[2])
    sizes = [int(a) for a in sys.argv[3:5]]
    write(sys.argv[1], sys.argv[2], *sizes, gpu="gpu" in sys.argv)
