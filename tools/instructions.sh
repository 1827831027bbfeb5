#!/bin/sh
# Counts the instructions of the hottest paths on every CPython that has limits, then of the Rust
# crate, and compares them. valgrind counts, installed from Debian's packages if it is not there:
# perf, where a machine has it, counts something else. Arguments go to benches/instructions.py;
# `--rust` leaves the CPythons out, `--path`, which names one of theirs, the crate.
set -eu
if ! command -v valgrind >/dev/null; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "counting needs valgrind: install it, or run this as root on Debian" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind >/dev/null
fi
pythons=$(tools/pythons.sh)
case " $* " in
*" --rust "*)
    # Any Python can run cargo.
    python=$(echo "$pythons" | sed -n '1s/^[^ ]* //p')
    exec "$python" benches/instructions.py --tool callgrind "$@"
    ;;
esac
default=""
if [ -e .venv/.made ]; then
    default=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
fi
while read -r minor python <&3; do
    : "${default:=$minor}"
    venv=".venvs/$minor"
    if [ "$minor" = "$default" ]; then
        venv=.venv
    fi
    tools/venv.sh "$venv" "$python"
    "$venv/bin/python" benches/instructions.py --tool callgrind "$@"
done 3<<END_OF_PYTHONS
$pythons
END_OF_PYTHONS
case " $* " in
*" --path "*) ;;
*) .venv/bin/python benches/instructions.py --rust --tool callgrind "$@" ;;
esac
