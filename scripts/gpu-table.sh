#!/bin/sh
# The GPU table of docs/performance.md from what bench_gpu printed: scripts/gpu-table.sh FILE.jsonl
# A line with "card" says how the lines after it were measured.
set -eu
awk '
function field(name,    i, rest) {
    i = index($0, "\"" name "\":")
    if (!i) return ""
    rest = substr($0, i + length(name) + 3)
    sub(/^"/, "", rest)
    sub(/["},].*/, "", rest)
    return rest
}
field("error") != "" { next }
field("card") != "" {
    printf "\n%s, driver %s; prompt of %s, %s tokens behind it, %s activations, median of %s\n\n",
        field("card"), field("driver"), field("n_prompt"), field("n_gen"), field("activations"), field("repetitions")
    print "| shape | format | ms a token | tok/s | weights GB/s | share of 3.09 TB/s | prefill tok/s |"
    print "| --- | --- | --- | --- | --- | --- | --- |"
    next
}
{
    ms = field("decode_ms")
    rate = field("decode_bytes_per_s")
    printf "| %s | %s | %.3f | %.0f | %.0f | %.0f %% | %s |\n", field("shape"), field("format"), ms, 1000 / ms,
        rate / 1e9, 100 * rate / 3.09e12, field("prefill_tokens_per_s")
}' "$1"
