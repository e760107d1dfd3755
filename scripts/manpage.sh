#!/bin/sh
# The manual page, made from the program's own help: scripts/manpage.sh PARE > pare.1
set -eu
pare=$1

# Lines as they are, safe for roff.
literal() {
    sed -e 's/\\/\\e/g' -e "s/^\([.']\)/\\\\\&\1/" -e 's/-/\\-/g'
}

version=$("$pare" --version | cut -d' ' -f2)
cat <<ROFF
.TH PARE 1 "" "pare $version" "User Commands"
.SH NAME
pare \\- cuts a language model down to fit its hardware, and proves what that costs
.SH SYNOPSIS
.B pare
.I COMMAND
[arguments]
.SH COMMANDS
ROFF
commands=$("$pare" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
for command in $commands; do
    printf '.SS pare %s\n.nf\n' "$command"
    "$pare" "$command" --help | sed -e '/^common options:/,/^$/d' | literal
    printf '.fi\n'
done
printf '.SH COMMON OPTIONS\nEvery command takes these.\n.PP\n.nf\n'
"$pare" hw --help | sed -n '/^common options:/,/^$/p' | sed -e 1d -e '/^$/d' | literal
cat <<ROFF
.fi
.SH EXIT STATUS
0 on success, 1 on failure, 2 when it is used wrongly.
.SH ENVIRONMENT
.TP
.B PARE_STORE
the database of results, where
.B \\-\\-store
is not given.
.TP
.B PARE_MODELS
the folder of the built-in model and its evaluation text, where they are not installed.
.TP
.BR HF_HUB_CACHE ", " HF_HOME ", " XDG_CACHE_HOME
where the hub's cache lies.
.TP
.B NO_COLOR
no colours, where it is not empty.
ROFF
