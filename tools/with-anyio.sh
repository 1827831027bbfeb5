#!/bin/sh
# Runs a program with what is written for anyio around it, the group `anyio` of pyproject.toml, in an
# environment of its own on the oldest CPython that is here: tools/with-anyio.sh ARGUMENT...
# The arguments are Python's.
set -eu
tools/venv.sh .venvs/anyio "" anyio
exec .venvs/anyio/bin/python "$@"
