#!/bin/sh
# Prints the CPythons from 3.11 on that this machine has, one for each minor version, oldest first:
# "3.12 /path/to/python". Looks on PATH, then among pyenv's. Fails if there is none.
set -eu
found=""
for candidate in python3 python3.11 python3.12 python3.13 python3.14 python3.15 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    # A shim of pyenv's resolves to the interpreter behind it, or fails.
    line=$("$path" -c '
import sys
if sys.implementation.name == "cpython" and sys.version_info >= (3, 11):
    print("%d.%d %s" % (*sys.version_info[:2], sys.executable))
' 2>/dev/null) || continue
    [ -n "$line" ] || continue
    minor=${line%% *}
    case " $found " in *" $minor "*) continue ;; esac
    found="$found $minor"
    printf '%s\n' "$line"
done | sort -t. -k2n | grep . || {
    echo "no CPython 3.11 or later was found: install one (Debian: apt install python3 python3-venv python3-dev)" >&2
    exit 1
}
