#!/bin/sh
# Runs a program with what is written for anyio around it, the group `anyio` of pyproject.toml, in an
# environment of its own on the oldest CPython that is here: tools/with-anyio.sh ARGUMENT...
# PY=3.14 chooses another of those that tools/pythons.sh prints. The arguments are Python's.
set -eu
venv=.venvs/anyio
python=""
if [ -n "${PY:-}" ]; then
    python=$(tools/pythons.sh | sed -n "s/^$PY //p")
    [ -n "$python" ] || { echo "there is no CPython $PY here" >&2; exit 1; }
    venv=.venvs/anyio-$PY
fi
tools/venv.sh "$venv" "$python" anyio
exec "$venv/bin/python" "$@"
