#!/bin/sh
# Makes an environment with the extension and groups of dependencies in it, or brings it up to date:
# tools/venv.sh FOLDER PYTHON GROUP... An empty PYTHON is the first that tools/pythons.sh finds.
# Does nothing where nothing has changed.
set -eu
venv=$1
python=$2
shift 2

if ! [ -e "$venv/.made" ] || ! [ -x "$venv/bin/python" ]; then
    if [ -z "$python" ]; then
        python=$(tools/pythons.sh)
        python=$(printf '%s\n' "$python" | head -n 1 | cut -d' ' -f2-)
    fi
    # What an interpreter without ensurepip leaves half-made must not pass for an environment.
    "$python" -m venv --clear "$venv" || {
        echo "$python cannot make an environment (Debian: apt install python3-venv)" >&2
        exit 1
    }
    # On Windows an environment's programs lie in Scripts; a junction needs no privilege.
    if ! [ -e "$venv/bin" ]; then
        "$venv/Scripts/python" -c 'import _winapi, sys; _winapi.CreateJunction(*sys.argv[1:])' \
            "$venv/Scripts" "$venv/bin"
    fi
    touch "$venv/.made"
fi

for group in build "$@"; do
    wanted="$venv/.wanted-$group"
    installed="$venv/.installed-$group"
    "$venv/bin/python" - "$group" > "$wanted" <<'END_OF_PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
group = sys.argv[1]
groups = {"build": project["build-system"]["requires"], **project["dependency-groups"]}
sys.stdout.reconfigure(newline="\n")  # on Windows, too
print(*groups[group], sep="\n")
END_OF_PYTHON
    if ! cmp -s "$wanted" "$installed"; then
        echo "installing into $venv: $group"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
        mv "$wanted" "$installed"
    fi
done

# The extension lies in python/aionursery, where every environment of its version finds it.
suffix=$("$venv/bin/python" -c 'import sys, sysconfig; sys.stdout.write(sysconfig.get_config_var("EXT_SUFFIX"))')
built="$venv/.built"
if ! [ -e "$built" ] || ! [ -e "python/aionursery/_aionursery$suffix" ] ||
    [ -n "$(find pyproject.toml Cargo.toml Cargo.lock crates/nursery-core crates/aionursery-python \
        -type f -newer "$built" -print -quit)" ]; then
    minor=$("$venv/bin/python" -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2] + getattr(sys, "abiflags", ""))')
    echo "building for CPython $minor"
    # The stamp bears the time of the start: what is edited during a build is newer than it.
    touch "$built.started"
    # Each CPython has a target folder of its own: going from one to the next rebuilds nothing.
    VIRTUAL_ENV="$PWD/$venv" CARGO_TARGET_DIR="$PWD/target/python$minor" \
        "$venv/bin/maturin" develop --release --quiet
    mv "$built.started" "$built"
fi
