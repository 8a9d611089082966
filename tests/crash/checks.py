"""What must hold when everything is quiet. Each check returns what is wrong, as sentences."""

import json
import math
import time
import urllib.request
from collections import Counter

import reference
import truth as T
from server import Api

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


def dead_letters(lake, truth, broken, known):
    """Dead letters are exactly the broken records, byte for byte. `known` remembers files of earlier rounds: none changes."""
    problems, count = [], 0
    for source, topic in T.SOURCES.items():
        for (of, partition), records in truth.records.items():
            if of != topic:
                continue
            want = {offset: payload for offset, (_, payload) in enumerate(records) if payload.decode() in broken}
            have = lake.dead_letters(source, partition, known)
            count += len(want)
            for offset, payload in want.items():
                if set(have.get(offset, [])) != {payload}:
                    problems.append(f"dead letter {source}/{partition}/{offset}: {have.get(offset)} instead of {payload[:200]}")
            for offset in have.keys() - want.keys():
                problems.append(f"dead letter {source}/{partition}/{offset} should not be there: {have[offset]}")
    return problems, count


class Expected:
    """Answers of a stretch of event time by the independent computation, each computed once."""

    def __init__(self, truth, begin, end, compound):
        self.truth, self.begin, self.end, self.compound = truth, begin, end, compound
        self.known = {}

    def of(self, layer, provenance):
        """What an answer of this layer must be, given where its parts come from."""
        positions = {
            T.SOURCES[source]: {int(partition): at for partition, at in of.items()}
            for source, of in provenance["positions"]["batch"].items()
        }
        through = provenance["through"] and reference.micros(provenance["through"])
        key = layer if layer != "merged" else (layer, through, json.dumps(positions, sort_keys=True))
        if key not in self.known:
            take = {"speed": T.on_time, "batch": T.everything, "merged": T.merged(through, positions)}[layer]
            self.known[key] = self.truth.answers(self.begin, self.end, take, self.compound)
        return self.known[key]

    def everything(self):
        """Positions of a version that holds all that Kafka does."""
        return {
            source: {str(partition): len(records) for (of, partition), records in self.truth.records.items() if of == topic}
            for source, topic in T.SOURCES.items()
        }


def caught_up(server, expected, seconds=15):
    """Waits until a server answers from the version that holds everything: it looks for a new one now and then."""
    deadline, everything = time.monotonic() + seconds, expected.everything()
    while True:
        positions = server.get(f"/v1/views/{VIEW}/rows", layer="batch", limit=1)["provenance"]["positions"]["batch"]
        if all(positions.get(source, {}).get(partition, 0) >= at for source, of in everything.items() for partition, at in of.items()):
            return []
        if time.monotonic() > deadline:
            return [f"{server.name}, layer batch: still at {positions} of {everything} after {seconds} s"]
        time.sleep(0.1)


def view(servers, expected, layers):
    """Answers of each layer, from every server, equal the independent computation on what Kafka holds."""
    problems, compared = [], 0
    for server in servers:
        for layer in layers:
            if layer == "batch":
                problems += caught_up(server, expected)
            found, provenance = server.rows_and_provenance(
                VIEW, layer, **{"from": reference.iso(expected.begin), "to": reference.iso(expected.end)})
            if provenance["missing"]:
                problems.append(f"{server.name}, layer {layer}: missing {provenance['missing']}")
            want = expected.of(layer, provenance)
            problems += [f"{server.name}, layer {layer}: {problem}" for problem in reference.differences(want, found)]
            compared += len(want)
    return problems, compared


def ranking(servers, expected):
    """Rankings, which each server keeps in memory by following changes, are those of the newest window. Also how many
    came from memory."""
    problems, kept = [], 0
    for server in servers:
        answer = server.get(f"/v1/views/{VIEW}/top", by="mentions", limit=1000)
        if answer["provenance"]["missing"]:
            problems.append(f"{server.name}, ranking: missing {answer['provenance']['missing']}")
        kept += answer["provenance"].get("kept", False)
        want = expected.of("merged", answer["provenance"])
        newest = max(at for _, at in want)  # of the windows that hold the newest pane, the one that ends with it
        newest = reference.iso(reference.micros(newest) - T.SIZE + T.PANE)
        want = {group: row for group, row in want.items() if group[1] == newest}
        found = {}
        for row in answer["rows"]:
            found[(*row["key"].values(), row["window_start"])] = {k: row.get(k) for k in reference_columns(want)}
        problems += [f"{server.name}, ranking: {problem}" for problem in reference.differences(want, found)]
        order = [row["mentions"] for row in answer["rows"]]
        if order != sorted(order, reverse=True):
            problems.append(f"{server.name}, ranking: not in order: {order}")
    return problems, kept


def reference_columns(rows):
    return next(iter(rows.values())).keys() if rows else ()


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
    # It compares all of Gold, which grows with every round.
    answer = Api(server.port, timeout=180).get("/v1/agreement")
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


def state_of(value):
    """A map of states, which is a list of pairs in Gold and an object in ClickHouse, as {key: number}; else the value."""
    if isinstance(value, list):
        return {str(pair["key"]): int(pair["number"]) for pair in value}
    if isinstance(value, dict):
        return {key: int(number) for key, number in value.items()}
    return value


def gold(lake, files):
    """{(key values…, pane): {state column: value}} of a view's files, without columns of time."""
    key, found = [field["name"] for field in files["key"]], {}
    for file in files["files"]:
        frame = lake.frame(file["path"])
        states = [c for c in frame.columns if c not in key and not str(frame.schema[c]).startswith("Datetime")]
        for row in frame.select([*key, "pane", *states]).iter_rows():
            at = row[len(key)].strftime("%Y-%m-%d %H:%M:%S")
            found[(*row[: len(key)], at)] = {c: state_of(v) for c, v in zip(states, row[len(key) + 1 :])}
    return found


def clickhouse(database, lake, expected):
    """ClickHouse holds the newest published version: every pane of Gold once, with its states, and no other; and what
    people read there is what is expected."""
    manifest = lake.manifest()
    problems = []
    newest = database.rows("SELECT max(version) AS version FROM tideline_versions")[0]["version"]
    if int(newest) != manifest["version"]:
        return [f"ClickHouse has version {newest}, the lake {manifest['version']}"], 0
    compared = 0
    for name, files in manifest["views"].items():
        key = [field["name"] for field in files["key"]]
        want = gold(lake, files)
        table = f"{name}_panes_{files['plan']}"
        rows = database.rows(
            f"SELECT * FROM {table} WHERE gold_file IN (SELECT arrayJoin(files['{table}']) FROM tideline_versions WHERE version = {newest})")
        have = {}
        for row in rows:
            have[(*(row[k] for k in key), row["pane"][:19])] = {column: state_of(value) for column, value in row.items()}
        if len(have) != len(rows):
            problems.append(f"DUPLICATED in ClickHouse, {name}: {len(rows) - len(have)} panes twice")
        if have.keys() != want.keys():
            problems.append(f"ClickHouse, {name}: {len(want.keys() - have.keys())} panes missing, {len(have.keys() - want.keys())} too many")
        for group in have.keys() & want.keys():
            for column, value in want[group].items():
                if not same_value(value, have[group][column]):
                    problems.append(f"ClickHouse, {name} {group} {column}: {have[group][column]}, Gold has {value}")
        compared += len(want)
    found, rows = people(database, manifest["views"][VIEW], expected)
    problems += found
    compared += rows
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


def people(database, files, expected, seconds=30):
    """The SQL view with the answers, as people query it. Where changes of speed are taken in too, it is a merged answer,
    and follows a little later."""
    deadline = time.monotonic() + seconds
    while True:
        streams = int(database.rows(f"SELECT count() AS n FROM tideline_streams WHERE stream LIKE '{VIEW}_stream_%'")[0]["n"])
        # All has been taken in by the version that is checked.
        positions = {"batch": expected.everything()}
        provenance = {"through": files["through"] and reference.iso(files["through"]), "positions": positions}
        want = expected.of("merged" if streams else "batch", provenance)
        span = " AND ".join(
            f"window_start {sign} fromUnixTimestamp64Micro({at})" for sign, at in ((">=", expected.begin), ("<", expected.end)))
        rows = database.rows(f"SELECT * FROM {VIEW} WHERE {span}")
        found = {}
        for row in rows:
            group = (row["symbol"], row["window_start"][:19].replace(" ", "T") + "Z")
            found[group] = {c: float(v) if isinstance(v, str) and c not in ("symbol", "window_start", "window_end") else v for c, v in row.items()}
        # Formulas are not in ClickHouse.
        want = {group: {c: v for c, v in row.items() if c != "price_change"} for group, row in want.items()}
        problems = [f"ClickHouse, what people read: {problem}" for problem in reference.differences(want, found)]
        if len(rows) != len(found):
            problems.append(f"DUPLICATED in ClickHouse, {VIEW}: {len(rows) - len(found)} windows twice")
        if not problems or not streams or time.monotonic() > deadline:
            return problems, len(want)
        time.sleep(0.3)
