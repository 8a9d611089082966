//! Lists of phrases, found in a text in one pass.
//!
//! A list is text: `[category]` opens a category, every other line is a phrase of it, `#` begins a comment. The words of
//! a phrase are tokens ([`crate::tokens`]) with a space between them; `a|b` is either of two, and an empty alternative
//! leaves the word out: `cancel|cancelled my|our| subscription|plan` is twelve phrases. A word of the text with a
//! letter of ASCII three times in a row is also looked for with one: "stuuupid".

use ahash::AHashMap;

use crate::tokens::{Normalised, tokens};

/// Tokens of the longest phrase. It bounds the time per token of a text.
const PHRASE_TOKENS_MAX: usize = 8;

/// Words that turn what follows into its opposite.
const NEGATIONS: &[&str] = &[
    "not",
    "no",
    "never",
    "nobody",
    "without",
    "cannot",
    "aint",
    "ain't",
    "arent",
    "aren't",
    "cant",
    "can't",
    "couldnt",
    "couldn't",
    "didnt",
    "didn't",
    "doesnt",
    "doesn't",
    "dont",
    "don't",
    "hadnt",
    "hadn't",
    "hasnt",
    "hasn't",
    "havent",
    "haven't",
    "isnt",
    "isn't",
    "mustnt",
    "mustn't",
    "shouldnt",
    "shouldn't",
    "wasnt",
    "wasn't",
    "werent",
    "weren't",
    "wont",
    "won't",
    "wouldnt",
    "wouldn't",
];

/// Words that may stand between a negation and what it negates: "not going to leave", "never ever leave". With any other
/// token between them, a comma too, the negation belongs to that: "it doesn't work, leave", "no answer leave".
const BETWEEN: &[&str] = &[
    "a",
    "an",
    "the",
    "any",
    "all",
    "at",
    "such",
    "that",
    "so",
    "too",
    "very",
    "really",
    "even",
    "ever",
    "actually",
    "yet",
    "longer",
    "as",
    "be",
    "been",
    "being",
    "is",
    "are",
    "was",
    "were",
    "have",
    "had",
    "get",
    "got",
    "getting",
    "go",
    "going",
    "gonna",
    "will",
    "to",
    "of",
    "about",
    "for",
    "on",
    "want",
    "wanted",
    "wanting",
    "wanna",
    "need",
    "needed",
    "plan",
    "plans",
    "planned",
    "planning",
    "intend",
    "intended",
    "intending",
    "intention",
    "intentions",
    "reason",
    "reasons",
    "thinking",
    "think",
    "thought",
    "dream",
    "dreaming",
    "see",
    "imagine",
    "myself",
    "ourselves",
];

/// Words of [`BETWEEN`] that a negation reaches over, at most. It bounds the time per phrase of a text.
const BETWEEN_MAX: usize = 6;

/// A token that stands where no phrase may go on: the end of a sentence.
fn ends_sentence(token: &str) -> bool {
    token.starts_with(['.', '!', '?', ';'])
}

/// Phrases in categories, ready to be looked for.
#[derive(Debug)]
pub(crate) struct Phrases {
    /// Every token of a phrase, with its number.
    words: AHashMap<Box<str>, u32>,
    /// Which node of the trie follows a node for a token. Node 0 is the root.
    edges: AHashMap<(u32, u32), u32>,
    /// For each node: the category of the phrase that ends there.
    ends: Vec<Option<u8>>,
}

/// A phrase in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Index of its category in the list of names that the phrases were read with.
    pub(crate) category: usize,
    /// Its tokens, by index.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether a negation stands before it, with none but [`BETWEEN`] words between them.
    pub(crate) negated: bool,
}

/// The tokens of a text as the numbers of words, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Numbered {
    words: Vec<u32>,
    squeezed: String,
}

/// The number of every token that no phrase has.
const UNKNOWN: u32 = 0;
/// The number of tokens that end a sentence and stand in no phrase.
const END: u32 = 1;
/// The number of the first word that is a negation; the others follow it.
const NEGATION: u32 = 2;
/// The number of the first word that may follow a negation; the others follow it.
const FIRST_BETWEEN: u32 = NEGATION + NEGATIONS.len() as u32;
const FIRST_WORD: u32 = FIRST_BETWEEN + BETWEEN.len() as u32;

impl Phrases {
    /// Reads a list whose categories are `names`.
    ///
    /// # Errors
    /// Says which line is wrong: a category that is not in `names`, a phrase outside a category, with too many tokens or
    /// with a token that the tokeniser would split, or one that is in the list twice.
    pub(crate) fn read(list: &str, names: &[&str]) -> Result<Self, String> {
        let known = NEGATIONS.iter().chain(BETWEEN);
        let words = (NEGATION..).zip(known).map(|(number, word)| (Box::from(*word), number)).collect();
        let mut phrases = Self { words, edges: AHashMap::new(), ends: vec![None] };
        let mut category = None;
        for (number, line) in (1..).zip(list.lines()) {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let known = names.iter().position(|known| *known == name);
                category = Some(known.ok_or_else(|| format!("line {number}: unknown category `{name}`"))? as u8);
                continue;
            }
            let category = category.ok_or_else(|| format!("line {number}: a phrase outside a category"))?;
            let words: Vec<Vec<&str>> = line.split(' ').map(|word| word.split('|').collect()).collect();
            phrases.insert(&words, 0, 0, category).map_err(|error| format!("line {number}: `{line}`: {error}"))?;
        }
        Ok(phrases)
    }

    fn insert(&mut self, words: &[Vec<&str>], node: u32, depth: usize, category: u8) -> Result<(), String> {
        let Some((alternatives, rest)) = words.split_first() else {
            let end = &mut self.ends[node as usize];
            if node == 0 || end.is_some_and(|other| other != category) {
                return Err("empty, or in another category too".to_owned());
            }
            *end = Some(category);
            return Ok(());
        };
        for word in alternatives {
            if word.is_empty() {
                self.insert(rest, node, depth, category)?;
                continue;
            }
            let mut normalised = Normalised::default();
            normalised.read(word);
            if !normalised.chunks().flat_map(tokens).eq([*word]) {
                return Err(format!("`{word}` is not one token in lower case"));
            }
            if depth == PHRASE_TOKENS_MAX {
                return Err(format!("more than {PHRASE_TOKENS_MAX} tokens"));
            }
            let number = FIRST_WORD + self.words.len() as u32;
            let number = *self.words.entry(Box::from(*word)).or_insert(number);
            let next = self.ends.len() as u32;
            let next = *self.edges.entry((node, number)).or_insert(next);
            if next as usize == self.ends.len() {
                self.ends.push(None);
            }
            self.insert(rest, next, depth + 1, category)?;
        }
        Ok(())
    }

    /// Calls `each` with the phrases of a text from left to right: the longest at each place, none over another.
    pub(crate) fn find(&self, text: &Normalised, buffer: &mut Numbered, mut each: impl FnMut(Found, &Context<'_>)) {
        buffer.words.clear();
        for token in text.chunks().flat_map(tokens) {
            let number = self.number(token, &mut buffer.squeezed);
            buffer.words.push(number);
        }
        let words = &buffer.words[..];
        let context = Context { phrases: self, words };
        let mut start = 0;
        while start < words.len() {
            let mut node = 0;
            let mut longest = None;
            for (at, word) in (start..).zip(&words[start..]) {
                let Some(next) = self.edges.get(&(node, *word)).filter(|_| *word > END) else { break };
                node = *next;
                if let Some(category) = self.ends[node as usize] {
                    longest = Some((usize::from(category), at + 1));
                }
            }
            let Some((category, end)) = longest else {
                start += 1;
                continue;
            };
            let negated = words[..start]
                .iter()
                .rev()
                .take(BETWEEN_MAX + 1)
                .find(|word| !(FIRST_BETWEEN..FIRST_WORD).contains(*word))
                .is_some_and(|word| (NEGATION..FIRST_BETWEEN).contains(word));
            each(Found { category, start, end, negated }, &context);
            start = end;
        }
    }

    fn number(&self, token: &str, squeezed: &mut String) -> u32 {
        if let Some(number) = self.words.get(token) {
            return *number;
        }
        if ends_sentence(token) {
            return END;
        }
        squeeze(token, squeezed);
        if squeezed.is_empty() { UNKNOWN } else { self.words.get(squeezed.as_str()).copied().unwrap_or(UNKNOWN) }
    }
}

/// What stands around a phrase.
pub(crate) struct Context<'a> {
    phrases: &'a Phrases,
    words: &'a [u32],
}

impl Context<'_> {
    /// Whether one of `words` stands within `tokens` tokens before or after a phrase, in the same sentence.
    pub(crate) fn beside(&self, found: Found, tokens: usize, words: &[&str]) -> bool {
        let is_one =
            |number: &u32| *number > END && words.iter().any(|word| self.phrases.words.get(*word) == Some(number));
        let same_sentence = |number: &&u32| **number != END;
        let before = self.words[..found.start].iter().rev().take(tokens).take_while(same_sentence);
        let after = self.words[found.end..].iter().take(tokens).take_while(same_sentence);
        before.chain(after).any(is_one)
    }
}

/// `token` with each run of three equal characters as one of them; nothing if it has no such run.
fn squeeze(token: &str, squeezed: &mut String) {
    squeezed.clear();
    let bytes = token.as_bytes();
    if !bytes.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]) {
        return;
    }
    let mut symbols = token.chars().peekable();
    while let Some(symbol) = symbols.next() {
        squeezed.push(symbol);
        let mut run = 1;
        while symbols.next_if_eq(&symbol).is_some() {
            run += 1;
        }
        if run == 2 {
            squeezed.push(symbol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["leave", "stay"];

    fn found(list: &str, text: &str) -> Vec<(usize, usize, usize, bool)> {
        let phrases = Phrases::read(list, NAMES).unwrap();
        let (mut normalised, mut all) = (Normalised::default(), Vec::new());
        normalised.read(text);
        phrases.find(&normalised, &mut Numbered::default(), |found, _| {
            all.push((found.category, found.start, found.end, found.negated));
        });
        all
    }

    #[test]
    fn the_longest_phrase_is_found_in_all_its_forms() {
        let list = "# a comment\n[leave]\ncancel|cancelled my|our| plan # both\ncancel\n\n[stay]\nlove it\n";
        assert_eq!(
            found(list, "CANCEL my plan! I cancelled plan; cancel our"),
            [(0, 0, 3, false), (0, 5, 7, false), (0, 8, 9, false)]
        );
        assert_eq!(found(list, "I loooove it, love love it"), [(1, 1, 3, false), (1, 5, 7, false)]);
        assert_eq!(found(list, ""), []);
    }

    #[test]
    fn a_negation_reaches_a_phrase_over_nothing_but_words_between() {
        let list = "[leave]\nleave\n[stay]\nno answer\n";
        assert_eq!(found(list, "I will not ever leave"), [(0, 4, 5, true)]);
        assert_eq!(found(list, "I am not really even going to want to leave"), [(0, 9, 10, true)]);
        assert_eq!(found(list, "not really even going to want to ever leave"), [(0, 8, 9, false)]);
        assert_eq!(found(list, "never did I leave"), [(0, 3, 4, false)]);
        assert_eq!(found(list, "can\u{2019}t leave"), [(0, 1, 2, true)]);
        assert_eq!(found(list, "to leave"), [(0, 1, 2, false)]);
        for stop in ["!", ",", ":", " -", " \u{2013}", "...", " please", " respond"] {
            let text = format!("Don't{stop} leave");
            assert_eq!(found(list, &text), [(0, 2, 3, false)], "{text}");
        }
        assert_eq!(found(list, "no answer leave"), [(1, 0, 2, false), (0, 2, 3, false)]);
    }

    #[test]
    fn words_beside_a_phrase_are_seen() {
        let phrases = Phrases::read("[leave]\nidiot\n[stay]\nyou\n", NAMES).unwrap();
        let beside = |text: &str| {
            let (mut normalised, mut seen) = (Normalised::default(), Vec::new());
            normalised.read(text);
            phrases.find(&normalised, &mut Numbered::default(), |found, context| {
                if found.category == 0 {
                    seen.push(context.beside(found, 2, &["you", "absent"]));
                }
            });
            seen
        };
        assert_eq!(beside("you idiot. idiot"), [true, false]);
        assert_eq!(beside("idiot that you are, an idiot"), [true, false]);
    }

    #[test]
    fn mistakes_name_their_line() {
        let mistake = |list: &str| Phrases::read(list, NAMES).unwrap_err();
        assert_eq!(mistake("[leave]\n[gone]"), "line 2: unknown category `gone`");
        assert_eq!(mistake("go"), "line 1: a phrase outside a category");
        assert!(mistake("[leave]\nGo").contains("line 2"));
        assert!(mistake("[leave]\na.b").contains("`a.b` is not one token"));
        assert!(mistake("[leave]\na b c d e f g h i").contains("more than 8 tokens"));
        assert!(mistake("[leave]\ngo|\n").contains("empty"));
        assert!(mistake("[leave]\ngo\n[stay]\ngo").contains("line 4"));
    }

    #[test]
    fn runs_of_three_are_squeezed() {
        for (token, expected) in [("stuuupid", "stupid"), ("fool", ""), ("coollll", "cool"), ("eeeé", "eé"), ("", "")]
        {
            let mut squeezed = String::from("old");
            let token: String = {
                let mut normalised = Normalised::default();
                normalised.read(token);
                normalised.chunks().collect()
            };
            squeeze(&token, &mut squeezed);
            assert_eq!(squeezed, expected, "{token}");
        }
    }
}
