#!/bin/sh
# Builds release wheels into target/wheels, one for each CPython that tools/pythons.sh finds
# (PYTHONS="3.12 3.14": only these): link-time optimisation, one codegen unit.
#   tools/wheel.sh               for this machine; on Linux for manylinux_2_17, linked by zig
#   tools/wheel.sh TARGET...     for others, by Rust's names: aarch64-unknown-linux-gnu (manylinux),
#                                x86_64-unknown-linux-musl (musllinux), x86_64-pc-windows-gnu
# Those for this machine are built with a profile of the hottest paths, each CPython its own, where
# the Rust toolchain has llvm-tools (rustup component add llvm-tools); PROFILE=no builds without.
# Zig comes from PyPI; Windows wants mingw-w64's gcc (Debian: gcc-mingw-w64-x86-64).
set -eu
out=target/wheels
tools/venv.sh .venv "${PYTHON:-}" wheel
PATH="$PWD/.venv/bin:$PATH"
host=$(rustc -vV | sed -n 's/^host: //p')
pythons=$(tools/pythons.sh)
if [ -n "${PYTHONS:-}" ]; then
    pythons=$(printf '%s\n' "$pythons" | while read -r name python; do
        case " $PYTHONS " in *" $name "*) echo "$name $python" ;; esac
    done)
fi
if [ -z "$pythons" ]; then
    echo "no CPython here is one of: $PYTHONS" >&2
    exit 1
fi

profdata=""
if [ "${PROFILE:-yes}" != no ]; then
    profdata=$(find "$(rustc --print sysroot)" -name llvm-profdata -type f | head -n 1)
    if [ -z "$profdata" ]; then
        echo "no llvm-profdata (rustup component add llvm-tools): building without a profile" >&2
    fi
fi

# How a wheel for a target is linked, and what it promises about the C library of its machine.
linked() {
    case $1 in
    *-linux-gnu) echo "--zig --compatibility manylinux_2_17" ;;
    *-linux-musl) echo "--zig --compatibility musllinux_1_2" ;;
    esac
}

# Runs the hottest paths in a build that counts them; prints the name of the profile.
profile_of() {
    folder="$PWD/target/profile/$1"
    rm -rf "$folder"
    mkdir -p "$folder/package"
    RUSTFLAGS="-Cprofile-generate=$folder" CARGO_TARGET_DIR="target/profiled$1" \
        maturin build --quiet --release --target "$host" --interpreter "$2" --out "$folder"
    python -m zipfile -e "$folder"/*.whl "$folder/package"
    PYTHONPATH="$folder/package" "$2" -P benches/hot_paths.py child_returns_at_once=40000 \
        child_yields_once=40000 child_waits_for_an_event=20000 fail_after_entered_and_left=20000 \
        child_awaits_a_child=20000 child_of_a_function=20000 child_awaits_futures=10000 >/dev/null
    "$profdata" merge -o "$folder/merged.profdata" "$folder"/*.profraw
    echo "$folder/merged.profdata"
}

build() {
    # shellcheck disable=SC2046
    maturin build --quiet --release --target "$target" --out "$out" $(linked "$target") "$@"
}

[ $# -gt 0 ] || set -- "$host"
for target in "$@"; do
    if [ "$target" = "$host" ]; then
        printf '%s\n' "$pythons" | while read -r name python; do
            flags=""
            if [ -n "$profdata" ]; then
                echo "measuring where the time goes on CPython $name"
                flags="-Cprofile-use=$(profile_of "$name" "$python")"
            fi
            echo "building for CPython $name on $target"
            RUSTFLAGS="$flags" CARGO_TARGET_DIR="target/wheel$name" build --interpreter "$python"
        done
        continue
    fi
    rustup target add "$target"
    printf '%s\n' "$pythons" | while read -r name _; do
        echo "building for CPython $name on $target"
        CARGO_TARGET_DIR=target/foreign build --interpreter "python$name"
    done
done
