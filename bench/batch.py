#!/usr/bin/env python3
"""Silver -> Gold: Tideline (Polars engine), DuckDB and ClickHouse over the same Parquet, in one run.

    bench/batch.py [--rows 10000000] [--lake FOLDER] [--threads 2] [--repeat 3]

Makes a lake of Silver (once; --lake keeps it), computes the Gold of two views with each engine, all of them from
Parquet to Parquet with the same number of threads, compares the results row by row, and only then prints rows/s and
ratios. `plain`: count, sum, min, max, first and last of a float. `maps`: count, a DDSketch and a HyperLogLog; DuckDB
has no such states, so there ClickHouse alone runs beside, with the statements that `batch.engine = "clickhouse"` uses.

Needs the packages duckdb and chdb (ClickHouse as a library): `pip install duckdb chdb`, or the chDB that
infra/services/clickhouse.sh installs.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVICES = os.environ.get("SERVICES_HOME", os.path.expanduser("~/.cache/lambda-services"))
START = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z
DAYS = 3
FILES = 8


def generate(duckdb, lake, rows, threads):
    """Silver of `mentions`: few symbols have most rows, one row in twenty has no sentiment, no two have one time."""
    folder = os.path.join(lake, "silver", "mentions")
    if len(glob.glob(folder + "/*.parquet")) == FILES:
        return
    os.makedirs(folder, exist_ok=True)
    each = rows // FILES
    step = DAYS * 86_400_000_000 // rows
    for index in range(FILES):
        first = index * each
        duckdb.execute(f"""
            COPY (
              SELECT 'S' || lpad(CAST(floor(200 * pow(u, 3)) AS INT)::TEXT, 3, '0') AS symbol,
                     'user-' || (hash(i * 7) % 100000)::TEXT AS user_id,
                     CASE WHEN hash(i * 3) % 20 = 0 THEN NULL
                          ELSE round((hash(i * 5) % 20001)::DOUBLE / 10000 - 1, 4) END AS sentiment,
                     make_timestamp({START} + i * {step}) AS event_time,
                     i AS _sequence, 0::BIGINT AS _ordinal
              FROM (SELECT i, (hash(i) % 1000003)::DOUBLE / 1000003 AS u
                    FROM range({first}, {first + each}) t(i))
              ORDER BY i
            ) TO '{folder}/part-{index}.parquet' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 250000)
        """)


def tideline(binary, lake, view, threads):
    env = dict(os.environ, POLARS_MAX_THREADS=str(threads))
    out = subprocess.run([binary, lake, view], env=env, check=True, capture_output=True, text=True).stdout
    report = json.loads(out.splitlines()[-1])
    files = [os.path.join(lake, path) for path in report["files"]]
    return report["stages_ms"]["gold"] / 1000, files, report["rows"]


def duckdb_plain(duckdb, lake, out):
    started = time.monotonic()
    duckdb.execute(f"""
        COPY (
          SELECT symbol, make_timestamp(epoch_us(event_time) - epoch_us(event_time) % 60000000) AS pane,
                 count(*) AS mentions, coalesce(sum(sentiment), 0) AS total, count(sentiment) AS counted,
                 min(sentiment) AS least, max(sentiment) AS most,
                 arg_min(sentiment, event_time) FILTER (WHERE sentiment IS NOT NULL) AS opening,
                 arg_max(sentiment, event_time) FILTER (WHERE sentiment IS NOT NULL) AS closing
          FROM read_parquet('{lake}/silver/mentions/*.parquet')
          GROUP BY ALL ORDER BY ALL
        ) TO '{out}' (FORMAT parquet, COMPRESSION snappy)
    """)
    return time.monotonic() - started


def clickhouse(session, statements, lake, out, threads):
    """Runs the statements of the view; each writes one file."""
    started = time.monotonic()
    files = []
    for index, sql in enumerate(statements):
        path = f"{out}-{index}.parquet"
        sql = re.sub(r"s3\('[^']*', ('Parquet', '(?:\\.|[^'\\])*')\)",
                     lambda m: f"file('{lake}/silver/mentions/*.parquet', {m.group(1)})", sql)
        sql = sql.replace("{from:DateTime64(6)}", "fromUnixTimestamp64Micro(toInt64(0), 'UTC')")
        sql = sql.replace("{to:DateTime64(6)}", "fromUnixTimestamp64Micro(toInt64(4000000000000000), 'UTC')")
        body, settings = sql.rsplit("\nSETTINGS", 1)
        session.query(f"INSERT INTO FUNCTION file('{path}', 'Parquet') {body}\n"
                      f"SETTINGS {settings}, max_threads = {threads}, engine_file_truncate_on_insert = 1")
        files.append(path)
    return time.monotonic() - started, files


def same_plain(duckdb, gold, other, columns):
    """Rows that only one side has, or that differ beyond 1e-9: must be none."""
    a = f"(SELECT * FROM read_parquet({gold}))"
    b = f"(SELECT * FROM read_parquet({other}))"
    near = lambda x, y: f"(x.{x} IS NOT DISTINCT FROM y.{y} OR abs(x.{x} - y.{y}) <= 1e-9 * greatest(abs(x.{x}), 1))"
    conditions = " AND ".join(near(x, y) for x, y in columns)
    missing = duckdb.execute(f"""
        SELECT count(*) FROM {a} x FULL JOIN {b} y
        ON x.symbol = y.symbol AND epoch_us(x.pane::TIMESTAMP) = epoch_us(y.pane::TIMESTAMP)
        WHERE x.symbol IS NULL OR y.symbol IS NULL OR NOT ({conditions})
    """).fetchall()[0][0]
    assert missing == 0, f"{missing} groups differ"
    return duckdb.execute(f"SELECT count(*) FROM {a}").fetchall()[0][0]


def same_maps(duckdb, gold, files, columns):
    for path, column in zip(files, columns):
        if isinstance(column, list):
            same_plain(duckdb, gold, [path], [(c, c) for c in column])
            continue
        differ = duckdb.execute(f"""
            SELECT count(*) FROM (SELECT symbol, pane, {column} m FROM read_parquet({gold})) x
            FULL JOIN (SELECT symbol, pane, {column} m FROM read_parquet('{path}')) y
            ON x.symbol = y.symbol AND epoch_us(x.pane::TIMESTAMP) = epoch_us(y.pane::TIMESTAMP)
            WHERE coalesce(x.m::STRUCT(key BIGINT, number BIGINT)[], []) <> coalesce(y.m::STRUCT(key BIGINT, number BIGINT)[], [])
        """).fetchall()[0][0]
        assert differ == 0, f"{column}: {differ} maps differ"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--lake")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    sys.path.extend(glob.glob(os.path.join(SERVICES, "chdb-*-py%d.%d" % sys.version_info[:2])))
    import chdb.session
    import duckdb

    duckdb.execute(f"SET threads TO {options.threads}; SET TimeZone = 'UTC'")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "tideline-batch", "--example", "gold"], cwd=ROOT, check=True)
    binary = os.path.join(target, "release", "examples", "gold")
    with tempfile.TemporaryDirectory() as work:
        lake = os.path.abspath(options.lake or os.path.join(work, "lake"))
        generate(duckdb, lake, options.rows, options.threads)
        session = chdb.session.Session(os.path.join(work, "clickhouse"))
        best = {}

        def note(view, engine, seconds):
            key = (view, engine)
            best[key] = min(seconds, best.get(key, seconds))

        for _ in range(options.repeat):
            for view in ["plain", "maps"]:
                seconds, files, rows = tideline(binary, lake, view, options.threads)
                note(view, "tideline", seconds)
                sql = subprocess.run([binary, lake, view, "--sql"], check=True, capture_output=True, text=True).stdout
                statements = [part for part in sql.strip().rstrip(";").split(";\n\n")]
                seconds, answers = clickhouse(session, statements, lake, os.path.join(work, view), options.threads)
                note(view, "clickhouse", seconds)
                states = [re.findall(r" AS `([^`]+)`", part.split("\nFROM", 1)[0])[2:] for part in statements]
                if view == "plain":
                    numbers = [c for c in states[0] if not c.endswith("__time")]
                    groups = same_plain(duckdb, files, answers, [(c, c) for c in numbers])
                    out = os.path.join(work, "duckdb.parquet")
                    note(view, "duckdb", duckdb_plain(duckdb, lake, out))
                    gold = dict(zip(["mentions", "total", "counted", "least", "most", "opening", "closing"],
                                    [c for c in numbers if not c.endswith("__sequence")]))
                    same_plain(duckdb, files, [out], [(column, other) for other, column in gold.items()])
                else:
                    same_maps(duckdb, files, answers, [states[0]] + [part[0] for part in states[1:]])
        print(f"{rows:,} rows of Silver, {groups:,} groups, {options.threads} threads, best of {options.repeat}; "
              "the results of all engines are equal")
        print(f"{'view':8} {'engine':12} {'seconds':>8} {'rows/s':>12} {'tideline is':>12}")
        for (view, engine), seconds in sorted(best.items()):
            ratio = seconds / best[(view, "tideline")]
            print(f"{view:8} {engine:12} {seconds:8.2f} {rows / seconds:12,.0f} {ratio:11.2f}x")
        session.close()


if __name__ == "__main__":
    main()
