"""VADER beside its Python reference, in one run: both rates on one core each, their ratio, and the differences.

    cargo build --release -p tideline-bench --bin vader
    pip install vaderSentiment==3.3.2
    python3 bench/vader/side_by_side.py FILE [--bin target/release/vader]

FILE is NDJSON with a field `text` (gzip if its name ends in .gz). Both sides read all texts first; the clock runs
over the scoring alone, all four scores. They run one after the other on the same core, the Python side in two
halves around the other, so that a change in the machine's speed meets both. Exit status 1 if any score differs by
more than 1e-4 or the ratio is below --least.
"""

import argparse
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

TOLERANCE = 1e-4 + 1e-9  # the nine digits behind are for the subtraction of two decimals in binary


def default_binary():
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release" / "vader"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=pathlib.Path)
    arguments.add_argument("--bin", type=pathlib.Path, default=default_binary(), help="default: %(default)s")
    arguments.add_argument("--seconds", type=float, default=2.0, help="for the Rust side (default %(default)s)")
    arguments.add_argument("--least", type=float, default=12.0, help="least ratio (default %(default)s)")
    arguments = arguments.parse_args()

    # Pinned before the other process starts, which inherits it.
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})

    opener = gzip.open if arguments.file.suffix == ".gz" else open
    with opener(arguments.file, "rt", encoding="utf-8", newline="\n") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    analyzer = SentimentIntensityAnalyzer()
    analyzer.polarity_scores("warm up")

    def score(part):
        start = time.perf_counter()
        scores = [analyzer.polarity_scores(text) for text in part]
        return scores, time.perf_counter() - start

    half = len(texts) // 2
    first, first_s = score(texts[:half])
    with tempfile.TemporaryDirectory() as folder:
        ours_file = pathlib.Path(folder) / "scores.ndjson"
        command = [arguments.bin, arguments.file, "--seconds", str(arguments.seconds), "--scores", ours_file]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        ours = [json.loads(line) for line in ours_file.read_text().splitlines()]
    second, second_s = score(texts[half:])

    reference = [[row["neg"], row["neu"], row["pos"], row["compound"]] for row in first + second]
    assert len(ours) == len(reference) == report["texts"], "the two sides read different texts"
    differing = sum(any(abs(a - b) > TOLERANCE for a, b in zip(*rows)) for rows in zip(ours, reference))
    exact = sum(a == b for a, b in zip(ours, reference))
    rate = len(texts) / (first_s + second_s)
    ratio = report["texts_per_second"] / rate
    print(f"texts        {len(texts)} ({report['bytes'] / len(texts):.0f} bytes on average), core {core}")
    print(f"reference    {rate:12,.0f} texts/s   (vaderSentiment, Python {sys.version.split()[0]})")
    print(f"tideline     {report['texts_per_second']:12,.0f} texts/s   ({report['nanoseconds_per_text']:.0f} ns a text)")
    print(f"ratio        {ratio:12.1f}")
    print(f"differences  {differing:12} texts by more than 1e-4; {exact} of {len(texts)} equal to the last bit")
    return 0 if differing == 0 and ratio >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())
