//! Toxicity and churn risk: sane on examples, monotone in what they count, sound on any text.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tideline_enrich::{churn, churn_risk, toxicity};

/// Texts in an order in which no score is below the one before.
fn ascending(score: fn(&str) -> f64, texts: &[&str]) {
    for pair in texts.windows(2) {
        let (left, right) = (score(pair[0]), score(pair[1]));
        assert!(left <= right, "{left} of {:?} above {right} of {:?}", pair[0], pair[1]);
    }
    assert!(score(texts[0]) + 0.3 < score(texts[texts.len() - 1]), "from {:?} on the score hardly rises", texts[0]);
}

#[test]
fn toxicity_rises_with_what_is_said_at_somebody() {
    ascending(
        toxicity::toxicity,
        &[
            "I see it differently, but thank you for explaining.",
            "That idea is stupid.",
            "You are being stupid.",
            "You are a stupid idiot.",
            "Shut up, you are a stupid idiot.",
            "Shut the fuck up, you are a stupid idiot, kill yourself.",
        ],
    );
}

#[test]
fn strong_language_alone_is_not_toxic() {
    for text in ["Damn, that was close", "holy shit what a goal", "This is fucking amazing, I love it", ""] {
        assert!(toxicity::toxicity(text) < 0.5, "{} {text}", toxicity::toxicity(text));
    }
    for text in ["fuck you", "You are an idiot", "STFU", "what a pathetic loser he is", "f**k off", "go to hell!!"] {
        assert!(toxicity::toxicity(text) > 0.5, "{} {text}", toxicity::toxicity(text));
    }
}

#[test]
fn spellings_that_hide_a_word_are_seen() {
    for text in ["you are an IDIOT", "you are an idioooooot", "you are an\u{200B} id\u{AD}iot"] {
        assert_eq!(toxicity::signals(text).insults, 1, "{text:?}");
    }
    for text in ["f*ck you", "F**K you", "fuuuuuck you"] {
        assert_eq!(toxicity::signals(text).attacks, 1, "{text:?}");
    }
}

#[test]
fn a_negation_takes_an_insult_back() {
    let plain = toxicity::signals("you are an idiot");
    assert_eq!((plain.insults, plain.personal), (1, 1));
    let negated = toxicity::signals("you are not an idiot");
    assert_eq!((negated.insults, negated.personal), (0, 0));
    for text in ["he isn't really that stupid", "you are not being rude", "It is not at all a stupid idea"] {
        let signals = toxicity::signals(text);
        assert_eq!((signals.insults, signals.demeaning), (0, 0), "{text}");
    }
}

#[test]
fn a_negation_of_something_else_takes_no_insult_back() {
    for text in ["You don't care, morons", "You never listen you idiot", "No reply in a week, you idiots"] {
        assert_eq!(toxicity::signals(text).insults, 1, "{text}");
        assert!(toxicity::toxicity(text) > 0.5, "{} {text}", toxicity::toxicity(text));
    }
}

#[test]
fn churn_risk_rises_with_intent() {
    ascending(
        churn_risk,
        &[
            "I love this service and will never leave, thank you!",
            "The new menu is interesting.",
            "My delivery is late again.",
            "My delivery is late again, I am looking at alternatives.",
            "My delivery is late again, I am looking at alternatives. Cancel my subscription.",
        ],
    );
}

#[test]
fn churn_counts_what_is_meant() {
    let leave = |text: &str| churn::signals(text).leave;
    for text in ["Please cancel my subscription", "we are switching to a competitor", "how do I close my account?"] {
        assert!(leave(text) > 0, "{text}");
        assert!(churn_risk(text) > 0.5, "{} {text}", churn_risk(text));
    }
    for text in ["I am not cancelling", "don't cancel my order", "we will never leave you"] {
        assert_eq!(leave(text), 0, "{text}");
        assert!(churn_risk(text) < 0.5, "{} {text}", churn_risk(text));
    }
    for text in ["What are your opening hours?", "", "👍", "The parcel arrived today."] {
        assert!(churn_risk(text) < 0.2, "{} {text}", churn_risk(text));
    }
}

/// The default of the alert `churn` of `schema/pipelines/customer-sentiment.toml`.
const ALERT: f64 = 0.9;

#[test]
fn a_complaint_with_a_negation_takes_nothing_from_what_follows_it() {
    for text in [
        "It doesn't work, cancel my subscription",
        "It doesn't work - cancel my subscription",
        "No response, cancel my plan",
        "No response cancel my plan",
        "Harbor Pay is a scam, the card never worked Please cancel my account.",
        "The app is broken and nobody helps: cancel my contract",
        "It won't let me cancel my subscription",
    ] {
        let signals = churn::signals(text);
        assert_eq!((signals.leave, signals.stay), (1, 0), "{text}");
        assert!(signals.score() >= ALERT, "{} {text}", signals.score());
    }
}

#[test]
fn who_says_that_he_stays_does_not_leave() {
    for text in [
        "I will never ever cancel",
        "I'm not going to cancel my plan",
        "I am not going to close my account",
        "We won't be leaving you",
        "no plans to switch",
        "No plans to close my account",
        "I don't want to cancel my order",
        "I have no intention of closing my account",
        "There is no need to terminate my contract",
    ] {
        let signals = churn::signals(text);
        assert!((signals.leave, signals.stay >= 1) == (0, true), "{signals:?} {text}");
        assert!(signals.score() < 0.1, "{} {text}", signals.score());
    }
}

#[test]
fn plain_statements_reach_the_alert() {
    for text in [
        "Cancel my subscription.",
        "Please cancel my account.",
        "Not renewing my contract.",
        "I am cancelling my subscription.",
        "We are switching to a competitor",
        "I will never buy from you again.",
        "I will never ever order from here again",
        "Unsubscribe",
        "Close my account",
    ] {
        assert!(churn_risk(text) >= ALERT, "{} {text}", churn_risk(text));
    }
    for text in [
        "I love it. What is the difference between the two plans?",
        "Does the plan include roaming?",
        "The card never worked.",
        "Is the service down in Boston? I can't connect",
    ] {
        assert!(churn_risk(text) < 0.5, "{} {text}", churn_risk(text));
    }
}

#[test]
fn noise_cancelling_is_no_cancelling() {
    for text in [
        "Does anyone know how to change the noise cancelling settings on pulse earbuds?",
        "The noise-canceling is great",
        "active noise cancellation, and it cancels background noise well",
        "Is there echo cancellation in calls?",
    ] {
        let signals = churn::signals(text);
        assert_eq!((signals.leave, signals.waver), (0, 0), "{text}");
        assert!(signals.score() < 0.2, "{} {text}", signals.score());
    }
    for text in [
        "The noise cancelling is poor, I am cancelling my subscription",
        "The noise cancelling is poor, I will never buy from you again.",
        "I will never ever order from here again",
    ] {
        assert_eq!(churn::signals(text).leave, 1, "{text}");
    }
}

/// Each signal of toxicity by itself, and of churn risk, moves the score only in its direction.
#[test]
fn scores_are_monotone_in_their_signals() {
    type Field = fn(&mut toxicity::Signals) -> &mut u32;
    let fields: [Field; 7] = [
        |signals| &mut signals.slurs,
        |signals| &mut signals.threats,
        |signals| &mut signals.attacks,
        |signals| &mut signals.insults,
        |signals| &mut signals.demeaning,
        |signals| &mut signals.personal,
        |signals| &mut signals.profanity,
    ];
    for field in fields {
        let mut signals = toxicity::Signals::default();
        for count in 0..6 {
            let before = signals.score();
            *field(&mut signals) = count + 1;
            assert!(if count < 4 { signals.score() > before } else { signals.score() >= before }, "{signals:?}");
        }
    }
    let churn =
        |leave, waver, complaint, stay, sentiment| churn::Signals { leave, waver, complaint, stay, sentiment }.score();
    for count in 0..4 {
        assert!(churn(count + 1, 0, 0, 0, 0.0) > churn(count, 0, 0, 0, 0.0));
        assert!(churn(0, count + 1, 0, 0, 0.0) > churn(0, count, 0, 0, 0.0));
        assert!(churn(0, 0, count + 1, 0, 0.0) > churn(0, 0, count, 0, 0.0));
        assert!(churn(0, 0, 0, count + 1, 0.0) < churn(0, 0, 0, count, 0.0));
    }
    assert!(churn(1, 1, 1, 1, -0.9) > churn(1, 1, 1, 1, 0.9));
}

/// Megabytes that are all beginnings of phrases, or one token, end in time for a test.
#[test]
fn huge_texts_are_scored() {
    for unit in
        ["i hope you ", "fuck ", "not ", "not to cancel ", "x", "!", "aaab", "how do i ", "\u{200B}", "if this isn't "]
    {
        let text = unit.repeat(2_000_000 / unit.len());
        for score in [toxicity::toxicity(&text), churn_risk(&text)] {
            assert!((0.0..=1.0).contains(&score), "{unit:?}");
        }
    }
    assert!(toxicity::toxicity("fine") < 0.1, "and the next text is not affected");
}

proptest! {
    #[test]
    fn any_text_has_sound_scores(text in any::<String>()) {
        prop_assert!((0.0..=1.0).contains(&toxicity::toxicity(&text)));
        prop_assert!((0.0..=1.0).contains(&churn_risk(&text)));
    }

    /// A sentence that is added never takes anything from what was said before it.
    #[test]
    fn another_insult_never_lowers_toxicity(
        words in proptest::collection::vec("[a-z]{1,8}|you|not|idiot|stupid|fuck|\\.|shit|hate|kill", 0..20),
        more in proptest::sample::select(vec!["You idiot.", "Shut up.", "I will kill you.", "Fuck.", "How stupid."]),
    ) {
        let text = words.join(" ");
        let longer = format!("{text} . {more}");
        prop_assert!(toxicity::toxicity(&longer) >= toxicity::toxicity(&text));
    }
}
