"""What Kafka really holds, read by a consumer of the check's own, and what the answers must be because of it."""

import json
import threading
import time
from collections import defaultdict

import reference
from confluent_kafka import Consumer, KafkaError, TopicPartition

LATENESS = 2 * reference.MINUTE
PANE = reference.MINUTE
SIZE = 5 * reference.MINUTE
TOPICS = {"tweets": "created_at", "stock-prices": "trade_timestamp"}
SOURCES = {"tweets": "tweets", "stock_prices": "stock-prices"}  # source → topic


class Row:
    """A readable record at its place."""

    __slots__ = ("topic", "partition", "offset", "line", "at", "late")

    def __init__(self, topic, partition, offset, line, at, late):
        self.topic, self.partition, self.offset, self.line, self.at, self.late = topic, partition, offset, line, at, late


class Truth:
    def __init__(self, brokers, partitions):
        self.consumer = Consumer({
            "bootstrap.servers": brokers, "group.id": "crash-truth", "enable.auto.commit": False,
            "auto.offset.reset": "error", "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 100, "log_level": 0,
        })
        # A client of its own: the other one's thread is always inside a call.
        self.asker = Consumer({"bootstrap.servers": brokers, "group.id": "crash-ends", "log_level": 0, "reconnect.backoff.max.ms": 500})
        self.records = {}  # (topic, partition) → [(key, payload)], by offset
        for topic in TOPICS:
            for partition in range(partitions[topic]):
                self.records[topic, partition] = []
        self.consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self.records])
        self.rows = defaultdict(list)  # topic → [Row], in the order of their event time's round
        self.read, self.highest = defaultdict(int), {}
        self.error, self.done = None, False
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def poll(self):
        try:
            while not self.done:
                for message in self.consumer.consume(500, timeout=0.1):
                    if message.error():
                        if message.error().code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                            raise AssertionError(f"the log was expired before the check had read it: {message.error()}")
                        continue  # a broker that is away
                    own = self.records[message.topic(), message.partition()]
                    if message.offset() != len(own):
                        raise AssertionError(
                            f"{message.topic()}/{message.partition()}: offset {message.offset()} after {len(own)}")
                    own.append((message.key(), message.value()))
        except Exception as error:
            self.error = error

    def ends(self):
        """{(topic, partition): next offset of the log}."""
        return {place: self.asker.get_watermark_offsets(TopicPartition(*place), timeout=10)[1] for place in self.records}

    def catch_up(self, seconds=30):
        """Waits until everything in the log has been read; returns the ends."""
        deadline = time.monotonic() + seconds
        while True:
            if self.error:
                raise self.error
            try:
                ends = self.ends()
                if all(len(self.records[place]) >= end for place, end in ends.items()):
                    return ends
            except Exception as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"Kafka does not say its ends: {error}") from None
            if time.monotonic() > deadline:
                raise AssertionError(f"the check's own consumer did not catch up: {ends}")
            time.sleep(0.05)

    def understand(self, broken):
        """Reads the records that have come since, in the order of their partitions: their times, and which are late.

        Late is a record when the last window that holds it ended `lateness` or more before the highest event time
        of the records before it in its partition."""
        for (topic, partition), records in self.records.items():
            for offset in range(self.read[topic, partition], len(records)):
                line = records[offset][1].decode()
                if line in broken:
                    continue
                at = reference.micros(json.loads(line)[TOPICS[topic]])
                highest = self.highest.get((topic, partition))
                late = highest is not None and at - at % PANE + SIZE + LATENESS <= highest
                self.highest[topic, partition] = at if highest is None else max(highest, at)
                self.rows[topic].append(Row(topic, partition, offset, line, at, late))
            self.read[topic, partition] = len(records)

    def lines(self, topic, begin, end, take):
        """Lines of a range of event time, in the order of (partition, offset)."""
        rows = [row for row in self.rows[topic] if begin <= row.at < end and take(row)]
        rows.sort(key=lambda row: (row.partition, row.offset))
        return [row.line for row in rows]

    def answers(self, begin, end, take, compound):
        """The view's rows whose windows start in [begin, end), from the records that `take` lets through."""
        mentions = reference.Mentions(self.lines("tweets", begin, end + SIZE, take), compound)
        bars = reference.Bars(self.lines("stock-prices", begin, end + SIZE, take))
        rows = reference.symbol_sentiment(mentions, bars)
        return {(symbol, reference.iso(at)): row for (symbol, at), row in rows.items() if begin <= at < end}

    def close(self):
        self.done = True
        self.thread.join(10)
        self.consumer.close()
        self.asker.close()


def everything(_):
    return True


def on_time(row):
    return not row.late


def merged(through, positions):
    """What a merged answer holds: below the tideline what batch has taken in, late or not, above it what was on time.

    `positions` is topic → partition → next offset of batch: a record that came later waits for the next run, also one
    that speed has, if its pane is below the tideline."""
    def take(row):
        if through is None or row.at - row.at % PANE + PANE > through:
            return not row.late
        return row.offset < positions.get(row.topic, {}).get(row.partition, 0)
    return take
