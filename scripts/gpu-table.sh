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
    read = field("read_bytes_per_s")
    printf "| shape | format | ms a token | tok/s | weights GB/s | share of %.2f TB/s | prefill tok/s |\n", read / 1e12
    print "| --- | --- | --- | --- | --- | --- | --- |"
    next
}
{
    ms = field("decode_ms")
    rate = field("decode_bytes_per_s")
    format = field("format")
    if (field("inputs") != "" && field("inputs") != "exact") format = format ", " field("inputs")
    if (field("depth") > 0) format = format ", " field("depth") " tokens in a cache of " field("cache")
    printf "| %s | %s | %.3f | %.0f | %.0f | %.0f %% | %s |\n", field("shape"), format, ms, 1000 / ms,
        rate / 1e9, 100 * rate / read, (field("n_prompt") > 0 ? field("prefill_tokens_per_s") : "")
}' "$1"
