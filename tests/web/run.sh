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
browser() { [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v google-chrome >/dev/null; }
# Only these tests need one: neither a build nor the demo waits for its many packages.
if ! browser && command -v apt-get >/dev/null; then
  as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  { timeout 120 "${as_root[@]}" apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive timeout 600 "${as_root[@]}" apt-get install -qy --no-install-recommends chromium; } >/dev/null 2>&1 || true
fi
if browser; then
  npm run --silent test:browser || failed=1
else
  echo "SKIPPED web in a browser: no chromium on the PATH, and none can be installed"
fi
exit $failed
