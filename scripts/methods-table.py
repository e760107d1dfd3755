#!/usr/bin/env python3
"""Runs scripts/methods.yaml and writes docs/methods.md from its results.

Results are kept in a store: killed at any moment, the script goes on from there when it is run again. With --no-run the
page is made from what is stored already. Quality does not mind other programs, speeds do: --only quality makes the models and
judges them, --only speed measures those that are there (a few minutes), with --again anew.

    scripts/methods-table.py [--only quality|speed] [--again] [--no-run] [--pare PROGRAM] [--shared FOLDER] [--store FILE]
                             [--study FILE] [-o docs/methods.md]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PARTS = ["quality", "speed"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pare", default=os.path.join(ROOT, "build", "release", "src", "cli", "pare"))
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"))
    parser.add_argument("--store", default=os.path.join(ROOT, "build", "methods.db"))
    parser.add_argument("--study", default=os.path.join(HERE, "methods.yaml"))
    parser.add_argument("--only", choices=PARTS, help="that part of the columns")
    parser.add_argument("--again", action="store_true", help="measure again what is stored")
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("-o", "--output", default=os.path.join(ROOT, "docs", "methods.md"))
    return parser.parse_args()


def store(options, part):
    return options.store + (".speed" if part == "speed" else "")


def run(options, part):
    """The study with the metrics of that part; its models are made once for both."""
    text = open(options.study).read().replace("metrics: [speed, quality]", f"metrics: [{part}]")
    text = text.replace("../shared/", os.path.abspath(options.shared) + "/")
    os.makedirs(os.path.dirname(options.store) or ".", exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as study:
        study.write(text)
        study.flush()
        status = subprocess.run([options.pare, "study", "run", study.name, "--store", store(options, part), "--work",
                                 options.store + ".models"] + ["--again"] * options.again).returncode
    if status != 0:
        sys.exit(f"the study ended with {status}; run this again to go on")


def records(options):
    """The newest record of each kind for each cell."""
    newest = {}
    for part, kinds in zip(PARTS, (("quantize", "eval"), ("bench",))):
        if not os.path.exists(store(options, part)):
            continue
        out = subprocess.run([options.pare, "results", "--store", store(options, part), "--where", "study=methods",
                              "--limit", "0", "--format", "json"], capture_output=True, text=True, check=True).stdout
        for record in map(json.loads, out.splitlines()):
            if record.get("recipe") and not record["failure"] and record["kind"] in kinds:
                newest[(record["model_label"], record["recipe"], record["kind"])] = record
    return newest


def metric(record, name):
    """The value, or None where it was not measured."""
    return record and record.get(name)


def number(value, digits):
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def row(model, recipe, label, found):
    quantize, evaluation, bench = (found.get((model, recipe, kind)) for kind in ("quantize", "eval", "bench"))
    size = metric(quantize, "bytes")
    cells = [
        f"`{label}`", number(metric(quantize, "bits_per_weight"), 3), number(size and size / 1e6, 2),
        number(metric(evaluation, "perplexity"), 3), number(metric(evaluation, "kld_mean"), 5),
        number(metric(evaluation, "top1") and 100 * metric(evaluation, "top1"), 2),
        number(metric(bench, "prefill_tokens_per_s"), 0), number(metric(bench, "decode_tokens_per_s"), 0),
        number(metric(quantize, "seconds"), 1)]
    return "| " + " | ".join(cells) + " |"


def order(found):
    """Models and recipes in the order of the study file's names."""
    text = open(OPTIONS.study).read()
    names = lambda key: sorted({k[key] for k in found}, key=lambda n: text.find(f"name: {n},"))
    return names(0), names(1)


def table(model, recipes, found):
    lines = [f"### {model}", "",
             "| method and format | bits | MB | perplexity | KL divergence | agreement % | prefill t/s | decode t/s | "
             "quantizing s |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for recipe in recipes:
        any_record = next((r for k, r in found.items() if k[:2] == (model, recipe)), None)
        if any_record:
            lines.append(row(model, recipe, any_record.get("label", recipe), found))
    return "\n".join(lines)


def conditions(found):
    bench = next((r for k, r in found.items() if k[2] == "bench"), None)
    evaluation = next((r for k, r in found.items() if k[2] == "eval"), {})
    c = bench or {}
    where = ", ".join(x for x in (c.get("machine"), c.get("isa"), c.get("threads") and f"{c['threads']} threads") if x)
    return (f"Perplexity over the first {evaluation.get('windows', '?')} windows of 1024 tokens of WikiText-2, KL divergence and agreement (the same most likely token) "
            "against the model in FP32 on the same tokens, activations in FP32. Speeds with 8-bit activations where weights "
            f"are codes: a prompt of 256 tokens, 64 generated ({where}). Bits: per weight of the quantized matrices, scales "
            "included. MB: the file (embeddings and head as in the source).")


def main():
    for part in PARTS:
        if not OPTIONS.no_run and OPTIONS.only in (None, part):
            run(OPTIONS, part)
    found = records(OPTIONS)
    if not found:
        sys.exit("no results of the study 'methods' are stored")
    models, recipes = order(found)
    text = open(os.path.join(HERE, "methods.md.in")).read()
    text = text.replace("{{conditions}}", conditions(found))
    text = text.replace("{{tables}}", "\n\n".join(table(model, recipes, found) for model in models))
    with open(OPTIONS.output, "w") as out:
        out.write(text)


OPTIONS = arguments()
main()
