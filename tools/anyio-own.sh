#!/bin/sh
# Runs anyio's own tests with its backend on our engine: with the anyio of the group `test`, and, with
# ours of `aionursery.anyio` beside them, with the lowest that is supported, the group `anyio-lowest` of
# pyproject.toml, in an environment of its own. On the CPython of .venv; PY=3.14 chooses another of those
# that tools/pythons.sh prints.
set -eu
newest=.venv
lowest=.venvs/anyio-lowest
python=""
if [ -n "${PY:-}" ]; then
    python=$(tools/pythons.sh | sed -n "s/^$PY //p")
    [ -n "$python" ] || { echo "there is no CPython $PY here" >&2; exit 1; }
    newest=.venvs/$PY
    lowest=.venvs/anyio-lowest-$PY
fi
suite() {
    "$1/bin/python" -c 'import sys, importlib.metadata as m; print("== anyio", m.version("anyio"), "on CPython", sys.version.split()[0])'
    "$1/bin/python" -m tests.conformance.anyio_sdist --backend --all
}
tools/venv.sh "$newest" "$python" test
suite "$newest"
tools/venv.sh "$lowest" "$python" test anyio-lowest
suite "$lowest"
exec "$lowest/bin/python" -m pytest -q -n auto tests/test_anyio*.py
