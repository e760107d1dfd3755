#!/usr/bin/env python3
"""Quantizes both reference models by every method that another implementation was measured with, and compares.

The references are golden/*_reference.json of the shared folder: perplexity on the whole of WikiText-2's test text, KL divergence
over its first 24 windows of 1024 tokens. Ours is the divergence on the 24 windows; with --full instead the perplexity, on the whole
text (minutes for each row on two cores, seconds on a GPU). tests/golden runs the cheap rows; this script runs all of them (about an
hour on two cores). Rows that are in the output file already are not run again. Without a folder of golden, data and models beside the
checkout, say where it is: --shared. A model that is not there is left out; so is, on a GPU, what the GPU refuses.

    scripts/check-references.py [--pare PROGRAM] [--shared FOLDER] [--device cuda] [--only REGEX] [--full] [--threads N]
                                [-o references.jsonl]
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = ["ref-llama-11m", "ref-gpt2-30m"]
BNB, ORT, TORCH = "bnb_reference.json", "ort_reference.json", "quant_reference.json"
FAST = ["--activations", "fast"]
CALIBRATED = [("w4_g128_asym", "i4_g128_asym"), ("w4_g64_asym", "i4_g64_asym"), ("w4_g32_sym", "i4_g32"),
              ("w3_g128_asym", "i3_g128_asym")]

# file, entry, arguments of quantize, of eval, bounds: relative, of perplexity and of KL divergence; "below": at most theirs.
ROWS = [
    (BNB, "nf4", ["--format", "nf4"], [], 0.005, 0.05),
    (BNB, "nf4_double", ["--format", "nf4_dq"], [], 0.005, 0.05),
    (BNB, "fp4", ["--format", "fp4"], [], 0.005, 0.05),
    (BNB, "llm_int8_t6.0", ["--recipe", "bnb-int8"], FAST, None, 0.2),
    (BNB, "llm_int8_t3.0", ["--recipe", "bnb-int8", "--threshold", "3"], FAST, None, 0.2),
    (BNB, "llm_int8_t0", ["--recipe", "bnb-int8", "--threshold", "0"], FAST, None, 0.2),
    (TORCH, "w8a8_token_channel", ["--recipe", "w8a8"], FAST, 0.01, 0.08),
    (ORT, "blocks_int8_tensor", ["--recipe", "ort-int8"], FAST, 0.01, 0.08),
    (ORT, "blocks_int8_channel", ["--recipe", "ort-int8-channel"], FAST, 0.01, 0.08),
    (ORT, "blocks_int8_tensor_reduce_range", ["--recipe", "ort-int8", "--reduce-range"], FAST, 0.01, 0.08),
    (ORT, "blocks_int8_channel_reduce_range", ["--recipe", "ort-int8-channel", "--reduce-range"], FAST, 0.01, 0.08),
] + [(TORCH, f"{entry}_{method}", ["--method", method, "--format", form, "--calibration"], [], None, "below")
     for method in ("gptq", "awq") for entry, form in CALIBRATED]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pare", default=os.path.join(ROOT, "build", "release", "src", "cli", "pare"))
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--only", default="", help="rows whose MODEL/ENTRY matches")
    parser.add_argument("--full", action="store_true", help="perplexity on the whole text")
    parser.add_argument("--device", default="cpu", help="where models run, and the calibration text")
    parser.add_argument("--threads", default="0")
    parser.add_argument("-o", "--output", default=os.path.join(ROOT, "build", "references.jsonl"))
    return parser.parse_args()


class Refused(Exception):
    pass


def pare(options, *arguments):
    threads = ["-t", options.threads] if options.threads != "0" else []
    done = subprocess.run([options.pare, *arguments, *threads, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"pare {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(options, model, quantize, evaluate):
    """KL divergence on the 24 windows, or perplexity on all."""
    data = os.path.join(options.shared, "data")
    source = os.path.join(options.shared, "models", model)
    device = ["--device", options.device]
    text = ["--text", os.path.join(data, "wikitext-2-raw.test.txt"), "--wikitext", "--context", "1024", "--no-store", *device]
    if quantize[-1] == "--calibration":
        quantize = quantize + [os.path.join(data, "calibration.txt"), *device]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(options.output))) as folder:
        copy = os.path.join(folder, "model.gguf")
        made = pare(options, "quantize", source, "-o", copy, *quantize)
        if options.full:
            result = pare(options, "eval", copy, *text, *evaluate)
            return {"perplexity": result["perplexity"], "seconds": made["seconds"]}
        result = pare(options, "eval", copy, "--against", source, *text, "--windows", "24", *evaluate)
        return {"kld": result["kld_mean"], "kld_se": result["kld_se"], "seconds": made["seconds"]}


def verdict(ours, theirs, bound):
    if bound == "below":
        return ours <= theirs
    return abs(ours / theirs - 1) <= bound


def report(line):
    key = "perplexity" if "perplexity" in line else "kld"
    bound = line["bound"] if line["bound"] == "below" else f"{100 * line['bound']:g} %"
    return (f"{line['model']:14} {line['entry']:34} {key:10} {line[key]:10.6f} {line['reference']:10.6f} "
            f"{100 * (line[key] / line['reference'] - 1):+7.2f} %  {bound:6} {'ok' if line['ok'] else 'MISSES'}")


def rows(options):
    """Of the models that are there: model, entry, reference, bound, arguments of quantize and of eval."""
    models = [m for m in MODELS if os.path.isdir(os.path.join(options.shared, "models", m))]
    for file, entry, quantize, evaluate, perplexity_bound, kld_bound in ROWS:
        with open(os.path.join(options.shared, "golden", file)) as golden:
            references = json.load(golden)["models"]
        bound = perplexity_bound if options.full else kld_bound
        for model in models:
            if entry in references[model] and bound is not None and re.search(options.only, f"{model}/{entry}"):
                yield model, entry, references[model][entry]["ppl" if options.full else "kld"], bound, quantize, evaluate


def known_lines(options):
    os.makedirs(os.path.dirname(os.path.abspath(options.output)), exist_ok=True)
    if not os.path.exists(options.output):
        return {}
    with open(options.output) as file:
        lines = [json.loads(line) for line in file]
    return {(line["model"], line["entry"], line["full"], line.get("device", "cpu")): line for line in lines}


def main():
    options = arguments()
    known = known_lines(options)
    failed = 0
    for model, entry, reference, bound, quantize, evaluate in rows(options):
        line = known.get((model, entry, options.full, options.device))
        if not line:
            line = {"model": model, "entry": entry, "full": options.full, "device": options.device, "bound": bound,
                    "reference": reference}
            try:
                line.update(measure(options, model, quantize, evaluate))
            except Refused as reason:
                if options.device == "cpu":
                    sys.exit(str(reason))
                print(f"{model:14} {entry:34} not run: {reason}", flush=True)
                continue
            line["ok"] = verdict(line["perplexity" if options.full else "kld"], reference, bound)
            with open(options.output, "a") as output:
                output.write(json.dumps(line) + "\n")
        print(report(line), flush=True)
        failed += not line["ok"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
