#!/usr/bin/env python3
"""Kills, stops and starves the platform and its servers while records come in, and checks that nothing shows.

    crash.py BINARY [--iterations 100] [--seed 1] [--budget SECONDS] [--keep FOLDER]

Kafka, Cassandra, MinIO and ClickHouse run as processes (those of TIDELINE_TEST_SERVICES, else of its own), and over them
2 to 3 workers of the speed layer, 2 servers, ingest and batch. Every iteration sends a seeded stretch of input through
HTTP and meanwhile, at random: kills roles and servers, adds and removes workers, stops a worker until its partitions
are somebody else's and wakes it, stops servers for seconds, expires the log, damages checkpoints, runs batch. Data goes on
from iteration to iteration. Then it waits until all is quiet and compares with an independent computation on what Kafka
really holds: records acknowledged, Bronze, dead letters, every layer's answers from every server, ClickHouse, agreement.

Exits with 1 on any difference, and keeps the logs then.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
from collections import Counter

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "acceptance")]
import checks  # noqa: E402
import faults  # noqa: E402
import stream  # noqa: E402
from cluster import ROOT, Cluster, Servers  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from lake import Lake  # noqa: E402
from truth import SOURCES, Truth, TOPICS  # noqa: E402
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # noqa: E402

PARTITIONS = {"tweets": 4, "stock-prices": 2}
TWEETS, PRICES, CHUNK = 1500, 300, 50
STREAM_SECONDS = 5.0
QUIET_SECONDS = 90
# After so many iterations every kind of fault has been there.
SURELY_ALL = 10


class Failed(Exception):
    """What does not hold, as sentences."""

    def __init__(self, problems):
        super().__init__("; ".join(problems[:3]))
        self.problems = problems


def scores():
    analyzer, known = SentimentIntensityAnalyzer(), {}

    def compound(text):
        if text not in known:
            known[text] = analyzer.polarity_scores(text)["compound"]
        return known[text]

    return compound


class Run:
    def __init__(self, args, servers, work):
        self.args, self.work, self.servers = args, work, servers
        self.rng = random.Random(args.seed)
        environment = servers.environment()
        self.brokers = environment["TIDELINE_TEST_KAFKA"]
        # Of this run alone: the servers may have seen another one.
        prefix = f"crash{args.seed}x{os.getpid()}"
        pipelines = os.path.join(work, "pipelines")
        os.makedirs(pipelines)
        shutil.copy(os.path.join(ROOT, "schema", "pipelines", "stock-sentiment.toml"), pipelines)
        self.cluster = Cluster(args.binary, servers, work, pipelines, prefix)
        self.admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        self.make_topics()
        migrated = self.cluster.command("migrate")
        if migrated.returncode:
            raise SystemExit(f"tideline migrate: {migrated.stderr[-3000:]}")
        self.lake = Lake(environment["TIDELINE_TEST_S3"], prefix)
        self.clickhouse = checks.ClickHouse(environment["TIDELINE_TEST_CLICKHOUSE"], prefix)
        self.truth = Truth(self.brokers, PARTITIONS)
        self.compound = scores()
        self.least, self.most, self.broken = Counter(), Counter(), set()
        self.verified, self.letters = {}, {}
        self.faults, self.totals = Counter(), Counter()
        # Kinds of faults that have not been there yet.
        self.owed = [kind for kind in faults.WEIGHTS if not args.only or kind in args.only.split(",")]
        self.rng.shuffle(self.owed)
        self.slowest, self.slowest_recovery = 0.0, 0.0
        self.seconds = Counter()  # of each part of an iteration, for those who want it faster
        for kind in ("speed", "speed", "serve", "serve", "ingest", "batch"):
            self.cluster.add(kind)

    def make_topics(self):
        there = [t for t in self.admin.list_topics(timeout=10).topics if t in PARTITIONS or t.startswith("tideline.")]
        if there:
            for gone in self.admin.delete_topics(there).values():
                gone.result(20)
        new = [NewTopic(topic, count, 1, config={"segment.bytes": "1048576"}) for topic, count in PARTITIONS.items()]
        for attempt in range(20):
            try:
                for made in self.admin.create_topics(new).values():
                    made.result(30)
                break
            except Exception:
                if attempt == 19:
                    raise
                time.sleep(0.5)  # a deleted one goes a little later
        while True:  # created is not yet known
            known = self.admin.list_topics(timeout=10).topics
            if all(topic in known and len(known[topic].partitions) == count for topic, count in PARTITIONS.items()):
                return
            time.sleep(0.1)

    def iteration(self, number):
        self.event(f"iteration {number}")
        one = stream.Round(self.args.seed, number, TWEETS, PRICES, CHUNK)
        self.broken |= one.broken
        began = time.monotonic()
        senders = [
            stream.Sender(topic, chunks, STREAM_SECONDS, self.targets, random.Random(f"{self.args.seed}/{number}/{topic}"), self.least, self.most)
            for topic, chunks in one.streams.items()
        ]
        for sender in senders:
            sender.start()
        at_work = faults.plan(self, random.Random(f"{self.args.seed}/{number}/faults"), STREAM_SECONDS)
        while any(sender.is_alive() for sender in senders) or any(fault.is_alive() for fault in at_work):
            self.cluster.supervise()
            time.sleep(0.1)
            if time.monotonic() - began > 180:
                raise Failed([f"sending or a fault does not end: {[t.name for t in senders + at_work if t.is_alive()]}"])
        for thread in senders + at_work:
            if thread.error:
                raise Failed([f"{thread.name}: {thread.error!r}"])
        self.totals["retried requests"] += sum(sender.retries for sender in senders)
        self.totals["records sent"] += sum(len(chunk) for chunks in one.streams.values() for chunk in chunks)
        sent = time.monotonic()
        self.cluster.heal()
        ends = self.truth.catch_up(60)
        self.quiet(ends)
        quiet = time.monotonic()
        self.check(one)
        done = time.monotonic()
        self.slowest = max(self.slowest, done - began)
        self.slowest_recovery = max(self.slowest_recovery, quiet - sent)
        self.seconds["sending"] += sent - began
        self.seconds["settling"] += quiet - sent
        return sent - began, quiet - sent, done - quiet

    def targets(self):
        found = [role for kind in ("ingest", "serve") for role in self.cluster.of(kind) if role.alive()]
        return found or self.cluster.of("ingest")

    def event(self, text):
        with open(os.path.join(self.work, "logs", "harness.log"), "a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def quiet(self, ends):
        """Until all that Kafka holds is visible and in Bronze."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            self.cluster.supervise()
            shards = self.cluster.shards()
            behind = []
            for source, topic in SOURCES.items():
                for (of, partition), end in ends.items():
                    if of == topic and end > 0:
                        status = shards.get((source, partition))
                        if not status or status["flushed"] < end or status["bronze"] < end:
                            known = {k: status[k] for k in ("worker", "condition", "reason", "position", "flushed", "bronze")} if status else None
                            behind.append(f"{source}/{partition} of {end}: {known}")
            if not behind:
                return
            if time.monotonic() > deadline:
                raise Failed([f"not quiet after {QUIET_SECONDS} s: {behind}"])
            time.sleep(0.1)

    def patiently(self, what, call, seconds=60):
        """A request to processes that may have started a moment ago: what they cannot answer yet is asked again."""
        began = time.monotonic()
        deadline = began + seconds
        while True:
            try:
                found = call()
                self.seconds[what] += time.monotonic() - began
                return found
            except (urllib.error.URLError, OSError, ValueError, SystemExit) as error:
                if time.monotonic() > deadline:
                    detail = error.read()[:500] if isinstance(error, urllib.error.HTTPError) else ""
                    raise Failed([f"{what}: {error} {detail}"]) from None
                self.cluster.supervise()
                time.sleep(0.2)

    def check(self, one, whole=False):
        """All checks; `whole`: over everything since the beginning."""
        self.truth.understand(self.broken)
        # Late records reach back into the round before.
        begin, end = (stream.START if whole else one.begin - stream.LATE - checks.T.SIZE), one.end
        serve = self.cluster.of("serve")
        batch = self.cluster.of("batch")[0]
        problems = checks.sent(self.truth, self.least, self.most)
        found, records = self.patiently("Bronze", lambda: checks.bronze(self.lake, self.truth, {} if whole else self.verified))
        problems += found
        found, letters = self.patiently("dead letters", lambda: checks.dead_letters(self.lake, self.truth, self.broken, {} if whole else self.letters))
        problems += found
        expected = checks.Expected(self.truth, begin, end, self.compound)
        found, compared = self.patiently("answers before batch", lambda: checks.view(serve[:1], expected, ["speed", "merged"]))
        problems += found
        # A run of the schedule may have begun before the last record was in Bronze: this one begins after.
        self.patiently("batch run", batch.batch, 90)
        found, more = self.patiently("answers", lambda: checks.view(serve, expected, ["speed", "batch", "merged"]))
        problems += found
        compared += more
        found, kept = self.patiently("rankings", lambda: checks.ranking(serve, expected))
        problems += found
        symbol = one.symbols[0]
        problems += self.patiently("lookup", lambda: checks.lookup(serve[-1], self.truth, one.begin, one.end, symbol, self.compound))
        problems += self.patiently("agreement", lambda: checks.agreement(serve[0]))
        found, panes = self.patiently("ClickHouse", lambda: checks.clickhouse(self.clickhouse, self.lake, expected))
        problems += found
        if whole:
            verify = self.cluster.command("verify")
            self.event(f"verify: {verify.returncode} {verify.stdout} {verify.stderr}")
            if verify.returncode:
                problems.append(f"tideline verify exits with {verify.returncode}: {verify.stdout[-1500:]} {verify.stderr[-1500:]}")
        died = [f"{name} ended by itself with {code}" for name, code in self.cluster.ended if code not in (0, 1)]
        if died:
            problems.append(f"processes ended badly: {died}")
        if problems:
            raise Failed(problems)
        if not whole:
            self.totals["records in Bronze"] += records
        self.totals["answers compared"] += compared
        self.totals["rows of ClickHouse compared"] += panes
        self.totals["rankings from memory"] += kept
        self.totals["dead letters"] = letters

    def late(self):
        return sum(row.late for rows in self.truth.rows.values() for row in rows)


def keep(run, args, number, problems):
    folder = os.path.join(args.keep, f"seed{args.seed}-iteration{number}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(run.work, "logs"), folder)
    with open(os.path.join(folder, "problems.txt"), "w") as file:
        file.write("\n".join(problems) + "\n")
    with open(os.path.join(folder, "status.json"), "w") as file:
        file.write(run.cluster.states())
    for name in ("kafka/kafka.log", "cassandra/cassandra.log", "minio.log", "clickhouse.log"):
        source = os.path.join(run.servers.folder, name)
        if os.path.exists(source):
            shutil.copy(source, os.path.join(folder, "server-" + os.path.basename(name)))
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=3600, help="seconds after which no iteration begins")
    parser.add_argument("--keep", default=os.path.join(ROOT, ".tideline", "crash"), help="folder for the logs of a failure")
    parser.add_argument("--only", help="kinds of faults, separated by commas")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    began = time.monotonic()

    work = tempfile.mkdtemp(prefix="tideline-crash-")
    shared = os.environ.get("TIDELINE_TEST_SERVICES")
    servers = Servers(shared or os.path.join(work, "servers"), own=not shared)
    run, failure, finished, number = None, None, 0, 0
    # An end by signal stops all processes too.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    try:
        # Also with somebody else's servers: one of them may not be there.
        servers.run("start")
        run = Run(args, servers, work)
        print(f"crash: seed {args.seed}, up to {args.iterations} iterations, {args.budget:.0f} s; set up in {time.monotonic() - began:.1f} s", flush=True)
        for number in range(args.iterations):
            if time.monotonic() - began > args.budget:
                break
            sending, settling, checking = run.iteration(number)
            finished += 1
            print(f"  {number + 1}: {sending:.1f} s sending, {settling:.1f} s settling, {checking:.1f} s checking; {run.last}", flush=True)
        if finished:
            one = stream.Round(args.seed, finished - 1, TWEETS, PRICES, CHUNK)
            run.check(one, whole=True)
            if run.owed and finished >= SURELY_ALL and not args.only:
                failure = [f"in {finished} iterations these faults never happened: {run.owed}"]
        else:
            failure = [f"no iteration began within {args.budget:.0f} s: nothing is shown"]
    except Failed as failed:
        failure = failed.problems
    except Exception:
        failure = [traceback.format_exc()]
    finally:
        if failure and run:
            print(f"crash: FAILED in iteration {number + 1}; logs in {keep(run, args, number + 1, failure)}", flush=True)
        if run:
            run.cluster.stop()
            run.truth.close()
        if servers.own:
            try:
                servers.run("wipe")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr)
        shutil.rmtree(work, ignore_errors=True)
    if run:
        summary(run, args, finished, failure, time.monotonic() - began)
    for problem in (failure or [])[:20]:
        print(f"  {problem}")
    sys.exit(1 if failure else 0)


def summary(run, args, finished, failure, seconds):
    problems = failure or []
    lost = sum("LOST" in problem for problem in problems)
    duplicated = sum("DUPLICATED" in problem for problem in problems)
    print(f"crash: {finished} of {args.iterations} iterations in {seconds:.0f} s, seed {args.seed}, slowest {run.slowest:.1f} s")
    print(f"  recovery (from the end of the last fault until everything is visible and in Bronze): at most {run.slowest_recovery:.1f} s")
    print("  faults: " + ", ".join(f"{name} {count}" for name, count in sorted(run.faults.items())) + f"; {sum(run.faults.values())} in all")
    if run.owed:
        print("  not among them: " + ", ".join(sorted(run.owed)))
    print("  " + ", ".join(f"{name} {count}" for name, count in run.totals.items()) + f", late records {run.late()}")
    print("  seconds: " + ", ".join(f"{what} {spent:.0f}" for what, spent in run.seconds.most_common()))
    print(f"  ended by themselves: {run.cluster.ended or 'none'}")
    print(f"  lost {lost}, duplicated {duplicated}, differences {len(problems)}")


if __name__ == "__main__":
    main()
