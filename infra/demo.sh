#!/usr/bin/env bash
# The stock-sentiment pipeline over a small generated stream, both layers, in one process. Ends with a table of
# current symbols from the merged view. DEMO_KEEP=1 keeps the server running afterwards.
set -euo pipefail
binary=$1
root=$(cd "$(dirname "$0")/.." && pwd)
data="${DEMO_DATA:-$root/.tideline/demo}"
port="${DEMO_PORT:-8080}"
url="http://127.0.0.1:$port"
rm -rf "$data" && mkdir -p "$data"

TIDELINE_BATCH__SCHEDULE="" "$binary" up --data "$data" --pipelines "$root/schema/pipelines" --listen "127.0.0.1:$port" 2>"$data/up.log" >"$data/up.out" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null && wait $pid 2>/dev/null || true' EXIT
for _ in $(seq 200); do
  kill -0 "$pid" 2>/dev/null || { echo "tideline up ended:"; cat "$data/up.log"; exit 1; }
  curl -fsS "$url/readyz" >/dev/null 2>&1 && break
  sleep 0.1
done

since() { date -u -d "$1 minutes ago" +%Y-%m-%dT%H:%M:%SZ; }
echo "== 40 minutes of tweets and prices, as they might have been"
"$binary" generate stock-sentiment --count 16000 --step 150ms --start "$(since 42)" --seed 7 --duplicates 0.01 --broken 0.005 --into "$url"
echo "== the batch layer: Bronze to Silver to Gold, published as one version"
run=$(curl -fsS -X POST "$url/v1/batch/runs" | sed -E 's/.*"id": ?"([^"]+)".*/\1/')
for _ in $(seq 600); do
  state=$(curl -fsS "$url/v1/batch/runs/$run" | sed -E 's/.*"state": ?"([^"]+)".*/\1/')
  case $state in succeeded) break ;; failed) curl -fsS "$url/v1/batch/runs/$run"; exit 1 ;; esac
  sleep 0.1
done
echo "run $run: $state"
echo "== two more minutes, which only the speed layer has"
"$binary" generate stock-sentiment --count 1200 --step 100ms --start "$(since 2)" --seed 8 --into "$url"
sleep 0.7

cat <<END

Where to look (while the server runs):
  $url/                                              the web page, where Node.js was there to build it
  $url/v1/views/symbol_sentiment/rows?key=TSLA       windows, batch below the tideline and speed above it
  $url/v1/lookups/tweets?key=TSLA&limit=5            the latest tweets of \$TSLA
  $url/v1/reports/batch_topic_statistics?limit=5     a report of the batch layer
  $url/v1/status   $url/metrics   $url/openapi.json
  $data/lake                                         Bronze, Silver and Gold as Parquet
Start it again: $binary up --data $data

Current symbols, merged from both layers (window of 15 minutes):
END
"$binary" top symbol_sentiment --by mentions --window 15m --limit 12 --url "$url"
if [ -n "${DEMO_KEEP:-}" ]; then
  echo "The server runs at $url until Ctrl-C."
  wait "$pid"
fi
