"""Writes what the Rust code must agree with, as the Python side computes it from `emotion.bin`.

    python3 fixtures.py [--held-out emotion-dev.ndjson.gz]

- `../tests/fixtures/emotion-reference.ndjson`: texts with their tokens and logits. A row with `times` is its text that
  often. All texts are made here: by hand, and by a seeded generator.
- `../tests/fixtures/emotion-held-out.ndjson` (with --held-out): a seeded sample of 500 of the comments that the model
  was not trained on, with their labels; its macro-F1 is printed.
"""

import argparse
import json
import pathlib
import random

import text
from model import CLASSES, Model

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "tests" / "fixtures"
SEED = 5
SAMPLE = 500

HAND_MADE = [
    # Nothing, blank, ignored only.
    "", " ", "\n\t \u3000", "\u200b", "\ufe0f\u200d \u00ad", "\x00", "a", "!", "?", "'", "’", "😀", "é",
    # Plain sentences, one per emotion and some of two.
    "This makes me so angry, what an idiotic decision", "That is the most disgusting thing I have ever eaten",
    "I'm terrified of spiders", "Thank you so much, I love it!", "The train leaves at 10:45 from platform 3.",
    "I miss my grandmother every day", "Wait, what?! I had no idea!", "I'm so sorry for your loss, stay strong",
    "I am scared and angry", "lol that was hilarious", "WHY THE FUCK IS BAYLESS ISOING",
    # Apostrophes and quotes.
    "Don't", "DON’T", "'quoted'", "‘quoted’", "rock'n'roll", "it''s", "y'", "'tis", "' '", "\"Don't!\"", "“Don’t”",
    # Punctuation, emoticons.
    "...", "!!!!!!!!", "?!?!?!?!", ":-) :( ;-P xD <3", "f**k", "a/b\\c", "me@example.com", "https://example.com/?q=1&r=2#x",
    "$TSLA", "#fail", "@you", "100%", "1,000,000.00", "10000000", "a_b-c", "~`^|{}[]",
    # Runs.
    "sooooooo goooood", "aaaa", "aaAAaa", "a  a   a    a", "hahahahaha", "😂😂😂😂😂😂", "!!\u200b!!", "a\u00ada\u200da\ufe0fa",
    # Emoji: skin tones, joined ones, flags, keycaps, hearts with variation selectors, symbols.
    "👍🏽👍🏿", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "1️⃣2️⃣", "❤️❤ ♥", "ok😀fine", "😀 😃😄", "™®©", "→←", "½²³", "ªµº",
    # Scripts and marks, which the model does not know.
    "ÄÖÜ äöü ß", "naïve café", "Ἀθῆναι", "İstanbul ıI", "日本語のテキスト。「引用」", "中文，没有空格！", "한국어", "שלום", "مرحبا",
    "हिन्दी", "ไทย", "e\u0301 a\u0308", "\U0001d400\U0001d401", "ﬁne", "Ａ１！", "\u1680a\u2028b\u2029c\u202fd\u205fe\u0085f\u00a0g",
    "\ufeffstart", "a\u2060b", "\u2066a\u2069", "\U000e0041a", "\U0010ffff", "\ud7ff\ue000", "\ufffd",
    # Control characters, line ends.
    "a\x00b\x1fc\x7fd", "a\r\nb\rc", "\ta\x0bb\x0c",
]

LONG = [("good ", 20000), ("x", 100000), ("😀", 20000), ("a!", 50000), ("日本", 30000), ("I hate this. ", 5000), (" ", 100000)]


def generated(random):
    """Texts of known words, odd characters and spaces."""
    words = [word for line in HAND_MADE[13:24] for word in line.split()]
    odd = ["'", "’", "!", "?!", "...", "😀", "❤️", "é", "ß", "日", "\u200b", "\u00a0", "\u3000", "\ufe0f", "-", ",", "1", "½"]
    wild = [chr(random.choice([random.randrange(0x80, 0xD800), random.randrange(0xE000, 0x110000)])) for _ in range(300)]
    for _ in range(400):
        parts = random.choices([*words, *odd, random.choice(wild), random.choice(wild)], k=random.randrange(1, 25))
        yield random.choice(["", " ", " ", " "]).join(parts)
    for _ in range(200):
        yield "".join(chr(random.randrange(1, 0x80)) for _ in range(random.randrange(1, 40)))
    for _ in range(100):
        yield "".join(random.choices(wild + [" ", "a"], k=random.randrange(1, 30)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--held-out", type=pathlib.Path)
    arguments = arguments.parse_args()

    model = Model.read()
    rows = [(one, 1) for one in [*HAND_MADE, *generated(random.Random(SEED))]]
    with open(FOLDER / "emotion-reference.ndjson", "w", encoding="utf-8", newline="\n") as out:
        for one, times in rows + LONG:
            whole = one * times
            row = {"text": one}
            if times > 1:
                row["times"] = times
            else:
                row["tokens"] = [token for chunk in text.chunks(whole) for token in text.tokens(chunk)]
            # As texts: not every reader of JSON takes a number to its nearest double.
            row["logits"] = [repr(logit) for logit in model.logits(whole)]
            print(json.dumps(row, ensure_ascii=True), file=out)

    if arguments.held_out:
        import numpy as np

        from train import f1_scores, read

        texts, labels = read(arguments.held_out)
        sample = sorted(random.Random(SEED).sample(range(len(texts)), SAMPLE))
        with open(FOLDER / "emotion-held-out.ndjson", "w", encoding="utf-8", newline="\n") as out:
            for row in sample:
                names = [name for name, has in zip(CLASSES, labels[row]) if has]
                print(json.dumps({"text": texts[row], "emotions": names}, ensure_ascii=False), file=out)
        given = np.array([model.logits(texts[row]) for row in sample]) >= model.threshold
        scores = f1_scores(given, labels[sample])
        print(f"macro-F1 of {SAMPLE} held-out comments: {float(scores.mean())!r} ({dict(zip(CLASSES, scores.round(3).tolist()))})")


if __name__ == "__main__":
    main()
