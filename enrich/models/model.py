"""The model file `emotion.bin`: written by `train.py`, read by `enrich/src/emotion/model.rs` and here.

All numbers are little-endian:

    8 bytes      b"TLEMOTE1"
    u32          number of features, n
    7 x f64      scale of each class
    7 x f64      bias of each class
    7 x f64      threshold of each class, as a logit
    n x u32      keys of the features, ascending
    n x 7 x i8   weights of each feature
"""

import math
import pathlib

import numpy as np

import text

CLASSES = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
MAGIC = b"TLEMOTE1"
FILE = pathlib.Path(__file__).with_name("emotion.bin")


class Model:
    """A quantised model: logit = bias + scale * (words / sqrt(their number) + grams / sqrt(their number))."""

    def __init__(self, scale, bias, threshold, keys, weights):
        self.scale, self.bias, self.threshold = scale, bias, threshold
        self.keys, self.weights = keys, weights

    @classmethod
    def read(cls, path=FILE):
        data = path.read_bytes()
        assert data[:8] == MAGIC, "not an emotion model"
        count = int.from_bytes(data[8:12], "little")
        head = np.frombuffer(data, "<f8", 21, 12).reshape(3, 7)
        keys = np.frombuffer(data, "<u4", count, 180)
        weights = np.frombuffer(data, "i1", count * 7, 180 + 4 * count).reshape(count, 7)
        assert len(data) == 180 + 11 * count, "length"
        return cls(*head, keys, weights)

    def write(self, path=FILE):
        head = np.stack([self.scale, self.bias, self.threshold]).astype("<f8")
        path.write_bytes(
            MAGIC
            + len(self.keys).to_bytes(4, "little")
            + head.tobytes()
            + self.keys.astype("<u4").tobytes()
            + self.weights.astype("i1").tobytes()
        )

    def logits(self, of):
        """The logit of each class, computed from integers in one order, so that Rust can have the same bits."""
        sums = []
        words_and_grams = text.features(of)
        for keys in words_and_grams:
            found = np.searchsorted(self.keys, np.array(keys, "u4"))
            found[found == len(self.keys)] = 0
            known = self.keys[found] == np.array(keys, "u4")
            sums.append(self.weights[found[known]].sum(0, dtype=np.int64))
        roots = [math.sqrt(max(1, len(keys))) for keys in words_and_grams]
        return [
            float(self.bias[k]) + float(self.scale[k]) * (int(sums[0][k]) / roots[0] + int(sums[1][k]) / roots[1])
            for k in range(7)
        ]


def probability(logit):
    """The logistic function."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else 1 - 1 / (1 + math.exp(logit))
