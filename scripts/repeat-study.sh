#!/bin/sh
# Runs a study several times and says for how many cells the runs agree: scripts/repeat-study.sh STUDY.yaml [PARE [RUNS]]
# Two medians agree where their difference can be chance: |a - b| <= sqrt(ha^2 + hb^2), h half the width of the 95 % interval
# (docs/protocol.md, "Do two runs agree?"). Exit code 0 where at least 95 % of all pairs of runs do. Order, texts and quality must
# be the same exactly. $KEEP, a folder, keeps stores and models.
set -eu
study=$1
pare=${2:-build/release/src/cli/pare}
runs=${3:-2}
if [ -n "${KEEP:-}" ]; then
    work=$KEEP
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
name=$(sed -n 's/^name: *//p' "$study" | head -n 1)
for run in $(seq "$runs"); do
    "$pare" study run "$study" --again --json --store "$work/$run.db" --work "$work/models" --keep >"$work/$run.jsonl"
    "$pare" analyze tradeoffs "$name" --json --store "$work/$run.db" >"$work/$run.ratios"
done
python3 - "$work" "$runs" <<'PYTHON'
import itertools
import json
import math
import sys

work, count = sys.argv[1], int(sys.argv[2])
lines = lambda name: list(map(json.loads, open(f"{work}/{name}")))
runs = [[r for r in lines(f"{i}.jsonl") if "kind" in r] for i in range(1, count + 1)]
ratios = [{r["cell"]: r for r in lines(f"{i}.ratios") if "cell" in r} for i in range(1, count + 1)]
assert all([r["cell"] for r in run] == [r["cell"] for r in runs[0]] for run in runs), "the orders differ"


def measure(record, name):
    """Value and half-width."""
    value = record.get(name)
    if isinstance(value, dict):
        return value["value"], (value["high"] - value["low"]) / 2
    if value is None:
        return None
    return value, (record.get(name + "_ci_high", value) - record.get(name + "_ci_low", value)) / 2


class Tally:
    def __init__(self):
        self.agree = self.total = 0

    def add(self, cell, name, all_of):
        found = [m for m in all_of if m]
        pairs = list(itertools.combinations(found, 2))
        within = sum(abs(a[0] - b[0]) <= math.hypot(a[1], b[1]) for a, b in pairs)
        self.agree += within
        self.total += len(pairs)
        if pairs:
            shown = "  ".join(f"{v:9.2f} +-{100 * h / v:5.1f} %" for v, h in found)
            print(f"{'  ' if within == len(pairs) else '! '}{cell:36} {name:20} {shown}")

    def text(self, what):
        return f"{self.agree} of {self.total} {what} agree ({100 * self.agree / max(self.total, 1):.0f} %)"


speeds, gains, exact, differ = Tally(), Tally(), 0, 0
for row in zip(*runs):
    for name in ("perplexity", "kld_mean", "top1", "quality_score", "bits_per_weight", "text_hash"):
        if row[0]["kind"] != "bench" and row[0].get(name) is not None:
            exact += 1
            if len({r.get(name) for r in row}) > 1:
                differ += 1
                print(f"{row[0]['cell']}: {name}: {[r.get(name) for r in row]}")
    if row[0]["kind"] == "bench":
        for name in ("prefill_tokens_per_s", "decode_tokens_per_s"):
            speeds.add(row[0]["cell"], name[:-13], [measure(r, name) for r in row])
for cell, first in ratios[0].items():
    for name in ("prefill_speedup", "decode_speedup"):
        if first[name] and first[name]["low"] != first[name]["high"]:
            gains.add(cell, name, [measure(r[cell], name) for r in ratios])
# A virtual machine whose processors are moved between cores of its host is another machine: its bandwidth tells.
beside = [sorted(r["read_bandwidth_bytes_per_s"] for r in run if r.get("read_bandwidth_bytes_per_s")) for run in runs]
if all(beside):
    middles = [values[len(values) // 2] / 1e9 for values in beside]
    moved = max(middles) > 1.1 * min(middles)
    print(f"read bandwidth beside the runs: {', '.join(f'{m:.1f}' for m in middles)} GB/s{': the machine itself has changed' if moved else ''}")
print(speeds.text("pairs of medians"))
print(gains.text("pairs of speed-ups against the baseline"))
print(f"{exact} numbers of quality and size, and texts: {differ} differ")
sys.exit(0 if speeds.agree >= 0.95 * speeds.total > 0 and not differ else 1)
PYTHON
