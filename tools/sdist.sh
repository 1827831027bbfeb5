#!/bin/sh
# Builds a source distribution into target/wheels, unpacks it elsewhere, and builds a wheel of the
# oldest CPython here from that, and nothing else; the wheel is tried as tools/test-wheel.sh does.
set -eu
tools/venv.sh .venv "${PYTHON:-}"
maturin="$PWD/.venv/bin/maturin"
rm -f target/wheels/*.tar.gz
"$maturin" sdist --out target/wheels
sdist=$(ls "$PWD"/target/wheels/*.tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tar -xzf "$sdist" -C "$work"
for wanted in CHANGELOG.md LICENSE README.md PKG-INFO docs/rules.md examples/two_children.py tests/test_life.py \
    crates/nursery-core/src/lib.rs python/aionursery/py.typed; do
    [ -e "$work"/*/"$wanted" ] || {
        echo "$sdist lacks $wanted" >&2
        exit 1
    }
done
python=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
(cd "$work"/*/ && CARGO_TARGET_DIR="$work/target" "$maturin" build --quiet --release \
    --interpreter "$python" --out "$work/wheels")
tools/test-wheel.sh "$work"/wheels/*.whl
echo "built and tried: ${sdist##*/}"
