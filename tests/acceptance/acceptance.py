#!/usr/bin/env python3
"""Runs the program as a user would and compares every answer with an independent computation.

    acceptance.py BINARY stock   [--tweets FILE --prices FILE] [--kills N] [--seed N]
    acceptance.py BINARY movies  [--kills N] [--seed N]

Without files the records come from `tideline generate`. `--kills` kills the process (SIGKILL) that many times at
random moments during ingest; the answers must be the same.
"""

import argparse
import glob
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections import Counter

sys.path.insert(0, os.path.dirname(__file__))
import reference  # noqa: E402
from server import Server  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file if line.strip()]


def generated(binary, system, topic, count, seed):
    command = [binary, "generate", system, "--topic", topic, "--count", str(count), "--seed", str(seed)]
    command += ["--start", "2024-05-06T13:30:00Z", "--duplicates", "0.02", "--broken", "0.02"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def next_offsets(server, topic):
    """Number of records that the log has taken of a topic."""
    status = server.get("/v1/status")
    return sum(partition["next"] for partition in status["process"]["topics"][topic]["partitions"].values())


def ingest(server, streams, kills, rng):
    """Sends every line once, in order per topic, with `kills` SIGKILLs on the way."""
    chunks = []
    for topic, lines in streams.items():
        size = 500
        chunks += [(at / max(1, len(lines)), topic, lines[at : at + size]) for at in range(0, len(lines), size)]
    # Interleaved in event time, as they would come: both streams advance together.
    chunks.sort(key=lambda chunk: chunk[0])
    deadly = set(rng.sample(range(len(chunks)), min(kills, len(chunks))))
    taken = Counter()
    for number, (_, topic, lines) in enumerate(chunks):
        if number in deadly:
            # While the request is under way or shortly after it.
            killer = threading.Timer(rng.uniform(0, 0.05), server.kill)
            killer.start()
            try:
                server.post_lines(topic, lines)
                answered = True
            except (urllib.error.URLError, OSError):
                answered = False
            killer.join()
            server.start()
            have = next_offsets(server, topic) - taken[topic]
            if answered and have != len(lines):
                raise SystemExit(f"{topic}: {len(lines)} records were acknowledged, {have} survived the kill")
            if have not in (0, len(lines)):
                raise SystemExit(f"{topic}: a request was taken in part: {have} of {len(lines)} records")
            if have == 0:
                server.post_lines(topic, lines)
        else:
            if kills:
                time.sleep(rng.uniform(0, 0.1))
            answer = server.post_lines(topic, lines)
            if answer["accepted"] != len(lines):
                raise SystemExit(f"{topic}: accepted {answer['accepted']} of {len(lines)}")
        taken[topic] += len(lines)


def wait_until_visible(server, streams):
    """Until the speed layer has taken in everything."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = server.get("/v1/status")
        shards = status["process"]["shards"]
        if all(shard["lag"] == 0 for shard in shards):
            if sum(shard["flushed"] for shard in shards) == sum(map(len, streams.values())):
                return
        time.sleep(0.1)
    raise SystemExit(f"the speed layer did not catch up: {status}")


def check_bronze(data, sources):
    """Bronze holds every record byte for byte exactly once."""
    import polars as pl

    for source, lines in sources.items():
        files = sorted(glob.glob(f"{data}/lake/bronze/{source}/*/*.parquet"))
        found = Counter()
        for file in files:
            found.update(pl.read_parquet(file)["payload"].to_list())
        sent = Counter(line.encode() for line in lines)
        if found != sent:
            raise SystemExit(f"Bronze of {source}: {sum((sent - found).values())} lost, {sum((found - sent).values())} too many")
        print(f"  Bronze of {source}: {sum(found.values())} records in {len(files)} files, byte for byte, each once")


def compare(server, view, expected, layers):
    for layer in layers:
        found = server.rows(view, layer)
        problems = reference.differences(expected, found)
        if problems:
            raise SystemExit(f"{view}, layer {layer}:\n  " + "\n  ".join(problems))
        print(f"  {view}, layer {layer}: {len(expected)} rows equal")


def run(binary, args, streams, sources, expected):
    rng = random.Random(args.seed)
    folder = tempfile.mkdtemp(prefix="tideline-acceptance-")
    # With kills: checkpoints often and records slowly, so that kills fall before, into and after durable steps.
    env = {"TIDELINE_SPEED__CHECKPOINT_INTERVAL": "150ms"} if args.kills else {}
    server = Server(binary, f"{folder}/data", f"{ROOT}/schema/pipelines", env).start()
    try:
        began = time.monotonic()
        ingest(server, streams, args.kills, rng)
        print(f"  {sum(map(len, streams.values()))} records taken in {time.monotonic() - began:.1f} s, {args.kills} kills")
        wait_until_visible(server, streams)
        for view, rows in expected.items():
            compare(server, view, rows, ["speed", "merged"])
        run = server.batch()
        print(f"  batch run {run['id']}: {run['state']}")
        for view, rows in expected.items():
            compare(server, view, rows, ["speed", "batch", "merged"])
        check_bronze(f"{folder}/data", sources)
    finally:
        if server.process.poll() is None:
            server.stop()
    verify = subprocess.run([binary, "verify", "--data", f"{folder}/data", "--pipelines", server.pipelines], capture_output=True, text=True)
    print("  " + verify.stdout.strip().replace("\n", "\n  "))
    if verify.returncode:
        raise SystemExit(f"tideline verify: {verify.stderr}")
    subprocess.run(["rm", "-rf", folder, f"{folder}/data.log"], check=True)


def stock(binary, args):
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    if args.tweets:
        tweets, prices = lines_of(args.tweets), lines_of(args.prices)
    else:
        tweets = generated(binary, "stock-sentiment", "tweets", 8_000, args.seed)
        prices = generated(binary, "stock-sentiment", "stock-prices", 2_000, args.seed + 1)
    mentions = reference.Mentions(tweets, lambda text: analyzer.polarity_scores(text)["compound"])
    bars = reference.Bars(prices)
    answers = reference.symbol_sentiment(mentions, bars)
    expected = {"symbol_sentiment": {(symbol, reference.iso(at)): row for (symbol, at), row in answers.items()}}
    run(binary, args, {"tweets": tweets, "stock-prices": prices}, {"tweets": tweets, "stock_prices": prices}, expected)


def movies(binary, args):
    events = generated(binary, "movie-viewing", "movie-viewing-events", 10_000, args.seed)
    views = reference.movie_views(reference.movie_events(events))
    expected = {view: {(key, reference.iso(at)): row for (key, at), row in rows.items()} for view, rows in views.items()}
    run(binary, args, {"movie-viewing-events": events}, {"viewing": events}, expected)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("system", choices=["stock", "movies"])
    parser.add_argument("--tweets")
    parser.add_argument("--prices")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{args.system}: seed {args.seed}, {args.kills} kills")
    {"stock": stock, "movies": movies}[args.system](os.path.abspath(args.binary), args)


if __name__ == "__main__":
    main()
