//! The comparison finds what is planted, and explains what can be explained.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::views::MemoryViews;
use support::{Lake, SHOP, START, order, plan, visit};
use tideline_batch::reconcile::{Difference, ViewAgreement};
use tideline_common::key::Key;
use tideline_common::plan::Plan;
use tideline_common::position::Shard;
use tideline_common::record::Record;
use tideline_common::state::{StateBatch, StateColumn};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;

const MINUTE: i64 = 60_000_000;

fn key(shop: &str) -> Vec<u8> {
    Key::of(&[Value::String(shop.into())]).0
}

/// Two partitions of orders and one of visits, taken in by both layers.
async fn both(orders: &[Vec<Record>], definition: &str) -> (Lake, Arc<Plan>, MemoryViews) {
    let (lake, plan, views) = (Lake::new(), plan(definition), MemoryViews::default());
    for (partition, records) in (0..).zip(orders) {
        lake.bronze("orders", partition, 0, records).await;
        views.take(&plan, "orders", partition, records);
    }
    let visits: Vec<Record> = (0..20).map(|n| visit(n, n as i64 * 60, "tea")).collect();
    lake.bronze("visits", 0, 0, &visits).await;
    views.take(&plan, "visits", 0, &visits);
    lake.clock.set(Timestamp(START + Span::DAY.0));
    lake.layer(&plan).run().await.unwrap();
    (lake, plan, views)
}

fn orders(partition: u64) -> Vec<Record> {
    (0..40)
        .map(|n| {
            order(
                n,
                &format!("{partition}-{n}"),
                n as i64 * 30,
                ["tea", "books", "hats"][n as usize % 3],
                n as f64 / 3.0,
            )
        })
        .collect()
}

async fn compare(lake: &Lake, plan: &Arc<Plan>, views: &MemoryViews) -> ViewAgreement {
    let agreement = lake.layer(plan).reconcile(views).await.unwrap();
    let found = agreement.views["revenue"].clone();
    assert_eq!(agreement.unexplained(), found.unexplained);
    let explained = found.late + found.expired + found.duplicate + found.not_yet + found.unexplained;
    assert_eq!(found.compared, found.equal + explained, "{found:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_layers_agree_on_every_group() {
    let (lake, plan, views) = both(&[orders(0), orders(1)], SHOP).await;
    let found = compare(&lake, &plan, &views).await;
    // The watermark is the least: visits end at 19 min, less 1 min of lateness.
    assert_eq!(found.through, Some(Timestamp(START + 18 * MINUTE)));
    assert!(found.compared > 40 && found.equal == found.compared, "{found:?}");
    assert!(found.examples.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_difference_is_found_and_not_explained() {
    let (lake, plan, views) = both(&[orders(0), orders(1)], SHOP).await;
    let view = plan.view("revenue").unwrap();
    // One order too many, in one pane.
    let mut states = StateBatch::new(&view.fields);
    states.push_identity(&key("tea"), Timestamp(START + 3 * MINUTE));
    if let StateColumn::SumInt(counts) = &mut states.states[0] {
        counts[0] = 1;
    } else {
        panic!("the first field is the count of orders");
    }
    views.merge(view, &Shard::new("orders", 0), &states);
    // A pane that batch has no record of, below and beyond what is compared.
    let mut lone = StateBatch::new(&view.fields);
    lone.push_identity(&key("ghost"), Timestamp(START - 1_000 * MINUTE));
    lone.push_identity(&key("ghost"), Timestamp(START + 18 * MINUTE));
    views.merge(view, &Shard::new("orders", 0), &lone);
    // And one that speed has lost.
    views.forget(view, |name, pane| name != key("books") || pane != Timestamp(START + 5 * MINUTE));

    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.unexplained, found.missing_in_batch, found.missing_in_speed), (3, 1, 1), "{found:?}");
    assert_eq!(found.examples.len(), 3);
    let wrong = found.examples.iter().find(|example| example.key == ["tea"]).unwrap();
    assert_eq!((wrong.pane, wrong.because), (Timestamp(START + 3 * MINUTE), Difference::Unexplained));
    let (speed, batch) = (wrong.speed.clone().unwrap(), wrong.batch.clone().unwrap());
    assert_eq!(speed.parse::<i64>().unwrap(), batch.parse::<i64>().unwrap() + 1);
    assert_eq!(wrong.field.as_ref(), Some(&view.fields[0].name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_row_explains_its_group_and_no_other() {
    let mut second = orders(1);
    second.push(order(40, "late", 2 * 60, "tea", 5.0));
    let (lake, plan, views) = (Lake::new(), plan(SHOP), MemoryViews::default());
    for (partition, records) in [(0, &orders(0)), (1, &second)] {
        lake.bronze("orders", partition, 0, records).await;
        views.take(&plan, "orders", partition, if partition == 1 { &records[..40] } else { records });
    }
    views.progress.lock().unwrap().get_mut(&Shard::new("orders", 1)).unwrap().position = 41;
    lake.clock.set(Timestamp(START + Span::DAY.0));
    lake.layer(&plan).run().await.unwrap();
    let unexplained = compare(&lake, &plan, &views).await;
    assert_eq!((unexplained.unexplained, unexplained.late), (1, 0));

    views.count_late("revenue", &key("tea"), Timestamp(START + 2 * MINUTE));
    views.count_late("revenue", &key("tea"), Timestamp(START + 3 * MINUTE));
    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.unexplained, found.late), (0, 1), "{found:?}");
    assert_eq!(found.examples[0].because, Difference::Late);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_of_another_partition_explains_its_pane() {
    let mut second = orders(1);
    second[8] = Record { offset: 8, ..orders(0)[8].clone() };
    let (lake, plan, views) = both(&[orders(0), second], SHOP).await;
    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.unexplained, found.duplicate), (0, 1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_rows_explain_only_what_could_expire() {
    let (lake, plan, views) = both(&[orders(0), orders(1)], SHOP).await;
    let view = plan.view("revenue").unwrap();
    let gone = Timestamp(START + 5 * MINUTE);
    views.forget(view, |_, pane| pane != gone);
    lake.clock.set(Timestamp(START + 100 * Span::DAY.0));
    // Records were appended around START and live for 3 days: the clock is at 100 days.
    let found = compare(&lake, &plan, &views).await;
    assert!(found.expired == 3 && found.unexplained == 0, "{found:?}");
    // Two days after START nothing can have expired.
    lake.clock.set(Timestamp(START + 2 * Span::DAY.0));
    let found = compare(&lake, &plan, &views).await;
    assert!(found.expired == 0 && found.unexplained == 3, "{found:?}");
    // At the edge: offset n is appended n ms after START; those of the pane are the orders 10 and 11 and the
    // visit 5.
    lake.clock.set(Timestamp(START + 3 * Span::DAY.0 + 11_000));
    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.expired, found.unexplained), (2, 1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_ahead_explains_open_panes_only() {
    let (lake, plan, views) = both(&[orders(0), orders(1)], SHOP).await;
    let view = plan.view("revenue").unwrap();
    // Speed has gone on: partition 1 has two more orders, one for a pane that was still open, both below the boundary.
    let more = |offset, minute: i64| order(offset, &format!("m{offset}"), minute * 60, "tea", 1.0);
    let late_enough = [more(40, 17)];
    let shard = Shard::new("orders", 1);
    let add = MemoryViews::default();
    add.take(&plan, "orders", 1, &late_enough);
    views.merge(view, &shard, add.panes.lock().unwrap()[&("revenue".to_owned(), shard.clone())].groups());
    views.progress.lock().unwrap().get_mut(&shard).unwrap().position = 41;
    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.not_yet, found.unexplained), (1, 0), "{found:?}");
    // The window of a pane at minute 2 had closed: being ahead is no excuse there.
    let add = MemoryViews::default();
    add.take(&plan, "orders", 1, &[more(41, 2)]);
    views.merge(view, &shard, add.panes.lock().unwrap()[&("revenue".to_owned(), shard.clone())].groups());
    let found = compare(&lake, &plan, &views).await;
    assert_eq!((found.not_yet, found.unexplained), (1, 1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_version_nothing_is_compared() {
    let (lake, plan, views) = (Lake::new(), plan(SHOP), MemoryViews::default());
    assert_eq!(lake.layer(&plan).reconcile(&views).await.unwrap().version, 0);
    lake.layer(&plan).run().await.unwrap();
    let found = compare(&lake, &plan, &views).await;
    assert!(found.compared == 0 && found.skipped.unwrap().contains("no pane"));
}
