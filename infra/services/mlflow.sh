#!/usr/bin/env bash
# Runs an MLflow tracking server on the loopback interface, for integration tests: SQLite, and artifacts in a folder
# behind the server's proxy.
#
#   mlflow.sh install   make a virtual environment with MLflow in it (idempotent)
#   mlflow.sh start     install if needed, start, wait until it answers
#   mlflow.sh stop      SIGTERM to its process group, SIGKILL if it does not leave in time
#   mlflow.sh kill      SIGKILL to its process group
#   mlflow.sh wipe      stop and remove the data and the log
#   mlflow.sh status    exit 0 ready, 1 process up but not ready, 3 not running
#
#   SERVICES_HOME    where the environment is            [$HOME/.cache/lambda-services]
#   SERVICES_DATA    data, log and pid file              [$PWD/.services]
#   MLFLOW_NAME      instance name                       [mlflow]
#   MLFLOW_PORT      port on 127.0.0.1                   [5000]
#   SERVICES_WAIT    seconds `start` waits until it answers  [180]
#   PYTHON           the interpreter, 3.10 or later      [python3]
set -euo pipefail

version="${MLFLOW_VERSION:-3.17.2}"
home="${SERVICES_HOME:-$HOME/.cache/lambda-services}"
case $home in /*) ;; *) home="$PWD/$home" ;; esac
base="${SERVICES_DATA:-$PWD/.services}"
case $base in /*) ;; *) base="$PWD/$base" ;; esac
name="${MLFLOW_NAME:-mlflow}"
port="${MLFLOW_PORT:-5000}"
python="${PYTHON:-python3}"

data="$base/$name"
pidfile="$base/$name.pid"
log="$base/$name.log"
url="http://127.0.0.1:$port"

say() { echo "mlflow: $*"; }
die() { echo "mlflow: $*" >&2; exit 1; }

# One environment per version and interpreter.
environment() {
    echo "$home/mlflow-$version-py$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
}

# The pid in the pid file, if that process is alive and is still ours.
running() {
    local pid
    pid=$(cat "$pidfile" 2>/dev/null) && [ -n "$pid" ] || return 1
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "$data/artifacts" || return 1
    echo "$pid"
}

install_() {
    command -v "$python" >/dev/null || die "no '$python' on the PATH"
    local environment; environment=$(environment)
    [ -e "$environment/.done" ] && return
    mkdir -p "$home"
    exec 9>"$home/mlflow.lock"
    flock 9                                   # one install at a time
    [ -e "$environment/.done" ] && return
    local from=$SECONDS
    rm -rf "$environment"
    "$python" -m venv "$environment" || die "no virtual environment can be made: is python3-venv installed?"
    "$environment/bin/pip" install --quiet --disable-pip-version-check "mlflow==$version" >&2
    touch "$environment/.done"
    exec 9>&-
    say "installed in $((SECONDS - from)) s: $environment"
}

ready() { curl -fsS -o /dev/null --max-time 2 "$url/health" 2>/dev/null; }

start() {
    local pid wait="${SERVICES_WAIT:-180}" from
    if pid=$(running); then say "already running, pid $pid, $url"; return; fi
    install_
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && die "port $port is taken by another process"
    mkdir -p "$data/artifacts"
    from=$(date +%s%N)
    # A session of its own: its workers are in its process group. Without what tracking does not need: telemetry, and
    # eight more processes that run jobs.
    MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
        setsid nohup "$(environment)/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 \
        --backend-store-uri "sqlite:///$data/mlflow.db" --artifacts-destination "$data/artifacts" \
        </dev/null >>"$log" 2>&1 &
    pid=$!
    echo "$pid" >"$pidfile"
    until ready; do
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "it ended at start, see $log"; }
        [ $(( ($(date +%s%N) - from) / 1000000000 )) -lt "$wait" ] || { stop; die "no answer in $wait s, see $log"; }
        sleep 0.2
    done
    say "ready in $(( ($(date +%s%N) - from) / 1000000 )) ms, pid $pid, $url"
}

# Until no process of the group is left; 1 when that takes longer than $2 s.
wait_gone() {
    local deadline=$((SECONDS + $2))
    while pgrep -g "$1" -r R,S,D,T >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

stop() {
    local pid
    if ! pid=$(running); then rm -f "$pidfile"; say "not running"; return; fi
    kill -TERM -- "-$pid"
    if ! wait_gone "$pid" 15; then
        say "group $pid did not stop in 15 s, killing it"
        kill -KILL -- "-$pid" 2>/dev/null || true
        wait_gone "$pid" 10 || die "group $pid is still there"
    fi
    rm -f "$pidfile"
    say "stopped"
}

kill_() {
    local pid
    if pid=$(running); then
        kill -KILL -- "-$pid" 2>/dev/null || true
        wait_gone "$pid" 10 || die "group $pid is still there"
    fi
    rm -f "$pidfile"
    say "killed"
}

wipe() {
    stop
    rm -rf "$data" "$log"
    say "wiped"
}

status() {
    local pid
    if ! pid=$(running); then say "not running"; return 3; fi
    ready || { say "pid $pid does not answer"; return 1; }
    say "running, pid $pid, $url"
}

case "${1:-}" in
    install) install_; say "$(environment)" ;;
    kill) kill_ ;;
    start|stop|wipe|status) "$1" ;;
    *) echo "usage: ${0##*/} install|start|stop|kill|wipe|status" >&2; exit 2 ;;
esac
