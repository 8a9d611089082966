#!/usr/bin/env bash
# Models of Hugging Face: the program that computes them by itself, and definitions that use it, in both layers.
#   tests/models/run.sh BINARY      TIDELINE_TESTS_UNTIL: seconds since 1970 when tests are to be done; no limit by default
set -uo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A target folder of its own: its crates are built with other features (docs/adr/0017).
export CARGO_TARGET_DIR="${TIDELINE_TRANSFORMER_TARGET:-$HOME/.cache/tideline-transformer-target}"
manifest=enrich/transformer/Cargo.toml
# CI has a limit. Where nothing was built before, building takes a quarter of an hour: rather said not to have run than all cut off.
if [ ! -e "$CARGO_TARGET_DIR/release" ] && [ $(($(date +%s) + 900)) -gt "${TIDELINE_TESTS_UNTIL:-9999999999}" ]; then
  echo "SKIPPED models: candle would have to be built, and there is too little time left of CI's"
  exit 0
fi
failed=0
fail() { echo "FAILED: $1"; failed=1; }

cargo fmt --manifest-path "$manifest" --check || fail format
cargo test --release --locked --manifest-path "$manifest" || fail tests
cargo clippy --release --locked --manifest-path "$manifest" --all-targets -- -D warnings || fail lints
cargo build --release --locked --manifest-path "$manifest" || exit 1

models=$PWD/enrich/transformer/tests/models
config() {
  for model in "mood=$1" "feelings=$models/multi"; do
    printf '[models.%s]\npath = "%s"\nprogram = "%s"\n' "${model%%=*}" "${model#*=}" "$CARGO_TARGET_DIR/release/tideline-transformer"
  done >"$work/tideline.toml"
}
tideline() { "$binary" "$@" --config "$work/tideline.toml" 2>&1; }

config "$models/single"
tideline check tests/models/models.toml || fail "a right definition"
# Speed, speed killed and resumed, batch, and merged with the boundary at every pane: all equal Python's answers.
tideline test tests/models || fail "golden folder"

# says WHAT PART COMMAND...: the command fails and tells it.
says() {
  local what=$1 part=$2 output
  shift 2
  if output=$(tideline "$@"); then fail "$what is taken"; fi
  if [[ $output == *"$part"* ]]; then echo "ok: $what"; else fail "$what: $output"; fi
}
definition() { sed "$1" tests/models/models.toml >"$work/wrong.toml"; }
definition "s/'mood', text)/'moood', text)/"
says "an unknown model" "there is no model 'moood'" check "$work/wrong.toml"
definition "s/'joy'/'glee'/"
says "an unknown label" "model 'mood' has no label 'glee', but anger, joy, neutral" check "$work/wrong.toml"
cp -r "$models/single" "$work/model"
config "$work/model"
rm "$work/model/model.safetensors"
says "a model without weights" "$work/model: there is no model.safetensors" check tests/models/models.toml
sed -i 's/"roberta"/"bert"/' "$work/model/config.json"
says "a model of another kind" "config.json: model_type is \"bert\"" check tests/models/models.toml
config "$work/nowhere"
says "a folder that is not there" "$work/nowhere: there is no such folder" check tests/models/models.toml
exit $failed
