#!/usr/bin/env python3
"""Time from an append to its frame at a WebSocket, under load, in the running program.

    bench/live.py BINARY [--rate 12000] [--seconds 60] [--interval 100ms] [--clients 8]

`tideline generate customer-sentiment` appends at the rate. Ten times a second a message from a city that no other message
has is appended as well, and looked for in the frames of `/v1/live`: in `metrics:update` (view `sentiment_by_city`), and in
`message:new`, which has the newest messages of a moment and counts the others. The time runs from before the append
until the frame has come. The other clients read everything, too. Prints the quantiles, and what came how often.
"""

import argparse
import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "acceptance"))
from server import Server  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROBE = re.compile(rb'"city":"probe-(\d+)"')


class Socket:
    """As much of a WebSocket client as this needs."""

    def __init__(self, port, query):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /v1/live?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        self.stream.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        self.file = self.stream.makefile("rb", buffering=1 << 16)
        status = self.file.readline()
        if b" 101 " not in status:
            raise SystemExit(status.decode())
        while self.file.readline() != b"\r\n":
            pass

    def frames(self):
        """Texts of frames; pings are answered."""
        while True:
            head = self.file.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            length = head[1] & 127
            if length >= 126:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
            payload = self.file.read(length)
            if head[0] & 15 == 9:
                self.stream.sendall(bytes([0x8A, 0x80, 0, 0, 0, 0]))
            elif head[0] & 15 == 1:
                yield payload


def watch(port, query, sent, found, counts, stop):
    for frame in Socket(port, query).frames():
        at = time.monotonic()
        counts[frame[10:frame.index(b'"', 10)].decode()] = counts.get(frame[10:frame.index(b'"', 10)].decode(), 0) + 1
        counts["bytes"] = counts.get("bytes", 0) + len(frame)
        kind = "metrics" if frame.startswith(b'{"event":"metrics') else "messages" if frame.startswith(b'{"event":"message') else None
        if kind:
            for number in PROBE.findall(frame):
                if int(number) in sent:
                    found[kind].setdefault(int(number), at - sent[int(number)])
        if stop.is_set():
            return


def probe(port, sent, stop):
    conn, number = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    while not stop.is_set():
        at = time.time()
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03}Z"
        record = {"id": f"probe-{number}", "created_at": created, "text": "works great, thank you", "city": f"probe-{number}"}
        record |= {"product": None, "channel": "social", "platform": "web", "author": None, "language": "en"}
        sent[number] = time.monotonic()
        conn.request("POST", "/v1/topics/sentiment.raw", body=json.dumps(record).encode())
        answer = conn.getresponse()
        if (answer.status, json.loads(answer.read())["accepted"]) != (200, 1):
            raise SystemExit(f"not accepted: {answer.status}")
        number += 1
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--rate", type=int, default=12_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--interval", default="100ms")
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="tideline-live-")
    server = Server(os.path.abspath(args.binary), f"{folder}/data", f"{ROOT}/schema/pipelines").start()
    sent, found, counts, others, stop = {}, {"metrics": {}, "messages": {}}, {}, {}, threading.Event()
    url = f"http://127.0.0.1:{server.port}"
    load = subprocess.Popen([args.binary, "generate", "customer-sentiment", "--rate", f"{args.rate}/s", "--into", url],
                            stdout=subprocess.DEVNULL)
    try:
        query = f"view=sentiment_by_city&alert=none&rows=1000&messages=500&interval={args.interval}"
        everything = f"view=sentiment_overall&view=sentiment_by_city&view=sentiment_by_product&interval={args.interval}"
        threads = [threading.Thread(target=watch, args=(server.port, query, sent, found, counts, stop), daemon=True)]
        for _ in range(args.clients - 1):
            threads.append(threading.Thread(target=watch, args=(server.port, everything, {}, found, others, stop), daemon=True))
        for thread in threads:
            thread.start()
        time.sleep(5)
        prober = threading.Thread(target=probe, args=(server.port, sent, stop), daemon=True)
        prober.start()
        time.sleep(args.seconds)
        status = server.get("/v1/status")
        stop.set()
        prober.join(timeout=35)
        time.sleep(2)
        position = sum(shard["position"] for shard in status["shards"] if shard["source"] == "sentiment")
        lag = sum(shard["lag"] for shard in status["shards"] if shard["source"] == "sentiment")
        print(f"{args.clients} clients, interval {args.interval}, {args.rate}/s asked for: {position} records taken in, lag {lag}")
        for kind, times in found.items():
            times = sorted(times.values())
            if not times:
                raise SystemExit(f"no probe was seen in {kind}")
            at = lambda q: 1000 * times[min(len(times) - 1, int(q * len(times)))]  # noqa: E731
            print(f"append to {kind}, ms: p50 {at(0.5):.0f}  p90 {at(0.9):.0f}  p99 {at(0.99):.0f}  max {1000 * times[-1]:.0f}"
                  f"  ({len(times)} of {len(sent)} probes)")
        print(f"frames of the probing client: {counts}; of the others: {others}")
    finally:
        load.terminate()
        load.wait()
        if server.process.poll() is None:
            server.stop()
        subprocess.run(["rm", "-rf", folder], check=True)


if __name__ == "__main__":
    main()
