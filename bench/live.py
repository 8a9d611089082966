#!/usr/bin/env python3
"""Time from an append to the WebSocket, with all enrichers, under load, in the running program.

    bench/live.py BINARY [--rate 12000] [--seconds 60]          needs `pip install websockets`

One process appends generated messages to `sentiment.raw` at the rate; a thread of another appends, ten times a second, one
message that is known by its id. A client of /v1/live waits for it in `message:new`. Prints the quantiles of the time from before the append
was sent, and from its acknowledgement; the largest resident memory; and whether everything that was acknowledged was taken
in and told to the client.
"""

import argparse
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from websockets.sync.client import connect

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from latency import ROOT, Server, call, connection, resident_mib  # noqa: E402

TOPIC = "/v1/topics/sentiment.raw"
PROBE = re.compile(rb'"id":"probe-(\d+)"')
SKIPPED = re.compile(rb'"skipped":(\d+)')


def now_text():
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"


def load(server, args, rests, sent, behind, go, stop):
    """Appends at the rate, in requests of 20 ms worth of records. In a process of its own: who measures must not wait for it."""
    conn, every = connection(server), 0.02
    go.wait()
    size = max(1, int(args.rate * every))
    due, number = time.monotonic(), 0
    while not stop.is_set():
        at, lines = now_text(), []
        for _ in range(size):
            lines.append(f'{{"id":"load-{number}","created_at":"{at}",{rests[number % len(rests)]}')
            number += 1
        sent.value += call(conn, "POST", TOPIC, "\n".join(lines).encode())["accepted"]
        due += every
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        else:
            behind.value = max(behind.value, -pause)


def probe(server, rests, began, acknowledged, sent, stop):
    conn, number = connection(server), 0
    while not stop.is_set():
        record = f'{{"id":"probe-{number}","created_at":"{now_text()}",{rests[number % len(rests)]}'
        began[number] = time.monotonic()
        sent["probes"] += call(conn, "POST", TOPIC, record.encode())["accepted"]
        acknowledged[number] = time.monotonic()
        number += 1
        time.sleep(0.1)


def watch(socket, seen, told, stop):
    while not stop.is_set():
        try:
            frame = socket.recv(timeout=0.5, decode=False)
        except TimeoutError:
            continue
        at = time.monotonic()
        if frame.startswith(b'{"event":"message:new"'):
            told["frames"] += 1
            told["messages"] += frame.count(b'"toxicity":')
            told["skipped"] += sum(int(n) for n in SKIPPED.findall(frame))
            for number in PROBE.findall(frame):
                seen.setdefault(int(number), at)
        else:
            told["others"] += 1


def quantiles(times):
    times = sorted(times)
    at = lambda q: 1000 * times[min(len(times) - 1, int(q * len(times)))]  # noqa: E731
    return f"p50 {at(0.5):.0f}  p90 {at(0.9):.0f}  p99 {at(0.99):.0f}  max {1000 * times[-1]:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--rate", type=int, default=12_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--interval", default="50ms", help="of the client")
    parser.add_argument("--messages", type=int, default=2_000, help="in one frame at most")
    args = parser.parse_args()
    made = subprocess.run(
        [args.binary, "generate", "customer-sentiment", "--count", "20000", "--seed", "3"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    # What follows id and time, without the first brace.
    rests = [json.dumps({name: value for name, value in json.loads(line).items() if name not in ("id", "created_at")})[1:] for line in made]
    folder = tempfile.mkdtemp(prefix="tideline-live-")
    os.mkdir(f"{folder}/pipelines")
    shutil.copy(f"{ROOT}/schema/pipelines/customer-sentiment.toml", f"{folder}/pipelines")
    server = Server(os.path.abspath(args.binary), f"{folder}/data", f"{folder}/pipelines", {"TIDELINE_BATCH__SCHEDULE": ""}).start()
    sent, told = {"probes": 0}, {"frames": 0, "messages": 0, "skipped": 0, "others": 0}
    began, acknowledged, seen, memory = {}, {}, {}, []
    loaded, behind = multiprocessing.Value("q", 0), multiprocessing.Value("d", 0.0)
    go, stop, gone = multiprocessing.Event(), multiprocessing.Event(), threading.Event()
    # While this process has no other thread.
    loading = multiprocessing.Process(target=load, args=(server, args, rests, loaded, behind, go, stop), daemon=True)
    loading.start()
    url = f"ws://127.0.0.1:{server.port}/v1/live?view=sentiment_overall&view=sentiment_by_city&output=processed&alert=churn&interval={args.interval}&messages={args.messages}"
    try:
        with connect(url, max_size=None, compression=None) as socket:
            probing = threading.Thread(target=probe, args=(server, rests, began, acknowledged, sent, stop), daemon=True)
            watcher = threading.Thread(target=watch, args=(socket, seen, told, gone), daemon=True)
            for thread in [watcher, probing]:
                thread.start()
            go.set()
            end = time.monotonic() + args.seconds
            while time.monotonic() < end:
                memory.append(resident_mib(server.process.pid))
                time.sleep(1)
            stop.set()
            for thread in [loading, probing]:
                thread.join(timeout=35)
            total = loaded.value + sent["probes"]
            patience = time.monotonic() + 20
            while told["messages"] + told["skipped"] < total and time.monotonic() < patience:
                time.sleep(0.2)
            gone.set()
            watcher.join(timeout=5)
        # A message is told before its shard says that it has been taken in.
        position, patience = 0, time.monotonic() + 5
        while position != total and time.monotonic() < patience:
            shards = server.get("/v1/status")["shards"]
            position = sum(s["position"] for s in shards if s["source"] == "sentiment")
        late = [n for n in began if n not in seen]
        whole = [seen[n] - began[n] for n in seen if n in began]
        after = [max(0.0, seen[n] - acknowledged[n]) for n in seen if n in acknowledged]
        print(f"rate {args.rate}/s for {args.seconds} s: {total} records acknowledged, the load ran at most {behind.value:.2f} s behind")
        print(f"append sent to WebSocket, ms:  {quantiles(whole)}  ({len(whole)} probes, {len(late)} not told one by one)")
        print(f"acknowledged to WebSocket, ms: {quantiles(after)}")
        print(f"resident memory, MiB: start {memory[0]:.0f}  middle {memory[len(memory) // 2]:.0f}  max {max(memory):.0f}")
        print(f"client: {told['frames']} frames of messages, {told['messages']} messages, {told['skipped']} skipped, {told['others']} other frames")
        lost = [what for what, count in (("taken in", position), ("told", told["messages"] + told["skipped"])) if count != total]
        print(f"taken in: {position}, told: {told['messages'] + told['skipped']} of {total}: {'nothing lost' if not lost else 'DIFFERENT: ' + ', '.join(lost)}")
        if lost:
            raise SystemExit(1)
    finally:
        if server.process.poll() is None:
            server.stop()
        subprocess.run(["rm", "-rf", folder], check=True)


if __name__ == "__main__":
    main()
