#!/usr/bin/env python3
"""Time from an acknowledged append to its visibility in the merged answer, with every role as a process of its own over
real servers: Kafka, Cassandra, MinIO and ClickHouse, started by infra/services/all.sh.

    bench/latency_servers.py BINARY [--rate 10000] [--seconds 150] [--warm 60] [--speed 2] [--kill] [--slow N] [--folder DIR] [--keep]

One thread appends generated tweets through `tideline ingest`; another appends, ten times a second, one tweet about a
symbol that no other tweet has, and polls `/rows` of `tideline serve` for it from the moment of the acknowledgement. A
third asks for the ranking ten times a second. Prints the quantiles of all, CPU and largest resident memory of each process,
and whether everything that was acknowledged is in the answer, counted by the views. With --kill one speed worker is
killed (SIGKILL) in the middle; prints how long it took until a probe on each of its partitions was answered again.
"""

import argparse
import http.client
import itertools
import json
import os
import shutil
import signal
import string
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def now_text():
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


def call(conn, method, path, body=None):
    conn.request(method, path, body=body)
    answer = conn.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if data[:1] in (b"{", b"[") else data


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


class Role:
    """A process of the platform."""

    def __init__(self, args, name, command, port, nice=0):
        self.name, self.port, self.peak = name, port, 0.0
        self.log = open(f"{args.folder}/{name}.log", "ab")
        self.command = [
            "nice", "-n", str(nice), args.binary, *command, "--config", f"{args.folder}/tideline.toml",
            "--pipelines", args.pipelines, "--listen", f"127.0.0.1:{port}",
        ]
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def wait_ready(self, seconds=120):
        end, last = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}; see {self.log.name}")
            try:
                status, last = call(connect(self.port), "GET", "/readyz")
                if status == 200:
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.2)
        raise SystemExit(f"{self.name} is not ready after {seconds} s: {last}")

    def resident(self):
        try:
            with open(f"/proc/{self.process.pid}/status") as file:
                mib = next((int(line.split()[1]) for line in file if line.startswith("VmRSS")), 0) / 1024
                self.peak = max(self.peak, mib)
        except OSError:
            pass

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def processor_seconds(pid):
    """Seconds of CPU that a process has used so far, with what it has waited for of its children."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def processes(args, roles):
    """Name and pid of each role and server, and of this load generator."""
    found = [(role.name, role.process.pid) for role in roles]
    for server in ("kafka", "cassandra", "minio", "clickhouse"):
        for path in (f"{args.folder}/{server}.pid", f"{args.folder}/{server}/{server}.pid"):
            if os.path.exists(path):
                with open(path) as file:
                    found.append((server, int(file.read())))
    return [*found, ("load", os.getpid())]


def load(args, texts, sent, stop):
    """Appends at the rate, in requests of 20 ms worth of records."""
    conn, every = connect(args.port + 3), 0.02
    size = max(1, int(args.rate * every))
    due, number = time.monotonic(), 0
    while not stop.is_set():
        at = now_text()
        lines = []
        for _ in range(size):
            lines.append(json.dumps({"created_at": at, "text": texts[number % len(texts)], "user_id": str(number)}))
            number += 1
        status, answer = call(conn, "POST", "/v1/topics/tweets", "\n".join(lines).encode())
        if status != 200:
            raise SystemExit(f"append: {status} {answer}")
        sent["load"] += answer["accepted"]
        due += every
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        else:
            sent["behind"] = max(sent["behind"], -pause)


def probe(args, probes, sent, stop):
    conn, poll = connect(args.port + 3), connect(args.port + 4)
    names = ("Z" + "".join(letters) for letters in itertools.product(string.ascii_uppercase, repeat=5))
    while not stop.is_set():
        symbol = next(names)
        record = json.dumps({"created_at": now_text(), "text": f"probe ${symbol} good", "user_id": symbol})
        status, answer = call(conn, "POST", "/v1/topics/tweets", record.encode())
        if status != 200:
            raise SystemExit(f"probe: {status} {answer}")
        sent["probes"] += answer["accepted"]
        began = time.monotonic()
        while True:
            status, found = call(poll, "GET", f"/v1/views/symbol_sentiment/rows?key={symbol}&limit=1")
            if status == 200 and found["rows"]:
                break
            if time.monotonic() - began > 60:
                raise SystemExit(f"{symbol} was not visible after 60 s: {status} {found}")
            time.sleep(0.005)
        probes.append((began, time.monotonic() - began, next(iter(answer["positions"]))))
        time.sleep(0.1)


def rank(args, rankings, stop):
    conn = connect(args.port + 4)
    while not stop.is_set():
        began = time.monotonic()
        status, answer = call(conn, "GET", "/v1/views/symbol_sentiment/top?by=mentions&limit=20")
        if status == 200:
            rankings.append((time.monotonic() - began, bool(answer["provenance"].get("kept"))))
        time.sleep(0.1)


def quantiles(times):
    times = sorted(times)
    at = lambda q: 1000 * times[min(len(times) - 1, int(q * len(times)))]  # noqa: E731
    return f"p50 {at(0.5):.0f}  p90 {at(0.9):.0f}  p99 {at(0.99):.0f}  max {1000 * times[-1]:.0f}  ({len(times)})"


def guarded(failures, target, *args):
    def run():
        try:
            target(*args)
        except BaseException as error:  # the main thread reports it
            failures.append(f"{target.__name__}: {error!r}")
    return threading.Thread(target=run, daemon=True)


def measure(args, roles, workers):
    made = subprocess.run(
        [args.binary, "generate", "stock-sentiment", "--topic", "tweets", "--count", "20000", "--seed", "3"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    texts = [json.loads(line)["text"] for line in made]
    sent, probes, rankings, failures, stop = {"load": 0, "probes": 0, "behind": 0.0}, [], [], [], threading.Event()
    threads = [
        guarded(failures, load, args, texts, sent, stop),
        guarded(failures, probe, args, probes, sent, stop),
        guarded(failures, rank, args, rankings, stop),
    ]
    started = time.time()
    began, killed, used, used_at = time.monotonic(), None, {}, 0.0
    for thread in threads:
        thread.start()
    while time.monotonic() < began + args.seconds and not failures:
        if not used and time.monotonic() > began + args.warm:
            used, used_at = {name: processor_seconds(pid) for name, pid in processes(args, roles)}, time.monotonic()
        for role in roles:
            role.resident()
        if args.kill and killed is None and time.monotonic() > began + args.seconds / 3:
            victim = workers[0]
            # Where it worked: what it says of itself.
            _, status = call(connect(victim.port), "GET", "/v1/status")
            owned = {str(s["shard"]["partition"]) if isinstance(s.get("shard"), dict) else str(s.get("shard", "")).rsplit("/", 1)[-1]
                     for s in status["process"]["shards"]}
            victim.process.kill()
            victim.process.wait()
            killed = (time.monotonic(), owned)
        time.sleep(0.5)
    now = time.monotonic()
    shares = {}
    for name, pid in processes(args, roles):
        after = processor_seconds(pid)
        if used.get(name) is not None and after is not None:
            shares[name] = 100 * (after - used[name]) / (now - used_at)
    stop.set()
    for thread in threads:
        thread.join(timeout=70)
    if failures:
        raise SystemExit("; ".join(failures))
    total, serve = sent["load"] + sent["probes"], connect(args.port + 4)
    end = time.monotonic() + 60
    while True:
        _, status = call(serve, "GET", "/v1/status")
        position = sum(s["position"] for s in status["shards"] or [] if s["source"] == "tweets")
        if position >= total or time.monotonic() > end:
            break
        time.sleep(0.5)
    warm = [p for p in probes if p[0] > began + args.warm]
    print(f"rate {args.rate}/s for {args.seconds} s, {len(workers)} speed workers: {total} records acknowledged, "
          f"the load ran at most {sent['behind']:.2f} s behind")
    if killed:
        at, owned = killed
        print(f"killed a worker with partitions {sorted(owned)}")
        before = [t for b, t, _ in warm if b + t < at]
        after = [b + t for b, t, p in probes if b > at and (p in owned or not owned)]
        print(f"before the kill, ms: {quantiles(before)}")
        print(f"fresh again on its partitions after {min(after) - at:.1f} s" if after else "NEVER fresh again")
        settled = [t for b, t, _ in probes if after and b > min(after) + 5]
        if settled:
            print(f"from 5 s after that on, ms: {quantiles(settled)}")
    else:
        print(f"acknowledged to visible, ms: {quantiles([t for _, t, _ in warm])}")
    ready = [t for t, kept in rankings if kept]
    if ready:
        print(f"ranking of /top kept ready, ms: {quantiles(ready)}; {len(rankings) - len(ready)} of {len(rankings)} from the stores")
    else:
        print(f"no ranking was kept ready: {status.get('rankings')}")
    if shares:
        print("CPU after warming up, % of a core: " + "  ".join(f"{name} {share:.0f}" for name, share in shares.items())
              + f"  together {sum(shares.values()):.0f} of {100 * os.cpu_count()}")
    if args.slow:
        for at, took, partition in sorted(warm, key=lambda p: -p[1])[: args.slow]:
            print(f"slow: {1000 * took:.0f} ms, partition {partition}, began {time.strftime('%H:%M:%S', time.gmtime(started + at - began))}"
                  f".{int(1000 * ((started + at - began) % 1)):03d}")
    print("largest resident memory, MiB: " + "  ".join(f"{role.name} {role.peak:.0f}" for role in roles))
    print(f"taken in: {position} of {total}: {'nothing lost' if position == total else 'DIFFERENT by ' + str(total - position)}")
    if position != total:
        raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=150)
    parser.add_argument("--warm", type=float, default=60, help="seconds at the start whose probes do not count: the JVMs compile")
    parser.add_argument("--speed", type=int, default=1, help="speed workers")
    parser.add_argument("--kill", action="store_true", help="kill a speed worker after a third of the time")
    parser.add_argument("--slow", type=int, default=0, help="print when the N slowest probes began, to find their cause in the logs")
    parser.add_argument("--port-base", type=int, default=20_600)
    parser.add_argument("--folder", help="where the servers keep their data; a temporary one that is removed when absent")
    parser.add_argument("--definition", default=f"{ROOT}/schema/pipelines/stock-sentiment.toml")
    parser.add_argument("--keep", action="store_true", help="leave the servers running")
    args = parser.parse_args()
    args.binary, args.port = os.path.abspath(args.binary), args.port_base + 40
    args.folder = os.path.abspath(args.folder or tempfile.mkdtemp(prefix="tideline-latency-"))
    args.pipelines = f"{args.folder}/pipelines"
    os.makedirs(args.pipelines, exist_ok=True)
    shutil.copy(args.definition, args.pipelines)
    servers = [f"{ROOT}/infra/services/all.sh"]
    # As CQL servers are run: what survives one is its replicas. The tests that kill it sync each write instead.
    os.environ.setdefault("CASSANDRA_COMMITLOG_SYNC", "periodic")
    # The settings of tests are too small for this rate: with a heap of 512 MiB the collector is at work half of the time,
    # and with memtables of 128 MiB half of Cassandra's work is to merge the small files that they leave. These are the
    # defaults of its distribution for this heap, and of Kafka's (-Xms1g -Xmx1g).
    os.environ.setdefault("CASSANDRA_HEAP", "2g")
    os.environ.setdefault("CASSANDRA_JVM_OPTS", "-Xms2g -Xmn800m")
    os.environ.setdefault("CASSANDRA_GC", "Parallel")
    os.environ.setdefault("CASSANDRA_MEMTABLE_SPACE", "512MiB")
    os.environ.setdefault("CASSANDRA_MEMTABLE_TYPE", "offheap_objects")
    os.environ.setdefault("CASSANDRA_COMMITLOG_SPACE", "4GiB")
    os.environ.setdefault("KAFKA_HEAP", "1g")
    os.environ.setdefault("KAFKA_JVM_OPTS", "-Xms1g")
    env = {**os.environ, "PORT_BASE": str(args.port_base), "TIDELINE_LISTEN": f"127.0.0.1:{args.port + 4}"}
    roles = []
    try:
        subprocess.run([*servers, "start", args.folder], check=True, env=env, stdout=subprocess.DEVNULL)
        config = subprocess.run([*servers, "config", args.folder], check=True, env=env, capture_output=True, text=True)
        with open(f"{args.folder}/tideline.toml", "w") as file:
            file.write(config.stdout)
        migrate = [args.binary, "migrate", "--config", f"{args.folder}/tideline.toml", "--pipelines", args.pipelines]
        subprocess.run(migrate, check=True)
        roles.append(Role(args, "ingest", ["ingest"], args.port + 3))
        roles[0].wait_ready()
        workers = [Role(args, f"speed{at}", ["speed"], args.port + 10 + at) for at in range(args.speed)]
        roles += workers
        for worker in workers:
            worker.wait_ready()
        # Beside the others on the same cores, as one would run it there: it has time.
        roles.append(Role(args, "batch", ["batch"], args.port + 2, nice=10))
        roles.append(Role(args, "serve", ["serve"], args.port + 4))
        for role in roles:
            role.wait_ready()
        measure(args, roles, workers)
    finally:
        for role in reversed(roles):
            role.stop()
        if not args.keep:
            subprocess.run([*servers, "stop", args.folder], env=env, stdout=subprocess.DEVNULL)
            if "tideline-latency-" in args.folder:
                subprocess.run(["rm", "-rf", args.folder])


if __name__ == "__main__":
    main()
