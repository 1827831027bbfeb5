#!/bin/sh
# Runs the Python tests on every CPython that tools/pythons.sh finds, as many at once as there are
# cores. Arguments go to pytest.
set -eu
pythons=$(tools/pythons.sh)
default=""
if [ -e .venv/.made ]; then
    default=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
fi
failed=""
while read -r minor python <&3; do
    : "${default:=$minor}"
    venv=".venvs/$minor"
    if [ "$minor" = "$default" ]; then
        venv=.venv
    fi
    tools/venv.sh "$venv" "$python" test
    echo "== CPython $minor ($python)"
    "$venv/bin/python" -m pytest -q -n auto --maxschedchunk=1 "$@" || failed="$failed $minor"
done 3<<END_OF_PYTHONS
$pythons
END_OF_PYTHONS
if [ -n "$failed" ]; then
    echo "the Python tests failed on CPython$failed" >&2
    exit 1
fi
