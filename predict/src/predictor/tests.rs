#![allow(clippy::unwrap_used, clippy::float_cmp)]
use proptest::collection::vec;
use proptest::prelude::*;
use tideline_common::key::Key;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;

use super::*;
use crate::MAGNITUDE_MAX;
use crate::feature::{Feature, Source, standard};
use crate::regression::Learning;
use crate::spec::ModelSpec;

fn model(version: &str, learning: Learning) -> ModelSpec {
    ModelSpec { version: version.to_owned(), features: standard(&["a", "b"], &[("a", "a"), ("y", "y")], 3), learning }
}

fn spec(keys_max: usize, gap: Option<i64>) -> PredictorSpec {
    let fast = Learning { learning_rate: 1.0, l2: 1.0, intercept_rate: 1.0, clip_gradient: 1e12 };
    let models = vec![model("v1", Learning::default()), model("v2", fast)];
    PredictorSpec {
        buffer: 4,
        keys_max,
        gap_max: gap.map(|minutes| Span(minutes * Span::MINUTE.0)),
        ..PredictorSpec::new("y", Span::MINUTE, models)
    }
}

fn key(n: u8) -> Key {
    Key::of(&[Value::Int(i64::from(n))])
}

fn minute(n: i64) -> Timestamp {
    Timestamp(n * Span::MINUTE.0)
}

/// A window: key, minute, and the columns a, b and y.
type Window = (u8, i64, [Option<f64>; 3]);

fn observe(predictor: &mut Predictor, (of, at, [a, b, y]): &Window) -> Observed {
    predictor.observe(&key(*of), minute(*at), |name| match name {
        "a" => *a,
        "b" => *b,
        "y" => *y,
        _ => None,
    })
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (-1e3..1e3f64).prop_map(Some),
        2 => (-5i64..5).prop_map(|i| Some(i as f64)),
        1 => prop_oneof![Just(1e100), Just(-1e100), Just(1e-100), Just(1e80), Just(-0.0), Just(5e-324)].prop_map(Some),
        1 => prop_oneof![Just(None), Just(Some(f64::NAN)), Just(Some(f64::INFINITY)), Just(Some(1e101))],
    ]
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    // Times that go forward, stand still and go back.
    vec((0u8..5, -2i64..6, [number(), number(), number()]), 1..80).prop_map(|steps| {
        let mut at = 0;
        steps
            .into_iter()
            .map(|(key, step, columns)| {
                at += step;
                (key, at, columns)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Stored and read back at any point, it goes on bit for bit.
    #[test]
    fn a_restart_changes_nothing(
        windows in windows(),
        cuts in vec(0usize..80, 0..4),
        keys_max in 1usize..6,
        gap in prop_oneof![Just(None), (1i64..6).prop_map(Some)],
    ) {
        let spec = spec(keys_max, gap);
        let mut straight = Predictor::new(spec.clone()).unwrap();
        let mut stopped = Predictor::new(spec.clone()).unwrap();
        for (number, window) in windows.iter().enumerate() {
            if cuts.contains(&number) {
                let bytes = stopped.state();
                stopped = Predictor::restore(spec.clone(), &bytes).unwrap();
                prop_assert_eq!(&stopped.state(), &bytes, "what was read is written again");
            }
            prop_assert_eq!(observe(&mut straight, window), observe(&mut stopped, window));
        }
        prop_assert_eq!(straight.state(), stopped.state());
        prop_assert_eq!(straight.counters(), stopped.counters());
        prop_assert!(straight.keys() <= keys_max);
    }

    /// No input makes a model infinite, and no prediction is beyond all bounds.
    #[test]
    fn models_stay_finite(windows in windows()) {
        let mut predictor = Predictor::new(spec(5, None)).unwrap();
        for window in &windows {
            let observed = observe(&mut predictor, window);
            prop_assert!(observed.predictions.iter().filter_map(|p| p.predicted).all(|p| p.abs() <= MAGNITUDE_MAX));
        }
        for model in predictor.models() {
            let document = model.document();
            prop_assert!(document.intercept.is_finite());
            for feature in &document.features {
                prop_assert!(feature.weight.is_finite() && feature.mean.is_finite() && feature.variance.is_finite());
                prop_assert!(feature.variance >= 0.0);
            }
            let metrics = document.metrics;
            prop_assert!(metrics.mae.is_finite() && metrics.rmse.is_finite() && metrics.r2.is_finite(), "{:?}", metrics);
        }
    }

    /// Whatever comes again at once changes nothing but the count of it.
    #[test]
    fn repeats_change_nothing(windows in windows(), again in vec(any::<bool>(), 80)) {
        let (mut once, mut twice) = (Predictor::new(spec(5, None)).unwrap(), Predictor::new(spec(5, None)).unwrap());
        for (window, again) in windows.iter().zip(again) {
            let first = observe(&mut once, window);
            prop_assert_eq!(&first, &observe(&mut twice, window));
            if again && first.arrival != Arrival::OutOfOrder {
                let second = observe(&mut twice, window);
                prop_assert_eq!(second, Observed { arrival: Arrival::Repeated, settled: vec![], predictions: vec![] });
            }
        }
        let documents = |p: &Predictor| p.models().iter().map(Model::document).collect::<Vec<_>>();
        prop_assert_eq!(documents(&once), documents(&twice));
    }

    /// Damaged bytes are an error, never another state and never a panic.
    #[test]
    fn damaged_bytes_are_refused(windows in windows(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let mut predictor = Predictor::new(spec(5, None)).unwrap();
        for window in &windows {
            observe(&mut predictor, window);
        }
        let bytes = predictor.state();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(Predictor::restore(spec(5, None), &flipped).is_err());
        prop_assert!(Predictor::restore(spec(5, None), &bytes[..cut.index(bytes.len())]).is_err());
        // Damaged before the checksum was made: an error or some state, no panic.
        let end = flipped.len() - 8;
        let hash = xxhash_rust::xxh3::xxh3_64(&flipped[..end]);
        flipped[end..].copy_from_slice(&hash.to_le_bytes());
        let _ = Predictor::restore(spec(5, None), &flipped);
    }
}

fn row(key: u8, at: i64, y: f64) -> Window {
    (key, at, [Some(y + 1.0), Some(2.0), Some(y)])
}

#[test]
fn errors_of_the_state_say_what_is_wrong() {
    let mut predictor = Predictor::new(spec(5, None)).unwrap();
    observe(&mut predictor, &row(1, 0, 3.0));
    let bytes = predictor.state();
    let error = |bytes: &[u8]| Predictor::restore(spec(5, None), bytes).unwrap_err();
    assert_eq!(error(b"short"), StateError::Magic);
    assert_eq!(error(b"TIDECKPT and some more bytes"), StateError::Magic);
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    assert_eq!(error(&damaged), StateError::Checksum);
    let mut future = bytes.clone();
    future[8] = 9;
    let end = future.len() - 8;
    let hash = xxhash_rust::xxh3::xxh3_64(&future[..end]);
    future[end..].copy_from_slice(&hash.to_le_bytes());
    assert_eq!(error(&future), StateError::Version(9));
    let mut changed = spec(5, None);
    changed.models[1].learning.l2 = 0.5;
    let error = Predictor::restore(changed, &bytes).unwrap_err();
    assert_eq!(error, StateError::Changed { version: "v2".to_owned() });
    assert!(error.to_string().contains("give the changed model a version of its own"));
}

#[test]
fn a_new_version_begins_beside_the_old_one() {
    let one = PredictorSpec { models: vec![spec(5, None).models.remove(0)], ..spec(5, None) };
    let mut predictor = Predictor::new(one).unwrap();
    for at in 0..20 {
        observe(&mut predictor, &row(1, at, (at % 5) as f64));
    }
    // v2 sees a column that v1 did not, and comes first.
    let mut two = spec(5, None);
    two.models.swap(0, 1);
    two.models[0].features.push(Feature { name: "c".to_owned(), source: Source::Value { column: "c".to_owned() } });
    let mut both = Predictor::restore(two, &predictor.state()).unwrap();
    assert_eq!((both.models()[0].version(), both.models()[0].learnt()), ("v2", 0));
    assert_eq!(both.models()[1].document(), predictor.models()[0].document());
    let (alone, beside) = (observe(&mut predictor, &row(1, 20, 7.0)), observe(&mut both, &row(1, 20, 7.0)));
    assert_eq!(alone.settled, beside.settled, "v2 has no prediction to settle");
    assert_eq!(beside.predictions.len(), 2);
    assert_eq!(alone.predictions[0], beside.predictions[1]);
    let settled = observe(&mut both, &row(1, 21, 1.0)).settled;
    assert_eq!(settled.iter().map(|s| &*s.version).collect::<Vec<_>>(), ["v2", "v1"]);
    // And gone again.
    let one = PredictorSpec { models: vec![spec(5, None).models.remove(0)], ..spec(5, None) };
    let back = Predictor::restore(one, &both.state()).unwrap();
    assert_eq!(back.models()[0].document(), both.models()[1].document());
}

#[test]
fn the_key_that_was_silent_longest_is_forgotten() {
    let mut predictor = Predictor::new(spec(2, None)).unwrap();
    observe(&mut predictor, &row(1, 0, 1.0));
    observe(&mut predictor, &row(2, 0, 2.0));
    observe(&mut predictor, &row(1, 1, 1.0));
    observe(&mut predictor, &row(3, 0, 3.0));
    assert_eq!((predictor.keys(), predictor.counters().evicted), (2, 1));
    assert!(predictor.predict(&key(2)).is_empty());
    assert_eq!(observe(&mut predictor, &row(1, 2, 1.0)).settled.len(), 2, "1 was observed after 2");
    let again = observe(&mut predictor, &row(2, 0, 2.0));
    assert_eq!((again.arrival, again.settled.len()), (Arrival::New, 0), "2 begins anew");
    // A smaller bound holds at once, and keeps the youngest.
    let smaller = Predictor::restore(spec(1, None), &predictor.state()).unwrap();
    assert_eq!((smaller.keys(), smaller.counters().evicted), (1, 3));
}

#[test]
fn predictions_wait_for_the_next_window_within_the_gap() {
    let mut predictor = Predictor::new(spec(5, Some(3))).unwrap();
    let first = observe(&mut predictor, &row(1, 0, 10.0));
    assert_eq!(first.predictions[0].window, minute(1));
    assert_eq!(predictor.predict(&key(1)), first.predictions, "asked again, it says the same");
    let features = predictor.features(&key(1));
    assert_eq!((features[0], features[1]), (("a", Some(11.0)), ("b", Some(2.0))));
    assert_eq!((features.len(), predictor.features(&key(9)).len()), (8, 0), "each name once");
    let parameters = predictor.models()[0].parameters();
    for (name, value) in [("learning_rate", "0.01"), ("model_version", "v1"), ("model_type", crate::model::MODEL_TYPE)]
    {
        assert!(parameters.contains(&(name.to_owned(), value.to_owned())), "{parameters:?}");
    }
    let second = observe(&mut predictor, &row(1, 3, 12.0));
    assert_eq!(second.settled.len(), 2);
    let settled = &second.settled[0];
    assert_eq!((settled.made_at, settled.window, settled.actual), (minute(0), minute(3), 12.0));
    assert_eq!(settled.error, settled.predicted.map(|predicted| predicted - 12.0));
    assert!(observe(&mut predictor, &row(1, 7, 12.0)).settled.is_empty(), "four minutes are too long");
    let silent = (1, 8, [Some(1.0), None, None]);
    let observed = observe(&mut predictor, &silent);
    assert!(observed.settled.is_empty() && observed.predictions.len() == 2, "no target, but a window to predict from");
    let counters = predictor.counters();
    assert_eq!((counters.after_gap, counters.without_target, counters.windows), (1, 1, 4));
    assert_eq!(predictor.models()[0].metrics().evaluated, 1);
}

#[test]
fn a_correction_is_seen_by_what_comes_after_it() {
    let (mut corrected, mut plain) = (Predictor::new(spec(5, None)).unwrap(), Predictor::new(spec(5, None)).unwrap());
    for at in 0..10 {
        let window = row(1, at, (at * at % 7) as f64);
        assert_eq!(observe(&mut corrected, &window), observe(&mut plain, &window));
    }
    let published = plain.predict(&key(1));
    let late = (1, 9, [Some(100.0), Some(2.0), Some(50.0)]);
    assert_eq!(observe(&mut corrected, &late).arrival, Arrival::Corrected);
    assert_eq!(corrected.predict(&key(1)), published, "what was published stays");
    let next = row(1, 10, 2.0);
    let (a, b) = (observe(&mut corrected, &next), observe(&mut plain, &next));
    assert_eq!(a.settled, b.settled, "and so does what was learnt");
    assert_ne!(a.predictions, b.predictions, "changes and averages see the correction");
}
