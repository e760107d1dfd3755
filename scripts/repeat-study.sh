#!/bin/sh
# Runs a study twice and says for how many cells the two agree: scripts/repeat-study.sh STUDY.yaml [PARE]
# Two medians agree where they differ by no more than the half-widths of their 95 % intervals allow, taken together:
# |a - b| <= sqrt(ha^2 + hb^2). Exit code 0 where at least 95 % do. Order, texts and quality must be the same exactly.
set -eu
study=$1
pare=${2:-build/release/src/cli/pare}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for run in 1 2; do
    "$pare" study run "$study" --store "$work/$run.db" --work "$work/models" --keep >"$work/$run.jsonl"
done
python3 - "$work/1.jsonl" "$work/2.jsonl" <<'PYTHON'
import json
import math
import sys

first, second = ([r for r in map(json.loads, open(name)) if "kind" in r] for name in sys.argv[1:])
assert [r["cell"] for r in first] == [r["cell"] for r in second], "the orders differ"
agree = total = exact = differ = 0
for a, b in zip(first, second):
    for name in ("perplexity", "kld_mean", "top1", "quality_score", "bits_per_weight"):
        if a.get(name) is not None and a["kind"] != "bench":
            exact += 1
            if a[name] != b[name]:
                differ += 1
                print(f"{a['cell']}: {name} {a[name]} and {b[name]}")
    if a.get("text_hash") != b.get("text_hash"):
        differ += 1
        print(f"{a['cell']}: other texts")
    for name in ("prefill_tokens_per_s", "decode_tokens_per_s"):
        if a["kind"] != "bench" or a.get(name) is None or b.get(name) is None:
            continue
        half = [(r.get(name + "_ci_high", r[name]) - r.get(name + "_ci_low", r[name])) / 2 for r in (a, b)]
        within = abs(a[name] - b[name]) <= math.hypot(*half)
        total += 1
        agree += within
        print(f"{'  ' if within else '! '}{a['cell']:44} {name:22} {a[name]:10.2f} +- {half[0]:<8.2f} {b[name]:10.2f} +- {half[1]:<8.2f}"
              f" {100 * (b[name] / a[name] - 1):+6.2f} %")
# A virtual machine whose processors are moved between cores of its host is another machine: its bandwidth tells.
speeds = [sorted(r["read_bandwidth_bytes_per_s"] for r in run if r.get("read_bandwidth_bytes_per_s")) for run in (first, second)]
if all(speeds):
    a, b = (values[len(values) // 2] for values in speeds)
    moved = abs(a / b - 1) > 0.1
    print(f"read bandwidth beside the runs: {a / 1e9:.1f} and {b / 1e9:.1f} GB/s{': the machine itself has changed' if moved else ''}")
share = agree / total if total else 0
print(f"{agree} of {total} medians agree within their intervals ({100 * share:.0f} %); {exact} numbers of quality and size, {differ} differ")
sys.exit(0 if share >= 0.95 and not differ else 1)
PYTHON
