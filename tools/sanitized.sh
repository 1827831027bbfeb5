#!/bin/sh
# Runs a Python program with the extension under AddressSanitizer, which ends the process at the
# first use of memory that is freed or was never ours:
#   tools/sanitized.sh VENV ARGUMENT...      VENV is one that tools/venv.sh made: .venvs/3.14
# Objects come from malloc, so that each one's memory is watched. CPython itself is as it is: what
# it frees, and we then touch, is seen; what we hand to it, and it then touches, mostly is not.
# Ends with 77 where there is no AddressSanitizer.
set -eu
venv=$1
shift

skip() {
    echo "skipped: $1" >&2
    exit 77
}

# The runtime has to be loaded before anything else, and Rust's own can only be linked into programs.
runtime=""
for name in libasan.so "libclang_rt.asan-$(uname -m).so" libclang_rt.asan.so; do
    found=$(cc -print-file-name="$name" 2>/dev/null) || found=""
    if [ -z "$runtime" ] && [ -e "$found" ]; then
        runtime=$(readlink -f "$found")
    fi
done
[ -n "$runtime" ] || skip "AddressSanitizer wants gcc's libasan or clang's compiler-rt"
target=$(rustc -vV | sed -n 's/^host: //p')
name=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
place="${CARGO_TARGET_DIR:-target}/asan/python$name"
mkdir -p "$place"
place=$(cd "$place" && pwd)

(
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="$place"
    export PYO3_PYTHON="$PWD/$venv/bin/python" PYO3_BUILD_EXTENSION_MODULE=1
    # Lines in the reports; and no optimisation across crates, which would take twice as long.
    export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_LTO=off
    cargo build --quiet --locked --release --target "$target" -p aionursery-python
)

# An environment over the other, with the package as it is and the sanitized extension in it.
if ! [ -x "$place/venv/bin/python" ]; then
    base=$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')
    "$base" -m venv --without-pip "$place/venv"
fi
"$place/venv/bin/python" - "$PWD" "$place" "$PWD/$venv" "$target" <<'END_OF_PYTHON'
import shutil
import sys
import sysconfig
from pathlib import Path

root, place, venv, target = (Path(argument) for argument in sys.argv[1:])
package = place / "package"
shutil.rmtree(package, ignore_errors=True)
package.mkdir()
(package / "aionursery").mkdir()
for file in (root / "python" / "aionursery").iterdir():
    if file.is_dir() or file.suffix in (".py", ".pyi", ".typed"):
        (package / "aionursery" / file.name).symlink_to(file)
suffix = sysconfig.get_config_var("EXT_SUFFIX")
library = place / target / "release" / "lib_aionursery.so"
shutil.copy(library, package / "aionursery" / f"_aionursery{suffix}")
ours = Path(sysconfig.get_path("purelib"))
theirs = venv / ours.relative_to(place / "venv")
(ours / "sanitized.pth").write_text(f"{package}\n{theirs}\n")
END_OF_PYTHON

# Leaks are not looked for: an interpreter leaves much behind when it ends. Reports go to files, for
# a process of pytest's writes to nowhere once it is dead.
rm -f "$place"/report.*
export ASAN_OPTIONS="detect_leaks=0:log_path=$place/report:${ASAN_OPTIONS:-}"
status=0
LD_PRELOAD="$runtime" PYTHONMALLOC=malloc "$place/venv/bin/python" "$@" || status=$?
for report in "$place"/report.*; do
    [ -e "$report" ] || continue
    cat "$report" >&2
    status=1
done
exit "$status"
