# The manual of this project. Every verb does the set-up that it needs; on a fresh machine it wants
# Rust, CPython 3.11 or later, and the package registries.

PYTHON := $(shell tools/pythons.sh 2>/dev/null | head -n 1 | cut -d' ' -f2)

.PHONY: help build demo test test-rust test-python test-real lint format bench instructions clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

build: target  ## build the extension into .venv
	@tools/venv.sh .venv "$(PYTHON)"

demo: target  ## set up, build, and check a few hundred servers on loopback
	@tools/venv.sh .venv "$(PYTHON)" demo
	.venv/bin/python examples/healthcheck.py examples/targets.txt

test: test-rust test-python  ## run every test, on every CPython that is here

test-rust: target
	cargo test --quiet --workspace --exclude aionursery-python

test-python: target
	@tools/test.sh

test-real: target  ## run real programs: aiohttp, httpx, PostgreSQL, Redis
	@tests/real/run.sh

lint: target  ## check formats, lints and types
	@tools/venv.sh .venv "$(PYTHON)" lint
	cargo fmt --all --check
	PYO3_PYTHON=.venv/bin/python cargo clippy --quiet --workspace --all-targets -- -D warnings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy python tests/typing
	.venv/bin/pyright --pythonpath .venv/bin/python python tests/typing
	.venv/bin/python -m mypy.stubtest aionursery --allowlist tests/typing/stubtest.txt

format: target  ## write the formats that lint wants
	@tools/venv.sh .venv "$(PYTHON)" lint
	cargo fmt --all
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: target  ## measure against the peers, in one run
	@tools/venv.sh .venv "$(PYTHON)" bench
	.venv/bin/python benches/run.py $(ARGS)

clean:  ## remove everything that was built
	rm -rf target .venv .venvs

target:
	@mkdir -p target
