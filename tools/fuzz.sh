#!/bin/sh
# Runs the targets of fuzz/ under libFuzzer: tools/fuzz.sh SECONDS [TARGET...]. What it has found before, its
# corpus, lies in the target folder and is gone on from. The core has no `unsafe`, so no sanitizer is wanted,
# and stable Rust is enough.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
c++ --version >/dev/null 2>&1 || {
    echo "libFuzzer wants a C++ compiler (Debian: apt install g++)" >&2
    exit 1
}
tools/venv.sh .venv "${PYTHON:-}" fuzz
folder="${CARGO_TARGET_DIR:-target}/fuzz"
if [ $# = 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        set -- "$@" "$(basename "$file" .rs)"
    done
fi
for target in "$@"; do
    mkdir -p "$folder/corpus/$target" "$folder/artifacts/$target"
    .venv/bin/cargo-fuzz fuzz run --fuzz-dir fuzz --target-dir "$folder" --sanitizer none --debug-assertions \
        "$target" "$folder/corpus/$target" -- -max_len=1024 -max_total_time="$seconds" -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$folder/artifacts/$target/"
done
