#!/bin/sh
# Runs the Python tests on every CPython that tools/pythons.sh finds, as many at once as there are
# cores; the newest, which few distributions have yet, are fetched from Debian where that can be
# done. `--debug` as the first argument: on debug builds instead, whose assertions see what release
# builds forgive, with the development mode and the checking allocator. Other arguments go to pytest.
set -eu
wanted="3.11 3.12 3.13 3.14 3.15"
fetched="3.14 3.15"
debug=""
if [ "${1:-}" = --debug ]; then
    shift
    debug=--debug
    wanted="3.13-dbg 3.14-dbg 3.15-dbg"
    fetched=$wanted
fi

# Prints those of the words that the list does not begin a line with.
not_among() {
    list=$1
    shift
    for word in "$@"; do
        printf '%s\n' "$list" | grep -q "^$word " || printf ' %s' "$word"
    done
}

pythons=$(tools/pythons.sh $debug 2>/dev/null) || pythons=""
# shellcheck disable=SC2086
missing=$(not_among "$pythons" $fetched)
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    tools/debian-pythons.sh $missing || true
fi
pythons=$(tools/pythons.sh $debug)
default=""
if [ -e .venv/.made ]; then
    default=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
fi
failed=""
while read -r name python <&3; do
    : "${default:=$name}"
    venv=".venvs/$name"
    if [ "$name" = "$default" ]; then
        venv=.venv
    fi
    tools/venv.sh "$venv" "$python" test
    echo "== CPython $name ($python)"
    (
        if [ -n "$debug" ]; then
            # Not as options, which the processes of pytest's would not get.
            export PYTHONDEVMODE=1 PYTHONMALLOC=debug
        fi
        exec "$venv/bin/python" -m pytest -q -n auto --maxschedchunk=1 "$@"
    ) || failed="$failed $name"
done 3<<END_OF_PYTHONS
$pythons
END_OF_PYTHONS
# shellcheck disable=SC2086
missing=$(not_among "$pythons" $wanted)
if [ -n "$missing" ]; then
    echo "not covered, as it is not here: CPython$missing" >&2
fi
if [ -n "$failed" ]; then
    echo "the Python tests failed on CPython$failed" >&2
    exit 1
fi
