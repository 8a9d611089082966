#!/usr/bin/env bash
# All four pipelines over small generated streams, speed and batch, in one process with nothing to install. Prints where to
# look. On a terminal, or with DEMO_KEEP=1, it then goes on with live streams until Ctrl-C; otherwise it ends.
#   infra/demo.sh BINARY        DEMO_PORT [8080]   DEMO_DATA [.tideline/demo]
set -euo pipefail
binary=$1
root=$(cd "$(dirname "$0")/.." && pwd)
data="${DEMO_DATA:-$root/.tideline/demo}"
port="${DEMO_PORT:-8080}"
url="http://127.0.0.1:$port"
keep="${DEMO_KEEP:-}"
[ -n "$keep" ] || [ ! -t 1 ] || keep=1
rm -rf "$data" && mkdir -p "$data"

declare -a pids=()
finish() {
  trap - EXIT INT TERM
  # Streams first, then the server, in order.
  for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
    kill -TERM "${pids[at]}" 2>/dev/null || true
    wait "${pids[at]}" 2>/dev/null || true
  done
}
trap finish EXIT
trap 'exit 130' INT TERM

# Batch runs by hand until the table is shown; every five minutes where the demo goes on.
TIDELINE_BATCH__SCHEDULE="${keep:+0 */5 * * * *}" TIDELINE_WEB="${TIDELINE_WEB:-$root/dashboards/web/dist}" \
  "$binary" up --data "$data" --pipelines "$root/schema/pipelines" --listen "127.0.0.1:$port" 2>"$data/up.log" >"$data/up.out" &
server=$!
pids+=("$server")
for _ in $(seq 300); do
  kill -0 "$server" 2>/dev/null || { echo "tideline up ended:"; cat "$data/up.log"; exit 1; }
  curl -fsS "$url/readyz" >/dev/null 2>&1 && break
  sleep 0.1
done

ago() { date -u -d "@$(($(date +%s) - $1 * 60))" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$(($(date +%s) - $1 * 60))" +%Y-%m-%dT%H:%M:%SZ; }
start=$(ago 42)
# stream_of SYSTEM: sets `stream`, the arguments of its one stream. Each call of the program sends another part of it, so that
# what walks goes on from where it was.
stream_of() {
  stream=(generate "$1" --start "$start" --seed 7 --into "$url")
  case $1 in
    stock-sentiment) stream+=(--step 150ms --duplicates 0.01 --broken 0.005) ;;
    movie-viewing) stream+=(--step 200ms --duplicates 0.01 --broken 0.005) ;;
    trendscope) stream+=(--step 400ms --broken 0.002) ;;
    customer-sentiment) stream+=(--step 120ms --duplicates 0.01 --broken 0.005) ;;
  esac
}
# past SYSTEM COUNT SKIP: that many records at once, after those that have been sent.
past() {
  printf '  %-20s' "$1"
  stream_of "$1"
  "$binary" "${stream[@]}" --count "$2" --skip "$3"
}

echo "== 40 minutes of four streams, as they might have been"
past stock-sentiment 16000 0
past movie-viewing 12000 0
past trendscope 6000 0
past customer-sentiment 20000 0

echo "== the batch layer: Bronze to Silver to Gold, published as one version"
run=$(curl -fsS -X POST "$url/v1/batch/runs" | sed -E 's/.*"id": ?"([^"]+)".*/\1/')
state=queued
for _ in $(seq 1200); do
  state=$(curl -fsS "$url/v1/batch/runs/$run" | sed -E 's/.*"state": ?"([^"]+)".*/\1/')
  case $state in succeeded) break ;; failed) curl -fsS "$url/v1/batch/runs/$run"; exit 1 ;; esac
  sleep 0.1
done
echo "run $run: $state"
[ "$state" = succeeded ] || exit 1

echo "== two more minutes, which only the speed layer has"
past stock-sentiment 800 16000
past movie-viewing 600 12000
past trendscope 300 6000
past customer-sentiment 1000 20000
sleep 1

cat <<END

The page:  $url/        movies, viewing, symbols, customers, and the platform itself (where Node.js was there to build it)

Where else to look (while the server runs):
  $url/v1/views/symbol_sentiment/rows?key=TSLA       windows, batch below the tideline and speed above it
  $url/v1/views/movie_trends/top?at=complete&previous=true   what is trending, and its direction
  $url/v1/lookups/tweets?key=TSLA&limit=5            the latest tweets of \$TSLA
  $url/v1/reports/batch_topic_statistics?limit=5     a report of the batch layer
  $url/api/metrics/products                          the voice of customers, by product
  $url/v1/status   $url/metrics   $url/openapi.json
  $data/lake                                         Bronze, Silver and Gold as Parquet
Start it again: $binary up --data $data

Symbols now, merged from both layers (window of 15 minutes):
END
"$binary" top symbol_sentiment --by mentions --window 15m --limit 8 --url "$url"
echo
echo "Movies that trend now, and their direction:"
"$binary" top movie_trends --by trend_score --limit 8 --at complete --previous --url "$url"

if [ -n "$keep" ]; then
  echo
  echo "Live streams run into $url until Ctrl-C."
  # At the rate at which their steps go by.
  for next in "stock-sentiment 400/m 16800" "movie-viewing 300/m 12600" "trendscope 150/m 6300" "customer-sentiment 500/m 21000"; do
    read -r system rate skip <<<"$next"
    stream_of "$system"
    "$binary" "${stream[@]}" --rate "$rate" --skip "$skip" >"$data/$system.log" 2>&1 &
    pids+=("$!")
  done
  wait "$server"
fi
