#!/bin/sh
# Runs random hostile programs, tests/hostile, on one CPython:
#   tools/attack.sh NAME [OPTION...]
# NAME is one of tools/pythons.sh's, as 3.14, or of its debug builds, as 3.14-dbg, which run in
# development mode with the checking allocator; empty for .venv's. With SANITIZED=1 the extension is
# one under AddressSanitizer. Options go to tests/hostile/attack.py.
set -eu
name=$1
shift

venv=.venv
python=""
if [ -n "$name" ]; then
    debug=""
    case $name in *-dbg) debug=--debug ;; esac
    python=$(tools/pythons.sh $debug | sed -n "s/^$name //p")
    if [ -z "$python" ]; then
        echo "there is no $name; there are:" >&2
        { tools/pythons.sh && tools/pythons.sh --debug; } 2>/dev/null | cut -d' ' -f1 >&2
        exit 1
    fi
    venv=.venvs/$name
fi
tools/venv.sh "$venv" "$python" attack

# The order of sets is part of what a seed says.
export PYTHONHASHSEED=0
case $name in *-dbg) export PYTHONDEVMODE=1 PYTHONMALLOC=debug ;; esac
if [ -n "${SANITIZED:-}" ]; then
    exec tools/sanitized.sh "$venv" -m tests.hostile.attack "$@"
fi
exec "$venv/bin/python" -m tests.hostile.attack "$@"
