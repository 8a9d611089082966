#!/usr/bin/env bash
# The same job on the same Kafka topic in Tideline, Spark Structured Streaming and Flink, one after the other, in one run on
# this machine; prints rates, CPU seconds and ratios, and fails when the answers differ.
#   bench/peers/run.sh BINARY
#   TWEETS    NDJSON of created_at, text, user_id in time order (.gz too); generated ones when absent
#   REPEAT    how often each is in the topic                                    [so that there are about 970,000]
#   PEERS     which of: librdkafka tideline servers spark flink                 [all]
#             (servers: Tideline with Cassandra and MinIO on the same cores, in place of embedded stores)
#   CHECK     0: leave out the untimed runs of Spark and Flink that compare answers
# Needs java 17, mvn and python3; a peer that cannot be had is reported as SKIPPED. Minutes, and about 3 GB of downloads cached
# in ~/.cache/tideline-peers. Have nothing else at work on the machine.
set -euo pipefail
binary=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache="${PEERS_CACHE:-$HOME/.cache/tideline-peers}"
peers=" ${PEERS:-librdkafka tideline servers spark flink} "
work="${PEERS_DATA:-$(mktemp -d)}"
services="$work/services"
mkdir -p "$cache" "$services"
results="$work/results.ndjson"
: >"$results"
wants() { [[ $peers == *" $1 "* ]]; }
note() { printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"; }

finish() {
  local code=$?
  trap - EXIT
  if [ -n "${PEERS_DATA:-}" ]; then "$root/infra/services/all.sh" stop "$services" >/dev/null 2>&1 || true
  else "$root/infra/services/all.sh" wipe "$services" >/dev/null 2>&1 || true; rm -rf "$work"; fi
  exit $code
}
trap finish EXIT

for program in java mvn python3; do
  command -v $program >/dev/null || { echo "SKIPPED peers: no $program on the PATH"; exit 0; }
done
python="$cache/venv/bin/python"
if ! "$python" -c 'import confluent_kafka, pyspark, vaderSentiment, pandas, pyarrow' 2>/dev/null; then
  note "Python packages"
  python3 -m venv "$cache/venv" && "$cache/venv/bin/pip" install --quiet -r "$here/requirements.txt" ||
    { echo "SKIPPED peers: no Python packages to be had"; exit 0; }
fi

note "Kafka and its topic"
tweets="${TWEETS:-}"
if [ -z "$tweets" ] && [ -e "$root/../shared/data/tweets.ndjson.gz" ]; then tweets="$root/../shared/data/tweets.ndjson.gz"; fi
if [ -z "$tweets" ]; then
  tweets="$work/tweets.ndjson"
  "$binary" generate stock-sentiment --topic tweets --count 25000 --seed 1 --step 5m --start 2014-01-01T00:00:00Z >"$tweets"
fi
lines=$( (zcat -f "$tweets") | grep -c .)
repeat="${REPEAT:-$(((968260 + lines - 1) / lines))}"
records=$((lines * repeat))
"$root/infra/services/all.sh" start "$services" kafka >/dev/null
# shellcheck disable=SC1091
. "$services/ports.env"
brokers="127.0.0.1:$KAFKA_PORT"
"$python" "$here/topic.py" --brokers "$brokers" --file "$tweets" --repeat "$repeat"

# add NAME JOB: one line of JSON from standard input, named.
add() { "$python" -c 'import json,sys; print(json.dumps({"name": sys.argv[1], "job": sys.argv[2], **json.loads(sys.stdin.readlines()[-1])}))' "$1" "$2" | tee -a "$results"; }

note "what the answers must be"
"$python" "$here/expected.py" --file "$tweets" --repeat "$repeat" | add expected A
"$python" "$here/expected.py" --file "$tweets" --repeat "$repeat" --vader | add expected VADER

if wants librdkafka; then
  note "librdkafka alone"
  for _ in 1 2; do "$python" "$here/consume.py" --brokers "$brokers" | add librdkafka consume; done
fi
if wants tideline; then
  note "Tideline, embedded stores"
  for _ in 1 2 3; do "$python" "$here/tideline.py" "$binary" "$here/tideline-a.toml" --brokers "$brokers" --records "$records" --file "$tweets" | add tideline A; done
  for _ in 1 2; do "$python" "$here/tideline.py" "$binary" "$here/tideline-vader.toml" --brokers "$brokers" --records "$records" --file "$tweets" | add tideline VADER; done
fi
if wants servers; then
  if command -v go >/dev/null; then
    note "Tideline, views in Cassandra, Bronze in MinIO"
    "$root/infra/services/all.sh" start "$services" cassandra minio >/dev/null
    "$python" "$here/tideline.py" "$binary" "$here/tideline-a.toml" --brokers "$brokers" --records "$records" --file "$tweets" --servers "$services" | add tideline-servers A
    "$root/infra/services/all.sh" stop "$services" cassandra minio >/dev/null 2>&1
  else
    echo "SKIPPED tideline-servers: no go on the PATH, for MinIO"
  fi
fi
if wants spark; then
  note "Spark Structured Streaming"
  export KAFKA="$brokers" SPARK_KAFKA_LIB="$cache/spark-lib" PYSPARK_PYTHON="$python"
  if [ -e "$cache/spark-lib/.complete" ] ||
    { mvn -B -q -f "$here/spark/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/spark-lib" && touch "$cache/spark-lib/.complete"; }; then
    "$python" "$here/spark/spark_tweets.py" plain 2>/dev/null | add spark A
    "$python" "$here/spark/spark_tweets.py" vader 2>/dev/null | add spark VADER
    if [ "${CHECK:-1}" = 1 ]; then
      "$python" "$here/spark/spark_tweets.py" plain check 2>/dev/null | add spark-check A
      "$python" "$here/spark/spark_tweets.py" vader check 2>/dev/null | add spark-check VADER
    fi
  else
    echo "SKIPPED spark: its connector cannot be had"
  fi
fi
if wants flink; then
  note "Flink"
  export KAFKA="$brokers" EXPECTED="$records"
  # RESULT flink key=value ... to JSON.
  fields() { "$python" -c '
import json, re, sys
for line in sys.stdin:
    print(line.strip(), file=sys.stderr)
    found = dict(re.findall(r"([\w()]+)=([-\d.]+)", line))
    if "RESULT " in line:
        print(json.dumps({"run": int(found["run_in_jvm"]), "records": int(found["in"]), "wall": float(found["wall"]), "rate": int(found["rate"]), "cpu": float(found["cpu"]), "rows": int(found["out"])}))
    elif "CHECK " in line:
        print(json.dumps({"rows": int(found["rows"]), "count": int(found["sum(n)"]), "mean": float(found["sum(avg)"]), "deviation": float(found["sum(sd)"])}))'; }
  if W="$cache/flink" "$here/flink/run.sh" cold A | fields | add flink-cold A; then
    W="$cache/flink" "$here/flink/run.sh" warm A | fields | while read -r line; do add flink-warm A <<<"$line"; done
    if [ "${CHECK:-1}" = 1 ]; then W="$cache/flink" "$here/flink/run.sh" check A | fields | add flink-check A; fi
  else
    echo "SKIPPED flink: it cannot be had or does not run"
  fi
fi
note "result"
"$python" "$here/report.py" "$results"
