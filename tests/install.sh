#!/bin/bash
# Installs a build into a temporary prefix and uses it as a stranger would: a C program found through pkg-config, linked
# with the shared and with the static library, that encodes a text with the installed model.
#   tests/install.sh SOURCE BUILD
set -eu
source=$1 build=$2
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT

cmake --install "$build" --prefix "$prefix" >"$prefix/log" || { cat "$prefix/log"; exit 1; }
pc=$(find "$prefix" -name pare.pc)
export PKG_CONFIG_PATH=${pc%/*}
library=$(find "$prefix" -name libpare.so)

cat >"$prefix/use.c" <<'C'
#include <pare/error.h>
#include <pare/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    pare_tokenizer *tokenizer;
    int32_t *ids;
    size_t count, length;
    char *text;
    if (pare_tokenizer_open(argv[1], &tokenizer) != PARE_OK ||
        pare_tokenizer_encode(tokenizer, "A small model.", 14, 0, &ids, &count) != PARE_OK ||
        pare_tokenizer_decode(tokenizer, ids, count, true, &text, &length) != PARE_OK) {
        fprintf(stderr, "%s\n", pare_error_message());
        return 1;
    }
    printf("%s\n", text);
    free(text);
    free(ids);
    pare_tokenizer_close(tokenizer);
    return 0;
}
C

model=$prefix/share/pare/models/ref-llama-11m
use() {
    [ "$(LD_LIBRARY_PATH=${library%/*} "$1" "$model")" = "A small model." ] || { echo "$1 does not work" >&2; exit 1; }
}
# shellcheck disable=SC2046
cc -std=c17 -Wall -Werror "$prefix/use.c" $(pkg-config --cflags --libs pare) -o "$prefix/shared"
use "$prefix/shared"
rm "${library%/*}"/libpare.so*
# shellcheck disable=SC2046
cc -std=c17 -Wall -Werror "$prefix/use.c" $(pkg-config --static --cflags --libs pare) -o "$prefix/static"
use "$prefix/static"

# The shared library exports every function of the public headers, and nothing else.
declared=$(cat "$source"/include/pare/*.h | cc -E -fpreprocessed -dD -P - 2>/dev/null | tr '\n' ' ' |
    grep -oE '\bpare_[a-z0-9_]+\(' | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$build/libpare.so" | awk '{ print $3 }' | sort -u)
if ! strange=$(comm -13 <(echo "$declared") <(echo "$exported")) || [ -n "$strange" ]; then
    echo "libpare.so exports what no public header declares: $strange" >&2
    exit 1
fi

# A program that uses the library from C++, where there is a compiler for it.
if command -v c++ >/dev/null; then
    for header in "$source"/include/pare/*.h; do
        echo "#include <pare/${header##*/}>"
    done >"$prefix/all.cc"
    c++ -fsyntax-only -I"$prefix/include" "$prefix/all.cc"
fi

"$prefix/bin/pare" --version >/dev/null
[ -s "$prefix/share/man/man1/pare.1" ]
if command -v mandoc >/dev/null; then
    mandoc -T lint -W error "$prefix/share/man/man1/pare.1"
fi
for file in bash-completion/completions/pare zsh/site-functions/_pare fish/vendor_completions.d/pare.fish; do
    [ -s "$prefix/share/$file" ]
done

# The completion offers every command, and the options of one.
complete_words() {
    bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pare; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$prefix/share/bash-completion/completions/pare" "$prefix/bin/pare" "$@"
}
complete_words "" | grep -qx quantize
complete_words quantize --form | grep -qx -- --format
complete_words run -n | grep -qx -- -n
echo "installed, linked and run"
