#!/usr/bin/env python3
"""Time from an acknowledged append to its visibility in /rows, under load, in the running program.

    bench/latency.py BINARY [--rate 10000] [--seconds 60]

One thread appends generated tweets at the rate; another appends, ten times a second, one tweet about a symbol that no
other tweet has, and polls /rows for it from the moment of the acknowledgement. Prints the quantiles of that time, the
largest resident memory, and whether everything that was acknowledged is in the answer.
"""

import argparse
import http.client
import itertools
import json
import os
import string
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "acceptance"))
from server import Server  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def now_text():
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


def connection(server):
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def call(conn, method, path, body=None):
    conn.request(method, path, body=body)
    answer = conn.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{path}: {answer.status} {data[:300]}")
    return json.loads(data)


def load(server, args, texts, sent, stop):
    """Appends at the rate, in requests of 20 ms worth of records."""
    conn, every = connection(server), 0.02
    size = max(1, int(args.rate * every))
    due, number = time.monotonic(), 0
    while not stop.is_set():
        at = now_text()
        lines = []
        for _ in range(size):
            lines.append(json.dumps({"created_at": at, "text": texts[number % len(texts)], "user_id": str(number)}))
            number += 1
        sent["load"] += call(conn, "POST", "/v1/topics/tweets", "\n".join(lines).encode())["accepted"]
        due += every
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        else:
            sent["behind"] = max(sent["behind"], -pause)


def probe(server, times, sent, stop):
    conn, poll = connection(server), connection(server)
    names = ("Z" + "".join(letters) for letters in itertools.product(string.ascii_uppercase, repeat=5))
    while not stop.is_set():
        symbol = next(names)
        record = json.dumps({"created_at": now_text(), "text": f"probe ${symbol} good", "user_id": symbol})
        sent["probes"] += call(conn, "POST", "/v1/topics/tweets", record.encode())["accepted"]
        began = time.monotonic()
        while True:
            if call(poll, "GET", f"/v1/views/symbol_sentiment/rows?key={symbol}&limit=1")["rows"]:
                break
            if time.monotonic() - began > 30:
                raise SystemExit(f"{symbol} was not visible after 30 s")
            time.sleep(0.002)
        times.append(time.monotonic() - began)
        time.sleep(0.1)


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    made = subprocess.run(
        [args.binary, "generate", "stock-sentiment", "--topic", "tweets", "--count", "20000", "--seed", "3"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    texts = [json.loads(line)["text"] for line in made]
    folder = tempfile.mkdtemp(prefix="tideline-latency-")
    server = Server(os.path.abspath(args.binary), f"{folder}/data", f"{ROOT}/schema/pipelines").start()
    sent, times, memory, stop = {"load": 0, "probes": 0, "behind": 0.0}, [], [], threading.Event()
    try:
        threads = [
            threading.Thread(target=load, args=(server, args, texts, sent, stop), daemon=True),
            threading.Thread(target=probe, args=(server, times, sent, stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + args.seconds
        while time.monotonic() < end:
            memory.append(resident_mib(server.process.pid))
            time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join(timeout=35)
        time.sleep(1)
        status = server.get("/v1/status")
        position = sum(s["position"] for s in status["shards"] if s["source"] == "tweets")
        total = sent["load"] + sent["probes"]
        times.sort()
        at = lambda q: 1000 * times[min(len(times) - 1, int(q * len(times)))]  # noqa: E731
        print(f"rate {args.rate}/s for {args.seconds} s: {total} records acknowledged, the load ran at most {sent['behind']:.2f} s behind")
        print(f"acknowledged to visible, ms: p50 {at(0.5):.0f}  p90 {at(0.9):.0f}  p99 {at(0.99):.0f}  max {1000 * times[-1]:.0f}  ({len(times)} probes)")
        print(f"resident memory, MiB: start {memory[0]:.0f}  middle {memory[len(memory) // 2]:.0f}  max {max(memory):.0f}")
        print(f"taken in: {position} of {total}: {'nothing lost' if position == total else 'LOST ' + str(total - position)}")
        if position != total:
            raise SystemExit(1)
    finally:
        if server.process.poll() is None:
            server.stop()
        subprocess.run(["rm", "-rf", folder], check=True)


if __name__ == "__main__":
    main()
