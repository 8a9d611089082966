#!/usr/bin/env bash
# Builds the web page into dashboards/web/dist, where it has changed since. Says so and succeeds where there is no Node.js:
# the program works without the page.
set -euo pipefail
cd "$(dirname "$0")/../dashboards/web"

if ! command -v npm >/dev/null || ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 20 || (+a === 20 && +b >= 19) ? 0 : 1)'; then
  echo "the web page is not built: no Node.js 20.19 or newer on the PATH"
  exit 0
fi
# npm ci begins anew each time: only when the lock is newer than what was installed.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-audit --no-fund
  touch node_modules/.package-lock.json
fi
if [ ! -e dist/index.html ] || [ -n "$(find src public index.html package-lock.json vite.config.ts tsconfig.json -newer dist/index.html -print -quit)" ]; then
  npm run build
fi
