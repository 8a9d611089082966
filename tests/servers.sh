#!/usr/bin/env bash
# Runs a command with Kafka, Cassandra, MinIO, ClickHouse and MLflow beside it, for the tests that need real servers.
#
#   tests/servers.sh COMMAND [ARG...]      for instance: tests/servers.sh cargo test --release -p tideline-stores
#
# Installs what is missing (cached in SERVICES_HOME, ~/.cache/lambda-services), starts the servers on free ports in a
# temporary folder, sets TIDELINE_TEST_KAFKA, _CQL, _S3, _CLICKHOUSE, _MLFLOW and TIDELINE_TEST_SERVICES (the folder, for
# infra/services/all.sh), runs the command, and stops them whatever happens. A server that cannot be had (no java, mvn,
# go or python3 on the PATH, no network) is reported as SKIPPED with the reason; its variable stays unset, and its tests
# say so by name. A server that is installed and does not start is a failure. Exits as the command does.
#
#   TIDELINE_TEST_WITH     which servers          [kafka cassandra minio clickhouse mlflow]; "" for none
#   TIDELINE_INSTALL_MAX   seconds for installing one server  [900]
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
services="$root/infra/services"
read -r -a wanted <<<"${TIDELINE_TEST_WITH-kafka cassandra minio clickhouse mlflow}"
install_max="${TIDELINE_INSTALL_MAX:-900}"
folder="$(mktemp -d "${TMPDIR:-/tmp}/tideline-servers-XXXXXX")"
unset TIDELINE_TEST_KAFKA TIDELINE_TEST_CQL TIDELINE_TEST_S3 TIDELINE_TEST_CLICKHOUSE TIDELINE_TEST_MLFLOW \
    TIDELINE_TEST_SERVICES
declare -a up=() skipped=()

finish() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ -f "$folder/ports.env" ]; then
        if [ ${#up[@]} -gt 0 ] && ! "$services/all.sh" status "$folder" "${up[@]}" >/dev/null 2>&1; then
            # One is not there any more. Its last words: the folder is about to go.
            tail -n 15 "$folder"/*.log "$folder"/*/*.log 2>/dev/null >&2 || true
        fi
        "$services/all.sh" wipe "$folder" >/dev/null 2>&1 || true
    fi
    rm -rf "$folder"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Why a server cannot be installed here, or nothing.
lacking() {
    local program missing=()
    case $1 in
        kafka | cassandra) set -- java mvn ;;
        minio) set -- go curl ;;
        clickhouse | mlflow) set -- python3 curl ;;
    esac
    for program in "$@"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    if [ ${#missing[@]} -gt 0 ]; then echo "no ${missing[*]} on the PATH"; fi
}

echo "== servers: ${wanted[*]:-none} ($(date +%H:%M:%S))"
for server in ${wanted[@]+"${wanted[@]}"}; do
    reason="$(lacking "$server")"
    if [ -z "$reason" ]; then
        if timeout --kill-after=10 "$install_max" "$services/$server.sh" install >"$folder/$server.install" 2>&1; then
            up+=("$server")
            continue
        fi
        reason="install failed: $(tail -n 1 "$folder/$server.install" | cut -c 1-200)"
    fi
    skipped+=("SKIPPED server $server: $reason")
    echo "${skipped[-1]}"
done

if [ ${#up[@]} -gt 0 ]; then
    if ! "$services/all.sh" start "$folder" "${up[@]}" >"$folder/env.sh"; then
        # Ports that were free a moment ago may be taken by now.
        echo "servers: starting them again, on other ports" >&2
        "$services/all.sh" wipe "$folder" >/dev/null 2>&1 || true
        "$services/all.sh" start "$folder" "${up[@]}" >"$folder/env.sh" || { echo "servers: they do not start" >&2; exit 1; }
    fi
    # shellcheck disable=SC1091
    . "$folder/env.sh"
    export TIDELINE_TEST_SERVICES="$folder"
fi

began=$SECONDS
code=0
"$@" || code=$?
echo "== servers: the command took $((SECONDS - began)) s with ${up[*]:-none}, exit code $code"
for line in ${skipped[@]+"${skipped[@]}"}; do echo "$line"; done
exit $code
