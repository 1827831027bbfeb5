#!/bin/sh
# Makes a virtual environment with the extension and groups of dependencies in it, or brings it up
# to date: tools/venv.sh FOLDER PYTHON GROUP... Does nothing where nothing has changed.
set -eu
venv=$1
python=$2
shift 2
if ! [ -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || {
        echo "$python cannot make a virtual environment (Debian: apt install python3-venv)" >&2
        exit 1
    }
fi
for group in build "$@"; do
    stamp="$venv/.installed-$group"
    if [ "$stamp" -nt pyproject.toml ]; then
        continue
    fi
    "$venv/bin/python" - "$group" > "$venv/.requirements-$group" <<'END'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
group = sys.argv[1]
groups = project["dependency-groups"]
print(*(project["build-system"]["requires"] if group == "build" else groups[group]), sep="\n")
END
    echo "installing into $venv: $group"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r "$venv/.requirements-$group"
    touch "$stamp"
done
stamp="$venv/.built"
if ! [ -e "$stamp" ] || [ -n "$(find pyproject.toml Cargo.toml Cargo.lock README.md \
    crates/nursery-core/src crates/aionursery-python -type f -newer "$stamp" -print -quit)" ]; then
    minor=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "building for CPython $minor"
    # Each CPython has a target folder of its own: going from one to the next rebuilds nothing.
    VIRTUAL_ENV=$(cd "$venv" && pwd) CARGO_TARGET_DIR="target/python$minor" \
        "$venv/bin/maturin" develop --release --quiet
    touch "$stamp"
fi
