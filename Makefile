# Both targets install what they need; see README.md.
SHELL := bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tideline-target
TIDELINE := $(CARGO_TARGET_DIR)/release/tideline

.PHONY: setup build demo test lint docs bench

setup:
	infra/setup.sh

build: setup
	cargo build --release --locked

demo: build
	infra/demo.sh $(TIDELINE)

test: build
	cargo test --release --locked --workspace
	tests/acceptance/run.sh $(TIDELINE)

lint: setup
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

docs: setup
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

bench: build
	bench/run.sh
