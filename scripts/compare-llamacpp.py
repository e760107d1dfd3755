#!/usr/bin/env python3
"""Times Pare against a llama-bench (llama.cpp's or ik_llama.cpp's) on the same GGUF files, interleaved A B B A, and prints
ratios.

usage: scripts/compare-llamacpp.py MODEL.gguf... [-p 512] [-n 64] [-t THREADS] [--rounds 3] [--json]

Every run is a process of its own; a round is Pare, llama-bench, llama-bench, Pare. The machine's speed may drift between
rounds, so a ratio is taken within each round; the table shows the median ratio and its range over the rounds.
llama-bench must be on PATH (or in $LLAMA_BENCH: any build, its libraries may lie beside it); without it this script says so
and exits 0. A model that it does not read (ik_llama.cpp knows no GPT-2) is said to be so and left out.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys


def output_of(command, libraries=None, may_fail=False):
    environment = dict(os.environ)
    if libraries:
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, [libraries, environment.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0 and not may_fail:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-500:]}")
    return done.stdout


def run_pare(pare, model, options):
    text = output_of([pare, "bench", model, "-p", str(options.p), "-n", str(options.n), "-t", str(options.t), "-r", "3",
                      "--json", "--quiet"])
    row = json.loads(text.strip().splitlines()[-1])
    if isinstance(row, list):
        row = row[0]
    return row["prefill_tokens_per_s"], row["decode_tokens_per_s"]


def run_llama(llama_bench, model, options):
    command = [llama_bench, "-m", model, "-p", str(options.p), "-n", str(options.n), "-t", str(options.t), "-r", "3", "-o", "json"]
    text = output_of(command, os.path.dirname(os.path.abspath(llama_bench)), may_fail=True).strip()
    rows = json.loads(text) if text.endswith("]") else []
    if not rows:
        return None
    prefill = next(row["avg_ts"] for row in rows if row["n_prompt"] > 0 and row["n_gen"] == 0)
    decode = next(row["avg_ts"] for row in rows if row["n_gen"] > 0 and row["n_prompt"] == 0)
    return prefill, decode


def compare(pare, llama_bench, model, options):
    rounds = []
    if not run_llama(llama_bench, model, argparse.Namespace(p=1, n=1, t=options.t)):
        return None
    for _ in range(options.rounds):
        order = [run_pare(pare, model, options), run_llama(llama_bench, model, options),
                 run_llama(llama_bench, model, options), run_pare(pare, model, options)]
        rounds.append([(order[0][i] + order[3][i]) / 2 for i in (0, 1)] +
                      [(order[1][i] + order[2][i]) / 2 for i in (0, 1)])
    result = {"model": model}
    for i, phase in enumerate(("prefill", "decode")):
        ratios = [r[i] / r[i + 2] for r in rounds]
        result[f"{phase}_pare_tokens_per_s"] = statistics.median(r[i] for r in rounds)
        result[f"{phase}_llamacpp_tokens_per_s"] = statistics.median(r[i + 2] for r in rounds)
        result[f"{phase}_ratio"] = statistics.median(ratios)
        result[f"{phase}_ratio_low"], result[f"{phase}_ratio_high"] = min(ratios), max(ratios)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens")
    parser.add_argument("-n", type=int, default=64, help="generated tokens")
    parser.add_argument("-t", type=int, default=os.cpu_count(), help="threads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    pare = os.environ.get("PARE") or os.path.join(here, "..", "build", "release", "src", "cli", "pare")
    llama_bench = os.environ.get("LLAMA_BENCH") or shutil.which("llama-bench")
    if not llama_bench:
        print("skipped: llama-bench is not on PATH (nor in $LLAMA_BENCH)")
        return
    if not options.json:
        print(f"{'model':<36} {'phase':<8} {'pare':>9} {'llama.cpp':>10} {'ratio':>7}  range")
    for model in options.models:
        result = compare(pare, llama_bench, model, options)
        if not result:
            print(f"{os.path.basename(model)}: {llama_bench} does not read it", file=sys.stderr)
            continue
        if options.json:
            print(json.dumps(result), flush=True)
            continue
        for phase in ("prefill", "decode"):
            print(f"{os.path.basename(model):<36} {phase:<8} {result[phase + '_pare_tokens_per_s']:>9.1f} "
                  f"{result[phase + '_llamacpp_tokens_per_s']:>10.1f} {result[phase + '_ratio']:>6.2f}x  "
                  f"{result[phase + '_ratio_low']:.2f}..{result[phase + '_ratio_high']:.2f}", flush=True)


if __name__ == "__main__":
    main()
