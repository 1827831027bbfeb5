#!/bin/sh
# Builds a release wheel into target/wheels: link-time optimisation, one codegen unit, and a profile of
# the hottest paths where the Rust toolchain has llvm-tools (rustup component add llvm-tools).
set -eu
tools/venv.sh .venv "${PYTHON:-}"
profdata=$(find "$(rustc --print sysroot)" -name llvm-profdata -type f | head -n 1)
if [ -z "$profdata" ]; then
    echo "no llvm-profdata (rustup component add llvm-tools): building without a profile" >&2
    exec .venv/bin/maturin build --release --interpreter .venv/bin/python --out target/wheels
fi
profile="$PWD/target/profile"
rm -rf "$profile"
mkdir -p "$profile/package"
RUSTFLAGS="-Cprofile-generate=$profile" CARGO_TARGET_DIR=target/profiled \
    .venv/bin/maturin build --quiet --release --interpreter .venv/bin/python --out "$profile"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$profile/package" "$profile"/*.whl
PYTHONPATH="$profile/package" .venv/bin/python -P benches/hot_paths.py child_returns_at_once=40000 \
    child_yields_once=40000 child_waits_for_an_event=20000 fail_after_entered_and_left=20000 \
    child_awaits_a_child=20000 child_of_a_function=20000 child_awaits_futures=10000
"$profdata" merge -o "$profile/merged.profdata" "$profile"/*.profraw
RUSTFLAGS="-Cprofile-use=$profile/merged.profdata" CARGO_TARGET_DIR=target/optimised \
    .venv/bin/maturin build --release --interpreter .venv/bin/python --out target/wheels
