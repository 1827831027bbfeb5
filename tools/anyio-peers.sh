#!/bin/sh
# Runs the suites of starlette, FastAPI, httpcore, httpx, uvicorn and the MCP SDK, from their sdists,
# with anyio's own backend and with our engine, in an environment of their own on the oldest CPython
# that is here. Arguments go to `python -m tests.peers`.
set -eu
venv=.venvs/peers
tools/venv.sh "$venv" ""
wanted=tests/peers/requirements.txt
if ! cmp -s "$wanted" "$venv/.installed-peers"; then
    echo "installing into $venv: $wanted"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/.installed-peers"
fi
exec "$venv/bin/python" -m tests.peers "$@"
