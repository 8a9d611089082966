#!/usr/bin/env python3
"""Tideline on the topic: from the start of the process until everything is visible in the views and in Bronze.

    tideline.py BINARY DEFINITION --brokers HOST:PORT --records N --file TWEETS [--servers FOLDER]

Without --servers the log is Kafka and all else is embedded: views and lake in a folder. With it (a folder of
infra/services/all.sh) views are in Cassandra and Bronze in MinIO, on the same cores.

One line of JSON: wall seconds from the start of the process, `steady` from the first record taken in, CPU seconds and
largest memory of the process, and the sums over all rows of the view.
"""

import argparse
import gzip
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "acceptance"))
import reference  # noqa: E402
from server import Api, free_port  # noqa: E402

VIEW = "symbols"
DAY = 24 * 60 * reference.MINUTE


def span(path):
    """First and last event time of a file of tweets, in microseconds."""
    times = []
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        for line in file:
            times.append(json.loads(line)["created_at"])
    return reference.micros(min(times)), reference.micros(max(times))


def sums(api, first, last):
    """Over all windows, asked for a month at a time: years at once are more than a store answers within its time."""
    total, mean, deviation, begin = {"rows": 0, "count": 0}, [], [], first - DAY
    while begin < last + DAY:
        end = begin + 30 * DAY
        for row in api.rows(VIEW, "speed", **{"from": reference.iso(begin), "to": reference.iso(end)}).values():
            total["rows"] += 1
            total["count"] += row["n"]
            mean.append(row["mean"])
            if row["deviation"] is not None:
                deviation.append(row["deviation"])
        begin = end
    return {**total, "mean": math.fsum(mean), "deviation": math.fsum(deviation)}


# The stream ends, and the clock runs until its last records are in Bronze: with the default of 10 s most of the time
# would be spent on waiting for the next commit.
CHECKPOINTS = '\n[speed]\ncheckpoint_interval = "500ms"\n'


def configuration(args, work, group):
    if args.servers:
        made = subprocess.run(
            [os.path.join(ROOT, "infra", "services", "all.sh"), "config", args.servers],
            env={**os.environ, "TIDELINE_PREFIX": group}, check=True, capture_output=True, text=True,
        )
        # Gold is not part of the comparison: no ClickHouse.
        return made.stdout.split("[analytics]")[0] + CHECKPOINTS
    return f'[log]\nkind = "kafka"\nbrokers = ["{args.brokers}"]\ngroup = "{group}"\n{CHECKPOINTS}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("definition")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--file", required=True, help="the tweets of the topic")
    parser.add_argument("--servers")
    parser.add_argument("--timeout", type=float, default=300)
    args = parser.parse_args()

    work = tempfile.mkdtemp(prefix="tideline-peers-")
    group = f"peers{int(time.time() * 1000) % 10**9}"
    pipelines, config, port = os.path.join(work, "pipelines"), os.path.join(work, "tideline.toml"), free_port()
    os.makedirs(pipelines)
    shutil.copy(args.definition, pipelines)
    with open(config, "w") as file:
        file.write(configuration(args, work, group))
    common = ["--config", config, "--pipelines", pipelines]
    data = ["--data", os.path.join(work, "data")]
    env = {**os.environ, "RUST_LOG": os.environ.get("RUST_LOG", "warn"), "TIDELINE_BATCH__SCHEDULE": ""}
    if args.servers:
        subprocess.run([args.binary, "migrate", *common], env=env, check=True, stdout=subprocess.DEVNULL)
    log = open(os.path.join(work, "log"), "w+")
    api = Api(port)
    began = time.monotonic()
    process = subprocess.Popen(
        [args.binary, "up", *common, *data, "--listen", f"127.0.0.1:{port}"], env=env, stdout=log, stderr=log)
    try:
        first, shards = None, []
        while True:
            now = time.monotonic() - began
            try:
                shards = api.get("/v1/status")["process"]["shards"]
            except (urllib.error.URLError, OSError):
                pass
            if first is None and any(shard["position"] > 0 for shard in shards):
                first = now
            if sum(min(shard["flushed"], shard["bronze"]) for shard in shards) >= args.records:
                break
            if process.poll() is not None or now > args.timeout:
                log.seek(0)
                raise SystemExit(f"tideline did not get there: {json.dumps(shards)[:3000]}\n{log.read()[-3000:]}")
            time.sleep(0.02)
        with open(f"/proc/{process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        cpu = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        answers = sums(api, *span(args.file))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
        shutil.rmtree(work, ignore_errors=True)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(json.dumps({
        "records": args.records, "wall": round(now, 2), "rate": round(args.records / now),
        "steady": round(now - (first or 0), 2), "cpu": round(cpu, 2), "memory_mib": memory, **answers,
    }))


if __name__ == "__main__":
    main()
