#!/bin/sh
# Prints the CPythons that the extension can be built for, one for each minor version, oldest first:
# "3.12 /path/to/python". Looks on PATH, then among pyenv's. Fails with a word where there is none.
set -eu

# Newer than 3.15, or without the GIL, is more than the pinned PyO3 or the extension promises. The
# base interpreter is asked for, so that an activated environment never becomes another's parent.
question='
import sys, sysconfig
if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 15):
    sys.exit(1)
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
minor = "%d.%d" % sys.version_info[:2]
path = getattr(sys, "_base_executable", None) or sys.executable
try:
    import ensurepip, venv
except ImportError:
    print(f"passing over {path}: it cannot make environments (apt install python{minor}-venv)")
    sys.exit(1)
print(minor, path)
'

found=""
lines=""
for candidate in python3 python3.11 python3.12 python3.13 python3.14 python3.15 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    command -v "$candidate" >/dev/null || continue
    # An old or foreign interpreter, or a shim of pyenv's with nothing behind it, is no news; one
    # that would do but lacks a Debian package is, unless another of the same minor version does.
    line=$("$candidate" -c "$question" 2>/dev/null) || {
        case $line in "passing over "*) echo "$line" >&2 ;; esac
        continue
    }
    minor=${line%% *}
    case " $found " in *" $minor "*) continue ;; esac
    found="$found $minor"
    lines="$lines$line
"
done
if [ -z "$lines" ]; then
    echo "no CPython from 3.11 to 3.15 was found (Debian: apt install python3 python3-venv)" >&2
    exit 1
fi
printf '%s' "$lines" | sort -t. -k2n
