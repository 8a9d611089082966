"""The input: seeded tweets and prices in event time, with duplicates, late and broken ones; and who sends them."""

import http.client
import json
import random
import threading
import time
import urllib.error

import reference

MINUTE = reference.MINUTE
START = reference.micros("2024-05-06 00:00:00")
SPAN = 20 * MINUTE  # event time of a round
# Rounds follow each other in pairs, and pairs lie apart: a report joins each tweet with the prices of a day before and
# after it, which over a hundred rounds in a row would be half a billion rows in every batch run.
APART = 2 * 24 * 60 * MINUTE
LATE = 25 * MINUTE  # how far back a late record goes at most
SYMBOLS = ["TSLA", "AAPL", "GOOG", "AMZN", "F", "GE", "NFLX", "MSFT", "INTC", "BABA", "C", "XOM"]
SENTENCES = [
    "{} is great, best quarter ever!", "not sure about {} today", "{} looks terrible :(", "I LOVE {} and {}",
    "selling {} now, this is a disaster", "{} {} {} all flat", "meh. {}", "{} to the moon!!!", "who still holds {}?",
    "{} beats estimates, guidance is weak", "bad news for {} but good for {}", "no symbol here at all",
]


def text_of(at):
    return reference.iso(at).replace("T", " ").rstrip("Z")


class Round:
    """The lines of one round, in chunks as they are sent."""

    def __init__(self, seed, number, tweets, prices, chunk):
        self.number, self.begin = number, START + number // 2 * APART + number % 2 * SPAN
        self.end = self.begin + SPAN
        self.rng = random.Random(f"{seed}/{number}")
        self.broken = set()
        self.symbols = self.rng.sample(SYMBOLS, 6)
        self.streams = {
            "tweets": self.chunks(tweets, self.tweet, chunk), "stock-prices": self.chunks(prices, self.price, chunk // 2),
        }

    def chunks(self, count, make, size):
        lines = []
        for number in range(count):
            if lines and self.rng.random() < 0.02:
                lines.append(self.rng.choice(lines[-200:]))  # as a sender repeats itself
                continue
            clock = self.begin + SPAN * number // count
            at = clock - self.rng.randrange(0, 50) * reference.SECOND
            if self.rng.random() < 0.02:
                at = clock - self.rng.randrange(8 * MINUTE, LATE)
            lines.append(make(f"{self.number}-{number}", max(at, START)))
        return [lines[at : at + size] for at in range(0, len(lines), size)]

    def tweet(self, name, at):
        rng = self.rng
        sentence = rng.choice(SENTENCES)
        text = sentence.format(*("$" + rng.choice(self.symbols) for _ in range(sentence.count("{}"))))
        record = {"created_at": text_of(at), "text": text, "user_id": f"user {name}"}
        return self.maybe_broken(record, name, "created_at", [{"text": 5}, {"text": ""}, {"text": None}])

    def price(self, name, at):
        rng = self.rng
        opened = rng.randrange(1_000, 50_000) / 100
        record = {
            "symbol": rng.choice(self.symbols), "trade_timestamp": text_of(at), "open_price": opened,
            "close_price": round(opened * rng.uniform(0.95, 1.05), 2), "volume": rng.randrange(1, 10_000), "id": name,
        }
        return self.maybe_broken(record, name, "trade_timestamp", [{"symbol": None}, {"close_price": -1.0}, {"volume": "many"}])

    def maybe_broken(self, record, name, time_column, changes):
        rng = self.rng
        if rng.random() >= 0.02:
            return json.dumps(record)
        kind = rng.randrange(4)
        if kind == 0:
            line = f'{{"broken": "{name}", '
        elif kind == 1:
            line = json.dumps({**record, time_column: rng.choice(["yesterday", "2999-01-01 00:00:00", "2024-13-01 00:00:00", None])})
        elif kind == 2:
            line = json.dumps({key: value for key, value in record.items() if key != time_column})
        else:
            line = json.dumps({**record, **rng.choice(changes)})
        self.broken.add(line)
        return line


class Sender(threading.Thread):
    """Sends the chunks of one topic in order, each until it is acknowledged, spread over `seconds`. Whoever gets no
    answer does not know whether the records were taken, and sends them again: `least` and `most` say, per line, how
    often the topic must and may hold it."""

    def __init__(self, topic, chunks, seconds, targets, rng, least, most):
        super().__init__(daemon=True)
        self.topic, self.chunks, self.seconds, self.targets, self.rng = topic, chunks, seconds, targets, rng
        self.least, self.most = least, most
        self.retries, self.error = 0, None

    def run(self):
        try:
            begin = time.monotonic()
            for number, lines in enumerate(self.chunks):
                pause = begin + self.seconds * number / len(self.chunks) - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
                self.send(lines)
        except Exception as error:  # reported by the round
            self.error = error

    def send(self, lines):
        deadline = time.monotonic() + 90
        while True:
            target = self.rng.choice(self.targets())
            for line in lines:
                self.most[line] += 1
            try:
                answer = target.post_lines(self.topic, lines)
                if answer["accepted"] != len(lines):
                    raise AssertionError(f"{self.topic}: accepted {answer['accepted']} of {len(lines)}")
                for line in lines:
                    self.least[line] += 1
                return
            except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    raise AssertionError(f"{self.topic}: {error.code} {error.read()[:300]}") from None
                refused = isinstance(getattr(error, "reason", None), ConnectionRefusedError)
                if refused:  # certainly not taken
                    for line in lines:
                        self.most[line] -= 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.topic}: not acknowledged in 90 s, last: {error}") from None
                self.retries += 1
                time.sleep(self.rng.uniform(0.05, 0.3))
