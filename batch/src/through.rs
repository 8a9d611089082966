//! How far batch answers: the boundary between the layers.

use std::collections::BTreeMap;

use tideline_common::manifest::SourceProgress;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::time::Timestamp;

/// The boundary of a view: every pane that ends at or before it belongs to batch. It is the least watermark
/// (highest event time − lateness) of the partitions, of all sources of the view, that are not idle, cut down to
/// a pane; with all idle the highest counts, and a partition without a record does not count.
///
/// A boundary that was published holds: `before`, that of the same version of the view, is never undercut.
pub(crate) fn through(
    plan: &Plan,
    view: &ViewPlan,
    sources: &BTreeMap<String, SourceProgress>,
    now: Timestamp,
    before: Option<Timestamp>,
) -> Option<Timestamp> {
    let mut active: Option<Timestamp> = None;
    let mut idle: Option<Timestamp> = None;
    for source in view.sources.iter().filter_map(|name| plan.source(name)) {
        let Some(progress) = sources.get(&source.name) else { continue };
        for mark in progress.watermarks.values() {
            let (Some(at), Some(appended)) = (mark.at(source.lateness), mark.last_appended) else { continue };
            // Idleness is judged per partition across sources: one source that has ended holds no other back.
            if now.since(appended) > source.idle_after {
                idle = Some(idle.map_or(at, |other| other.max(at)));
            } else {
                active = Some(active.map_or(at, |other| other.min(at)));
            }
        }
    }
    active.or(idle).map(|at| at.floor(view.pane)).max(before)
}

#[cfg(test)]
mod tests {
    use tideline_common::plan::{EventTime, SourcePlan, Start, TimeFormat};
    use tideline_common::time::Span;
    use tideline_common::watermark::Watermark;
    use tideline_common::window::Window;

    use super::*;

    fn source(name: &str, lateness: i64) -> SourcePlan {
        SourcePlan {
            name: name.into(),
            topic: name.into(),
            partitions: 2,
            retention: None,
            retain_bronze: None,
            start: Start::Earliest,
            columns: Vec::new(),
            required: Vec::new(),
            event_time: EventTime { column: "t".into(), format: TimeFormat::EpochMicros },
            key: None,
            lateness: Span(lateness),
            max_ahead: None,
            idle_after: Span(100),
            dedupe: None,
            checks: Vec::new(),
            version: String::new(),
        }
    }

    fn setting() -> (Plan, ViewPlan) {
        let view = ViewPlan {
            name: "v".into(),
            key: Vec::new(),
            window: Window { size: Span(10), slide: Span(10) },
            pane: Span(10),
            measures: Vec::new(),
            columns: Vec::new(),
            answer: Vec::new(),
            fields: Vec::new(),
            tables: Vec::new(),
            sources: vec!["a".into(), "b".into()],
            retain_speed: None,
            retain_batch: None,
            top: Vec::new(),
            version: String::new(),
        };
        let plan = Plan {
            name: "p".into(),
            sources: vec![source("a", 5), source("b", 20)],
            tables: Vec::new(),
            views: vec![view.clone()],
            lookups: Vec::new(),
            reports: Vec::new(),
            alerts: Vec::new(),
            outputs: Vec::new(),
            predictions: Vec::new(),
            row_outputs: Vec::new(),
            endpoints: Vec::new(),
        };
        (plan, view)
    }

    fn progress(marks: &[(i64, i64)]) -> SourceProgress {
        let watermarks = marks
            .iter()
            .zip(0..)
            .map(|((highest, appended), partition)| {
                let mark = Watermark { highest: Some(Timestamp(*highest)), last_appended: Some(Timestamp(*appended)) };
                (partition, mark)
            })
            .collect();
        SourceProgress { watermarks, ..SourceProgress::default() }
    }

    #[test]
    fn the_slowest_partition_of_all_sources_decides() {
        let (plan, view) = setting();
        let at = |a: &[(i64, i64)], b: &[(i64, i64)], now, before| {
            let sources = BTreeMap::from([("a".to_owned(), progress(a)), ("b".to_owned(), progress(b))]);
            through(&plan, &view, &sources, Timestamp(now), before)
        };
        assert_eq!(at(&[], &[], 0, None), None);
        // 58 − 5 = 53 → 50; 88 − 20 = 68.
        assert_eq!(at(&[(58, 1), (99, 1)], &[(88, 1)], 1, None), Some(Timestamp(50)));
        // The lateness of each source counts: 71 − 5 = 66, 72 − 20 = 52.
        assert_eq!(at(&[(71, 1)], &[(72, 1)], 1, None), Some(Timestamp(50)));
        // An idle partition, and an idle source, hold nothing back.
        assert_eq!(at(&[(58, 1), (99, 200)], &[(188, 200)], 210, None), Some(Timestamp(90)));
        assert_eq!(at(&[(58, 1)], &[(188, 200)], 210, None), Some(Timestamp(160)));
        // With all idle, the highest counts.
        assert_eq!(at(&[(58, 1)], &[(188, 2)], 210, None), Some(Timestamp(160)));
        // What was published holds, and before 1970 too panes are cut downwards.
        assert_eq!(at(&[(58, 1)], &[], 1, Some(Timestamp(70))), Some(Timestamp(70)));
        assert_eq!(at(&[(-58, 1)], &[], 1, None), Some(Timestamp(-70)));
        assert_eq!(at(&[], &[], 1, Some(Timestamp(70))), Some(Timestamp(70)));
    }
}
