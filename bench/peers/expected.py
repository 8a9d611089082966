#!/usr/bin/env python3
"""The answers of job A, computed again from the file: plain Python, exact sums.

    expected.py --file TWEETS.ndjson[.gz] --repeat 40 [--vader]

One line of JSON: rows of windows, and over all of them the sums of count, mean and standard deviation.
Lengths are in characters (code points): as Spark's length() and Flink's CHAR_LENGTH have it; Java's String.length(),
UTF-16 units, would count an emoji twice.
"""

import argparse
import json
import math
import os
import sys
from collections import defaultdict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "acceptance"))
import reference  # noqa: E402
from topic import lines_of  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--vader", action="store_true")
    args = parser.parse_args()
    if args.vader:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        analyzer = SentimentIntensityAnalyzer()
    values = defaultdict(list)
    utf16 = 0
    for line in lines_of(args.file):
        tweet = json.loads(line)
        text, at = tweet["text"], reference.micros(tweet["created_at"])
        symbols = reference.CASHTAG.findall(text)
        if not symbols:
            continue
        utf16 += len(text.encode("utf-16-le")) // 2 != len(text)
        value = analyzer.polarity_scores(text)["compound"] if args.vader else float(len(text))
        for symbol in symbols:
            for start in reference.windows(at, 5 * reference.MINUTE, reference.MINUTE):
                values[symbol, start].append(value)
    sums = {"rows": 0, "count": 0, "mean": [], "deviation": []}
    for own in values.values():
        n, mean = len(own) * args.repeat, reference.mean(own)
        sums["rows"] += 1
        sums["count"] += n
        sums["mean"].append(mean)
        if n > 1:
            spread = math.fsum((value - mean) ** 2 for value in own) * args.repeat
            sums["deviation"].append(math.sqrt(spread / (n - 1)))
    sums["mean"], sums["deviation"] = math.fsum(sums["mean"]), math.fsum(sums["deviation"])
    print(json.dumps({**sums, "utf16_differs": utf16}))


if __name__ == "__main__":
    main()
