#!/bin/sh
# Runs the Python tests on every CPython that tools/pythons.sh finds, as many at once as there are
# cores; the newest, which few distributions have yet, are fetched from Debian where that can be
# done. PYTHONS="3.12 3.14" leaves the others out. Between the oldest and the newest the long suites are
# left out (tests/conformance, tests/random_programs, tests/hostile), unless WHOLE=yes is set, PYTHONS
# names the versions, or arguments say what to run. The first argument may be
#   --debug       on debug builds, whose assertions see what release builds forgive, with the
#                 development mode and the checking allocator
#   --sanitized   with the extension under AddressSanitizer
# Other arguments go to pytest.
set -eu
mode=""
debug=""
wanted="3.11 3.12 3.13 3.14 3.15"
newest="3.14 3.15"
case ${1:-} in
--debug)
    mode=$1
    debug=--debug
    wanted="3.13-dbg 3.14-dbg 3.15-dbg"
    newest=$wanted
    shift
    ;;
--sanitized)
    mode=$1
    shift
    ;;
esac
long="tests/conformance tests/random_programs tests/hostile"
if [ -n "${PYTHONS:-}" ] || [ -n "$mode" ] || [ $# -gt 0 ]; then
    WHOLE=yes
fi
wanted=${PYTHONS:-$wanted}

run() {
    venv=$1
    shift
    case $mode in
    --sanitized) tools/sanitized.sh "$venv" "$@" ;;
    # Not as options, which the processes that pytest starts would not get. What multidict has in C
    # crashes on debug builds.
    --debug)
        MULTIDICT_NO_EXTENSIONS=1 PYTHONDEVMODE=1 PYTHONMALLOC=debug "$venv/bin/python" "$@"
        ;;
    *) "$venv/bin/python" "$@" ;;
    esac
}

has() {
    case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac
}

names=$(tools/pythons.sh $debug 2>/dev/null | cut -d' ' -f1 | tr '\n' ' ') || names=""
missing=""
for name in $wanted; do
    if has "$newest" "$name" && ! has "$names" "$name"; then
        missing="$missing $name"
    fi
done
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    tools/debian-pythons.sh $missing || true
fi
pythons=$(tools/pythons.sh $debug)
here=$(printf '%s\n' "$pythons" | while read -r name _; do
    ! has "$wanted" "$name" || echo "$name"
done)
oldest=$(printf '%s\n' "$here" | head -n 1)
newest_here=$(printf '%s\n' "$here" | tail -n 1)
default=""
if [ -e .venv/.made ]; then
    default=$(.venv/bin/python -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2])')
fi
covered=""
shortened=""
failed=""
while read -r name python <&3; do
    : "${default:=$name}"
    has "$wanted" "$name" || continue
    venv=".venvs/$name"
    if [ -z "$debug" ] && [ "$name" = "$default" ]; then
        venv=.venv
    fi
    tools/venv.sh "$venv" "$python" test
    echo "== CPython $name ($python)"
    covered="$covered $name"
    left_out=""
    if [ "${WHOLE:-no}" != yes ] && [ "$name" != "$oldest" ] && [ "$name" != "$newest_here" ]; then
        left_out=$(printf -- '--ignore=%s ' $long)
        shortened="$shortened $name"
    fi
    status=0
    # shellcheck disable=SC2086
    run "$venv" -m pytest -q -n auto --maxschedchunk=1 $left_out "$@" || status=$?
    case $status in
    0) ;;
    77) exit 0 ;; # sanitized.sh has said why
    *) failed="$failed $name" ;;
    esac
done 3<<END_OF_PYTHONS
$pythons
END_OF_PYTHONS
if [ -n "$shortened" ]; then
    echo "left out on CPython$shortened, between the oldest and the newest:" \
        "$long (make test-every-python runs all)"
fi
for name in $wanted; do
    has "$covered" "$name" || echo "not covered, for it is not here: CPython $name" >&2
done
if [ -n "$failed" ]; then
    echo "the Python tests failed on CPython$failed" >&2
    exit 1
fi
