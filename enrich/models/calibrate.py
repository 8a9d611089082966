"""Fits the weights of toxicity and churn risk, and says how good the scores are.

    cargo build --release -p tideline-bench --bin enrich
    pip install -r requirements.txt
    python3 calibrate.py [--bin target/release/enrich]

The texts are in `toxicity-labelled.ndjson` (260 comments of the emotion model's training file to fit, 200 of its
held-out file to test; half of the first and 60 of the second at random, the others from those labelled anger or
disgust; labelled by one person) and `churn-labelled.ndjson` (100 messages written and labelled for this project, every
second one to fit). They are few: each weight starts at the prior below, a judgement, and moves as far as the texts
ask for (MAP estimate with a normal prior of standard deviation 1), never over to the other sign.

Prints the constants that `enrich/src/toxicity/mod.rs` and `enrich/src/churn/mod.rs` hold, and for both parts of the
texts: area under the ROC curve, Brier score, and the mean score of the texts that have the label and that have not.
"""

import argparse
import json
import os
import pathlib
import subprocess

import numpy as np
from scipy.optimize import minimize

FOLDER = pathlib.Path(__file__).resolve().parent
COUNT_MAX = 4

TOXICITY = {
    "bias": -3.5, "slurs": 5.0, "threats": 4.5, "attacks": 4.0, "insults": 2.5, "demeaning": 1.0, "personal": 1.5,
    "profanity": 1.0,
}
CHURN = {"bias": -2.5, "leave": 3.5, "waver": 2.5, "complaint": 1.0, "stay": -2.0, "sentiment": -1.0}


def default_binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", FOLDER.parents[1] / "target"))
    return target / "release" / "enrich"


def read(path, label):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return rows, np.array([row[label] for row in rows]), np.array([row["part"] == "fit" for row in rows])


def signals(binary, path, which, names):
    output = subprocess.run([binary, "signals", path], check=True, stdout=subprocess.PIPE).stdout.decode()
    rows = [json.loads(line)[which] for line in output.split("\n") if line]
    columns = [np.array([row[name] for row in rows], dtype=float) for name in names]
    columns = [c if name == "sentiment" else np.sqrt(np.minimum(c, COUNT_MAX)) for name, c in zip(names, columns)]
    return np.stack(columns, axis=1), np.array([row["score"] for row in rows])


def fit(x, y, prior):
    """Weights, bias first."""
    start = np.array(list(prior.values()))
    x = np.column_stack([np.ones(len(x)), x])
    sign = 2.0 * y - 1

    def loss(w):
        return np.logaddexp(0, -sign * (x @ w)).sum() + ((w - start) ** 2).sum() / 2

    def side(weight):
        return (0.05, None) if weight > 0 else (None, -0.05)

    return minimize(loss, start, method="L-BFGS-B", bounds=[(None, None)] + [side(w) for w in start[1:]]).x


def area(score, y):
    """The probability that a text with the label scores above one without it; ties count half."""
    difference = score[y][:, None] - score[~y][None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def report(name, score, y):
    chosen = score >= 0.5
    precision = (chosen & y).sum() / max(1, chosen.sum())
    recall = (chosen & y).sum() / y.sum()
    print(
        f"  {name:8} {len(y)} texts, {y.sum()} with the label: AUC {area(score, y):.3f}, Brier {((score - y) ** 2).mean():.3f} "
        f"(of the mean {y.mean() * (1 - y.mean()):.3f}), mean score {score[y].mean():.2f} and {score[~y].mean():.2f}, "
        f"at 0.5 precision {precision:.2f}, recall {recall:.2f}"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", type=pathlib.Path, default=default_binary(), help="default: %(default)s")
    arguments.add_argument("--show", action="store_true", help="print the texts that the fitted scores get wrong")
    arguments = arguments.parse_args()
    for which, label, prior in (("toxicity", "toxic", TOXICITY), ("churn", "leaves", CHURN)):
        path = FOLDER / f"{which}-labelled.ndjson"
        rows, y, to_fit = read(path, label)
        names = list(prior)[1:]
        x, in_rust = signals(arguments.bin, path, which, names)
        weights = fit(x[to_fit], y[to_fit], prior)
        fitted = 1 / (1 + np.exp(-(weights[0] + x @ weights[1:])))
        print(which, {name: round(float(w), 2) for name, w in zip(prior, weights)})
        for kind, score in (("fitted", fitted), ("in Rust", in_rust)):
            print(f" {kind}")
            report("fit", score[to_fit], y[to_fit])
            report("test", score[~to_fit], y[~to_fit])
        if arguments.show:
            for row, score, has, signal in zip(rows, fitted, y, x):
                if row["part"] == "fit" and (score >= 0.5) != has:
                    print(f"   {score:.2f} {has} {row['text'][:110]!r} {dict(zip(names, signal.round(2)))}")


if __name__ == "__main__":
    main()
