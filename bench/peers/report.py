#!/usr/bin/env python3
"""The table and the ratios of a run of bench/peers/run.sh, and whether the answers agree: exits with 1 if not."""

import json
import math
import sys

with open(sys.argv[1]) as file:
    results = [json.loads(line) for line in file]


def of(name, job):
    found = [one for one in results if one["name"] == name and one["job"] == job]
    if name == "flink-warm":
        found = [one for one in found if one["run"] > 1]
    return found


def best(name, job):
    return max((one["rate"] for one in of(name, job)), default=None)


print(f"{'':18} {'job':8} {'events/s':>10} {'wall s':>8} {'CPU s':>7} {'µs CPU per event':>17}")
for one in results:
    if "rate" in one:
        per_event = one["cpu"] / one["records"] * 1e6 if one.get("cpu") else math.nan
        print(f"{one['name']:18} {one['job']:8} {one['rate']:>10,} {one['wall']:>8.2f} {one.get('cpu', math.nan):>7.1f} {per_event:>17.2f}")

print()
for mine in ("tideline", "tideline-servers"):
    for job, peers in (("A", ("spark", "flink-cold", "flink-warm")), ("VADER", ("spark",))):
        for peer in peers:
            if best(mine, job) and best(peer, job):
                print(f"{mine}, job {job}: {best(mine, job) / best(peer, job):.1f} × {peer}")
if best("librdkafka", "consume") and best("tideline", "A"):
    print(f"librdkafka alone: {best('librdkafka', 'consume') / best('tideline', 'A'):.1f} × tideline, job A")

problems = []
for job in ("A", "VADER"):
    for want in of("expected", job):
        for one in results:
            if one["job"] != job or one["name"] == "expected":
                continue
            for column in ("rows", "count", "mean", "deviation"):
                # A timed run of a peer has the number of rows only.
                timed_only = one["name"].startswith(("spark", "flink")) and "check" not in one["name"]
                if column not in one or (timed_only and column != "rows"):
                    continue
                # What Flink prints has three decimals.
                if not math.isclose(one[column], want[column], rel_tol=1e-9, abs_tol=6e-4):
                    problems.append(f"{one['name']}, job {job}, {column}: {one[column]} instead of {want[column]}")
        print(f"answers of job {job}: {want['rows']:,} windows, Σcount {want['count']:,}, Σmean {want['mean']:.3f}, Σstddev {want['deviation']:.3f}")
        print(f"  {want['utf16_differs']:,} texts have another length in UTF-16 units than in characters: characters are meant")
for problem in problems:
    print(f"DIFFERS: {problem}")
sys.exit(1 if problems else 0)
