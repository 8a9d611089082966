//! What of an API's answers is wanted: keywords and languages.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use whatlang::{Detector, Lang};

/// Words of which a text must have one.
#[derive(Clone, Debug)]
pub struct Keywords(Option<Regex>);

/// Keywords that are too much for a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these keywords cannot be looked for: {0}")]
pub struct KeywordsError(String);

impl Keywords {
    /// Looks for `words`, without regard to case, where neither end is in the middle of a word: `up` is not in `cup`, and
    /// `$T` not in `$TSLA`. No words: every text is wanted.
    ///
    /// # Errors
    /// Too many words for one pattern, or an empty one.
    pub fn new(words: &[String]) -> Result<Self, KeywordsError> {
        if words.is_empty() {
            return Ok(Self(None));
        }
        if words.iter().any(|word| word.trim().is_empty()) {
            return Err(KeywordsError("one of them is empty".to_owned()));
        }
        // A boundary where the word itself begins or ends with a word's letter: there is none before `$`.
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let bounded = |word: &String| {
            let word = word.trim();
            let before = if is_letter(word.chars().next()) { r"\b" } else { "" };
            let after = if is_letter(word.chars().last()) { r"\b" } else { "" };
            format!("{before}{}{after}", regex::escape(word))
        };
        let pattern = words.iter().map(bounded).collect::<Vec<_>>().join("|");
        let regex = RegexBuilder::new(&pattern).case_insensitive(true).build();
        regex.map(|regex| Self(Some(regex))).map_err(|error| KeywordsError(error.to_string()))
    }

    /// Whether the text has one of the words, or none are looked for.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Filter {
    keywords: Keywords,
    languages: Vec<String>,
}

impl Filter {
    /// Texts that have one of the words and are in one of the languages (ISO 639-1, such as `en`), where there are any.
    ///
    /// # Errors
    /// As [`Keywords::new`].
    pub fn new(keywords: &[String], languages: &[String]) -> Result<Self, KeywordsError> {
        let languages = languages.iter().map(|language| language.trim().to_ascii_lowercase()).collect();
        Ok(Self { keywords: Keywords::new(keywords)?, languages })
    }

    /// Whether a text is wanted. One whose language is not known is.
    pub fn wants(&self, text: &str, language: Option<&str>) -> bool {
        let spoken = language.is_none_or(|language| {
            // `pt-BR` is Portuguese; X writes `und` and codes that begin with q for what it does not know.
            let language = language.split(['-', '_']).next().unwrap_or(language).to_ascii_lowercase();
            let unknown =
                language.is_empty() || language == "und" || (language.len() == 3 && language.starts_with('q'));
            self.languages.is_empty() || unknown || self.languages.contains(&language)
        });
        spoken && self.keywords.are_in(text)
    }
}

/// Letters from which on a guess at a language is worth something.
const GUESS_FROM: usize = 24;
/// How sure a guess must be, from 0 to 1: short posts of people are seldom surer.
const GUESS_SURE: f64 = 0.4;
/// Languages that are told apart: the more, the less sure every guess.
const GUESSED: [(Lang, &str); 14] = [
    (Lang::Ara, "ar"),
    (Lang::Cmn, "zh"),
    (Lang::Deu, "de"),
    (Lang::Eng, "en"),
    (Lang::Fra, "fr"),
    (Lang::Hin, "hi"),
    (Lang::Ita, "it"),
    (Lang::Jpn, "ja"),
    (Lang::Nld, "nl"),
    (Lang::Pol, "pl"),
    (Lang::Por, "pt"),
    (Lang::Rus, "ru"),
    (Lang::Spa, "es"),
    (Lang::Tur, "tr"),
];

/// The language of a text (ISO 639-1), where an API does not tell: a guess by its letters among fourteen languages, `None` when
/// it is not sure enough.
pub fn guess_language(text: &str) -> Option<&'static str> {
    static DETECTOR: LazyLock<Detector> =
        LazyLock::new(|| Detector::with_allowlist(GUESSED.iter().map(|(lang, _)| *lang).collect()));
    if text.chars().filter(|c| c.is_alphabetic()).count() < GUESS_FROM {
        return None;
    }
    let guess = DETECTOR.detect(text).filter(|guess| guess.confidence() >= GUESS_SURE)?;
    GUESSED.iter().find(|(lang, _)| *lang == guess.lang()).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn keywords_are_whole_words_of_any_case() {
        let keywords = Keywords::new(&strings(&["up", "$T", "new york", "C++", "été", "#ad"])).unwrap();
        for yes in ["Up we go", "what's up?", "buy $t now", "in NEW YORK!", "c++ rocks", "un ÉTÉ", "nice #AD"] {
            assert!(keywords.are_in(yes), "{yes}");
        }
        for no in ["cup", "$TSLA", "newyork", "répété", "#adidas", ""] {
            assert!(!keywords.are_in(no), "{no}");
        }
        assert!(Keywords::new(&[]).unwrap().are_in("anything"));
        assert!(Keywords::new(&strings(&["a", " "])).is_err());
        // What means something in a pattern means itself here.
        assert!(!Keywords::new(&strings(&["a.c"])).unwrap().are_in("abc"));
    }

    #[test]
    fn languages_are_those_asked_for_or_not_known() {
        let filter = Filter::new(&strings(&["love"]), &strings(&["EN", "pt"])).unwrap();
        assert!(filter.wants("love it", Some("en")) && filter.wants("love it", Some("pt-BR")));
        assert!(
            filter.wants("love it", None) && filter.wants("love it", Some("und")) && filter.wants("love", Some("qme"))
        );
        assert!(!filter.wants("love it", Some("de")) && !filter.wants("like it", Some("en")));
        assert!(Filter::new(&[], &[]).unwrap().wants("", Some("de")));
    }

    #[test]
    fn languages_are_guessed_where_there_is_enough_to_go_by() {
        assert_eq!(guess_language("I have been waiting for this movie since the first trailer came out"), Some("en"));
        assert_eq!(
            guess_language("Ich warte auf diesen Film, seit der erste Trailer erschienen ist, und freue mich"),
            Some("de")
        );
        assert_eq!(
            guess_language("Je n'ai jamais vu un film aussi beau, je vais le revoir demain avec mes amis"),
            Some("fr")
        );
        assert_eq!(
            guess_language("Llevo esperando esta película desde que salió el primer tráiler hace un año"),
            Some("es")
        );
        // Neighbours are told apart by longer texts only; this one might be Spanish or Portuguese.
        assert_eq!(guess_language("Me encanta esta pelicula de terror"), None);
        assert_eq!(guess_language("ok"), None);
        assert_eq!(guess_language("😀😀😀 12345678901234567890 !!!"), None);
    }
}
