#!/bin/sh
# Runs every fuzz target of a build for some seconds: scripts/fuzz.sh BUILD SECONDS. New inputs go to BUILD/corpus, what
# crashes to BUILD/findings; the exit code says whether anything did.
set -eu
build=$1 seconds=$2
seeds=$(dirname "$0")/../tests/fuzz/corpus
failed=0
mkdir -p "$build/findings"
for target in "$build"/tests/fuzz/fuzz_*; do
    [ -f "$target" ] && [ -x "$target" ] || continue
    name=${target##*/fuzz_}
    mkdir -p "$build/corpus/$name"
    echo "fuzzing $name for $seconds s"
    "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$build/findings/$name-" "$build/corpus/$name" "$seeds/$name" >"$build/findings/$name.log" 2>&1 ||
        { failed=1; tail -n 30 "$build/findings/$name.log"; }
    sed -n 's/^stat::number_of_executed_units: */  inputs: /p' "$build/findings/$name.log"
done
exit $failed
