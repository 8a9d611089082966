//! Every word that the rules know, in one hash table, and the emoji.
//!
//! The lexicons are those of the crate `vader_sentiment` 0.1.1. Compared with vaderSentiment 3.3.2's files, word
//! by word and bit by bit, its word list lacks `heart` and `hearts`, its emoji are equal. Its *map*, however,
//! folds case: of `:p`/`:P` and of `o.o`/`O.o`/`o.O` it keeps one value, and not the lower-case one, which is the
//! only one the rules ever ask for. [`CORRECTIONS`] has all four.

use std::sync::LazyLock;

use ahash::AHashMap;

/// What the crate's map lacks or has wrong; values of vaderSentiment 3.3.2, `vader_lexicon.txt`.
const CORRECTIONS: [(&str, f64); 4] = [("heart", 3.2), ("hearts", 3.3), (":p", 1.0), ("o.o", -0.8)];

/// `NEGATE`.
const NEGATIONS: &str = "\
    aint arent cannot cant couldnt darent didnt doesnt ain't aren't can't couldn't daren't didn't doesn't \
    dont hadnt hasnt havent isnt mightnt mustnt neither don't hadn't hasn't haven't isn't mightn't mustn't \
    neednt needn't never none nope nor not nothing nowhere oughtnt shant shouldnt uhuh wasnt werent oughtn't \
    shan't shouldn't uh-uh wasn't weren't without wont wouldnt won't wouldn't rarely seldom despite";

/// `BOOSTER_DICT`, the words with `B_INCR`.
const BOOSTERS: &str = "\
    absolutely amazingly awfully completely considerable considerably decidedly deeply effing enormous \
    enormously entirely especially exceptional exceptionally extreme extremely fabulously flipping flippin \
    frackin fracking fricking frickin frigging friggin fully fuckin fucking fuggin fugging greatly hella \
    highly hugely incredible incredibly intensely major majorly more most particularly purely quite really \
    remarkably so substantially thoroughly total totally tremendous tremendously uber unbelievably unusually \
    utter utterly very";

/// `BOOSTER_DICT`, the single words with `B_DECR` (the pairs of words are in `rules`).
const DAMPENERS: &str = "\
    almost barely hardly kinda kindof kind-of less little marginal marginally occasional occasionally partly \
    scarce scarcely slight slightly somewhat sorta sortof sort-of";

/// Words that single rules look for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Word {
    /// Any other word.
    #[default]
    Other,
    Ass,
    At,
    Bad,
    Beating,
    Bomb,
    Bus,
    But,
    Death,
    Die,
    Doubt,
    Enough,
    For,
    Heart,
    Just,
    Kind,
    Kiss,
    Least,
    Never,
    No,
    Nor,
    Of,
    Or,
    Right,
    Shit,
    So,
    Sort,
    Stop,
    The,
    This,
    To,
    Very,
    Without,
    Yeah,
}

const NAMED: [(&str, Word); 33] = [
    ("ass", Word::Ass),
    ("at", Word::At),
    ("bad", Word::Bad),
    ("beating", Word::Beating),
    ("bomb", Word::Bomb),
    ("bus", Word::Bus),
    ("but", Word::But),
    ("death", Word::Death),
    ("die", Word::Die),
    ("doubt", Word::Doubt),
    ("enough", Word::Enough),
    ("for", Word::For),
    ("heart", Word::Heart),
    ("just", Word::Just),
    ("kind", Word::Kind),
    ("kiss", Word::Kiss),
    ("least", Word::Least),
    ("never", Word::Never),
    ("no", Word::No),
    ("nor", Word::Nor),
    ("of", Word::Of),
    ("or", Word::Or),
    ("right", Word::Right),
    ("shit", Word::Shit),
    ("so", Word::So),
    ("sort", Word::Sort),
    ("stop", Word::Stop),
    ("the", Word::The),
    ("this", Word::This),
    ("to", Word::To),
    ("very", Word::Very),
    ("without", Word::Without),
    ("yeah", Word::Yeah),
];

/// What the rules need of a token.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Token {
    /// The lexicon's valence; 0 when [`Token::VALENCED`] is not set.
    pub(super) valence: f64,
    pub(super) word: Word,
    pub(super) flags: u8,
}

impl Token {
    /// In the reference's lexicon (even if with valence 0).
    pub(super) const VALENCED: u8 = 1;
    /// In `BOOSTER_DICT` with `B_INCR`.
    pub(super) const BOOSTS: u8 = 1 << 1;
    /// In `BOOSTER_DICT` with `B_DECR`.
    pub(super) const DAMPENS: u8 = 1 << 2;
    /// In `NEGATE`, or contains "n't".
    pub(super) const NEGATES: u8 = 1 << 3;
    /// First word of a special case or of a booster that is a pair of words.
    pub(super) const OPENS_PHRASE: u8 = 1 << 4;
    /// `str.isupper`.
    pub(super) const ALL_CAPS: u8 = 1 << 5;

    pub(super) const fn is(self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// Longest word of the table, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 24;

/// A lower-case word of up to [`KEY_BYTES_MAX`] bytes as three little-endian integers, padded with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    parts: [u64; 3],
    length: u8,
}

impl Key {
    /// The key of `bytes[start..start + length]`, lower-cased as ASCII.
    ///
    /// `length` is 1 to [`KEY_BYTES_MAX`], and `bytes` go on for at least [`KEY_BYTES_MAX`] from `start`, so that
    /// the word is read in whole integers.
    #[inline]
    pub(super) fn read(bytes: &[u8], start: usize, length: usize) -> Self {
        let word = &bytes[start..start + KEY_BYTES_MAX];
        let part = |index: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&word[index * 8..index * 8 + 8]);
            u64::from_le_bytes(part)
        };
        let parts = if length <= 8 {
            [lower(part(0) & first_bytes(length)), 0, 0]
        } else if length <= 16 {
            [lower(part(0)), lower(part(1) & first_bytes(length - 8)), 0]
        } else {
            [lower(part(0)), lower(part(1)), lower(part(2) & first_bytes(length - 16))]
        };
        Self { parts, length: length as u8 }
    }

    fn of(word: &str) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes.get_mut(..word.len())?.copy_from_slice(word.as_bytes());
        (!word.is_empty()).then(|| Self::read(&bytes, 0, word.len()))
    }

    /// A place in the table. The multiplication carries every bit to the top, where the place is taken from.
    #[inline]
    fn place(self) -> usize {
        const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
        let [first, second, third] = self.parts;
        let mixed = first ^ second.wrapping_mul(MIX).rotate_left(31) ^ third.wrapping_mul(MIX).rotate_left(17);
        ((mixed ^ (mixed >> 29)).wrapping_mul(MIX) >> (64 - PLACES_BITS)) as usize
    }
}

/// A mask of the first `count` (1 to 8) bytes of a little-endian integer.
#[inline]
const fn first_bytes(count: usize) -> u64 {
    u64::MAX >> (64 - 8 * count)
}

/// Lower-cases the eight bytes of `word` as ASCII, all at once.
#[inline]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (0x7F * ONES);
    let from_a = low_bits + (0x80 - b'A' as u64) * ONES;
    let after_z = low_bits + (0x7F - b'Z' as u64) * ONES;
    let upper = (from_a ^ after_z) & !word & (0x80 * ONES);
    word | (upper >> 2)
}

const PLACES_BITS: u32 = 16;
const PLACES: usize = 1 << PLACES_BITS;

/// Code points from here on are no emoji of the reference (its last one is U+1F9FF).
const EMOJI_END: usize = 0x1FB00;
const PAGE: usize = 256;

/// All words and all emoji.
#[derive(Debug)]
pub(super) struct Lexicon {
    /// Index of an entry plus one, 0 where there is none; linear probing, an eighth full.
    places: Box<[u16]>,
    entries: Vec<(Key, Token)>,
    /// For a page of code points: which page of `emoji`; page 0 is empty.
    emoji_pages: Vec<u8>,
    /// For a code point of a page: index of a description plus one.
    emoji: Vec<[u16; PAGE]>,
    descriptions: Vec<&'static str>,
}

static SHARED: LazyLock<Lexicon> = LazyLock::new(Lexicon::build);

impl Lexicon {
    /// The process-wide lexicon, built at the first call.
    pub(super) fn shared() -> &'static Self {
        &SHARED
    }

    /// What the rules know about a word; a token without flags if nothing.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Token {
        let mut place = key.place();
        loop {
            let index = usize::from(self.places[place]);
            if index == 0 {
                return Token::default();
            }
            let (known, token) = &self.entries[index - 1];
            if *known == key {
                return *token;
            }
            place = (place + 1) % PLACES;
        }
    }

    /// The description of an emoji of the reference's table.
    #[inline]
    pub(super) fn describe(&self, symbol: char) -> Option<&'static str> {
        let code = symbol as usize;
        let page = *self.emoji_pages.get(code / PAGE)?;
        let index = usize::from(self.emoji[usize::from(page)][code % PAGE]);
        Some(self.descriptions[index.checked_sub(1)?])
    }

    fn build() -> Self {
        let mut words: AHashMap<Key, Token> = AHashMap::new();
        {
            // Keys that are longer than the table's can hold would be lost; a test compares the number of words.
            let mut change = |word: &str, change: &dyn Fn(&mut Token)| {
                if let Some(key) = Key::of(word) {
                    change(words.entry(key).or_default());
                }
            };
            let folded = vader_sentiment::LEXICON.iter().map(|(word, &valence)| (word.as_ref(), valence));
            for (word, valence) in folded.chain(CORRECTIONS) {
                // Tokens hold no white space, and `:Þ` is never equal to a lower-cased token.
                if word.is_ascii() && !word.contains(' ') {
                    change(word, &|token| {
                        token.valence = valence;
                        token.flags |= Token::VALENCED;
                    });
                }
            }
            for (list, flag) in [(NEGATIONS, Token::NEGATES), (BOOSTERS, Token::BOOSTS), (DAMPENERS, Token::DAMPENS)] {
                for word in list.split_ascii_whitespace() {
                    change(word, &|token| token.flags |= flag);
                }
            }
            for (text, word) in NAMED {
                change(text, &|token| {
                    token.word = word;
                    if word.opens_phrase() {
                        token.flags |= Token::OPENS_PHRASE;
                    }
                });
            }
        }
        // In the order of the keys, so that the table is the same in every process.
        let mut entries: Vec<(Key, Token)> = words.into_iter().collect();
        entries.sort_unstable_by_key(|(key, _)| key.parts);
        let mut places = vec![0; PLACES].into_boxed_slice();
        for (index, (key, _)) in entries.iter().enumerate() {
            let mut place = key.place();
            while places[place] != 0 {
                place = (place + 1) % PLACES;
            }
            places[place] = index as u16 + 1;
        }
        let mut lexicon = Self {
            places,
            entries,
            emoji_pages: vec![0; EMOJI_END / PAGE],
            emoji: vec![[0; PAGE]],
            descriptions: Vec::new(),
        };
        for (&symbol, &description) in vader_sentiment::EMOJI_LEXICON.iter() {
            let mut chars = symbol.chars();
            // The reference looks at single characters, so its sequences of several never match.
            if let (Some(symbol), None) = (chars.next(), chars.next()) {
                lexicon.add_emoji(symbol as usize, description);
            }
        }
        lexicon
    }

    fn add_emoji(&mut self, code: usize, description: &'static str) {
        let Some(page) = self.emoji_pages.get_mut(code / PAGE) else { return };
        if *page == 0 {
            *page = self.emoji.len() as u8;
            self.emoji.push([0; PAGE]);
        }
        self.descriptions.push(description);
        self.emoji[usize::from(*page)][code % PAGE] = self.descriptions.len() as u16;
    }
}

impl Word {
    /// Whether a special case or a booster pair of `rules` begins with this word.
    const fn opens_phrase(self) -> bool {
        use Word::{Bad, Beating, Bus, Just, Kind, Kiss, Sort, The, To, Yeah};
        matches!(self, Bad | Beating | Bus | Just | Kind | Kiss | Sort | The | To | Yeah)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use super::*;

    fn find(word: &str) -> Token {
        Lexicon::shared().find(Key::of(word).unwrap())
    }

    /// The numbers are those of vaderSentiment 3.3.2's files, counted by Python: 7,506 words, of which 12 repeat
    /// another one but for upper case, 2 are not ASCII and 4 contain a space; the sums of the valences and of their
    /// sizes; 59 negations, 60 boosters and 21 dampeners of one word; 1,212 emoji of one character.
    #[test]
    fn holds_every_word_and_emoji_of_the_reference() {
        let lexicon = Lexicon::shared();
        let valenced = lexicon.entries.iter().filter(|(_, token)| token.is(Token::VALENCED)).count();
        assert_eq!(valenced, 7_506 - 12 - 2 - 4);
        let sum: f64 = lexicon.entries.iter().map(|(_, token)| token.valence).sum();
        let size: f64 = lexicon.entries.iter().map(|(_, token)| token.valence.abs()).sum();
        assert!((sum - (-1369.1)).abs() < 1e-6 && (size - 11556.7).abs() < 1e-6, "{sum} {size}");
        let count = |flag| lexicon.entries.iter().filter(|(_, token)| token.is(flag)).count();
        assert_eq!([Token::NEGATES, Token::BOOSTS, Token::DAMPENS].map(count), [59, 60, 21]);
        assert_eq!(lexicon.descriptions.len(), 1_212);
    }

    #[test]
    fn corrections_win_over_the_crate() {
        for (word, valence) in CORRECTIONS {
            assert_eq!(find(word).valence, valence, "{word}");
        }
        assert_eq!(find(":P").valence, 1.0, "looked up as lower case");
    }

    #[test]
    fn one_entry_holds_all_roles_of_a_word() {
        let no = find("no");
        assert_eq!((no.word, no.is(Token::VALENCED), no.is(Token::NEGATES)), (Word::No, true, false));
        let kind = find("kind");
        assert_eq!((kind.word, kind.is(Token::VALENCED), kind.is(Token::OPENS_PHRASE)), (Word::Kind, true, true));
        assert!(find("so").is(Token::BOOSTS) && find("so").word == Word::So);
        assert!(find("sort-of").is(Token::DAMPENS));
        assert!(find("uh-uh").is(Token::NEGATES));
        assert_eq!(find("tideline"), Token::default());
        assert_eq!(find("good\0"), Token::default(), "the padding is not part of a word");
    }

    #[test]
    fn lower_changes_ascii_capitals_only() {
        for byte in 0..=u8::MAX {
            let word = u64::from_le_bytes([b'A', byte, 0x7F, byte, 0x80, byte, b'Z', byte]);
            let expected = word.to_le_bytes().map(|byte| byte.to_ascii_lowercase());
            assert_eq!(lower(word).to_le_bytes(), expected);
        }
    }

    #[test]
    fn emoji_of_one_character_are_described() {
        let describe = |symbol| Lexicon::shared().describe(symbol);
        assert_eq!(describe('😀'), Some("grinning face"));
        assert_eq!(describe('©'), Some("copyright"));
        assert_eq!(describe('a'), None);
        assert_eq!(describe('\u{10FFFF}'), None);
    }
}
