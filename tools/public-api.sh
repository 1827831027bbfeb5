#!/bin/sh
# Compares what the Rust crate makes public with crates/aionursery/public-api.txt, line by line: a change of
# it changes that file, too, and is seen in review. `--write` writes it. cargo-public-api reads what a nightly
# rustdoc says; where one of the two is not installed, that is said and nothing is compared.
#   tools/public-api.sh [--write]
set -eu
cd "$(dirname "$0")/.."
kept=crates/aionursery/public-api.txt
version=0.52.0
# Compiled once; it takes minutes.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/aionursery/cargo-public-api-$version"
export PATH="$cache/bin:$PATH"
if ! cargo public-api --version 2>/dev/null | grep -q " $version$"; then
    echo "left out: cargo install --locked --root $cache cargo-public-api@$version" >&2
    exit 0
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "left out: the public API is read from what a nightly rustdoc says" >&2
    exit 0
fi
mkdir -p target
cargo public-api --package aionursery --all-features -sss >target/public-api.txt 2>target/public-api.log || {
    cat target/public-api.log >&2
    exit 1
}
if grep -n nursery_core target/public-api.txt; then
    echo "the core is no part of the public API" >&2
    exit 1
fi
if [ "${1:-}" = --write ]; then
    cp target/public-api.txt "$kept"
elif ! diff -u "$kept" target/public-api.txt; then
    echo "the public API has changed: make format writes $kept" >&2
    exit 1
fi
