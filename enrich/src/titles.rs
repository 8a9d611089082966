//! Mentions of known titles in a text: longest match, whole words, without regard to case.
//!
//! The titles are kept as a trie of their lower-cased bytes, which is walked from every place where a mention may
//! begin. Unlike an automaton it takes a new title at the cost of its length, which matters because titles arrive
//! in a stream and texts are matched in between. Matches begin at word boundaries only, so that the failure links
//! of Aho–Corasick would save little.

use ahash::{AHashMap, AHashSet};

use crate::word::is_word;

/// Longest title, in bytes, both as given and lower-cased. It bounds the time per place of a text.
pub const TITLE_BYTES_MAX: usize = 512;

/// Titles that [`TitleMatcher::default`] takes.
pub const TITLES_MAX: usize = 1_000_000;

/// A set of titles to look for.
///
/// ```
/// let titles: tideline_enrich::TitleMatcher = ["Alien", "Alien: Romulus", "Up"].into_iter().collect();
/// assert_eq!(titles.mentions("ALIEN: ROMULUS is no alien, but upbeat"), ["Alien: Romulus", "Alien"]);
/// ```
#[derive(Debug, Clone)]
pub struct TitleMatcher {
    titles: Vec<Box<str>>,
    /// Which node follows a node for a byte. Node 0 is the root.
    edges: AHashMap<(u32, u8), u32>,
    /// For each node: index of the title that ends there plus one, or 0.
    ends: Vec<u32>,
    titles_max: usize,
}

/// What became of a title given to [`TitleMatcher::insert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// From now on the title is found.
    New,
    /// The title is known already, perhaps in another case. The earlier spelling stays.
    Known,
    /// The title has nothing but white space and is not looked for.
    Blank,
    /// The title is longer than [`TITLE_BYTES_MAX`] and is not looked for.
    TooLong,
    /// The matcher holds as many titles as it may. The title is not looked for.
    Full,
}

impl TitleMatcher {
    /// A matcher without titles that takes up to `titles_max` of them.
    pub fn with_limit(titles_max: usize) -> Self {
        // Titles are numbered from 1 and nodes, of which a title may have several hundred, by u32.
        let titles_max = titles_max.min(u32::MAX as usize / (TITLE_BYTES_MAX + 1));
        Self { titles: Vec::new(), edges: AHashMap::new(), ends: vec![0], titles_max }
    }

    /// How many titles are looked for.
    pub fn len(&self) -> usize {
        self.titles.len()
    }

    /// Whether no title is looked for.
    pub fn is_empty(&self) -> bool {
        self.titles.is_empty()
    }

    /// Looks for `title`, white space around it removed, from now on.
    pub fn insert(&mut self, title: &str) -> Inserted {
        let title = title.trim();
        if title.is_empty() {
            return Inserted::Blank;
        }
        if title.len() > TITLE_BYTES_MAX {
            return Inserted::TooLong;
        }
        let folded = Folded::new(title);
        if folded.text.len() > TITLE_BYTES_MAX {
            return Inserted::TooLong;
        }
        if self.find(&folded.text).is_some() {
            return Inserted::Known;
        }
        if self.titles.len() == self.titles_max {
            return Inserted::Full;
        }
        let mut node = 0;
        for byte in folded.text.bytes() {
            let fresh = self.ends.len() as u32;
            node = *self.edges.entry((node, byte)).or_insert(fresh);
            if node == fresh {
                self.ends.push(0);
            }
        }
        self.titles.push(title.into());
        self.ends[node as usize] = self.titles.len() as u32;
        Inserted::New
    }

    /// The titles that `text` mentions, each once, spelt as inserted, in the order of their first mention.
    ///
    /// A mention begins and ends at a word boundary: the characters on its two sides are not both word
    /// characters (`\w`). Of several mentions from the same place the longest counts, and the search goes on behind it.
    pub fn mentions(&self, text: &str) -> Vec<&str> {
        let mut found: Vec<u32> = Vec::new();
        if !self.titles.is_empty() {
            let folded = Folded::new(text);
            let mut at = 0;
            let mut before = None;
            while let Some(symbol) = folded.text[at..].chars().next() {
                if let Some((title, end)) = self.longest(&folded, at, before) {
                    found.push(title);
                    // A title holds at least one character, so `end` is after `at`.
                    before = folded.text[..end].chars().next_back();
                    at = end;
                } else {
                    before = Some(symbol);
                    at += symbol.len_utf8();
                }
            }
        }
        let mut seen = AHashSet::with_capacity(found.len());
        found.retain(|title| seen.insert(*title));
        found.into_iter().filter_map(|title| Some(&**self.titles.get(title as usize - 1)?)).collect()
    }

    /// The number of the longest title from `start` on, and its end.
    fn longest(&self, folded: &Folded, start: usize, before: Option<char>) -> Option<(u32, usize)> {
        let rest = &folded.text[start..];
        // Cheapest first: few bytes begin a title.
        if !rest.bytes().next().is_some_and(|byte| self.edges.contains_key(&(0, byte))) {
            return None;
        }
        if !folded.is_character_start(start) || !is_boundary(before, rest.chars().next()) {
            return None;
        }
        let mut longest = None;
        let mut node = 0;
        for (at, byte) in (start + 1..).zip(rest.bytes()) {
            match self.edges.get(&(node, byte)) {
                Some(next) => node = *next,
                None => break,
            }
            let title = self.ends[node as usize];
            if title != 0 && folded.is_character_start(at) {
                let (inside, outside) = folded.text.split_at(at);
                if is_boundary(inside.chars().next_back(), outside.chars().next()) {
                    longest = Some((title, at));
                }
            }
        }
        longest
    }

    fn find(&self, folded: &str) -> Option<u32> {
        let mut node = 0;
        for byte in folded.bytes() {
            node = *self.edges.get(&(node, byte))?;
        }
        Some(self.ends[node as usize]).filter(|title| *title != 0)
    }
}

impl Default for TitleMatcher {
    fn default() -> Self {
        Self::with_limit(TITLES_MAX)
    }
}

impl<T: AsRef<str>> Extend<T> for TitleMatcher {
    /// Inserts the titles one by one; those that cannot be looked for are passed over.
    fn extend<I: IntoIterator<Item = T>>(&mut self, titles: I) {
        for title in titles {
            self.insert(title.as_ref());
        }
    }
}

impl<T: AsRef<str>> FromIterator<T> for TitleMatcher {
    fn from_iter<I: IntoIterator<Item = T>>(titles: I) -> Self {
        let mut matcher = Self::default();
        matcher.extend(titles);
        matcher
    }
}

/// A text in lower case that remembers where the characters of the original began.
struct Folded {
    text: String,
    /// Offsets within `text` that lie inside what one original character became ("İ" becomes two characters):
    /// no mention begins or ends there. Ascending.
    inner: Vec<usize>,
}

impl Folded {
    fn new(original: &str) -> Self {
        if original.is_ascii() {
            return Self { text: original.to_ascii_lowercase(), inner: Vec::new() };
        }
        let mut folded = Self { text: String::with_capacity(original.len()), inner: Vec::new() };
        for symbol in original.chars() {
            for (index, lower) in symbol.to_lowercase().enumerate() {
                if index > 0 {
                    folded.inner.push(folded.text.len());
                }
                // The two small sigmas have the same capital.
                folded.text.push(if lower == 'ς' { 'σ' } else { lower });
            }
        }
        folded
    }

    fn is_character_start(&self, offset: usize) -> bool {
        self.inner.is_empty() || self.inner.binary_search(&offset).is_err()
    }
}

/// Whether a mention may begin or end between two characters of a text.
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    !(before.is_some_and(is_word) && after.is_some_and(is_word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(titles: &[&str]) -> TitleMatcher {
        titles.iter().collect()
    }

    #[test]
    fn the_longest_title_wins_and_hides_what_it_covers() {
        let titles = matcher(&["It", "It Follows", "Follows", "The Matrix", "Matrix Reloaded"]);
        assert_eq!(titles.mentions("it follows"), ["It Follows"]);
        assert_eq!(titles.mentions("it followsome"), ["It"]);
        assert_eq!(titles.mentions("the matrix reloaded"), ["The Matrix"]);
        assert_eq!(titles.mentions("Matrix Reloaded, It; follows IT"), ["Matrix Reloaded", "It", "Follows"]);
    }

    #[test]
    fn whole_words_only() {
        let titles = matcher(&["Up", "Mother!", "#Alive", "9"]);
        assert!(titles.mentions("upper soup sup_ up_ upé 19 9th").is_empty());
        assert_eq!(titles.mentions("(up) mother!x x#alive 9"), ["Up", "Mother!", "#Alive", "9"]);
        assert_eq!(titles.mentions("mother"), Vec::<&str>::new());
    }

    #[test]
    fn case_is_folded_beyond_ascii() {
        let titles = matcher(&["AMÉLIE", "Οδός", "Straße", "İstanbul", "i"]);
        assert_eq!(titles.mentions("amélie ΟΔΌΣ STRASSE straße"), ["AMÉLIE", "Οδός", "Straße"]);
        assert_eq!(titles.mentions("x İSTANBUL"), ["İstanbul"]);
        // Lower-cased, İ is "i" and a combining dot: what is within one character is no mention.
        assert!(titles.mentions("İ").is_empty());
    }

    #[test]
    fn insert_tells_what_became_of_a_title() {
        let mut titles = TitleMatcher::with_limit(2);
        assert_eq!(titles.insert("  "), Inserted::Blank);
        assert_eq!(titles.insert(&"x".repeat(TITLE_BYTES_MAX + 1)), Inserted::TooLong);
        assert_eq!(titles.insert(" Dune "), Inserted::New);
        assert_eq!(titles.insert("DUNE"), Inserted::Known);
        assert_eq!(titles.mentions("dune part two"), ["Dune"]);
        assert_eq!(titles.insert("Dune: Part Two"), Inserted::New);
        assert_eq!(titles.insert("Alien"), Inserted::Full);
        assert_eq!(titles.insert("dune"), Inserted::Known);
        assert_eq!(titles.len(), 2);
        assert_eq!(titles.mentions("Dune: part two, alien"), ["Dune: Part Two"]);
        assert!(!titles.is_empty());
        assert!(TitleMatcher::default().mentions("dune").is_empty());
    }

    /// The definition, word for word: at every place the longest title that fits; else one character on.
    fn naive(titles: &[String], text: &str) -> Vec<String> {
        let fold = |symbol: char| symbol.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower });
        let text: Vec<char> = text.chars().collect();
        let word = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|symbol| is_word(*symbol));
        let folded = |part: &[char]| part.iter().flat_map(|symbol| fold(*symbol)).collect::<String>();
        let mut known: Vec<&str> = Vec::new();
        for title in titles.iter().map(|title| title.trim()).filter(|title| !title.is_empty()) {
            let same = |other: &&str| other.chars().flat_map(fold).eq(title.chars().flat_map(fold));
            if !known.iter().any(same) {
                known.push(title);
            }
        }
        let mut found: Vec<String> = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let fits = |end: usize| {
                let edge = |place: usize| !(word(place.checked_sub(1)) && word(Some(place)));
                let part = folded(&text[at..end]);
                known
                    .iter()
                    .find(|title| edge(at) && edge(end) && title.chars().flat_map(fold).eq(part.chars()))
                    .map(|title| (end, (*title).to_owned()))
            };
            if let Some((end, title)) = (at + 1..=text.len()).rev().find_map(fits) {
                if !found.contains(&title) {
                    found.push(title);
                }
                at = end;
            } else {
                at += 1;
            }
        }
        found
    }

    proptest! {
        #[test]
        fn equals_the_naive_search(
            titles in proptest::collection::vec("[aAbBiİ ’!éÉςΣK]{0,6}", 0..12),
            text in "[aAbBiİ\u{307} ’!éÉςΣσK_]{0,40}",
        ) {
            let matcher: TitleMatcher = titles.iter().collect();
            prop_assert_eq!(matcher.mentions(&text), naive(&titles, &text));
        }

        #[test]
        fn finds_its_titles_in_any_text(before in any::<String>(), title in any::<String>(), after in any::<String>()) {
            let matcher: TitleMatcher = [&title].into_iter().collect();
            let mentions = matcher.mentions(&format!("{before} {title} {after}")).len();
            prop_assert_eq!(mentions, matcher.len());
        }
    }
}
