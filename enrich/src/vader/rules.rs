//! Tokens become valences: the reference's rules, in its order.
//!
//! Only tokens of the lexicon can have a valence other than 0, so only they are visited; the reference's result
//! for all others is 0.

use std::collections::BTreeSet;

use ahash::AHashMap;

use super::lexicon::{Token, Word};
use super::text::Tokens;

/// `B_INCR`; the dampeners' `B_DECR` is its negative.
const BOOST: f64 = 0.293;
/// `C_INCR`: emphasis of a word in capitals among others.
const CAPITALS: f64 = 0.733;
/// `N_SCALAR`.
const NEGATION: f64 = -0.74;

/// More valences than this (in a text with "but") are weighted with an index instead of by scanning.
const SCANNED_MAX: usize = 48;

/// A valence that is not 0, and the index of its token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Valence {
    pub(super) index: usize,
    pub(super) value: f64,
}

/// Replaces `valences` by those of `tokens`.
pub(super) fn valences(tokens: &Tokens, valences: &mut Vec<Valence>) {
    valences.clear();
    let capitals_differ = tokens.capitals_differ();
    for &index in &tokens.valenced {
        let value = valence(&tokens.all, index, capitals_differ);
        if value != 0.0 {
            valences.push(Valence { index, value });
        }
    }
    if let Some(but) = tokens.but {
        if valences.len() <= SCANNED_MAX {
            weigh_around_but(valences, but);
        } else {
            weigh_around_but_indexed(valences, but);
        }
    }
}

/// `sentiment_valence` for a token of the lexicon, with the exceptions that `polarity_scores` makes before it.
fn valence(tokens: &[Token], i: usize, capitals_differ: bool) -> f64 {
    let token = tokens[i];
    // Stands for the words before the text's first: it has no role in any rule.
    let before = |distance: usize| if i >= distance { tokens[i - distance] } else { Token::default() };
    let after = |distance: usize| tokens.get(i + distance).copied().unwrap_or_default();

    if token.is(Token::BOOSTS | Token::DAMPENS) || (token.word == Word::Kind && after(1).word == Word::Of) {
        return 0.0;
    }
    let mut valence = token.valence;
    let (one, two, three) = (before(1), before(2), before(3));
    if token.word == Word::No && after(1).is(Token::VALENCED) {
        valence = 0.0;
    }
    if one.word == Word::No
        || two.word == Word::No
        || (three.word == Word::No && matches!(one.word, Word::Or | Word::Nor))
    {
        valence = token.valence * NEGATION;
    }
    if capitals_differ && token.is(Token::ALL_CAPS) {
        valence += if valence > 0.0 { CAPITALS } else { -CAPITALS };
    }
    if i > 0 && !one.is(Token::VALENCED) {
        valence += boost(one, valence, capitals_differ);
        if one.is(Token::NEGATES) {
            valence *= NEGATION;
        }
    }
    if i > 1 && !two.is(Token::VALENCED) {
        valence += boost(two, valence, capitals_differ) * 0.95;
        if two.word == Word::Never && matches!(one.word, Word::So | Word::This) {
            valence *= 1.25;
        } else if two.word == Word::Without && one.word == Word::Doubt {
        } else if two.is(Token::NEGATES) {
            valence *= NEGATION;
        }
    }
    if i > 2 && !three.is(Token::VALENCED) {
        valence += boost(three, valence, capitals_differ) * 0.9;
        // The reference's `and` binds tighter than its `or`: "so" or "this" right before suffices.
        if (three.word == Word::Never && matches!(two.word, Word::So | Word::This))
            || matches!(one.word, Word::So | Word::This)
        {
            valence *= 1.25;
        } else if three.word == Word::Without && (two.word == Word::Doubt || one.word == Word::Doubt) {
        } else if three.is(Token::NEGATES) {
            valence *= NEGATION;
        }
        if (three.flags | two.flags | one.flags | token.flags) & Token::OPENS_PHRASE != 0 {
            valence = phrases(valence, [three.word, two.word, one.word, token.word, after(1).word, after(2).word]);
        }
    }
    // `_least_check`; "least" is not in the lexicon, which the reference asks again.
    if one.word == Word::Least && !matches!(two.word, Word::At | Word::Very) {
        valence *= NEGATION;
    }
    valence
}

/// `scalar_inc_dec`: what a booster or dampener before a word adds to its valence.
#[inline]
fn boost(token: Token, valence: f64, capitals_differ: bool) -> f64 {
    if !token.is(Token::BOOSTS | Token::DAMPENS) {
        return 0.0;
    }
    let mut boost = if token.is(Token::BOOSTS) { BOOST } else { -BOOST };
    if valence < 0.0 {
        boost = -boost;
    }
    if capitals_differ && token.is(Token::ALL_CAPS) {
        boost += if valence > 0.0 { CAPITALS } else { -CAPITALS };
    }
    boost
}

/// `_special_idioms_check`, for a word that has three words before it: special cases replace the valence, those
/// that begin at the word win over those that end there or before; pairs that boost add to it.
fn phrases(valence: f64, words: [Word; 6]) -> f64 {
    let [three, two, one, zero, next, next_but_one] = words;
    let mut valence = pair(one, zero)
        .or_else(|| triple(two, one, zero))
        .or_else(|| pair(two, one))
        .or_else(|| triple(three, two, one))
        .or_else(|| pair(three, two))
        .unwrap_or(valence);
    if let Some(special) = pair(zero, next) {
        valence = special;
    }
    if let Some(special) = triple(zero, next, next_but_one) {
        valence = special;
    }
    for (first, second) in [(three, two), (two, one)] {
        if matches!((first, second), (Word::Kind | Word::Sort, Word::Of) | (Word::Just, Word::Enough)) {
            valence -= BOOST;
        }
    }
    valence
}

/// The pairs of `SPECIAL_CASES` ("badass", a single word, is never asked for).
const fn pair(first: Word, second: Word) -> Option<f64> {
    match (first, second) {
        (Word::The, Word::Shit | Word::Bomb) => Some(3.0),
        (Word::Bad, Word::Ass) => Some(1.5),
        (Word::Bus, Word::Stop) => Some(0.0),
        (Word::Yeah, Word::Right) => Some(-2.0),
        (Word::Beating, Word::Heart) => Some(3.5),
        _ => None,
    }
}

/// The triples of `SPECIAL_CASES`.
const fn triple(first: Word, second: Word, third: Word) -> Option<f64> {
    match (first, second, third) {
        (Word::Kiss, Word::Of, Word::Death) => Some(-1.5),
        (Word::To, Word::Die, Word::For) => Some(3.0),
        _ => None,
    }
}

/// `_but_check`: halves what is before the first "but", raises by half what is after it.
///
/// For each valence in turn the reference changes the *first* one that is equal to it at that moment. So of
/// several equal ones an earlier one may be changed twice and this one not at all. Zeros stay zero either way.
fn weigh_around_but(valences: &mut [Valence], but: usize) {
    for current in 0..valences.len() {
        let value = valences[current].value;
        let first = valences[..current].iter().position(|other| other.value.to_bits() == value.to_bits());
        let target = &mut valences[first.unwrap_or(current)];
        target.value = weighed(value, target.index, but);
    }
}

fn weighed(value: f64, index: usize, but: usize) -> f64 {
    match index.cmp(&but) {
        std::cmp::Ordering::Less => value * 0.5,
        std::cmp::Ordering::Equal => value,
        std::cmp::Ordering::Greater => value * 1.5,
    }
}

/// The same as [`weigh_around_but`] in `n log n`: a text of a million words must not take a million squared steps.
fn weigh_around_but_indexed(valences: &mut [Valence], but: usize) {
    let mut places: AHashMap<u64, BTreeSet<usize>> = AHashMap::new();
    for (place, valence) in valences.iter().enumerate() {
        places.entry(valence.value.to_bits()).or_default().insert(place);
    }
    for current in 0..valences.len() {
        let value = valences[current].value;
        let Some(first) = places.get_mut(&value.to_bits()).and_then(BTreeSet::pop_first) else { continue };
        let target = &mut valences[first];
        target.value = weighed(value, target.index, but);
        places.entry(target.value.to_bits()).or_default().insert(first);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(values: &[(usize, f64)]) -> Vec<Valence> {
        values.iter().map(|&(index, value)| Valence { index, value }).collect()
    }

    #[test]
    fn equal_valences_around_but_change_the_first_of_them() {
        // Python: s = [1, 0, 1, 1.5, 1] with "but" at 1 gives 1 → 0.5; 1 → 1.5; 1.5 → the one before it → 2.25; 1 → 1.5.
        let mut valences = at(&[(0, 1.0), (2, 1.0), (3, 1.5), (4, 1.0)]);
        weigh_around_but(&mut valences, 1);
        assert_eq!(valences, at(&[(0, 0.5), (2, 2.25), (3, 1.5), (4, 1.5)]));
    }

    proptest! {
        #[test]
        fn both_ways_to_weigh_are_equal(
            values in proptest::collection::vec(prop_oneof![Just(1.0), Just(1.5), Just(2.25), Just(0.5), Just(-1.5)], 0..200),
            but in 0..200_usize,
        ) {
            // "but" itself has no valence.
            let indexes = (0_usize..).filter(|index| *index != but);
            let mut scanned: Vec<_> = indexes.zip(values).map(|(index, value)| Valence { index, value }).collect();
            let mut indexed = scanned.clone();
            weigh_around_but(&mut scanned, but);
            weigh_around_but_indexed(&mut indexed, but);
            prop_assert_eq!(scanned, indexed);
        }
    }
}
