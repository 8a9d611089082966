"""Trains the emotion model and writes `emotion.bin` and its figures, `emotion.json`.

    pip install -r requirements.txt
    python3 train.py emotion-train.ndjson.gz [--held-out emotion-dev.ndjson.gz]

The files are NDJSON (`text`, `emotions`: a list of the seven classes), here the comments of GoEmotions (Demszky et
al., ACL 2020, Apache-2.0) in the seven classes of its authors' "Ekman" grouping. The held-out file is read when the
model is finished and only to print its score: features, thresholds and calibration follow from the training file.

One logistic regression per class over hashed word and character n-grams (`text.py`), trained together by L-BFGS.
Every comment also gets a score from a model that has not seen it (five folds); thresholds and calibration are
fitted on those. Then weights are rounded to whole numbers from -127 to 127, and features left without any go.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import platform
import time

import numpy as np
import scipy
import scipy.sparse as sp
from scipy.optimize import minimize

import text
from model import CLASSES, FILE, Model

#: Comments that must hold a feature: word n-grams, character n-grams.
COMMENTS_MIN = (2, 8)
#: Inverse strength of the L2 penalty.
C = 1.0
FOLDS = 5
ITERATIONS = 60
SEED = 7


def read(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    labels = np.array([[name in row["emotions"] for name in CLASSES] for row in rows])
    return [row["text"] for row in rows], labels


def occurrences(texts):
    """For word and for character n-grams: the keys of all texts, and where each text's begin."""
    keys, ends = ([], []), ([0], [0])
    for one in texts:
        for kind, found in enumerate(text.features(one)):
            keys[kind].append(np.array(found, dtype=np.uint32))
            ends[kind].append(ends[kind][-1] + len(found))
    return [(np.concatenate(all_keys), np.array(end)) for all_keys, end in zip(keys, ends)]


def documents(keys, ends):
    """The distinct keys, and how many texts hold each."""
    rows = np.repeat(np.arange(len(ends) - 1, dtype=np.uint64), np.diff(ends))
    pairs = np.unique(rows << np.uint64(32) | keys)
    return np.unique((pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32), return_counts=True)


def matrix(found, vocabulary):
    """Texts by features: how often, over the square root of how many n-grams of the kind the text has."""
    total = None
    for keys, ends in found:
        at = np.searchsorted(vocabulary, keys)
        at[at == len(vocabulary)] = 0
        known = vocabulary[at] == keys
        lengths = np.diff(ends)
        rows = np.repeat(np.arange(len(lengths)), lengths)[known]
        values = (1 / np.sqrt(np.maximum(1, lengths)))[rows].astype(np.float32)
        part = sp.csr_matrix((values, (rows, at[known])), shape=(len(lengths), len(vocabulary)))
        total = part if total is None else (total + part).tocsr()
    return total


def fit(x, labels):
    """Weights and biases (last row) of one logistic regression per class with an L2 penalty."""
    rows, columns = x.shape
    transposed = x.T.tocsr()
    signs = (2 * labels - 1).astype(np.float32)

    def loss(flat):
        weights = flat.reshape(columns + 1, len(CLASSES)).astype(np.float32)
        margins = signs * (x @ weights[:-1] + weights[-1])
        value = C * np.logaddexp(0, -margins).sum(dtype=np.float64)
        value += 0.5 * (weights[:-1].astype(np.float64) ** 2).sum()
        residuals = -signs / (1 + np.exp(margins))
        gradient = np.empty((columns + 1, len(CLASSES)))
        gradient[:-1] = C * (transposed @ residuals) + weights[:-1]
        gradient[-1] = C * residuals.sum(0)
        return value, gradient.ravel()

    start = np.zeros((columns + 1) * len(CLASSES))
    options = {"maxiter": ITERATIONS, "maxcor": 8}
    return minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(columns + 1, len(CLASSES))


def calibrate(logits, labels):
    """Platt's slope and intercept of each class."""
    result = []
    for k in range(len(CLASSES)):
        z, sign = logits[:, k].astype(np.float64), 2.0 * labels[:, k] - 1

        def loss(parameters):
            return np.logaddexp(0, -sign * (parameters[0] * z + parameters[1])).sum()

        result.append(minimize(loss, [1.0, 0.0], method="BFGS").x)
    return np.array(result).T


def best_thresholds(logits, labels):
    """The threshold of each class with the highest F1: halfway between two neighbouring logits."""
    chosen = []
    for k in range(len(CLASSES)):
        order = np.argsort(-logits[:, k], kind="stable")
        hits = np.cumsum(labels[order, k])
        f1 = 2 * hits / (np.arange(len(order)) + 1 + labels[:, k].sum())
        best = int(f1[:-1].argmax())
        chosen.append((logits[order[best], k] + logits[order[best + 1], k]) / 2)
    return np.array(chosen)


def f1_scores(given, labels):
    return 2 * (given & labels).sum(0) / np.maximum(1, given.sum(0) + labels.sum(0))


def quantise(weights):
    """Whole numbers, and the step of each class. The largest weight sets the step: cut, the words that say most lose most."""
    steps = np.abs(weights).max(0) / 127
    return np.rint(weights / steps).astype(np.int8), steps


def single(margins, labels):
    """What one label a comment gives: how often it is among the comment's, and macro-F1."""
    given = np.zeros_like(labels)
    given[np.arange(len(labels)), margins.argmax(1)] = True
    return {"accuracy": float((given & labels).any(1).mean()), "macro_f1": float(f1_scores(given, labels).mean())}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("train", type=pathlib.Path)
    arguments.add_argument("--held-out", type=pathlib.Path)
    arguments.add_argument("--out", type=pathlib.Path, default=FILE)
    arguments.add_argument("--dump", type=pathlib.Path, help="keep intermediate arrays here (npz)")
    arguments = arguments.parse_args()

    start = time.perf_counter()

    def say(what):
        print(f"{time.perf_counter() - start:6.0f} s  {what}", flush=True)

    texts, labels = read(arguments.train)
    found = occurrences(texts)
    selected, weight_of = [], {}
    for (keys, ends), least in zip(found, COMMENTS_MIN):
        distinct, counts = documents(keys, ends)
        distinct, counts = distinct[counts >= least], counts[counts >= least]
        selected.append(distinct)
        rarity = (np.log((1 + len(texts)) / (1 + counts)) + 1) / 6
        weight_of.update(zip(distinct.tolist(), rarity.tolist()))
    vocabulary = np.unique(np.concatenate(selected))
    # Rare features count for more, as in tf-idf; afterwards the factor goes into the weights.
    rarity = np.array([weight_of[key] for key in vocabulary.tolist()])
    x = (matrix(found, vocabulary) @ sp.diags(rarity.astype(np.float32))).tocsr()
    say(f"{len(texts)} texts, {len(vocabulary)} features, {x.nnz} values")

    folds = np.random.default_rng(SEED).integers(0, FOLDS, len(texts))
    unseen = np.zeros((len(texts), len(CLASSES)))
    for fold in range(FOLDS):
        rest = folds != fold
        weights = fit(x[rest], labels[rest])
        unseen[~rest] = x[~rest] @ weights[:-1].astype(np.float32) + weights[-1]
        say(f"fold {fold + 1} of {FOLDS}")
    slopes, intercepts = calibrate(unseen, labels)
    unseen = slopes * unseen + intercepts
    thresholds = best_thresholds(unseen, labels)

    weights = fit(x, labels)
    say("all texts")
    whole, steps = quantise(weights[:-1] * rarity[:, None])
    kept = np.abs(whole).max(1) > 0
    model = Model(slopes * steps, slopes * weights[-1] + intercepts, thresholds, vocabulary[kept], whole[kept])
    model.write(arguments.out)
    if arguments.dump:
        np.savez(
            arguments.dump, unseen=unseen, labels=labels, folds=folds, weights=weights, rarity=rarity,
            vocabulary=vocabulary, slopes=slopes, intercepts=intercepts, thresholds=thresholds,
        )

    probabilities = 1 / (1 + np.exp(-unseen))
    bins = np.minimum((probabilities * 10).astype(int), 9)
    error = [
        sum(
            abs(probabilities[bins[:, k] == b, k].mean() - labels[bins[:, k] == b, k].mean()) * (bins[:, k] == b).mean()
            for b in range(10)
            if (bins[:, k] == b).any()
        )
        for k in range(len(CLASSES))
    ]
    figures = {
        "classes": CLASSES,
        "training": {"texts": len(texts), "sha256": hashlib.sha256(arguments.train.read_bytes()).hexdigest()},
        "made_with": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "features": int(kept.sum()),
        "bytes": arguments.out.stat().st_size,
        "sha256": hashlib.sha256(arguments.out.read_bytes()).hexdigest(),
        "unseen": {
            "f1": dict(zip(CLASSES, f1_scores(unseen >= thresholds, labels).round(4).tolist())),
            "macro_f1": round(float(f1_scores(unseen >= thresholds, labels).mean()), 4),
            "calibration_error": dict(zip(CLASSES, np.round(error, 4).tolist())),
            "likeliest": single(unseen, labels),
            "strongest": single(unseen - thresholds, labels),
        },
    }
    if arguments.held_out:
        texts, labels = read(arguments.held_out)
        logits = np.array([model.logits(one) for one in texts])
        scores = f1_scores(logits >= thresholds, labels)
        figures["held_out"] = {
            "texts": len(texts),
            "sha256": hashlib.sha256(arguments.held_out.read_bytes()).hexdigest(),
            "f1": dict(zip(CLASSES, scores.round(4).tolist())),
            "macro_f1": round(float(scores.mean()), 4),
            "likeliest": single(logits, labels),
            "strongest": single(logits - thresholds, labels),
        }
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    say(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
