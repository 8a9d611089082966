# Targets install what they need; see README.md.
SHELL := bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tideline-target
TIDELINE := $(CARGO_TARGET_DIR)/release/tideline
SEED ?= 1

.PHONY: setup build transformer web demo test crash lint docs bench bench-peers

setup:
	infra/setup.sh

build: setup
	cargo build --release --locked

# The program that computes models of Hugging Face, put beside `tideline`. In a target folder of its own: it has other features.
TRANSFORMER_TARGET := $(HOME)/.cache/tideline-transformer-target
transformer: setup
	CARGO_TARGET_DIR=$(TRANSFORMER_TARGET) cargo build --release --locked --manifest-path enrich/transformer/Cargo.toml
	install -D $(TRANSFORMER_TARGET)/release/tideline-transformer $(dir $(TIDELINE))tideline-transformer

# The web page, which `tideline up` and `serve` serve at `/`. Where there is no Node.js the program says so there.
web: setup
	infra/web.sh

demo: build web
	infra/demo.sh $(TIDELINE)

# All tests, those against Kafka, a CQL store, MinIO and ClickHouse too where these can be had.
test: build web
	cargo test --release --locked --workspace --no-run
	tests/servers.sh tests/run.sh $(TIDELINE)

# 100 rounds of random faults over real servers; about an hour on two cores, and no round begins after 90 minutes.
crash: build
	TIDELINE_TEST_WITH="kafka cassandra minio clickhouse" tests/servers.sh tests/crash/run.sh $(TIDELINE) --iterations 100 --seed $(SEED) --budget 5400

lint: setup
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

# For developers: private items too, which modules link to.
docs: setup
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --release --locked --workspace --no-deps --document-private-items --keep-going

bench: build
	bench/run.sh

# The same job on the same Kafka topic in Tideline, Spark and Flink.
bench-peers: build
	bench/peers/run.sh $(TIDELINE)
