#!/usr/bin/env bash
# The crash harness: tests/crash/run.sh BINARY [--iterations N] [--seed N] [--budget SECONDS]; see crash.py.
# Needs all four servers: those that tests/servers.sh has started, or those of its own. Without one it is skipped by name.
set -euo pipefail
binary=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
skip() { echo "SKIPPED crash harness: $1"; exit 0; }
if [ -n "${TIDELINE_TEST_SERVICES:-}" ]; then
  for variable in TIDELINE_TEST_KAFKA TIDELINE_TEST_CQL TIDELINE_TEST_S3 TIDELINE_TEST_CLICKHOUSE; do
    [ -n "${!variable:-}" ] || skip "$variable is not set"
  done
else
  for program in java mvn go; do command -v $program >/dev/null || skip "no $program on the PATH"; done
fi
venv="${TIDELINE_VENV:-$HOME/.cache/tideline-venv}"
if ! "$venv/bin/python" -c 'import vaderSentiment, polars, confluent_kafka' 2>/dev/null; then
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r "$here/../acceptance/requirements.txt" -r "$here/requirements.txt" ||
    skip "no Python packages to be had"
fi
exec "$venv/bin/python" "$here/crash.py" "$binary" "$@"
