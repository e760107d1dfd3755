#!/bin/bash
# Checks which folder includes which: the table of the design. Includes point only upstream in the data flow; a folder may
# include itself, its subfolders and what its row names (a folder, or one header of it). <pare/...> is free for all.
set -eu
cd "${1:-$(dirname "$0")/..}"
failed=0

fail() {
    echo "$1" >&2
    failed=1
}

declare -A may=(
    [base]=""
    [hw]="base"
    [formats]="base quant/types.h"
    [text]="base formats"
    [model]="base formats quant/types.h quant/formats.h"
    [quant]="base formats model text"
    [kernels]="base quant"
    [run]="base formats hw kernels model quant"
    [calibrate]="base formats kernels model quant run"
    [eval]="base kernels model quant run"
    [bench]="base hw kernels model run"
    [peers]="base"
    [store]="base"
    [plan]="base bench/stats.h store"
    [report]="base store"
    [server]=""
    [cli]=""
)

for path in src/*/; do
    folder=$(basename "$path")
    if [ -z "${may[$folder]+known}" ]; then
        fail "src/$folder: a folder without a row in tests/layers.sh"
        continue
    fi
    # "file:header" of every #include "..." that names a folder; a header beside its file needs none.
    while IFS=: read -r file header; do
        target=${header%%/*}
        allowed=no
        for entry in "$folder" ${may[$folder]}; do
            if [ "$entry" = "$target" ] || [ "$entry" = "$header" ]; then
                allowed=yes
            fi
        done
        [ $allowed = yes ] || fail "$file: includes \"$header\", which src/$folder may not (may: ${may[$folder]:-nothing else})"
    done < <(grep -rHoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*/[^"]*"' "$path" --include='*.[ch]' --include='*.cu' |
        sed -E 's/:[^"]*"([^"]*)"/:\1/')
done

# One folder alone knows SQLite.
while read -r file; do
    case $file in
    src/store/*) ;;
    *) fail "$file: includes sqlite3.h, which belongs to src/store" ;;
    esac
done < <(grep -rlE '#[[:space:]]*include[[:space:]]*<sqlite3\.h>' src include --include='*.[ch]' || true)

# Public headers include nothing private, and make their functions visible in the shared library.
for header in include/pare/*.h; do
    if grep -nE '#[[:space:]]*include[[:space:]]*"' "$header"; then
        fail "$header: a public header includes a private one"
    fi
    if grep -q 'extern "C" {' "$header"; then
        for word in 'push(default)' pop; do
            grep -qF "#pragma GCC visibility $word" "$header" ||
                fail "$header: '#pragma GCC visibility $word' is missing around its functions"
        done
    fi
done
exit $failed
