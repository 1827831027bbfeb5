#!/bin/sh
# Prints the CPythons that the extension can be built for, one for each minor version, oldest first:
# "3.12 /path/to/python". Looks on PATH, then among pyenv's, then among those that
# tools/debian-pythons.sh has fetched. Fails with a word where there is none.
#   tools/pythons.sh [--debug]      --debug: the debug builds instead, as "3.14-dbg /path/to/python"
set -eu
debug=${1:-}

# Newer than 3.15, or without the GIL, is more than the pinned PyO3 or the extension promises. The
# base interpreter is asked for, so that an activated environment never becomes another's parent.
question='
import sys, sysconfig
sys.stdout.reconfigure(newline="\n")  # on Windows, too
if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 15):
    sys.exit(1)
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
debug = hasattr(sys, "gettotalrefcount")
if debug is not ("--debug" in sys.argv):
    sys.exit(1)
minor = "%d.%d" % sys.version_info[:2]
path = getattr(sys, "_base_executable", None) or sys.executable
try:
    import ensurepip, venv
except ImportError:
    print(f"passing over {path}: it cannot make environments (apt install python{minor}-venv)")
    sys.exit(1)
print(minor + "-dbg" * debug, path)
'

found=""
lines=""
try() {
    # An old or foreign interpreter, or a shim of pyenv's with nothing behind it, is no news; one
    # that would do but lacks a Debian package is, unless another of the same minor version does.
    line=$("$1" -c "$question" "$debug" 2>/dev/null) || {
        case $line in "passing over "*) echo "$line" >&2 ;; esac
        return 0
    }
    name=${line%% *}
    case " $found " in *" $name "*) return 0 ;; esac
    found="$found $name"
    lines="$lines$line
"
}
for minor in "" .11 .12 .13 .14 .15; do
    candidate="python3$minor${debug:+d}"
    ! command -v "$candidate" >/dev/null || try "$candidate"
done
# What Windows has is called python.
! command -v python >/dev/null || [ -n "$debug" ] || try python
for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    ! [ -x "$candidate" ] || try "$candidate"
done
while read -r name candidate <&3; do
    [ -z "$name" ] || try "$candidate"
done 3<<END_OF_FETCHED
$(tools/debian-pythons.sh --list)
END_OF_FETCHED
if [ -z "$lines" ]; then
    echo "no ${debug:+debug build of }CPython from 3.11 to 3.15 was found" \
        "(Debian: apt install python3 python3-venv)" >&2
    exit 1
fi
printf '%s' "$lines" | sort -t. -k2n
