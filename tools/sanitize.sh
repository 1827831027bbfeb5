#!/bin/sh
# Runs the tests of the Rust face under AddressSanitizer, which looks for leaks, too; or, by name,
# under ThreadSanitizer or Miri; or the Python tests, on every CPython, with the extension under
# AddressSanitizer. What the toolchain does not have is skipped with a word. The core forbids
# `unsafe` and needs none of it.
#   tools/sanitize.sh [address|thread|miri|python [PYTEST ARGUMENT...]]
set -eu
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
base="${CARGO_TARGET_DIR:-target}"

skip() {
    echo "skipped: $1" >&2
    exit 0
}

nightly_with() {
    rustup component list --toolchain nightly 2>/dev/null | grep -q "^$1.*(installed)" \
        || skip "$2 wants a nightly toolchain with $1: rustup component add $1 --toolchain nightly"
}

# What runs where everything takes many times as long.
tests="--test abuse --test carriers --test destructors --test dropped --test elsewhere \
    --test errors --test kept --test nursery --test panicking --test scheduling --test scopes --test shields \
    --test wakers"

case "${1:-address}" in
address)
    ls "$(rustc --print sysroot)/lib/rustlib/$target/lib/"*_rt.asan.* >/dev/null 2>&1 \
        || skip "this toolchain has no AddressSanitizer"
    # What a test forgets on purpose is leaked on purpose.
    export LSAN_OPTIONS="suppressions=$PWD/tools/lsan.txt:print_suppressions=0"
    # Whole stacks, so that it is known what allocated.
    export ASAN_OPTIONS=fast_unwind_on_malloc=0:malloc_context_size=100
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address
    export CARGO_TARGET_DIR="$base/asan" CARGO_PROFILE_TEST_OPT_LEVEL=1
    # The compiler's answers do not change with the sanitizer.
    cargo test --target "$target" -p aionursery --features tokio-util,tracing \
        --tests --no-fail-fast -- --skip r25_r29_what_would_be_unsound_does_not_compile
    # Once more without the memory that a thread keeps for its next children: what is used after its
    # end is seen only where that has gone back to the allocator.
    export RUSTFLAGS="$RUSTFLAGS --cfg aionursery_sanitized"
    cargo test --target "$target" -p aionursery --features tokio-util,tracing \
        $tests --test hostile --test wild --no-fail-fast
    ;;
thread)
    nightly_with rust-src "ThreadSanitizer"
    export RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR="$base/tsan"
    cargo +nightly test -Zbuild-std --target "$target" -p aionursery $tests --test wild \
        --no-fail-fast
    ;;
miri)
    nightly_with miri Miri
    nightly_with rust-src Miri
    export CARGO_TARGET_DIR="$base/miri"
    # The runtime asks for the clock and for entropy.
    export MIRIFLAGS="-Zmiri-disable-isolation"
    cargo +nightly miri test -p aionursery --lib $tests --no-fail-fast \
        -- --skip r29_forgetting --skip a_thousand --skip no_more_are_kept
    MIRIFLAGS="$MIRIFLAGS -Zmiri-ignore-leaks" cargo +nightly miri test -p aionursery \
        --test abuse -- r29_forgetting
    ;;
python)
    shift
    tools/test.sh --sanitized "$@"
    ;;
*)
    echo "usage: tools/sanitize.sh [address|thread|miri|python]" >&2
    exit 2
    ;;
esac
