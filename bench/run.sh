#!/usr/bin/env bash
# The benchmarks, one after the other. Figures of one run on one machine compare; across machines they do not.
#   bench/run.sh [TWEETS]     TWEETS: NDJSON with created_at, text, user_id (.gz too); generated ones when absent
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}/release"
cargo build --release --locked -p tideline -p tideline-bench
echo "== transform: tweets from memory through decoding, rows, states and pane merge"
"$target/transform" ${1:+--file "$1"}
echo "== latency: acknowledged append to visible in /rows at 10,000 events/s"
python3 bench/latency.py "$target/tideline"
echo "== rows to a topic: messages with all enrichers, as fast as it goes and at 12,000/s"
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
"$target/tideline" generate customer-sentiment --count 60000 --seed 3 > "$messages"
"$target/outputs" --file "$messages"
echo "== batch: Bronze to Silver to Gold"
cargo run --release --locked -p tideline-batch --example throughput
echo "== predict: windows predicted and learnt from, and their state"
cargo run --release --locked -p tideline-predict --example learning
