#!/usr/bin/env python3
"""Makes the golden folders: input from `tideline generate` and by hand, expected answers by an independent computation.

    make.py BINARY      (needs vaderSentiment 3.3.2 and numpy: tests/acceptance/requirements.txt)
    predictions.py      afterwards: what River makes of trendscope's closed windows

The expected answers come from tests/acceptance/reference.py, which shares no code with the program; the sentiment of a
text from the Python reference of VADER; emotions, toxicity and churn risk from tests/acceptance/enrichment.py, which reads
the model file and the lists of phrases that the program holds, and does everything else again. Floats are written as
Python prints them.
"""

import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "acceptance"))
import reference  # noqa: E402


def generated(binary, system, topic, *options):
    command = [binary, "generate", system, "--topic", topic, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def write(case, path, lines):
    path = os.path.join(HERE, case, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def write_view(case, view, key, rows, size):
    lines = []
    # Null first.
    for (value, at), row in sorted(rows.items(), key=lambda group: (group[0][0] is not None, group[0])):
        head = {"key": {key: value}, "window_start": reference.iso(at), "window_end": reference.iso(at + size)}
        lines.append(json.dumps({**head, **row}, ensure_ascii=False))
    write(case, f"expected/{view}.ndjson", lines)


def write_report(case, report, rows):
    write(case, f"expected/reports/{report}.ndjson", [json.dumps(row, ensure_ascii=False) for row in rows])


# What no generator makes: every way to be broken, and what only looks broken.
ODD_TWEETS = [
    '{"created_at": "2024-05-06 13:50:00", "text": "", "user_id": "1"}',
    '{"created_at": "2024-05-06 13:50:01", "text": "$TSLA without a user", "user_id": null}',
    '{"created_at": "2024-05-06 13:50:02", "text": 42, "user_id": "2"}',
    '{"created_at": "not a time", "text": "$TSLA", "user_id": "3"}',
    '{"created_at": "2024-02-30 00:00:00", "text": "$TSLA", "user_id": "3"}',
    '{"text": "$TSLA has no time", "user_id": "4"}',
    '{"created_at": "2024-05-06 13:50:03", "text": "$TSLA" ',
    "[1, 2, 3]",
    "null",
    '{"created_at": "2024-05-06 13:50:04", "text": "$AAPL and $AAPL, $TSLA; $toolong $ABCDEFG $", "user_id": "5", "more": {"deep": [1]}}',
    '{"created_at": "2024-05-06 13:50:05", "text": "GREAT!!! $TSLA \\ud83d\\ude80 \\"quoted\\" caf\\u00e9", "user_id": "6"}',
    '{"created_at": "2024-05-06 13:48:30", "text": "somewhat old, but in time: $TSLA is bad", "user_id": "7"}',
    '  {"user_id":"8","text":"$MSFT not good, but $AAPL is","created_at":"2024-05-06 13:50:06"}  ',
]


def stock(binary):
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    options = ["--seed", "11", "--start", "2024-05-06T13:30:00Z", "--step", "3s", "--duplicates", "0.05", "--broken", "0.03"]
    tweets = generated(binary, "stock-sentiment", "tweets", "--count", "400", *options)
    tweets[320:320] = ODD_TWEETS
    prices = generated(binary, "stock-sentiment", "stock-prices", "--count", "150", *options[:-4], "--broken", "0.03")
    # As a connector that was killed appends them again.
    prices[75:75] = prices[70:74]
    # The second tweet of a symbol within a second would make the order of the moving average a matter of taste.
    taken, kept = set(), []
    for line in tweets:
        try:
            record = json.loads(line)
            marks = {(s, record["created_at"]) for s in reference.CASHTAG.findall(record["text"])}
        except (ValueError, KeyError, TypeError, AttributeError):
            kept.append(line)
            continue
        if marks & taken and line not in kept:
            continue
        taken |= marks
        kept.append(line)
    tweets = kept
    write("stock-sentiment", "input/tweets.ndjson", tweets)
    write("stock-sentiment", "input/stock-prices.ndjson", prices)
    mentions = reference.Mentions(tweets, lambda text: analyzer.polarity_scores(text)["compound"])
    bars = reference.Bars(prices)
    rows = reference.symbol_sentiment(mentions, bars)
    write_view("stock-sentiment", "symbol_sentiment", "symbol", rows, 5 * reference.MINUTE)
    write_report("stock-sentiment", "batch_trend_analysis", reference.trend_analysis(mentions))
    write_report("stock-sentiment", "batch_topic_statistics", reference.topic_statistics(mentions, bars))


def movies(binary):
    options = ["--seed", "12", "--start", "2024-05-06T19:58:00Z", "--step", "400ms", "--duplicates", "0.05", "--broken", "0.03"]
    lines = generated(binary, "movie-viewing", "movie-viewing-events", "--count", "600", *options)
    lines[400:400] = [
        '{"event_id": "x1", "user_id": "u1", "movie_id": "m1", "event_type": "rating", "timestamp": "2024-05-06T20:00:40Z", "duration": null, "rating": 6}',
        '{"event_id": "x2", "user_id": "u1", "movie_id": "m1", "event_type": "dance", "timestamp": "2024-05-06T20:00:40Z"}',
        '{"event_id": "x3", "user_id": "u1", "movie_id": "m1", "event_type": "view", "timestamp": "2024-05-06T22:00:41+02:00"}',
        '{"event_id": null, "user_id": "u1", "movie_id": "m1", "event_type": "view", "timestamp": "2024-05-06T20:00:42Z"}',
        '{"event_id": "x4", "user_id": "u1", "movie_id": "m1", "event_type": "rating", "timestamp": "2024-05-06T20:00:43.250Z", "rating": 3}',
    ]
    write("movie-viewing", "input/movie-viewing-events.ndjson", lines)
    events = reference.movie_events(lines)
    for view, rows in reference.movie_views(events).items():
        key = {"stream_user_activity": "user_id", "stream_event_distribution": "event_type"}.get(view, "movie_id")
        write_view("movie-viewing", view, key, rows, 10 * reference.SECOND)
    for report, rows in reference.movie_reports(events).items():
        write_report("movie-viewing", report, rows)


TITLES = ["Dune", "Dune: Part Two", "Alien", "Aliens", "The Matrix", "Am\u00e9lie", "Heat", "Up", "Se7en", "Past Lives", "It"]
SAID = [
    "{} was GREAT!!! Best movie of the year",
    "I hated {}, what a waste of time...",
    "Just watched {} with my family",
    "Not sure about {} :( but the music is amazing",
    "{} > {}, and it is not even close",
    "Who would win: {} or {}?",
    "Is {} any good? Asking for a friend",
]
# What nobody sends, until somebody does.
ODD_COMMENTS = [
    '{"text": "", "movie_mentions": ["Dune"], "score": 1, "timestamp": "2024-05-06T20:31:00Z"}',
    '{"text": "Dune without a list", "score": 1, "timestamp": "2024-05-06T20:31:01Z"}',
    '{"text": "nothing is mentioned", "movie_mentions": [], "score": 1, "timestamp": "2024-05-06T20:31:02Z"}',
    '{"text": "a list of something else", "movie_mentions": [7], "score": 1, "timestamp": "2024-05-06T20:31:03Z"}',
    '{"text": "Heat, Heat and Heat", "movie_mentions": ["Heat"], "score": null, "timestamp": "2024-05-06T22:31:04+02:00"}',
    '{"text": "no time at all: Up", "movie_mentions": ["Up"], "score": 3}',
    '{"text": "cut off: Up", "movie_mentions": ["Up"',
    '{"text": "an empty title", "movie_mentions": ["", "Up"], "score": 2, "timestamp": "2024-05-06T20:31:05.5Z"}',
    "7",
]


def trend_records():
    """An hour of both streams. No generator of ours: titles that contain each other, comments that come late but in time."""
    numbers = random.Random(13)
    start = reference.micros("2024-05-06T20:00:00Z")
    movies, comments = [], []
    popularity = {title: numbers.uniform(5, 300) for title in TITLES}
    for poll in range(13):
        at = reference.iso(start + poll * 5 * reference.MINUTE)
        for number, title in enumerate(TITLES):
            popularity[title] = max(0.0, popularity[title] + numbers.gauss(0, 12))
            # Not every movie trends all the time.
            if numbers.random() < 0.85:
                row = {"id": number + 1, "title": title, "popularity": round(popularity[title], 3), "vote_average": 7.5}
                row |= {"vote_count": 1000 + poll, "overview": f"About {title}.", "timestamp": at}
                movies.append(json.dumps(row, ensure_ascii=False))
                if numbers.random() < 0.1:
                    movies.append(movies[-1])
    movies.append('{"id": 99, "title": "Negative", "popularity": -1.0, "timestamp": "2024-05-06T20:10:00Z"}')
    movies.append('{"id": 98, "title": "Unknown", "popularity": null, "timestamp": "2024-05-06T20:10:00Z"}')
    movies.append('{"id": null, "title": "Nothing", "popularity": 1.0, "timestamp": "2024-05-06T20:10:00Z"}')
    movies = movies[:-3][:20] + movies[-3:] + movies[:-3][20:]
    for number in range(420):
        late = numbers.randrange(0, 240) if numbers.random() < 0.2 else 0
        at = start + number * 8_500_000 - late * reference.SECOND
        mentioned = numbers.sample(TITLES, 2)
        text = numbers.choice(SAID)
        mentioned = mentioned[: text.count("{}")]
        text = text.format(*mentioned) + numbers.choice(["", " lol", f" ({number})"])
        row = {"text": text, "movie_mentions": mentioned, "score": numbers.randrange(-5, 50), "timestamp": reference.iso(at)}
        comments.append(json.dumps(row, ensure_ascii=False))
        if numbers.random() < 0.05:
            comments.append(comments[-1])
    comments[220:220] = ODD_COMMENTS
    return movies, comments


def trends():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    movies, comments = trend_records()
    write("trendscope", "input/tmdb_stream.ndjson", movies)
    write("trendscope", "input/reddit_stream.ndjson", comments)
    rows = reference.movie_trends(movies, comments, lambda text: analyzer.polarity_scores(text)["compound"])
    write_view("trendscope", "movie_trends", "movie_title", rows, 5 * reference.MINUTE)
    closed = {at: {name: row[name] for name in reference.TREND_STREAM} for at, row in rows.items()}
    write_view("trendscope", "outputs/trend_stream", "movie_title", closed, 5 * reference.MINUTE)


# What connectors leave out, what people type, and what nobody should send.
ODD_MESSAGES = [
    {"id": "odd-1", "text": "   Cancel my subscription!!! I am switching to a competitor.  ", "author": "odd1", "channel": "Support ", "platform": " EMAIL"},
    {"id": "odd-2", "text": "LOVE it \u2764\ufe0f😍 best phone ever", "city": None, "product": None, "author": None, "language": None},
    {"id": "odd-3", "text": "Shut up, you stupid idiots. Third outage this month, I want my money back", "city": "", "product": "  ", "language": "EN"},
    {"id": "odd-4", "text": "I will not cancel, don't worry", "author": "odd1", "city": " London ", "product": "Harbor Pay"},
    {"id": "odd-4", "text": "the same id again, another text"},
    {"id": "odd-5", "text": "\n \t "},
    {"id": "odd-6", "text": ""},
    {"id": "odd-7", "text": None},
    {"id": "odd-8", "text": 8},
    {"id": "odd-9", "text": "x" * 20001},
    {"id": "odd-10", "text": "fffuuuck this, so diiisgusting!!! " * 30, "author": "odd2"},
    {"id": None, "text": "nobody's"},
    {"id": "   ", "text": "blank id"},
    {"id": "odd-11", "text": "no channel", "channel": None},
    {"id": "odd-12", "text": "blank platform", "platform": " "},
    {"id": "odd-13", "text": "a time that is none", "created_at": "yesterday"},
    {"id": "odd-14", "text": "no time", "created_at": None},
    {"id": "odd-15", "text": "far away: S\u00e3o Paulo was gro\u00dfartig, merci", "city": "S\u00e3o Paulo", "author": "odd3", "more": {"deep": [1]}},
    {"id": "odd-16", "text": "leaving you for good", "author": "z" * 201},
    {"id": "odd-17", "text": "a number for a city", "city": 7},
]


def customers(binary):
    from enrichment import Enrichment
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    # Over midnight, for what is counted by day.
    options = ["--seed", "14", "--start", "2024-05-06T23:54:00Z", "--step", "1s", "--duplicates", "0.05", "--broken", "0.05"]
    lines = generated(binary, "customer-sentiment", "sentiment.raw", "--count", "700", *options)
    odd = []
    for number, message in enumerate(ODD_MESSAGES):
        at = reference.exact(reference.micros("2024-05-06T23:59:00Z") + number * 1_234_567)
        base = {"created_at": at, "channel": "social", "platform": "twitter"}
        odd.append(json.dumps(base | message, ensure_ascii=number % 2 == 0))
    lines[330:330] = odd + ["[]", '{"id": "odd-18", "text": "cut off"', '"text"']
    write("customer-sentiment", "input/sentiment.raw.ndjson", lines)
    rows = reference.customer_messages(lines, Enrichment(lambda text: analyzer.polarity_scores(text)["compound"]))
    for view, answers in reference.customer_views(rows).items():
        write_view("customer-sentiment", view, reference.CUSTOMER_VIEWS.get(view, "author"), answers, reference.MINUTE)
    for report, answers in reference.customer_reports(rows).items():
        write_report("customer-sentiment", report, answers)
    processed = [{"event_time": reference.exact(row["at"]), **{name: row[name] for name in reference.PROCESSED}} for row in rows]
    write("customer-sentiment", "expected/outputs/processed.ndjson", [json.dumps(row, ensure_ascii=False) for row in processed])


if __name__ == "__main__":
    stock(os.path.abspath(sys.argv[1]))
    movies(os.path.abspath(sys.argv[1]))
    trends()
    customers(os.path.abspath(sys.argv[1]))
