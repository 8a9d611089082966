"""Emotions, toxicity and churn risk of a text, computed again: what docs/enrichment.md says, in plain Python.

- Emotions come from the Python that trained the model (enrich/models/text.py and model.py) and the model file that the
  program holds: the tokeniser, the features and the sums are a second implementation, the weights are the same.
- Toxicity and churn risk come from the lists that the program holds (enrich/src/*/terms.txt) and the weights below;
  everything else, from reading a list to finding its phrases, is written here, naively: every phrase is spelt out.

Needs numpy for the emotions (tests/acceptance/requirements.txt).
"""

import itertools
import math
import os
import sys

ENRICH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "enrich")
sys.path.insert(0, os.path.join(ENRICH, "models"))
import text as reading  # noqa: E402

NEGATIONS = set(
    "not no never nobody without cannot aint ain't arent aren't cant can't couldnt couldn't didnt didn't doesnt doesn't dont don't hadnt "
    "hadn't hasnt hasn't havent haven't isnt isn't mustnt mustn't shouldnt shouldn't wasnt wasn't werent weren't wont won't wouldnt wouldn't".split()
)
# Words that may stand between a negation and what it negates.
BETWEEN = set(
    "a an the any all at such that so too very really even ever actually yet longer as be been being is are was were have had get got "
    "getting go going gonna will to of about for on want wanted wanting wanna need needed plan plans planned planning intend intended intending "
    "intention intentions reason reasons thinking think thought dream dreaming see imagine myself ourselves".split()
)
# Of these as many as a negation reaches over.
BETWEEN_MAX = 6
YOU = {"you", "u", "ya", "you're", "youre", "your", "ur", "yourself", "yourselves", "yall", "y'all"}
# Log-odds, as enrich/models/calibrate.py has fitted them.
TOXICITY = {
    "bias": -4.01, "slur": 5.00, "threat": 4.00, "attack": 4.96, "insult": 3.33, "demeaning": 1.75, "personal": 1.72, "profanity": 1.87,
}
CHURN = {"bias": -2.03, "leave": 4.62, "waver": 3.43, "complaint": 0.62, "stay": -1.47, "sentiment": -0.94}


def phrases(path):
    """A list: phrase, as a tuple of tokens -> category."""
    found, category = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.split(" #")[0].strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                category = line.strip("[]")
                continue
            for choice in itertools.product(*(word.split("|") for word in line.split(" "))):
                found[tuple(word for word in choice if word)] = category
    return found


def negated(before):
    """Whether a negation stands before a phrase, `before` being the words before it, nearest first."""
    beyond = list(itertools.dropwhile(lambda word: word in BETWEEN, before[: BETWEEN_MAX + 1]))
    return bool(beyond) and beyond[0] in NEGATIONS


class List:
    """Phrases in categories, looked for in texts."""

    def __init__(self, name):
        self.phrases = phrases(os.path.join(ENRICH, "src", name, "terms.txt"))
        self.longest = max(map(len, self.phrases))
        self.words = NEGATIONS.union(BETWEEN, *self.phrases)

    def word(self, token):
        """The word that a token is; None for one that ends a sentence, '' for one that no phrase has."""
        if token in self.words:
            return token
        if token[0] in ".!?;":
            return None
        runs = [(symbol, len(list(run))) for symbol, run in itertools.groupby(token)]
        if not any(length >= 3 and symbol.isascii() for symbol, length in runs):
            return ""
        squeezed = "".join(symbol * (1 if length >= 3 else length) for symbol, length in runs)
        return squeezed if squeezed in self.words else ""

    def find(self, text):
        """(category, negated, words before in the sentence, nearest last; words after in the sentence) of each phrase."""
        words = [self.word(token) for chunk in reading.chunks(text) for token in reading.tokens(chunk)]
        found, at = [], 0
        while at < len(words):
            for end in range(min(len(words), at + self.longest), at, -1):
                category = self.phrases.get(tuple(words[at:end]))
                if category:
                    before = list(itertools.takewhile(lambda word: word is not None, reversed(words[:at])))
                    after = list(itertools.takewhile(lambda word: word is not None, words[end:]))
                    found.append((category, negated(before), before, after))
                    at = end
                    break
            else:
                at += 1
        return found


def logistic(odds):
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else 1 - 1 / (1 + math.exp(odds))


def weighed(counts, weights):
    return sum(weights[name] * math.sqrt(min(count, 4)) for name, count in counts.items())


class Enrichment:
    """What the program's functions of a text give; `compound` is VADER's."""

    def __init__(self, compound):
        from model import Model

        self.compound = compound
        self.model = Model.read()
        self.toxic, self.churning = List("toxicity"), List("churn")
        self.known = {}

    def emotion(self, text):
        """The class farthest above its threshold, or least below it."""
        from model import CLASSES

        above = [logit - float(threshold) for logit, threshold in zip(self.model.logits(text), self.model.threshold)]
        return CLASSES[above.index(max(above))]

    def toxicity(self, text):
        counts = dict.fromkeys((name for name in TOXICITY if name != "bias"), 0)
        for category, negation, before, after in self.toxic.find(text):
            if category == "you" or (negation and category in ("insult", "demeaning")):
                continue
            counts[category] += 1
            if category in ("insult", "demeaning") and any(word in YOU for word in before[:4] + after[:4]):
                counts["personal"] += 1
        return logistic(TOXICITY["bias"] + weighed(counts, TOXICITY))

    def churn_risk(self, text):
        counts = dict.fromkeys(("leave", "waver", "complaint", "stay"), 0)
        for category, negation, _, _ in self.churning.find(text):
            if category == "leave" and negation:
                counts["stay"] += 1
            elif category != "other" and not negation:
                counts[category] += 1
        return logistic(CHURN["bias"] + weighed(counts, CHURN) + CHURN["sentiment"] * self.compound(text))

    def of(self, text):
        """All of them, with the sentiment and its label."""
        if text not in self.known:
            score = self.compound(text)
            self.known[text] = {
                "sentiment": score,
                "label": "positive" if score >= 0.05 else "negative" if score <= -0.05 else "neutral",
                "emotion": self.emotion(text),
                "toxicity": self.toxicity(text),
                "churn_risk": self.churn_risk(text),
            }
        return self.known[text]
