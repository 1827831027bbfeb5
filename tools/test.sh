#!/bin/sh
# Runs the Python tests on every CPython from 3.11 on that this machine has. Arguments go to pytest.
set -eu
tools/pythons.sh > target/pythons.txt
while read -r minor python <&3; do
    tools/venv.sh ".venvs/$minor" "$python" test
    echo "== CPython $minor ($python)"
    ".venvs/$minor/bin/python" -m pytest -q "$@"
done 3< target/pythons.txt
