"""The answers of both systems, computed again from the records by other means: plain Python, no engine of ours.

Everything is naive on purpose: one list of values per (key, window), no panes, no states, no sketches.
"""

import calendar
import json
import math
import re
import time
from collections import defaultdict

SECOND = 1_000_000
MINUTE = 60 * SECOND
CASHTAG = re.compile(r"\$([A-Z]{1,6})\b")


def micros(text):
    """`YYYY-MM-DD HH:MM:SS`, or RFC 3339 in UTC, as microseconds since the epoch."""
    text = text.rstrip("Z").replace("T", " ")
    whole, _, fraction = text.partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))
    return seconds * SECOND + int((fraction + "000000")[:6])


def windows(at, size, slide):
    """Starts of the windows that hold `at`."""
    start = at - at % slide
    while start > at - size:
        yield start
        start -= slide


def quantile(values, q):
    """The lower quantile: the value of rank floor(q (n - 1))."""
    return sorted(values)[math.floor(q * (len(values) - 1))]


def mean(values):
    return math.fsum(values) / len(values)


def stddev(values):
    """Of the sample; None for fewer than two values."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))


def load(lines):
    """The records of lines that are JSON objects."""
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


class Mentions:
    """Rows of the table `mentions`: one per tweet and symbol."""

    def __init__(self, tweet_lines, compound):
        self.rows = []  # (symbol, event time, sentiment, text, user)
        seen = set()
        scores = {}
        for tweet in load(tweet_lines):
            try:
                user, created, text = tweet["user_id"], tweet["created_at"], tweet["text"]
                at = micros(created)
            except (KeyError, ValueError, AttributeError):
                continue
            if not (isinstance(user, str) and isinstance(text, str) and text):
                continue
            identity = (user, created, text)
            if identity in seen:
                continue
            seen.add(identity)
            symbols = list(dict.fromkeys(CASHTAG.findall(text)))
            if not symbols:
                continue
            if text not in scores:
                scores[text] = compound(text)
            for symbol in symbols:
                self.rows.append((symbol, at, scores[text], text, user))


class Bars:
    """Rows of the table `market_data`."""

    def __init__(self, price_lines):
        self.rows = []  # (symbol, event time, open, close, volume, place)
        for place, bar in enumerate(load(price_lines)):
            try:
                row = (bar["symbol"], micros(bar["trade_timestamp"]), bar["open_price"], bar["close_price"], bar["volume"])
            except (KeyError, ValueError, AttributeError):
                continue
            self.rows.append((*row, place))


def symbol_sentiment(mentions, bars, size=5 * MINUTE, slide=MINUTE):
    """(symbol, window start) → answer of the view `symbol_sentiment`."""
    said = defaultdict(list)
    for symbol, at, sentiment, _, _ in mentions.rows:
        for start in windows(at, size, slide):
            said[symbol, start].append(sentiment)
    traded = defaultdict(list)
    for symbol, at, opened, closed, _, place in bars.rows:
        for start in windows(at, size, slide):
            traded[symbol, start].append((at, place, opened, closed))
    answers = {}
    for group in said.keys() | traded.keys():
        values, trades = said.get(group, []), sorted(traded.get(group, []))
        opened = trades[0][2] if trades else None
        closed = trades[-1][3] if trades else None
        answers[group] = {
            "mentions": len(values),
            "sentiment": mean(values) if values else None,
            "p95": quantile(values, 0.95) if values else None,
            "open": opened,
            "close": closed,
            "price_change": closed / opened - 1 if trades and opened else None,
        }
    return answers


def movie_events(lines):
    """Valid, distinct viewing events."""
    seen, events = set(), []
    for event in load(lines):
        try:
            at = micros(event["timestamp"])
            if event["event_id"] in seen:
                continue
        except (KeyError, ValueError, AttributeError):
            continue
        seen.add(event["event_id"])
        events.append((at, event))
    return events


def movie_views(events, size=10 * SECOND):
    """View → (key, window start) → answer, for the `stream_*` views."""
    views, users, types, ratings = (defaultdict(int), defaultdict(int), defaultdict(int), defaultdict(list))
    movies = set()
    for at, event in events:
        start = at - at % size
        movies.add((event["movie_id"], start))
        if event["event_type"] == "view":
            views[event["movie_id"], start] += 1
        users[event["user_id"], start] += 1
        types[event["event_type"], start] += 1
        if event.get("rating") is not None:
            ratings[event["movie_id"], start].append(event["rating"])
    return {
        "stream_movie_views": {group: {"views": n} for group, n in views.items()},
        "stream_user_activity": {group: {"events": n} for group, n in users.items()},
        "stream_event_distribution": {group: {"events": n} for group, n in types.items()},
        "stream_ratings": {
            group: {"ratings": len(values), "avg_rating": mean(values)} for group, values in ratings.items()
        },
    }


# Columns that count, exact; that are sketched, within 1 %; all others within 1e-9.
EXACT = {"mentions", "views", "events", "ratings"}
SKETCHED = {"p95"}


def differences(expected, found, limit=5):
    """What differs between two {group: {column: value}}, as sentences; empty when nothing does."""
    problems = []
    for group in expected.keys() - found.keys():
        problems.append(f"{group} is missing, expected {expected[group]}")
    for group in found.keys() - expected.keys():
        # A group without anything in it says nothing: a window that another measure of the view keeps alive.
        if any(value not in (None, 0) for value in found[group].values()):
            problems.append(f"{group} should not be there: {found[group]}")
    for group in expected.keys() & found.keys():
        for column, want in expected[group].items():
            have = found[group].get(column)
            if not same(column, want, have):
                problems.append(f"{group} {column}: expected {want}, found {have}")
    return problems[:limit] + ([f"… {len(problems)} in all"] if len(problems) > limit else [])


def same(column, want, have):
    if want is None or have is None:
        return want is have
    if column in EXACT:
        return want == have
    tolerance = 0.01 if column in SKETCHED else 1e-9
    # Sums of scores of four decimals that cancel are exact to 1e-12, not relative to what is left.
    return math.isclose(want, have, rel_tol=tolerance, abs_tol=1e-12)
