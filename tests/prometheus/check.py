#!/usr/bin/env python3
"""Does the monitoring tell anything? Starts `tideline up` with all pipelines and generated streams, and a real Prometheus
that asks it and has the rules of infra/prometheus. Then:

- the target is up, and every rule is evaluated without an error;
- every metric that a rule or a dashboard names is exported, or in RARE;
- every query of a dashboard parses and has data, unless it names a metric of RARE; each label of its legend is one of
  the answer's;
- no alert fires: what runs here is healthy.

    check.py BINARY
"""

import base64
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))
from server import Server, free_port  # noqa: E402

# Metrics that a healthy process over embedded stores does not export, and why.
FAILURE = "only after a failure"
CLICKHOUSE = "only with ClickHouse"
RARE = {
    "tideline_speed_bronze_adopted_total": "only where two workers meet",
    "tideline_speed_changes_given_up_total": FAILURE,
    "tideline_speed_checkpoints_withheld_total": FAILURE,
    "tideline_speed_corrupt_checkpoints_total": FAILURE,
    "tideline_speed_dropped_total": FAILURE,
    "tideline_speed_failed_total": FAILURE,
    "tideline_speed_restarts_total": FAILURE,
    "tideline_speed_retries_total": FAILURE,
    "tideline_close_corrupt_checkpoints_total": FAILURE,
    "tideline_close_failed_total": FAILURE,
    "tideline_close_late_total": "only when a partition that was taken for idle was not",
    "tideline_close_reloads_total": "only when changes have expired",
    "tideline_close_restarts_total": FAILURE,
    "tideline_close_retries_total": FAILURE,
    "tideline_alert_posts_dropped_total": FAILURE,
    "tideline_batch_bronze_joined_total": "only with many small files in Bronze",
    "tideline_batch_bronze_dropped_total": "only with many small files in Bronze",
    "tideline_batch_frozen_buckets_total": "only after Silver has expired",
    "tideline_batch_publication_bytes_total": CLICKHOUSE,
    "tideline_batch_publication_failures_total": CLICKHOUSE,
    "tideline_batch_publication_files_total": CLICKHOUSE,
    "tideline_batch_publication_rows_total": CLICKHOUSE,
    "tideline_batch_publication_seconds": CLICKHOUSE,
    "tideline_batch_publication_version": CLICKHOUSE,
    "tideline_batch_report_failures_total": FAILURE,
    "tideline_batch_skipped_ticks_total": "only when a run is longer than the schedule",
    "tideline_batch_units_total": "only with batch.share",
    "tideline_connector_gaps_total": "only when an API no longer has everything",
    "ml_drift": "only after a day, in event time",
    "ml_drift_share": "only after a day, in event time",
    "tideline_live_missed_alerts_total": "only when a client is too slow",
    "tideline_live_skipped_messages_total": "only when a client is too slow",
    "tideline_serving_partial_answers_total": FAILURE,
    "tideline_serving_rankings_reloads_total": "only when a copy of a ranking is thrown away",
}
# In place of the variables of a dashboard.
VARIABLES = {"$__rate_interval": "20s", "$instance": ".*"}
METRIC = re.compile(r"(?<![\w:])((?:tideline|ml|process)_\w+)(?![\w:])")
PATIENCE = 150
# How long the rules are evaluated at least.
WATCHED = 45


class Outside(http.server.BaseHTTPRequestHandler):
    """What the program talks to: the API of a connector that works, one that does not, and a webhook."""

    posts = 0

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if not self.path.startswith("/trending/movie/day"):
            return self.answer(500, {})
        movies = [
            {"id": number, "title": f"Film {number}", "popularity": 10.5 * number, "vote_average": 7.1, "vote_count": 12, "overview": "", "original_language": "en" if number < 4 else "de"}
            for number in range(1, 6)
        ]
        self.answer(200, {"page": 1, "results": movies, "total_pages": 1})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Outside.posts += 1
        self.answer(200, {})

    def log_message(self, *_):
        pass


CONFIG = """
[connectors.films]
kind = "tmdb"
topic = "films"
base = "{outside}"
api_key = "k"
every = "2s"
languages = ["en"]
[connectors.broken]
kind = "stocks"
topic = "stock-prices"
base = "{outside}"
symbols = ["TSLA"]
every = "2s"
attempts = 2
retry_initial = "10ms"
retry_max = "1s"
"""
PROMETHEUS = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - job_name: tideline
    static_configs: [{{ targets: ["127.0.0.1:{port}"], labels: {{ role: up }} }}]
"""
READS = [
    "/v1/views/symbol_sentiment/rows?limit=20&window=5m",
    "/v1/views/stream_movie_views/rows?limit=20&layer=batch",
    "/v1/views/movie_trends/top?by=trend_score&limit=5",
    "/v1/views/probes_now/top?by=probes",
    "/v1/lookups/tweets?key=TSLA&limit=5",
    "/v1/reports/batch_user_stats?limit=5",
    "/v1/status",
    "/readyz",
    "/v1/views/nobodys/rows",
]


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Traffic:
    """Everything that is done to the program until it is stopped: streams, probes, reads."""

    def __init__(self, binary, server):
        self.binary, self.server, self.over = binary, server, threading.Event()
        self.streams, self.threads = [], []

    def burst(self, system, count, step, minutes):
        """Records of the last minutes, so that windows have closed and batch has something to do."""
        start = text(datetime.now(timezone.utc) - timedelta(minutes=minutes))
        command = [self.binary, "generate", system, "--count", str(count), "--step", step, "--start", start, "--seed", "3"]
        command += ["--duplicates", "0.01", "--broken", "0.002", "--late", "0.005", "--into", self.server.base]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def stream(self, system):
        start = text(datetime.now(timezone.utc))
        command = [self.binary, "generate", system, "--count", "1000000", "--rate", "20/s", "--start", start, "--seed", "4"]
        command += ["--duplicates", "0.05", "--broken", "0.002", "--late", "0.005", "--into", self.server.base]
        self.streams.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def repeat(self, pause, work):
        def loop():
            while not self.over.wait(pause):
                try:
                    work()
                except (urllib.error.URLError, OSError):
                    pass  # What fails is seen in the metrics.

        self.threads.append(threading.Thread(target=loop, daemon=True))
        self.threads[-1].start()

    def live(self):
        """A WebSocket of which what comes is read and not looked at. As its pings get no answer, there is a new one each minute."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}"
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as live:
                    live.sendall(f"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n\r\n".encode())
                    while not self.over.is_set() and live.recv(1 << 16):
                        pass
            except OSError:
                self.over.wait(1)

    def begin(self):
        for system, count, step, minutes in [
            ("stock-sentiment", 4000, "600ms", 41),
            ("movie-viewing", 3000, "200ms", 11),
            ("trendscope", 4000, "700ms", 48),
            ("customer-sentiment", 2000, "300ms", 11),
        ]:
            self.burst(system, count, step, minutes)
            self.stream(system)
        probe = lambda: self.server.post_lines("probe", [json.dumps({"at": text(datetime.now(timezone.utc)), "name": "one", "value": 1})])  # noqa: E731
        self.repeat(0.3, probe)
        self.repeat(3, self.server.batch)
        threading.Thread(target=self.live, daemon=True).start()
        for path in READS:
            self.repeat(0.5, lambda path=path: urllib.request.urlopen(self.server.base + path, timeout=10).read())

    def end(self):
        self.over.set()
        for stream in self.streams:
            stream.kill()
            stream.wait()
        for thread in self.threads:
            thread.join(15)


class Prometheus:
    def __init__(self, folder, port_of_tideline):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        config.write_text(PROMETHEUS.format(rules=ROOT / "infra/prometheus/rules", port=port_of_tideline))
        self.log = (folder / "prometheus.log").open("wb")
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = subprocess.Popen([*command, "--log.level=warn"], stdout=self.log, stderr=self.log)

    def get(self, path, **query):
        url = f"{self.base}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read()).get("error", "no reason given")) from error

    def wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"prometheus ended with {self.process.returncode}: see {self.log.name}")
            try:
                if any(target["health"] == "up" for target in self.get("targets")["activeTargets"]):
                    return
            except (OSError, ValueError):
                pass  # It is not there yet, or says that it is not ready.
            time.sleep(0.2)
        raise SystemExit("prometheus: the target did not get up in 60 s")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def exported(server):
    """Names of what the program exports."""
    with urllib.request.urlopen(server.base + "/metrics", timeout=10) as answer:
        return set(re.findall(r"^# TYPE (\S+) ", answer.read().decode(), re.M))


def base_name(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def named(expr, names):
    """Metrics that an expression names, as the program calls them. What is in quotes is a value."""
    found = METRIC.findall(re.sub(r'"[^"]*"', "", expr))
    return {name if name in names else base_name(name) for name in found}


def dashboards():
    """(dashboard, panel, expression, labels of the legend) of every query."""
    for path in sorted((ROOT / "dashboards/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for variable, value in VARIABLES.items():
                    expr = expr.replace(variable, value)
                yield path.name, panel["title"], expr, re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])


def problems_of_queries(prometheus, names):
    """What is wrong with the queries of the dashboards now."""
    for board, title, expr, labels in dashboards():
        place = f"{board}: {title}: {expr}"
        try:
            result = prometheus.get("query", query=expr)["result"]
        except ValueError as error:
            yield f"{place}: {error}"
            continue
        if not result:
            if not named(expr, names) & RARE.keys():
                yield f"{place}: no data"
            continue
        for label in labels:
            if not any(label in series["metric"] for series in result):
                yield f"{place}: the legend has {label}, the answer has {sorted(result[0]['metric'])}"


def problems_of_names(server, expressions):
    names = exported(server)
    for place, expr in expressions:
        for name in named(expr, names) - names - RARE.keys():
            yield f"{place}: the program exports no {name}"


def problems_of_rules(rules):
    for rule in rules:
        if rule["health"] != "ok" or rule.get("lastError"):
            yield f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}"


def settled(check, until):
    """What is wrong, when nothing is any more or the time is over."""
    while True:
        found = list(check())
        if not found or time.monotonic() > until:
            return found
        time.sleep(2)


def run(binary, folder):
    outside = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Outside)
    threading.Thread(target=outside.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{outside.server_address[1]}"
    pipelines = folder / "pipelines"
    shutil.copytree(ROOT / "schema/pipelines", pipelines)
    shutil.copy(ROOT / "tests/prometheus/monitored.toml", pipelines)
    config = folder / "tideline.toml"
    config.write_text(CONFIG.format(outside=address))
    env = {"TIDELINE_CONFIG": str(config), "PROBE_WEBHOOK": f"{address}/hook"}
    server = Server(binary, str(folder / "data"), str(pipelines), env)
    server.start()
    traffic = prometheus = None
    try:
        prometheus = Prometheus(folder, server.port)
        prometheus.wait()
        traffic = Traffic(binary, server)
        traffic.begin()
        began, until = time.monotonic(), time.monotonic() + PATIENCE

        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        found = settled(lambda: problems_of_queries(prometheus, exported(server)), until)
        expressions = [(f"{board}: {title}", expr) for board, title, expr, _ in dashboards()]
        expressions += [(f"rule {rule['name']}", rule["query"]) for rule in rules]
        found += problems_of_names(server, expressions)
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        found += problems_of_rules(rules)
        # Not at once: what an alert is about may take a while to show.
        time.sleep(max(0.0, began + WATCHED - time.monotonic()))
        alerts = prometheus.get("alerts")["alerts"]
        firing = [alert for alert in alerts if alert["state"] == "firing"]
        found += [f"alert {alert['labels']} fires: {alert['annotations']['summary']}" for alert in firing]
        if not Outside.posts:
            found.append("no alert was posted to the webhook")
        if len(rules) < 30 or len(expressions) < 100:
            found.append(f"only {len(rules)} rules and {len(expressions)} queries")
        rare = sorted(RARE.keys() & exported(server))
        boards = len({board for board, *_ in dashboards()})
        print(
            f"prometheus: {boards} dashboards with {len(expressions) - len(rules)} queries and {len(rules)} rules checked after "
            f"{time.monotonic() - began:.0f} s, {len(exported(server))} metrics exported"
            + (f"; exported though rare: {', '.join(rare)}" if rare else "")
        )
        return found
    finally:
        if traffic:
            traffic.end()
        if prometheus:
            prometheus.stop()
        server.stop()
        outside.shutdown()


def main():
    binary = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="tideline-prometheus-") as folder:
        try:
            found = run(binary, Path(folder))
        except BaseException:
            for log in Path(folder).glob("*.log"):
                print(f"== the end of {log.name}", *log.read_text(errors="replace").splitlines()[-20:], sep="\n", file=sys.stderr)
            raise
    for problem in found:
        print(f"prometheus: {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
