#!/usr/bin/env bash
# The acceptance tests: the program as a user runs it, against an independent computation in Python.
set -euo pipefail
binary=$1
here=$(cd "$(dirname "$0")" && pwd)
venv="${TIDELINE_VENV:-$HOME/.cache/tideline-venv}"
if ! "$venv/bin/python" -c 'import vaderSentiment, polars' 2>/dev/null; then
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r "$here/requirements.txt" || {
    echo "SKIPPED acceptance tests: stock, stock-kill, movies, movies-kill (no Python packages to be had)"; exit 0; }
fi
passed=0
for run in "stock" "stock --kills 4 --seed 2" "movies" "movies --kills 4 --seed 2"; do
  # shellcheck disable=SC2086
  "$venv/bin/python" "$here/acceptance.py" "$binary" $run
  passed=$((passed + 1))
done
echo "acceptance: $passed passed, 0 failed"
