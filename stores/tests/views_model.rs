//! The embedded views against a map: any flushes in any order, with any queries in between.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tideline_common::key::Key;
use tideline_common::ports::{Flush, KeySelector, PaneFlush, PaneQuery, Progress, SpeedViews, ViewSchema};
use tideline_common::position::Shard;
use tideline_common::state::{Input, Rule, StateBatch, StateColumn, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};

const TTL: i64 = 10;

#[derive(Debug, Clone)]
enum Step {
    /// Shard, position, rows of (key, pane).
    Flush(u32, u64, Vec<(u8, i64)>),
    /// Time passes.
    Wait(i64),
    Expire,
    Reopen,
    /// First and end of the panes, rows at most.
    Query(i64, i64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::btree_set((0u8..6, -3i64..40), 0..30).prop_map(|s| s.into_iter().collect());
    let step = prop_oneof![
        5 => (0u32..2, 0u64..20, rows).prop_map(|(s, p, r)| Step::Flush(s, p, r)),
        1 => (1i64..8).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
        4 => (-5i64..45, -5i64..45, 1usize..20).prop_map(|(a, b, n)| Step::Query(a, b, n)),
    ];
    prop::collection::vec(step, 1..25)
}

fn view() -> ViewSchema {
    let field = StateField {
        name: "n".to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: String::new(),
        argument: None,
    };
    ViewSchema {
        name: "v".to_owned(),
        version: "1".to_owned(),
        key: Vec::new(),
        fields: vec![field],
        pane: Span(1),
        ttl: Some(Span(TTL)),
    }
}

fn key(k: u8) -> Key {
    // Keys of which one begins with another.
    Key::of(&[Value::String("a".repeat(usize::from(k)))])
}

type Row = (Vec<u8>, i64, i64);

fn rows_of(batch: &StateBatch) -> Vec<Row> {
    let StateColumn::SumInt(numbers) = &batch.states[0] else { panic!("a sum") };
    (0..batch.len()).map(|i| (batch.keys.get(i).to_vec(), batch.panes[i].0, numbers[i])).collect()
}

/// (key, pane, shard) → (position, written at); the number that is written is shard and position in one.
type Model = BTreeMap<(Vec<u8>, i64, u32), (u64, i64)>;

fn number(shard: u32, position: u64) -> i64 {
    i64::from(shard) * 1_000 + position as i64
}

fn expected(model: &Model, from: i64, to: i64, now: i64) -> Vec<Row> {
    let alive = model.iter().filter(|((_, pane, _), (_, at))| (from..to).contains(pane) && now < at + TTL);
    alive.map(|((key, pane, shard), (position, _))| (key.clone(), *pane, number(*shard, *position))).collect()
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let config = EmbeddedViewsConfig { reserve_bytes: 0, ..EmbeddedViewsConfig::default() };
        EmbeddedViews::open(folder.path(), config).unwrap()
    };
    let (mut views, mut model, mut now) = (open(), Model::new(), 0);
    for step in steps {
        match step {
            Step::Wait(time) => now += time,
            Step::Reopen => {
                drop(views);
                views = open();
            }
            Step::Expire => {
                let before = model.len();
                model.retain(|_, (_, at)| now < *at + TTL);
                let dropped = views.expire(&[view()], &[], Timestamp(now)).await.unwrap();
                assert_eq!(dropped, (before - model.len()) as u64);
            }
            Step::Flush(shard, position, rows) => {
                let mut panes = StateBatch::new(&view().fields);
                for (k, pane) in rows {
                    let row = panes.push_identity(key(k).as_bytes(), Timestamp(pane));
                    if let StateColumn::SumInt(v) = &mut panes.states[0] {
                        v[row] = number(shard, position);
                    }
                    let old = model.entry((key(k).0, pane, shard)).or_insert((position, now));
                    if old.0 < position {
                        *old = (position, now);
                    }
                }
                let late = StateBatch::new(&view().fields);
                let flush = Flush {
                    shard: Shard::new("s", shard),
                    panes: vec![PaneFlush { view: view(), panes, late }],
                    rows: Vec::new(),
                    progress: Progress { position, ..Progress::default() },
                };
                views.write(&flush, Timestamp(now)).await.unwrap();
            }
            Step::Query(from, to, max) => {
                let want = expected(&model, from, to, now);
                let between =
                    views.panes_between(&view(), Timestamp(from), Timestamp(to), Timestamp(now)).await.unwrap();
                assert_eq!(rows_of(&between), want);
                let (mut after, mut seen) = (None, Vec::new());
                loop {
                    let query = PaneQuery {
                        keys: KeySelector::All { after },
                        from: Timestamp(from),
                        to: Timestamp(to),
                        max_rows: max,
                    };
                    let page = views.panes(&view(), &query, Timestamp(now)).await.unwrap();
                    seen.extend(rows_of(&page.panes));
                    after = page.more_after;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, want);
                let one =
                    PaneQuery { keys: KeySelector::One(key(2)), from: Timestamp(from), to: Timestamp(to), max_rows: 1 };
                let page = views.panes(&view(), &one, Timestamp(now)).await.unwrap();
                let want: Vec<Row> = want.into_iter().filter(|row| row.0 == key(2).0).collect();
                assert_eq!(rows_of(&page.panes), want);
                let newest = expected(&model, i64::MIN, i64::MAX, now).iter().map(|row| row.1).max();
                assert_eq!(views.newest_pane(&view(), Timestamp(now)).await.unwrap(), newest.map(Timestamp));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_views_are_a_map_in_which_the_highest_position_wins(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
