#!/bin/sh
# Runs anyio's own tests, and ours of `aionursery.anyio`, with the lowest version of anyio that is
# supported, the group `anyio-lowest` of pyproject.toml, in an environment of its own on the oldest
# CPython that is here. PY=3.14 chooses another of those that tools/pythons.sh prints.
set -eu
venv=.venvs/anyio-lowest
python=""
if [ -n "${PY:-}" ]; then
    python=$(tools/pythons.sh | sed -n "s/^$PY //p")
    [ -n "$python" ] || { echo "there is no CPython $PY here" >&2; exit 1; }
    venv=.venvs/anyio-lowest-$PY
fi
tools/venv.sh "$venv" "$python" test anyio-lowest
"$venv/bin/python" -m tests.conformance.anyio_sdist --backend
exec "$venv/bin/python" -m pytest -q tests/test_anyio*.py
