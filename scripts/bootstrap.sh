#!/bin/sh
# Installs the Debian packages that Pare needs and that are missing, as root or through sudo.
#   scripts/bootstrap.sh [more packages...]
# Says what it does; does nothing, quickly, when everything is there. Never asks.
set -eu

packages="gcc libc6-dev make cmake ninja-build pkg-config libjansson-dev libsqlite3-dev libpcre2-dev libutf8proc-dev \
libhwloc-dev libssl-dev libcyaml-dev libcairo2-dev libpango1.0-dev libcmocka-dev $*"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "bootstrap: no Debian here; Pare needs what these packages hold: $packages" >&2
    exit 0
fi

# "libc6:amd64 installed" or "libc6 installed"; packages that dpkg never heard of are not printed at all.
# shellcheck disable=SC2086
installed=" $(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
    sed -n 's/^installed //p' | tr '\n' ' ')"
missing=""
for package in $packages; do
    case "$installed" in
    *" $package "*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

root=""
if [ "$(id -u)" != 0 ]; then
    root=sudo
    if ! command -v sudo >/dev/null; then
        echo "bootstrap: run this as root, or install sudo: apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
fi
echo "bootstrap: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $root apt-get update -q &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1
then
    tail -n 20 "$log" >&2
    echo "bootstrap: apt-get failed" >&2
    exit 1
fi
echo "bootstrap: done"
