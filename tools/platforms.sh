#!/bin/sh
# Checks that the crates compile for the platforms that they are meant for, without linking: it wants
# no foreign interpreter, linker or library, only `rustup target add`, which it does itself. The
# extension is checked for the oldest and the newest CPython.
#   tools/platforms.sh [TARGET...]      only these; all without
set -eu
all="
x86_64-unknown-linux-gnu
x86_64-unknown-linux-musl
aarch64-unknown-linux-gnu
aarch64-unknown-linux-musl
i686-unknown-linux-gnu
x86_64-apple-darwin
aarch64-apple-darwin
x86_64-pc-windows-gnu
x86_64-pc-windows-msvc
aarch64-pc-windows-msvc
"
[ $# -gt 0 ] || set -- $all
export CARGO_TARGET_DIR=target/platforms
# The environment of an interpreter here says nothing about one there.
unset PYO3_PYTHON VIRTUAL_ENV
failed=""
missing=""
check() {
    cargo check --locked --quiet --target "$target" "$@" || status=1
}
for target in "$@"; do
    case $target in
    # A library that Python loads wants the C library of the process.
    *-musl) export RUSTFLAGS="-D warnings -C target-feature=-crt-static" ;;
    *) export RUSTFLAGS="-D warnings" ;;
    esac
    if ! rustup target add "$target" >/dev/null 2>&1 &&
        ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        missing="$missing $target"
        continue
    fi
    status=0
    check -p nursery-core
    check -p aionursery --all-features
    check -p aionursery --no-default-features
    for version in 3.11 3.15; do
        PYO3_CROSS=1 PYO3_CROSS_PYTHON_VERSION=$version PYO3_BUILD_EXTENSION_MODULE=1 \
            check -p aionursery-python
    done
    if [ $status = 0 ]; then
        echo "compiles for $target"
    else
        failed="$failed $target"
    fi
done
if [ -n "$missing" ]; then
    echo "not checked, because rustup cannot add them here:$missing" >&2
fi
if [ -n "$failed" ]; then
    echo "does not compile for$failed" >&2
fi
[ -z "$missing$failed" ]
