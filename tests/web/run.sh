#!/usr/bin/env bash
# The web page: types, unit tests, and a real Chromium against a mock of the server.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
skip() { echo "SKIPPED web: $1"; exit 0; }

command -v node >/dev/null || skip "no node on the PATH"
cd "$root/dashboards/web" || exit 1
"$root/infra/web.sh" || exit 1
[ -e dist/index.html ] || skip "node is older than 20.19"

failed=0
npm run --silent check || failed=1
npm test --silent || failed=1
if [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v google-chrome >/dev/null; then
  npm run --silent test:browser || failed=1
else
  echo "SKIPPED web in a browser: no chromium on the PATH"
fi
exit $failed
