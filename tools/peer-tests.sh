#!/bin/sh
# Runs the tests of tokio's JoinSet, tokio-util's CancellationToken, moro and async_nursery on
# facades over our crate. cargo fetches what they published; nothing of it is kept here. What does
# not fit is listed as ignored, with the reason. Arguments go to cargo test.
set -eu
cd "$(dirname "$0")/../crates/aionursery/tests/peers"
if ! cargo fetch --quiet; then
    echo "skipped: the peers' packages cannot be fetched here" >&2
    exit 0
fi
cargo test --target-dir "${CARGO_TARGET_DIR:-../../../../target}/peers" --no-fail-fast "$@"
