#!/usr/bin/env python3
"""Measures everything that docs/performance.md shows and writes its tables, each between its two markers.

usage: scripts/measure-performance.py [--only NAME,NAME] [--print] [--models DIR] [--quick]

Tables (NAME): kernels, attention, models, tiers, context, load, accuracy. All of them take about 12 minutes on a quiet
machine with two cores; nothing else should run. Models of exact shapes with random weights are made in DIR (default:
build/performance) by `pare synth`, 9 GB. Compared with are what $LLAMA_BENCH (or llama-bench on PATH) and $IK_LLAMA_BENCH
(llama-bench of ik_llama.cpp) name; what is absent is left out. --print: to the terminal only.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..")
BUILD = os.path.join(ROOT, "build", "release")
PARE = os.environ.get("PARE") or os.path.join(BUILD, "src", "cli", "pare")
DOC = os.path.join(ROOT, "docs", "performance.md")
THREADS = os.cpu_count()
ALL_TIERS = ("avx2", "avxvnni", "avx512", "avx512vnni")


def output_of(command, environment=None, may_fail=False):
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode and not may_fail:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stderr or done.stdout)[-800:]}")
    return done.stdout


def tiers_here():
    best = json.loads(output_of([PARE, "hw", "--json"]))["isa"]
    return ALL_TIERS[:ALL_TIERS.index(best) + 1]


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def model_of(options, shape, form):
    os.makedirs(options.models, exist_ok=True)
    path = os.path.join(options.models, f"{shape}-{form}.gguf")
    if not os.path.exists(path):
        output_of([PARE, "synth", "--shape", shape, "--format", form, "-o", path, "--quiet"])
    return path


def bench(model, *arguments, isa=None):
    command = [PARE, "bench", model, "-t", str(THREADS), "--no-limits", "--no-store", "--json", "--quiet", *arguments]
    row = last_json(output_of(command + (["--isa", isa] if isa else []), may_fail=True))
    if row.get("failure"):
        sys.exit(f"{model}: {row['failure']}")
    return row


# ---- kernels ----

KERNEL_LINE = re.compile(r"^(\S+)\s+\S+ x (\S+), \S+\s+(\d+) tokens:\s+([\d.]+) GB/s \(best\s+[\d.]+, reads\s+([\d.]+)\),"
                         r"\s+([\d.]+) GOP/s \(best\s+[\d.]+\) \+-\s*(\d+) %, packs ([\d.]+)")


def kernels(options):
    formats = ("f16 bf16 q8_0 i8_ch q6_k q5_k q4_0 q4_1 q4_k iq4_nl i4_g32 i4_g128 nf4 q3_k q2_k").split()
    text = output_of([os.path.join(BUILD, "tests", "kernels", "test_kernels_matmul"), "--bench", "-t", str(THREADS), "--shape",
                      "2048x2048", *(formats[:3] if options.quick else formats)])
    cells = {}
    for line in text.splitlines():
        found = KERNEL_LINE.match(line)
        if found:
            cells.setdefault(found.group(1, 2), {})[int(found.group(3))] = [float(x) for x in found.group(4, 5, 6, 7, 8)]
    rows = []
    for (form, operand), c in cells.items():
        gb, reads, _, spread, packs = c[1]
        rows.append([form, {"f32": "FP32", "q8": "8 bits", "bf16": "BF16"}.get(operand, operand),
                     f"{gb:.0f} ({100 * gb / reads:.0f} %) ± {spread:.0f} %", f"{c[4][0]:.0f}", f"{c[32][2]:.0f}",
                     f"{c[512][2]:.0f} ± {c[512][3]:.0f} %", f"{packs:.1f}"])
    return table(["format", "activations", "1 token, GB/s (of reads)", "4 tokens, GB/s", "32 tokens, GOP/s", "512 tokens, GOP/s",
                  "packing"], rows)


def attention(options):
    text = output_of([os.path.join(BUILD, "tests", "kernels", "test_kernels_attention"), "--time", "decode 64" if options.quick else ""])
    return "```\n" + text.strip() + "\n```"


# ---- whole models ----

def run_pare(model, n):
    row = bench(model, "-p", "512", "-n", str(n), "-r", "1")
    return {"prefill": row["prefill_tokens_per_s"], "decode": row["decode_tokens_per_s"], "share": row["bandwidth_share"],
            "reads": row["read_bandwidth_bytes_per_s"]}


def run_llama(program, model, n):
    folders = ":".join(filter(None, [os.path.dirname(program), os.environ.get("LD_LIBRARY_PATH")]))
    text = output_of([program, "-m", model, "-p", "512", "-n", str(n), "-t", str(THREADS), "-r", "1", "-o", "json"],
                     dict(os.environ, LD_LIBRARY_PATH=folders), may_fail=True)
    try:
        rows = json.loads(text)
    except ValueError:
        return None  # it does not read this model
    rates = {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in rows}
    return rates if len(rates) == 2 else None


def peers():
    found = {"llama.cpp": os.environ.get("LLAMA_BENCH") or shutil.which("llama-bench"), "ik": os.environ.get("IK_LLAMA_BENCH")}
    return {name: program for name, program in found.items() if program and os.path.exists(program)}


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def compare_model(options, shape, form, names):
    model, n, runs = model_of(options, shape, form), 48, {"pare": []}
    runs.update({name: [] for name in names})
    order = list(runs)
    for name in order + order[::-1]:
        result = run_pare(model, n) if name == "pare" else run_llama(names[name], model, n)
        if result:
            runs[name].append(result)
    row = [shape, form]
    for phase in ("prefill", "decode"):
        mine = middle(runs["pare"], phase)
        row.append(f"{mine:.0f}" if mine > 300 else f"{mine:.1f}")
        for name in order[1:]:
            if runs[name]:
                other = middle(runs[name], phase)
                row.append(f"{other:.0f} ({mine / other:.2f}x)" if other > 300 else f"{other:.1f} ({mine / other:.2f}x)")
            else:
                row.append("-")
    return row + [" ".join(f"{100 * run['share']:.0f} % of {run['reads'] / 1e9:.0f}" for run in runs["pare"])]


def models(options):
    names = peers()
    pairs = [("tinyllama-1.1b", f) for f in ("q8_0", "i8_ch", "q6_k", "q4_k", "q4_0", "i4_g128", "bf16", "f16")] + \
            [("llama-3.2-1b", f) for f in ("q8_0", "q4_0")] + [("distilgpt2", f) for f in ("q8_0", "q4_0", "q4_k", "f16")]
    head = ["shape", "format"] + [f"{phase}: {name}" for phase in ("prefill", "decode") for name in ("pare", *names)] + \
           ["share of reads, GB/s"]
    return table(head, [compare_model(options, *pair, names) for pair in (pairs[-1:] if options.quick else pairs)])


# The rule that this table watches: no quantized format is slower than f16, in either phase, on any tier.
def tiers(options):
    rows, base, slower = [], {}, []
    for form in ("f16", "q8_0", "i8_ch", "f8_e4m3_ch", "q6_k", "q5_k", "q4_0", "q4_k", "iq4_nl", "i4_g128", "mxfp4", "nvfp4", "nf4", "nf4_dq",
                 "fp4", "q3_k", "i3_g128", "q2_k", "i2_g128"):
        model, row = model_of(options, "distilgpt2", form), [form]
        for tier in tiers_here()[:1] if options.quick else tiers_here():
            r = bench(model, "-p", "256", "-n", "48", "-r", "3", isa=tier)
            speeds = [r[f"{phase}_tokens_per_s"] for phase in ("prefill", "decode")]
            slower += [f"{form} in {phase} on {tier} ({mine / f16:.2f}x)" for phase, mine, f16 in
                       zip(("prefill", "decode"), speeds, base.setdefault(tier, speeds)) if mine < 0.97 * f16]
            row.append(f"{speeds[0]:.0f}, {speeds[1]:.0f}")
        rows.append(row)
        if options.quick:
            break
    return table(["format"] + [f"{tier}: prefill, decode" for tier in tiers_here()], rows) + \
        f"\n\nSlower than f16 by more than 3 %: {', '.join(slower) or 'none'}."


# Per token: 4 x head_dim x heads x layers operations and 2 x head_dim x kv_heads x layers elements of cache for each position.
def context(options):
    model, rows = model_of(options, "llama-3.2-1b", "q4_0"), []
    for kv in ("f16", "q8_0"):
        for depth in (0, 1024) if options.quick else (0, 2048, 8192):
            r = bench(model, "-p", "512", "-n", "24", "-r", "2", "--depth", str(depth), "--kv-type", kv)
            cache = r["kv_bytes"] * (depth + 524) / (depth + 536)
            rows.append([kv, depth, f"{r['prefill_tokens_per_s']:.0f}", f"{r['decode_tokens_per_s']:.1f}",
                         f"{(r['weights_bytes'] + cache) / 1e6:.0f}", f"{100 * r['bandwidth_share']:.0f} % of "
                         f"{r['read_bandwidth_bytes_per_s'] / 1e9:.0f} GB/s"])
    return table(["KV cache", "tokens before", "prefill of 512, tokens/s", "decode, tokens/s", "MB read for a token",
                  "share of reads"], rows)


def load(options):
    rows = []
    for shape, form in (("tinyllama-1.1b", "q8_0"), ("tinyllama-1.1b", "q4_0"), ("tinyllama-1.1b", "q4_k"), ("tinyllama-1.1b", "f16"),
                        ("llama-3.2-1b", "q4_0"), ("llama-3.2-1b", "bf16")):
        model = model_of(options, shape, form)
        with open(model, "rb") as file:  # into the page cache
            while file.read(1 << 24):
                pass
        runs = [bench(model, "-p", "8", "-n", "4", "-r", "1") for _ in range(3)]
        parts = sum(runs[0][key] for key in ("weights_bytes", "kv_bytes", "scratch_bytes"))
        rows.append([shape, form, f"{runs[0]['file_bytes'] / 1e9:.2f}", " ".join(f"{run['load_ms']:.0f}" for run in runs),
                     f"{max(run['peak_rss_bytes'] for run in runs) / parts:.3f}"])
        if options.quick:
            break
    return table(["shape", "format", "file, GB", "load, ms (three runs)", "peak memory / (weights + KV + scratch)"], rows)


# ---- accuracy ----

def accuracy(options):
    folder = os.path.join(ROOT, "models")
    base, text, rows = os.path.join(folder, "ref-llama-11m"), os.path.join(folder, "evaluation.txt"), []
    os.makedirs(options.models, exist_ok=True)

    def evaluate(model, windows, *arguments):
        return last_json(output_of([PARE, "eval", model, "--text", text, "--context", "512", "--windows", str(windows), "--json",
                                    "--quiet", "--no-store", *arguments]))
    for form in ("f16", "bf16", "q8_0", "i8_ch", "q6_k", "q4_0", "q4_k", "i4_g128", "nf4"):
        model = os.path.join(options.models, f"ref-llama-11m-{form}.gguf")
        if not os.path.exists(model):
            output_of([PARE, "quantize", base, "-o", model, "--format", form, "--quiet"])
        exact = evaluate(model, 2, "--isa", "ref")["perplexity"]
        for tier in tiers_here():
            plain = evaluate(model, 2, "--isa", tier)["perplexity"]
            r = evaluate(model, 8, "--against", model, "--isa", tier, "--activations", "fast")
            rows.append([form, tier, f"{plain / exact:.6f}", f"{r['perplexity_ratio']:.5f} ± {r['perplexity_ratio_se']:.5f}",
                         f"{r['kld_mean']:.1e} ± {r['kld_se']:.0e}", f"{100 * r['top1']:.1f} %"])
        if options.quick:
            break
    return table(["weights", "tier", "FP32 activations: perplexity / ref", "fast activations: perplexity ratio", "KL divergence",
                  "same top token"], rows)


TABLES = {f.__name__: f for f in (kernels, attention, models, tiers, context, load, accuracy)}


def write(name, text):
    with open(DOC, encoding="utf-8") as file:
        document = file.read()
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if first not in document or last not in document:
        sys.exit(f"{DOC}: no markers for '{name}'")
    start = document.index(first) + len(first)
    with open(DOC, "w", encoding="utf-8") as file:
        file.write(document[:start] + text + "\n" + document[document.index(last):])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--print", action="store_true", help="do not touch docs/performance.md")
    parser.add_argument("--models", default=os.path.join(ROOT, "build", "performance"))
    parser.add_argument("--quick", action="store_true", help="a row or two of each table: tests this script")
    options = parser.parse_args()
    for name in options.only.split(","):
        if name not in TABLES:
            parser.error(f"no table '{name}': {', '.join(TABLES)}")
        start = time.time()
        text = TABLES[name](options)
        facts = json.loads(output_of([PARE, "hw", "--json"]))
        text += f"\n\n{time.strftime('%d %B %Y')}, {facts.get('cpu_name', 'unknown CPU')}, {THREADS} threads, commit " + \
                output_of(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], may_fail=True).strip() + "."
        print(f"## {name} ({time.time() - start:.0f} s)\n\n{text}\n", flush=True)
        if not options.print:
            write(name, text)


if __name__ == "__main__":
    main()
