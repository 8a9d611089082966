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
    """`YYYY-MM-DD HH:MM:SS` in UTC, or RFC 3339, as microseconds since the epoch."""
    offset = re.search(r"([+-])(\d\d):(\d\d)$", text)
    if offset:
        ahead = (1 if offset[1] == "+" else -1) * (int(offset[2]) * 60 + int(offset[3])) * MINUTE
        return micros(text[: offset.start()]) - ahead
    text = text.rstrip("Z").replace("T", " ")
    whole, _, fraction = text.partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))
    return seconds * SECOND + int((fraction + "000000")[:6])


def iso(at):
    """Microseconds since the epoch as RFC 3339, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at // SECOND))


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
                user, created, text = tweet.get("user_id"), tweet["created_at"], tweet["text"]
                at = micros(created)
            except (KeyError, ValueError, AttributeError):
                continue
            if not ((user is None or isinstance(user, str)) and isinstance(text, str) and text):
                continue
            # Nothing is a duplicate of a record whose identity is not known.
            if user is not None:
                if (user, created, text) in seen:
                    continue
                seen.add((user, created, text))
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
        seen = set()
        for place, bar in enumerate(load(price_lines)):
            try:
                row = (bar["symbol"], micros(bar["trade_timestamp"]), bar["open_price"], bar["close_price"], bar["volume"])
            except (KeyError, ValueError, AttributeError):
                continue
            # A symbol has one bar of a time: the first.
            if row[:2] in seen:
                continue
            seen.add(row[:2])
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


def trend_analysis(mentions):
    """Rows of the report `batch_trend_analysis`: mean of the last ten scores of a topic."""
    by_topic = defaultdict(list)
    for symbol, at, sentiment, _, _ in mentions.rows:
        by_topic[symbol].append((at, sentiment))
    rows = []
    for topic in sorted(by_topic):
        scores = sorted(by_topic[topic], key=lambda row: row[0])
        for place, (at, sentiment) in enumerate(scores):
            last = [score for _, score in scores[max(0, place - 9) : place + 1]]
            rows.append({
                "topic": topic, "ingest_timestamp": iso(at), "sentiment_score": sentiment, "moving_avg_10": mean(last),
            })
    return rows


def quantile_cont(values, q):
    """Interpolated between the two nearest ranks, as SQL's `QUANTILE_CONT` is."""
    values = sorted(values)
    place = q * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


DAY = 24 * 60 * MINUTE


def topic_statistics(mentions, bars):
    """Rows of the report `batch_topic_statistics`."""
    closes = defaultdict(list)
    for symbol, at, _, closed, _, _ in bars.rows:
        closes[symbol].append((at, closed))
    # A tweet is (user, time, text): the same text by nobody known at the same time is one tweet of this report.
    hours = defaultdict(dict)
    for symbol, at, sentiment, text, user in mentions.rows:
        hours[symbol, at - at % (60 * MINUTE)].setdefault((user, at, text), sentiment)
    rows = []
    for (topic, hour), tweets in sorted(hours.items()):
        scores, volatilities = list(tweets.values()), []
        for _, at, _ in tweets:
            near = [closed for when, closed in closes[topic] if at - DAY <= when <= at + DAY]
            deviation = stddev(near)
            if deviation is not None:
                volatilities.append(deviation / mean(near))
        rows.append({
            "topic": topic,
            "hour": iso(hour),
            "tweets": len(scores),
            "positive": sum(score >= 0.05 for score in scores),
            "neutral": sum(-0.05 < score < 0.05 for score in scores),
            "negative": sum(score <= -0.05 for score in scores),
            "mean_sentiment": mean(scores),
            "stddev_sentiment": stddev(scores),
            "p50": quantile_cont(scores, 0.5),
            "p95": quantile_cont(scores, 0.95),
            "price_volatility": mean(volatilities) if volatilities else None,
        })
    return rows


EVENT_TYPES = {"view", "pause", "resume", "complete", "rating"}


def movie_events(lines):
    """Valid, distinct viewing events."""
    seen, events = set(), []
    for event in load(lines):
        try:
            at = micros(event["timestamp"])
        except (KeyError, ValueError, AttributeError, TypeError):
            continue
        rating, duration = event.get("rating"), event.get("duration")
        if any(not isinstance(event.get(name), str) for name in ("event_id", "user_id", "movie_id", "event_type")):
            continue
        if event["event_type"] not in EVENT_TYPES or (duration is not None and duration < 0):
            continue
        if rating is not None and not 1 <= rating <= 5:
            continue
        if event["event_id"] in seen:
            continue
        seen.add(event["event_id"])
        events.append((at, event))
    return events


def movie_views(events, size=10 * SECOND):
    """View → (key, window start) → answer, for the `stream_*` views."""
    views, users, types, ratings = (defaultdict(int), defaultdict(int), defaultdict(int), defaultdict(list))
    for at, event in events:
        start = at - at % size
        if event["event_type"] == "view":
            views[event["movie_id"], start] += 1
        users[event["user_id"], start] += 1
        types[event["event_type"], start] += 1
        if event["event_type"] == "rating" and event.get("rating") is not None:
            ratings[event["movie_id"], start].append(event["rating"])
    return {
        "stream_movie_views": {group: {"views": n} for group, n in views.items()},
        "stream_user_activity": {group: {"events": n} for group, n in users.items()},
        "stream_event_distribution": {group: {"events": n} for group, n in types.items()},
        "stream_ratings": {
            group: {"ratings": len(values), "avg_rating": mean(values)} for group, values in ratings.items()
        },
    }


def movie_reports(events):
    """Report → rows, for the `batch_*` reports."""
    users, viewed, rated, hours = defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list)
    for at, event in events:
        users[event["user_id"]].append(event)
        hours[at - at % (60 * MINUTE)].append(event["user_id"])
        if event["event_type"] == "view":
            viewed[event["movie_id"]].append(event["user_id"])
        if event["event_type"] == "rating" and event.get("rating") is not None:
            rated[event["movie_id"]].append(event["rating"])
    user_stats = []
    for user, own in sorted(users.items()):
        durations = [event["duration"] for event in own if event.get("duration") is not None]
        user_stats.append({
            "user_id": user,
            "total_events": len(own),
            "movies_watched": len({event["movie_id"] for event in own if event["event_type"] == "view"}),
            "avg_duration": mean(durations) if durations else None,
        })
    popular = sorted((-len(users), -len(set(users)), movie) for movie, users in viewed.items())
    return {
        "batch_user_stats": user_stats,
        "batch_popular_movies": [
            {"rank": rank, "movie_id": movie, "views": -views, "viewers": -viewers}
            for rank, (views, viewers, movie) in enumerate(popular, 1)
        ],
        "batch_ratings_stats": [
            {
                "movie_id": movie, "ratings": len(values), "avg_rating": mean(values),
                **{f"rating_{stars}": values.count(stars) for stars in range(1, 6)},
            }
            for movie, values in sorted(rated.items())
        ],
        "batch_hourly_stats": [
            {"hour": iso(hour), "events": len(own), "active_users": len(set(own))} for hour, own in sorted(hours.items())
        ],
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


# Columns of `trend_stream`, beside key and window.
TREND_STREAM = ["popularity", "mentions_count", "avg_sentiment", "trend_score"]


def movie_trends(movie_lines, comment_lines, compound):
    """Rows of the view `movie_trends`: (title, start of the window) -> columns."""
    polls, said, seen = defaultdict(list), defaultdict(list), set()
    for movie in load(movie_lines):
        try:
            title, at, popularity, number = movie["title"], micros(movie["timestamp"]), movie.get("popularity"), movie["id"]
        except (KeyError, ValueError, AttributeError):
            continue
        if number is None or not title or (popularity is not None and popularity < 0):
            continue
        if (number, movie["timestamp"]) in seen:
            continue
        seen.add((number, movie["timestamp"]))
        for start in windows(at, 5 * MINUTE, MINUTE):
            polls[title, start].append((at, popularity))
    for comment in load(comment_lines):
        try:
            text, at, mentioned = comment["text"], micros(comment["timestamp"]), comment.get("movie_mentions")
        except (KeyError, ValueError, AttributeError):
            continue
        if not text or not isinstance(mentioned, list) or not all(isinstance(title, str) for title in mentioned):
            continue
        if (comment["timestamp"], text) in seen:
            continue
        seen.add((comment["timestamp"], text))
        for title in filter(None, mentioned):
            for start in windows(at, 5 * MINUTE, MINUTE):
                said[title, start].append(compound(text))
    rows = {}
    for group in sorted(polls.keys() | said.keys()):
        popularities = [value for _, value in sorted(polls[group], key=lambda poll: poll[0]) if value is not None]
        last, scores = (popularities[-1] if popularities else None), said[group]
        sentiment = mean(scores) if scores else None
        popularity, avg_sentiment = last or 0.0, sentiment or 0.0
        rows[group] = {
            "tmdb_popularity": last,
            "mentions_count": len(scores),
            "reddit_sentiment": sentiment,
            "popularity": popularity,
            "avg_sentiment": avg_sentiment,
            "trend_score": 0.4 * popularity + 0.3 * len(scores) * 10 + 0.3 * (avg_sentiment + 1) * 50,
        }
    return rows


def exact(at):
    """Microseconds since the epoch as RFC 3339, with as many digits as it takes: none, three or six."""
    fraction = at % SECOND
    if not fraction:
        return iso(at)
    digits = f"{fraction:06}" if fraction % 1000 else f"{fraction // 1000:03}"
    return iso(at).replace("Z", f".{digits}Z")


# Longest value of each field of a customer's message; those that must be there come first.
MESSAGE = {
    "id": 200, "created_at": None, "text": 20000, "channel": 100, "platform": 100, "city": 200, "product": 200, "author": 200, "language": 35,
}


def customer_messages(lines, enrichment):
    """Rows of the table `messages`, in the order of the records, each with its time `at`."""
    rows, seen = [], set()
    for message in load(lines):
        values = {name: message.get(name) for name in MESSAGE}
        if any(value is not None and not isinstance(value, str) for value in values.values()):
            continue
        if any(values[name] is None or not values[name].strip() for name in list(MESSAGE)[:5]):
            continue
        if any(limit and values[name] is not None and len(values[name]) > limit for name, limit in MESSAGE.items()):
            continue
        try:
            at = micros(values["created_at"])
        except (ValueError, AttributeError):
            continue
        if values["id"] in seen:
            continue
        seen.add(values["id"])
        trimmed = {name: (value.strip() or None) if value is not None else None for name, value in values.items()}
        for name in ("channel", "platform", "language"):
            trimmed[name] = trimmed[name] and trimmed[name].lower()
        rows.append({**trimmed, "id": values["id"], "at": at, "scope": "all", **enrichment.of(values["text"])})
    return rows


CUSTOMER_VIEWS = {
    "sentiment_overall": "scope", "sentiment_by_city": "city", "sentiment_by_product": "product", "sentiment_by_channel": "channel",
    "sentiment_by_platform": "platform",
}
# Columns of a record of `sentiment.processed`, beside `event_time`.
PROCESSED = [
    "id", "text", "city", "product", "channel", "platform", "author", "language", "sentiment", "label", "emotion", "toxicity", "churn_risk",
]
HIGH_CHURN = 0.7
EMOTIONS = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]


def counted(rows, column):
    counts = defaultdict(int)
    for row in rows:
        counts[row[column]] += 1
    return dict(sorted(counts.items()))


def grouped(rows, *keys):
    """Groups of rows by what each of `keys` says of one."""
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(key(row) for key in keys)].append(row)
    return groups


def at_risk(rows):
    """Rows of the table `risks`."""
    return [row for row in rows if row["author"] is not None and row["churn_risk"] >= HIGH_CHURN]


def customer_views(rows, size=MINUTE):
    """View -> {(key, window start): answer} of the views of customer-sentiment."""
    views = {}
    for view, key in CUSTOMER_VIEWS.items():
        answers = {}
        for group, own in grouped(rows, lambda row: row[key], lambda row: row["at"] - row["at"] % size).items():
            labels = counted(own, "label")
            answers[group] = {
                "messages": len(own),
                "avg_sentiment": mean([row["sentiment"] for row in own]),
                **{label: labels.get(label, 0) for label in ("positive", "neutral", "negative")},
                "avg_churn_risk": mean([row["churn_risk"] for row in own]),
                "high_churn": sum(row["churn_risk"] >= HIGH_CHURN for row in own),
                "avg_toxicity": mean([row["toxicity"] for row in own]),
                "emotions": counted(own, "emotion"),
            }
        views[view] = answers
    views["customers_at_risk"] = {}
    for group, own in grouped(at_risk(rows), lambda row: row["author"], lambda row: row["at"] - row["at"] % size).items():
        own.sort(key=lambda row: row["at"])
        assert len({row["at"] for row in own}) == len(own), "which message is the last is a matter of taste"
        products = [row["product"] for row in own if row["product"] is not None]
        views["customers_at_risk"][group] = {
            "messages": len(own),
            "churn_risk": max(row["churn_risk"] for row in own),
            "avg_sentiment": mean([row["sentiment"] for row in own]),
            "last_product": products[-1] if products else None,
            "last_text": own[-1]["text"],
        }
    return views


def customer_reports(rows):
    """Report -> rows of the reports of customer-sentiment."""

    def day(row):
        return row["at"] - row["at"] % DAY

    products, channels = [], []
    for (at, product), own in sorted(grouped(rows, day, lambda row: row["product"] or "").items()):
        labels = counted(own, "label")
        products.append({
            "day": iso(at),
            "product": product,
            "messages": len(own),
            "customers": len({row["author"] for row in own if row["author"] is not None}),
            "avg_sentiment": mean([row["sentiment"] for row in own]),
            **{label: labels.get(label, 0) for label in ("positive", "neutral", "negative")},
            "avg_churn_risk": mean([row["churn_risk"] for row in own]),
            "high_churn": sum(row["churn_risk"] >= HIGH_CHURN for row in own),
            "avg_toxicity": mean([row["toxicity"] for row in own]),
        })
    for (at, channel, platform), own in sorted(grouped(rows, day, lambda r: r["channel"], lambda r: r["platform"]).items()):
        labels = counted(own, "label")
        channels.append({
            "day": iso(at),
            "channel": channel,
            "platform": platform,
            "messages": len(own),
            "avg_sentiment": mean([row["sentiment"] for row in own]),
            "positive": labels.get("positive", 0),
            "negative": labels.get("negative", 0),
            "high_churn": sum(row["churn_risk"] >= HIGH_CHURN for row in own),
        })
    emotions = [
        {"day": iso(at), **{emotion: counted(own, "emotion").get(emotion, 0) for emotion in EMOTIONS}}
        for (at,), own in sorted(grouped(rows, day).items())
    ]
    customers = [
        {
            "author": author,
            "messages": len(own),
            "churn_risk": max(row["churn_risk"] for row in own),
            "avg_sentiment": mean([row["sentiment"] for row in own]),
            "last_at": exact(max(row["at"] for row in own)),
        }
        for (author,), own in grouped(at_risk(rows), lambda row: row["author"]).items()
    ]
    customers.sort(key=lambda row: (-row["churn_risk"], -row["messages"], row["author"]))
    return {
        "batch_daily_products": products,
        "batch_daily_channels": channels,
        "batch_daily_emotions": emotions,
        "batch_customers_at_risk": [{"rank": rank, **row} for rank, row in enumerate(customers, 1)],
    }
