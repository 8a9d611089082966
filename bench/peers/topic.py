#!/usr/bin/env python3
"""Makes the topic of the comparison: every tweet REPEAT times in a row, over two partitions in turn.

    topic.py --brokers HOST:PORT --file TWEETS.ndjson[.gz] [--topic tweets] [--repeat 40]

A topic that already holds as many records as that is left as it is.
"""

import argparse
import gzip
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 2


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return [line.rstrip(b"\n") for line in file if line.strip()]


def held(brokers, topic):
    """Number of records in the topic."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "tideline-bench-count"})
    total = 0
    for partition in range(PARTITIONS):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        total += high - low
    consumer.close()
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--topic", default="tweets")
    parser.add_argument("--repeat", type=int, default=40)
    args = parser.parse_args()

    lines = lines_of(args.file)
    want = len(lines) * args.repeat
    admin = AdminClient({"bootstrap.servers": args.brokers})
    if args.topic in admin.list_topics(timeout=10).topics:
        have = held(args.brokers, args.topic)
        if have == want:
            print(f"topic {args.topic}: {have} records are there")
            return
        sys.exit(f"topic {args.topic} holds {have} records, not {want}: wipe the broker first")
    config = {"retention.ms": "-1", "segment.bytes": str(256 << 20)}
    for made in admin.create_topics([NewTopic(args.topic, PARTITIONS, 1, config=config)]).values():
        made.result(30)

    failures = []
    producer = Producer({
        "bootstrap.servers": args.brokers, "linger.ms": 20, "batch.num.messages": 10000, "enable.idempotence": True,
        "queue.buffering.max.messages": 200000,
    })
    began, number = time.monotonic(), 0
    for line in lines:
        for _ in range(args.repeat):
            while True:
                try:
                    producer.produce(
                        args.topic, line, partition=number % PARTITIONS,
                        on_delivery=lambda error, _: failures.append(error) if error else None,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            number += 1
        producer.poll(0)
    producer.flush(60)
    have = held(args.brokers, args.topic)
    if failures or have != want:
        sys.exit(f"{len(failures)} records failed ({failures[:1]}), {have} of {want} are in the topic")
    print(f"topic {args.topic}: {want} records in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
