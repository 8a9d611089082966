#!/usr/bin/env bash
# Kafka, Cassandra, MinIO and ClickHouse together, in one folder, on the loopback interface.
#
#   all.sh install                        the software of all of them (idempotent)
#   all.sh start  FOLDER [SERVER...]      start, wait until they answer, print `env`; exit 1 when one does not come up
#   all.sh stop   FOLDER [SERVER...]
#   all.sh kill   FOLDER [SERVER...]      SIGKILL; `start` afterwards recovers
#   all.sh wipe   FOLDER [SERVER...]      stop and remove data and logs
#   all.sh status FOLDER [SERVER...]      exit 0 when all of them are ready
#   all.sh env    FOLDER                  the variables that the integration tests read, one `export` a line
#   all.sh config FOLDER                  a tideline.toml for these servers
#
# SERVER is kafka, cassandra, minio or clickhouse; all four when none is named. `mlflow`, which only tests need, is started
# when it is named, and from then on one of all.
#
#   PORT_BASE       ports PORT_BASE (Kafka), +1 (its controller), +10, +11 (Cassandra), +20 (MinIO), +30 (ClickHouse),
#                   +40 (MLflow); free ones when unset. FOLDER/ports.env remembers them from the first start on.
#   TIDELINE_LISTEN, TIDELINE_PREFIX      `config`: where the program listens [127.0.0.1:8080]; the name of its
#                   consumer group, keyspace, database and folder in the bucket [tideline]
#   KAFKA_HEAP, CASSANDRA_HEAP            [512m] each: enough for tests
# and what the four scripts read.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
servers=(kafka cassandra minio clickhouse)
die() { echo "all.sh: $*" >&2; exit 2; }

action="${1:-}"
case $action in
    install)
        failed=0
        for server in "${servers[@]}"; do "$here/$server.sh" install || failed=1; done
        exit $failed ;;
    start | stop | kill | wipe | status | env | config) ;;
    *) die "usage: all.sh install | start|stop|kill|wipe|status|env|config FOLDER [SERVER...]" ;;
esac
[ $# -ge 2 ] || die "$action needs a folder"
mkdir -p "$2"
folder="$(cd "$2" && pwd)"
shift 2
if [ $# -gt 0 ]; then servers=("$@"); elif [ -e "$folder/mlflow.pid" ]; then servers+=(mlflow); fi

if [ ! -f "$folder/ports.env" ]; then
    [ "$action" = start ] || die "nothing was started in $folder"
    if [ -n "${PORT_BASE:-}" ]; then
        printf '%s\n' "KAFKA_PORT=$PORT_BASE" "KAFKA_CONTROLLER_PORT=$((PORT_BASE + 1))" \
            "CASSANDRA_PORT=$((PORT_BASE + 10))" "CASSANDRA_STORAGE_PORT=$((PORT_BASE + 11))" \
            "MINIO_PORT=$((PORT_BASE + 20))" "CLICKHOUSE_PORT=$((PORT_BASE + 30))" \
            "MLFLOW_PORT=$((PORT_BASE + 40))" >"$folder/ports.env"
    else
        python3 "$here/ports.py" KAFKA_PORT KAFKA_CONTROLLER_PORT CASSANDRA_PORT CASSANDRA_STORAGE_PORT MINIO_PORT \
            CLICKHOUSE_PORT MLFLOW_PORT >"$folder/ports.env"
    fi
fi
set -a
# shellcheck disable=SC1091
. "$folder/ports.env"
set +a
export SERVICES_DATA="$folder"
export KAFKA_HEAP="${KAFKA_HEAP:-512m}" CASSANDRA_HEAP="${CASSANDRA_HEAP:-512m}"
export MINIO_BUCKETS="${MINIO_BUCKETS:-tideline tideline-test}"
user="${MINIO_ROOT_USER:-minioadmin}"
password="${MINIO_ROOT_PASSWORD:-minioadmin}"

print_env() {
    local server
    for server in "${servers[@]}"; do
        "$here/$server.sh" status >/dev/null 2>&1 || continue
        case $server in
            kafka) echo "export TIDELINE_TEST_KAFKA=127.0.0.1:$KAFKA_PORT" ;;
            cassandra) echo "export TIDELINE_TEST_CQL=127.0.0.1:$CASSANDRA_PORT" ;;
            minio) echo "export TIDELINE_TEST_S3=http://127.0.0.1:$MINIO_PORT" ;;
            clickhouse) echo "export TIDELINE_TEST_CLICKHOUSE=http://127.0.0.1:$CLICKHOUSE_PORT" ;;
            mlflow) echo "export TIDELINE_TEST_MLFLOW=http://127.0.0.1:$MLFLOW_PORT" ;;
        esac
    done
}

print_config() {
    local prefix="${TIDELINE_PREFIX:-tideline}"
    cat <<TOML
[log]
kind = "kafka"
brokers = ["127.0.0.1:$KAFKA_PORT"]
group = "$prefix"

[lake]
url = "s3://tideline/$prefix"
endpoint = "http://127.0.0.1:$MINIO_PORT"
region = "us-east-1"
access_key = "$user"
secret_key = "$password"

[views]
kind = "scylla"
nodes = ["127.0.0.1:$CASSANDRA_PORT"]
keyspace = "${prefix//-/_}"
replication_factor = 1

[analytics]
kind = "clickhouse"
url = "http://127.0.0.1:$CLICKHOUSE_PORT"
database = "${prefix//-/_}"

[serve]
listen = "${TIDELINE_LISTEN:-127.0.0.1:8080}"
TOML
}

# All at once: on two cores they come up in the time of the slowest. Their words go to standard error, so that
# standard output can be read by `eval`.
together() {
    local failed=0 server pid
    local -a pids=()
    for server in "${servers[@]}"; do
        "$here/$server.sh" "$1" >&2 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    return $failed
}

case $action in
    start) failed=0; together start || failed=1; print_env; exit $failed ;;
    wipe) together wipe; if [ $# -eq 0 ]; then rm -f "$folder/ports.env"; fi ;;
    stop | kill | status) together "$action" ;;
    env) print_env ;;
    config) print_config ;;
esac
