#!/usr/bin/env python3
"""Makes trendscope/expected/predictions/trend.ndjson: what River predicts from the closed windows of the golden folder.

    predictions.py       (needs River 0.26.0: predict/tests/fixtures/requirements.txt; Python 3.11)

Reads trendscope/expected/outputs/trend_stream.ndjson, which make.py has made, and shares no code with the program: features
are computed here from SYSTEMS.md's words, the models are River's. One model of each version serves all titles; windows come
by start, and by title. The records of all windows are written: those of the first windows do not depend on how many close.
"""

import csv
import datetime
import json
import os

# River 0.26.0 subscripts csv.DictReader, which Python can do from 3.12 on only.
if not hasattr(csv.DictReader, "__class_getitem__"):
    csv.DictReader.__class_getitem__ = classmethod(lambda cls, _: cls)

from river import linear_model, optim, preprocessing  # noqa: E402

CASE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trendscope", "expected")
TARGET = "trend_score"
SLIDE, SIZE = datetime.timedelta(minutes=1), datetime.timedelta(minutes=5)
# As in schema/pipelines/trendscope.toml.
V1 = ["popularity", "mentions_count", "avg_sentiment", "hour", "day_of_week"]
V1_TRENDS = [("mentions", "mentions_count"), ("sentiment", "avg_sentiment"), ("popularity", "popularity")]
VERSIONS = {
    "v1": (0.01, lambda windows: {**values(windows, V1), **trends(windows, V1_TRENDS)}),
    "v2": (0.005, lambda windows: {
        **values(windows, ["trend_score", "mentions_count", "avg_sentiment"]),
        **trends(windows, [("score", "trend_score")]),
    }),
}


def values(windows, names):
    start, now = windows[-1]
    known = {**now, "hour": start.hour, "day_of_week": start.weekday()}
    return {name: known[name] for name in names}


def trends(windows, columns):
    """The change to the window before, 0 for the first one, and the mean over the last five."""
    x = {}
    for name, column in columns:
        of = [row[column] for _, row in windows[-5:]]
        x[f"delta_{name}"] = of[-1] - of[-2] if len(of) > 1 else 0.0
        x[f"ma_{name}"] = sum(of) / len(of)
    return x


def model(rate):
    return preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(rate), l2=0.001)


def iso(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def record(title, window, actual, predicted, version, status):
    return {
        "movie_title": title,
        "timestamp": iso(window),
        "window_end": iso(window + SIZE),
        f"actual_{TARGET}": actual,
        f"predicted_{TARGET}": predicted,
        "prediction_error": None if actual is None else predicted - actual,
        "model_version": version,
        "status": status,
    }


def main():
    rows = []
    with open(os.path.join(CASE, "outputs", "trend_stream.ndjson"), encoding="utf-8") as file:
        for row in map(json.loads, file):
            start = datetime.datetime.strptime(row["window_start"], "%Y-%m-%dT%H:%M:%SZ")
            rows.append((start, row["key"]["movie_title"], row))
    rows.sort(key=lambda row: row[:2])
    models = {version: model(rate) for version, (rate, _) in VERSIONS.items()}
    histories, waiting, records = {}, {}, []
    for start, title, row in rows:
        actual = row[TARGET]
        for version in VERSIONS if title in waiting else []:
            x, predicted = waiting[title][version]
            models[version].learn_one(x, actual)
            records.append(record(title, start, actual, predicted, version, "settled"))
        windows = histories.setdefault(title, [])
        windows.append((start, row))
        del windows[:-100]
        waiting[title] = {}
        for version, (_, features) in VERSIONS.items():
            x = features(windows)
            predicted = models[version].predict_one(x)
            waiting[title][version] = (x, predicted)
            records.append(record(title, start + SLIDE, None, predicted, version, "predicted"))
    os.makedirs(os.path.join(CASE, "predictions"), exist_ok=True)
    with open(os.path.join(CASE, "predictions", "trend.ndjson"), "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


if __name__ == "__main__":
    main()
