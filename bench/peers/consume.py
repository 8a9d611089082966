#!/usr/bin/env python3
"""What librdkafka alone takes to consume the topic: the least that any program on it can take.

    consume.py --brokers HOST:PORT [--topic tweets]

Prints one line of JSON: records, wall seconds from the first fetch, CPU seconds of this process (which hands the
records to Python in batches and drops them).
"""

import argparse
import json
import resource
import time

from confluent_kafka import Consumer, TopicPartition


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", default="tweets")
    args = parser.parse_args()
    consumer = Consumer({
        "bootstrap.servers": args.brokers, "group.id": "tideline-bench-consume", "enable.auto.commit": False,
        # By default a full queue makes the fetcher pause for a second.
        "fetch.queue.backoff.ms": 5, "queued.min.messages": 200000,
    })
    partitions = consumer.list_topics(args.topic, timeout=10).topics[args.topic].partitions
    ends = {}
    for partition in partitions:
        ends[partition] = consumer.get_watermark_offsets(TopicPartition(args.topic, partition), timeout=10)
    total = sum(high - low for low, high in ends.values())
    consumer.assign([TopicPartition(args.topic, partition, low) for partition, (low, _) in ends.items()])
    before, began, taken = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), 0
    while taken < total:
        batch = consumer.consume(20000, timeout=5)
        if not batch:
            raise SystemExit(f"nothing came for 5 s after {taken} of {total} records")
        for message in batch:
            if message.error():
                raise SystemExit(str(message.error()))
        taken += len(batch)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    consumer.close()
    print(json.dumps({"records": taken, "wall": round(wall, 3), "rate": round(taken / wall), "cpu": round(cpu, 3)}))


if __name__ == "__main__":
    main()
