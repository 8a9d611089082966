"""How a text becomes tokens and features: the Python side of the definition in docs/enrichment.md.

`enrich/src/tokens.rs` and `enrich/src/emotion/features.rs` are the Rust side; the fixtures of `fixtures.py` hold
both to the same answers. Nothing here depends on the Unicode version of the Python that runs it.
"""

import functools

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
PAIR = 0x5BD1E9955BD1E995

#: Equal characters in a row that are kept.
RUN_MAX = 3
#: Bytes of the character n-grams.
GRAM_BYTES = range(2, 6)

SPACE, IGNORED, SYMBOL, PUNCTUATION, APOSTROPHE, WORD = range(6)


@functools.cache
def class_of(symbol):
    """The class of one character."""
    code = ord(symbol)
    if code <= 0x20 or 0x7F <= code <= 0xA0:
        return SPACE
    if code < 0x80:
        if symbol.isalnum():
            return WORD
        return APOSTROPHE if symbol == "'" else PUNCTUATION
    if code == 0x1680 or 0x2000 <= code <= 0x200A or code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000):
        return SPACE
    if (
        code in (0xAD, 0xFEFF)
        or 0x200B <= code <= 0x200F
        or 0x2060 <= code <= 0x206F
        or 0xFE00 <= code <= 0xFE0F
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0000 <= code <= 0xE0FFF
    ):
        return IGNORED
    if (
        (0xA1 <= code <= 0xBF and code not in (0xAA, 0xB5, 0xBA))
        or code in (0xD7, 0xF7)
        or 0x2010 <= code <= 0x205E
        or 0x20A0 <= code <= 0x20CF
        or 0x2190 <= code <= 0x2BFF
        or 0x3001 <= code <= 0x303F
        or 0x1F000 <= code <= 0x1FAFF
    ):
        return SYMBOL
    return WORD


def chunks(text):
    """The pieces of a text between white space, with its characters normalised."""
    kept, last, run = [], None, 0
    for symbol in text:
        if symbol in "\u2018\u2019":
            symbol = "'"
        elif "A" <= symbol <= "Z":
            symbol = symbol.lower()
        kind = class_of(symbol)
        if kind == IGNORED:
            continue
        if kind == SPACE:
            symbol = " "
        if symbol == last:
            run += 1
            if run > RUN_MAX:
                continue
        else:
            last, run = symbol, 1
        kept.append(symbol)
    return [chunk for chunk in "".join(kept).split(" ") if chunk]


def tokens(chunk):
    """The tokens of a chunk: words, runs of ASCII punctuation, symbols one by one."""
    found, at = [], 0
    while at < len(chunk):
        kind, end = class_of(chunk[at]), at + 1
        if kind == WORD:
            while end < len(chunk):
                here = class_of(chunk[end])
                inside = here == APOSTROPHE and end + 1 < len(chunk) and class_of(chunk[end + 1]) == WORD
                if here != WORD and not inside:
                    break
                end += 1
        elif kind in (PUNCTUATION, APOSTROPHE):
            while end < len(chunk) and class_of(chunk[end]) in (PUNCTUATION, APOSTROPHE):
                end += 1
        found.append(chunk[at:end])
        at = end
    return found


def mix(value):
    """The 32-bit key of a 64-bit value."""
    return ((value * GOLDEN) & MASK) >> 32


def hash_of(token):
    """FNV-1a, 64 bits, of a token's UTF-8."""
    value = FNV_OFFSET
    for byte in token.encode():
        value = ((value ^ byte) * FNV_PRIME) & MASK
    return value


@functools.cache
def features_of_chunk(chunk):
    """The hashes of a chunk's tokens, and the keys of its character n-grams."""
    padded = b" " + chunk.encode() + b" "
    grams = [
        mix(int.from_bytes(padded[at : at + length], "little"))
        for length in GRAM_BYTES
        for at in range(len(padded) - length + 1)
    ]
    return [hash_of(token) for token in tokens(chunk)], grams


def features(text):
    """The keys of a text's word n-grams (one and two tokens), and of its character n-grams, repeats included."""
    hashes, grams = [], []
    for chunk in chunks(text):
        of_chunk = features_of_chunk(chunk)
        hashes += of_chunk[0]
        grams += of_chunk[1]
    words = [mix(value) for value in hashes]
    words += [mix(((left * FNV_PRIME) & MASK) ^ right ^ PAIR) for left, right in zip(hashes, hashes[1:])]
    return words, grams
