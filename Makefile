# The manual of this project. Every verb does the set-up that it needs; on a fresh machine it wants
# Rust, CPython 3.11 or later, and the package registries.

# What .venv is made of where there is none yet: if empty, the oldest that tools/pythons.sh finds.
PYTHON ?=

VENV = tools/venv.sh .venv "$(PYTHON)"
# A workspace of its own, which the tests build.
NATIVE = tests/native
TYPED = python tools/layers.py $(wildcard tests/typing)
STUBTEST_ALLOWS = $(addprefix --allowlist ,$(wildcard tests/typing/stubtest.txt))

.PHONY: help build demo test test-rust test-python test-debug attack test-real test-peers sanitize loom lint format \
    instructions bench platforms wheel wheels sdist test-wheel clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

build:  ## build the extension into .venv
	@$(VENV)

demo:  ## set up, build, and check a few hundred servers on loopback
	@$(VENV) demo
	.venv/bin/python examples/healthcheck.py examples/targets.txt

test: test-rust test-python  ## run the tests, on every CPython that is here

test-rust:  ## run the tests of the crates that need no Python
	cargo test --quiet -p nursery-core
	cargo test --quiet -p aionursery --all-features
	cargo test --quiet -p aionursery-guides
	cargo test --quiet -p aionursery --no-default-features

test-python:  ## run the Python tests on every CPython that is here, and on those that Debian has
	@tools/test.sh $(ARGS)

test-debug:  ## run the Python tests on debug builds of CPython
	@tools/test.sh --debug $(ARGS)

# How long it attacks; a seed to run alone; the CPython, by its name in tools/pythons.sh.
SECONDS = 60
SEED =
PY =

attack:  ## run random hostile programs for SECONDS; SEED=n shows one again; PY=3.14-dbg
	@tools/attack.sh "$(PY)" --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

test-real:  ## run real programs: aiohttp, httpx, PostgreSQL, Redis
	@tests/real/run.sh $(ARGS)

test-peers:  ## run tokio's, moro's and async_nursery's own tests on facades over the crate
	@tools/peer-tests.sh $(ARGS)

sanitize:  ## run the Rust tests under AddressSanitizer; ARGS=thread, ARGS=miri, ARGS=python
	@tools/sanitize.sh $(ARGS)

loom:  ## run what crosses threads in every order, up to a number of preemptions
	RUSTFLAGS="--cfg aionursery_loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	    cargo test --release --target-dir $${CARGO_TARGET_DIR:-target}/loom -p aionursery --lib models

lint:  ## check formats, lints and types
	@$(VENV) test lint
	.venv/bin/python tools/layers.py
	cargo fmt --all --check
	cargo fmt --manifest-path $(NATIVE)/Cargo.toml --check
	PYO3_PYTHON="$(CURDIR)/.venv/bin/python" \
	    cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
	cargo clippy --locked --quiet -p aionursery --all-targets --all-features -- -D warnings
	cargo clippy --locked --quiet -p aionursery --all-targets --no-default-features -- -D warnings
	PYO3_NO_PYTHON=1 PYO3_BUILD_EXTENSION_MODULE=1 cargo clippy --locked --quiet \
	    --manifest-path $(NATIVE)/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}/native -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps -p nursery-core -p aionursery --all-features
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(TYPED)
	.venv/bin/pyright --pythonpath .venv/bin/python tests/typing
	.venv/bin/python -m mypy.stubtest aionursery $(STUBTEST_ALLOWS)

format:  ## write the formats that lint wants
	@$(VENV) lint
	cargo fmt --all
	cargo fmt --manifest-path $(NATIVE)/Cargo.toml
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

instructions:  ## count the instructions of the hottest paths, and compare them with their limits
	@tools/instructions.sh $(ARGS)

bench:  ## measure against the peers, in one run
	@$(VENV) bench
	.venv/bin/python benches/run.py $(ARGS)

platforms:  ## check that the crates compile for Linux, macOS and Windows; ARGS="TARGET..."
	@tools/platforms.sh $(ARGS)

wheel:  ## build a release wheel for each CPython that is here; ARGS="TARGET..." for other platforms
	@PYTHON="$(PYTHON)" tools/wheel.sh $(ARGS)

wheels: WHEEL_TARGETS = $(shell rustc -vV | sed -n 's/^host: //p') aarch64-unknown-linux-gnu \
    x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-pc-windows-gnu

wheels:  ## build wheels for other Linuxes and for Windows, too
	@PYTHON="$(PYTHON)" tools/wheel.sh $(WHEEL_TARGETS)

sdist:  ## build a source distribution, and a wheel from what it unpacks to
	@PYTHON="$(PYTHON)" tools/sdist.sh

test-wheel:  ## try the wheels that were built where there is no Rust; ARGS="WHEEL..."
	@PYTHON="$(PYTHON)" tools/test-wheel.sh $(ARGS)

clean:  ## remove everything that was built
	rm -rf target .venv .venvs python/aionursery/_aionursery.*.so
