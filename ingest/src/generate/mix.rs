//! Weights of what a generator picks from, to be changed by whoever asks.

use std::collections::BTreeMap;

use super::System;

/// Something that a generator picks: its name, and the choices with their weights.
#[derive(Clone, Copy, Debug)]
pub struct Dimension {
    /// Name, as in `--mix NAME.CHOICE=WEIGHT`.
    pub name: &'static str,
    /// Choices with their weights as they are when nothing else is asked for.
    pub choices: &'static [(&'static str, u32)],
}

/// The weights that a generator works with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    weights: BTreeMap<&'static str, Vec<(&'static str, u32)>>,
}

/// A change of a mix that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// Not `DIMENSION.CHOICE=WEIGHT`.
    #[error("`{0}` is no change of the mix: write DIMENSION.CHOICE=WEIGHT, such as {1}; `*` is every choice")]
    Form(String, String),
    /// The weight is no number, or too large.
    #[error("`{0}`: a weight is a whole number from 0 to {WEIGHT_MAX}")]
    Weight(String),
    /// The generator picks no such thing.
    #[error("`{0}`: {1}")]
    Dimension(String, String),
    /// There is no such choice.
    #[error("`{0}`: there is {1}")]
    Choice(String, String),
    /// Nothing is left to pick from.
    #[error("every choice of `{0}` has weight 0")]
    Nothing(&'static str),
}

/// The largest weight: sums of them, scaled, stay far within 32 bits.
const WEIGHT_MAX: u32 = 10_000;

impl Mix {
    /// The mix of `system`, with `changes` made in their order: each is `DIMENSION.CHOICE=WEIGHT`, where the choice
    /// `*` is all of them (`city.*=0`, then `city.Berlin=1`: Berlin only).
    ///
    /// # Errors
    /// What the generator does not know, a weight that is none, or a dimension without any weight left.
    pub fn of(system: System, changes: &[String]) -> Result<Self, MixError> {
        let dimensions = system.dimensions();
        let mut mix =
            Self { weights: dimensions.iter().map(|dimension| (dimension.name, dimension.choices.to_vec())).collect() };
        for change in changes {
            mix.change(system, change)?;
        }
        for (dimension, choices) in &mix.weights {
            if choices.iter().all(|(_, weight)| *weight == 0) {
                return Err(MixError::Nothing(dimension));
            }
        }
        Ok(mix)
    }

    fn change(&mut self, system: System, change: &str) -> Result<(), MixError> {
        let example = || match system.dimensions() {
            [first, ..] => format!("{}.{}=10", first.name, first.choices.first().map_or("*", |(choice, _)| choice)),
            [] => "city.Berlin=10".to_owned(),
        };
        let form = || MixError::Form(change.to_owned(), example());
        let (place, weight) = change.rsplit_once('=').ok_or_else(form)?;
        let (name, choice) = place.split_once('.').ok_or_else(form)?;
        let weight: u32 = weight
            .trim()
            .parse()
            .ok()
            .filter(|weight| *weight <= WEIGHT_MAX)
            .ok_or_else(|| MixError::Weight(change.to_owned()))?;
        let known: Vec<&str> = self.weights.keys().copied().collect();
        let Some(choices) = self.weights.get_mut(name.trim()) else {
            let there_is = if known.is_empty() {
                format!("the mix of {} cannot be changed", system.name())
            } else {
                format!("there is {}", known.join(", "))
            };
            return Err(MixError::Dimension(change.to_owned(), there_is));
        };
        let choice = choice.trim();
        if choice == "*" {
            for (_, of_choice) in choices.iter_mut() {
                *of_choice = weight;
            }
            return Ok(());
        }
        match choices.iter_mut().find(|(known, _)| *known == choice) {
            Some((_, of_choice)) => *of_choice = weight,
            None => {
                let known: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
                return Err(MixError::Choice(change.to_owned(), known.join(", ")));
            }
        }
        Ok(())
    }

    /// The choices of a dimension with their weights; none for a dimension that the system does not have.
    pub(super) fn choices(&self, dimension: &str) -> &[(&'static str, u32)] {
        self.weights.get(dimension).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(system: System, changes: &[&str]) -> Result<Mix, MixError> {
        Mix::of(system, &changes.iter().map(|change| (*change).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn changes_are_made_in_their_order() {
        let mix = of(System::CustomerSentiment, &["city.*=0", "city.Berlin=3", "city.São Paulo = 1"]).unwrap();
        let left: Vec<_> = mix.choices("city").iter().filter(|(_, weight)| *weight > 0).collect();
        assert_eq!(left, [&("São Paulo", 1), &("Berlin", 3)]);
        assert_eq!(of(System::CustomerSentiment, &[]).unwrap().choices("none"), []);
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let wrong = |system, change: &[&str], part: &str| {
            let message = of(system, change).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        let voice = System::CustomerSentiment;
        wrong(voice, &["city=3"], "DIMENSION.CHOICE=WEIGHT");
        wrong(voice, &["city.Berlin"], "DIMENSION.CHOICE=WEIGHT");
        wrong(voice, &["city.Berlin=-1"], "whole number from 0 to 10000");
        wrong(voice, &["city.Berlin=10001"], "whole number");
        wrong(voice, &["town.Berlin=1"], "there is city, platform, product, sentiment");
        wrong(voice, &["city.Atlantis=1"], "Amsterdam");
        wrong(voice, &["sentiment.*=0"], "every choice of `sentiment` has weight 0");
        wrong(System::MovieViewing, &["city.Berlin=1"], "the mix of movie-viewing cannot be changed");
    }
}
