#!/usr/bin/env bash
# All tests, with whatever servers tests/servers.sh has started around it. Goes on after a failure and sums up at the end.
#   tests/run.sh BINARY
set -uo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/tideline-target}"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -a summary=()
failed=0

# step NAME COMMAND...: runs it, shows it, remembers how it went.
step() {
  local name=$1 began=$SECONDS code=0 state=ok
  shift
  printf '\n== %s (%s)\n' "$name" "$(date +%H:%M:%S)"
  "$@" 2>&1 | tee "$logs/$name.log"
  code=${PIPESTATUS[0]}
  if [ "$code" -ne 0 ]; then state="FAILED ($code)"; failed=1; fi
  summary+=("$(printf '%-22s %-12s %4d s' "$name" "$state" $((SECONDS - began)))")
}

# The tests that a missing server has skipped, by name: they say it on standard error, which libtest captures.
skipped_by_name() {
  local file manifest package name
  while read -r file; do
    manifest="$(dirname "$(dirname "$file")")/Cargo.toml"
    package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -1)
    name=$(basename "$file" .rs)
    # Without any server, so that all of them are skipped at once; of these lines, those whose variable is really missing.
    env -u TIDELINE_TEST_KAFKA -u TIDELINE_TEST_CQL -u TIDELINE_TEST_S3 -u TIDELINE_TEST_CLICKHOUSE -u TIDELINE_TEST_MLFLOW \
      timeout 300 cargo test --release --locked -q -p "$package" --test "$name" -- --nocapture 2>&1 |
      grep -o 'SKIPPED .*' | while read -r line; do
        for variable in TIDELINE_TEST_KAFKA TIDELINE_TEST_CQL TIDELINE_TEST_S3 TIDELINE_TEST_CLICKHOUSE TIDELINE_TEST_MLFLOW; do
          if [ -z "${!variable:-}" ] && [[ $line == *"$variable"* ]]; then echo "$line ($package, tests/$name.rs)"; break; fi
        done
      done
  done < <(grep -l --include='*.rs' -r 'TIDELINE_TEST_' tests/*.rs */tests/*.rs 2>/dev/null)
  return 0
}

step rust cargo test --release --locked --workspace --no-fail-fast
if [ -z "${TIDELINE_TEST_KAFKA:-}" ] || [ -z "${TIDELINE_TEST_CQL:-}" ] || [ -z "${TIDELINE_TEST_S3:-}" ] \
  || [ -z "${TIDELINE_TEST_CLICKHOUSE:-}" ] || [ -z "${TIDELINE_TEST_MLFLOW:-}" ]; then
  step skipped skipped_by_name
fi
step models tests/models/run.sh "$binary"
step compose tests/compose/run.sh
step web tests/web/run.sh
step kubernetes tests/kubernetes/run.sh
step prometheus tests/prometheus/run.sh "$binary"
step acceptance tests/acceptance/run.sh "$binary"
# Last, as it kills the servers: a few iterations of what `make crash` does for longer, always the same ones.
step crash tests/crash/run.sh "$binary" --iterations 5 --seed "${SEED:-4}" --budget 140

printf '\n== summary\n'
awk '/Running .*(tests|unittests)|Doc-tests/ { sub(/^ +/, ""); name = $0 }
     /^test result:/ { passed += $4; broken += $6; ignored += $8 }
     END { printf "Rust tests: %d passed, %d failed, %d ignored\n", passed, broken, ignored }' "$logs/rust.log"
for line in "${summary[@]}"; do echo "$line"; done
cat "$logs"/*.log | grep -o '^SKIPPED .*' | sort -u
exit $failed
