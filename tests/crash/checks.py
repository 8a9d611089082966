"""What must hold when everything is quiet. Each check returns what is wrong, as sentences."""

import json
import math
import urllib.request
from collections import Counter

import reference
import truth as T

VIEW = "symbol_sentiment"
REPORTS = ("batch_topic_statistics", "batch_trend_analysis")


def sent(truth, least, most):
    """Kafka holds every acknowledged record, and no more copies than were sent."""
    held = Counter()
    for records in truth.records.values():
        held.update(payload.decode() for _, payload in records)
    problems = []
    for line, count in least.items():
        if held[line] < count:
            problems.append(f"LOST before Kafka: {count} acknowledged, {held[line]} there: {line[:200]}")
    for line, count in held.items():
        if count > most[line]:
            problems.append(f"DUPLICATED before Kafka: sent {most[line]} times, {count} there: {line[:200]}")
    return problems


def bronze(lake, truth, verified, attempts=3):
    """Bronze holds what Kafka holds, byte for byte, each offset once. Files that overlap hold the same, and only do so
    where a joined one lies beside what it was made of. `verified` is where earlier rounds have read to."""
    problems, counted = [], Counter()
    for source, topic in T.SOURCES.items():
        for (of, partition), records in truth.records.items():
            if of != topic:
                continue
            begin, end = verified.get((source, partition), 0), len(records)
            found, files, plain_end = {}, lake.chain(source, partition), 0
            joined = [(first, after) for first, after, _ in files if after is not None]
            for place, (first, after, path) in enumerate(files):
                # Where a plain file ends is in the file: at the latest where the next plain one begins.
                following = next((f for f, a, _ in files[place + 1 :] if a is None and f > first), None)
                if (after or following or end) <= begin or first >= end:
                    continue
                frame = lake.frame(path)
                if frame is None:  # joined and deleted since it was listed
                    if attempts == 0:
                        return [f"{path} is listed and not there"], 0
                    return bronze(lake, truth, verified, attempts - 1)
                offsets = frame["offset"].to_list()
                if offsets != list(range(first, first + len(offsets))):
                    problems.append(f"{path}: its offsets are not {first} and on")
                if after is None:
                    covered = any(a <= first and first + len(offsets) <= b for a, b in joined)
                    if first < plain_end and not covered:
                        problems.append(f"DUPLICATED: {path} begins before the file before it ends ({plain_end})")
                    plain_end = max(plain_end, first + len(offsets))
                for offset, key, payload in zip(offsets, frame["key"].to_list(), frame["payload"].to_list()):
                    if not begin <= offset < end:
                        continue
                    if offset in found and found[offset] != (key, payload):
                        problems.append(f"{path}: offset {offset} differs from another file's")
                    found[offset] = (key, payload)
            for offset in range(begin, end):
                if offset not in found:
                    problems.append(f"LOST: offset {offset} of {source}/{partition} is not in Bronze")
                elif found[offset] != records[offset]:
                    problems.append(f"{source}/{partition}: offset {offset} is not what Kafka holds")
            counted[source] += end - begin
            verified[source, partition] = end
    return problems, sum(counted.values())


def dead_letters(lake, truth, broken):
    problems, count = [], 0
    for source, topic in T.SOURCES.items():
        for (of, partition), records in truth.records.items():
            if of != topic:
                continue
            want = {offset: payload for offset, (_, payload) in enumerate(records) if payload.decode() in broken}
            have = lake.dead_letters(source, partition)
            count += len(want)
            for offset, payload in want.items():
                if set(have.get(offset, [])) != {payload}:
                    problems.append(f"dead letter {source}/{partition}/{offset}: {have.get(offset)} instead of {payload[:200]}")
            for offset in have.keys() - want.keys():
                problems.append(f"dead letter {source}/{partition}/{offset} should not be there: {have[offset]}")
    return problems, count


def view(servers, truth, begin, end, layers, compound):
    """Answers of each layer, from every server, equal the independent computation on what Kafka holds."""
    problems, compared = [], 0
    for server in servers:
        for layer in layers:
            found, provenance = server.rows_and_provenance(
                VIEW, layer, **{"from": reference.iso(begin), "to": reference.iso(end)})
            if provenance["missing"]:
                problems.append(f"{server.name}, layer {layer}: missing {provenance['missing']}")
            through = provenance["through"] and reference.micros(provenance["through"])
            take = {"speed": T.on_time, "batch": T.everything, "merged": T.merged(through)}[layer]
            expected = truth.answers(begin, end, take, compound)
            problems += [f"{server.name}, layer {layer}: {problem}" for problem in reference.differences(expected, found)]
            compared += len(expected)
    return problems, compared


def lookup(server, truth, begin, end, symbol, compound):
    """The newest tweets of a symbol, from both layers, each once; late ones aside, which may be cut off by the limit."""
    rows = server.get("/v1/lookups/tweets", key=symbol, limit=1000)["rows"]
    have = Counter()
    late = {json.loads(row.line)["text"] + str(row.at) for row in truth.rows["tweets"] if row.late}
    for row in rows:
        at = reference.micros(row["event_time"])
        if begin <= at < end and row["text"] + str(at) not in late:
            have[row["text"], at, row["user_id"]] += 1
    lines = truth.lines("tweets", begin, end, T.on_time)
    want = Counter()
    for of, at, _, text, user in reference.Mentions(lines, compound).rows:
        if of == symbol and text + str(at) not in late:
            want[text, at, user] += 1
    missing, extra = want - have, have - want
    return [f"lookup of {symbol}: {len(missing)} missing, {len(extra)} too many: {list((missing or extra).items())[:2]}"] if missing or extra else []


def agreement(server):
    answer = server.get("/v1/agreement")
    problems = []
    if answer["unexplained"]:
        problems.append(f"{answer['unexplained']} unexplained differences: {json.dumps(answer['views'])[:1500]}")
    if not sum(one.get("compared", 0) for one in answer["views"].values()):
        problems.append(f"nothing was compared: {json.dumps(answer)[:500]}")
    return problems


class ClickHouse:
    def __init__(self, url, database):
        self.url, self.database = url, database

    def rows(self, sql):
        request = urllib.request.Request(f"{self.url}/?database={self.database}", data=f"{sql} FORMAT JSONEachRow".encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]


def same_value(a, b):
    if isinstance(a, str) and isinstance(b, (int, float)):
        a = float(a)
    if isinstance(b, str) and isinstance(a, (int, float)):
        b = float(b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return a == b


def clickhouse(database, lake):
    """What people read in ClickHouse is the newest published version: every row of Gold once, and no other."""
    manifest = lake.manifest()
    problems = []
    newest = database.rows("SELECT max(version) AS version FROM tideline_versions")[0]["version"]
    if int(newest) != manifest["version"]:
        return [f"ClickHouse has version {newest}, the lake {manifest['version']}"], 0
    compared = 0
    for name, files in manifest["views"].items():
        key = [field["name"] for field in files["key"]]
        want = {}
        for file in files["files"]:
            frame = lake.frame(file["path"])
            plain = [c for c in frame.columns if c not in key and str(frame.schema[c]) in ("Int64", "Float64")]
            pane = next(c for c in frame.columns if str(frame.schema[c]).startswith("Datetime") and "pane" in c)
            for row in frame.select([*key, pane, *plain]).iter_rows():
                at = row[len(key)].strftime("%Y-%m-%d %H:%M:%S")
                want[(*row[: len(key)], at)] = dict(zip(plain, row[len(key) + 1 :]))
        rows = database.rows(f"SELECT * FROM {name}_panes")
        have = {}
        for row in rows:
            have[(*(row[k] for k in key), row["pane"][:19])] = row
        if len(have) != len(rows):
            problems.append(f"ClickHouse, {name}: {len(rows) - len(have)} panes twice")
        if have.keys() != want.keys():
            problems.append(f"ClickHouse, {name}: {len(want.keys() - have.keys())} panes missing, {len(have.keys() - want.keys())} too many")
        for group in have.keys() & want.keys():
            for column, value in want[group].items():
                if column in have[group] and not same_value(value, have[group][column]):
                    problems.append(f"ClickHouse, {name} {group} {column}: {have[group][column]}, Gold has {value}")
        compared += len(want)
    for name in REPORTS:
        file = manifest["reports"].get(name)
        if not file:
            problems.append(f"report {name} is not in the manifest")
            continue
        paths = [one["path"] for one in file["files"]] if "files" in file else [file["path"]]
        want = sum(lake.frame(path).height for path in paths)
        have = int(database.rows(f"SELECT count() AS n FROM {name}")[0]["n"])
        if want != have:
            problems.append(f"ClickHouse, report {name}: {have} rows, Gold has {want}")
        compared += want
    return problems, compared
