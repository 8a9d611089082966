//! Outputs that take rows, and what must be in their topics.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tideline_common::plan::{EVENT_TIME, Field, Plan, RowOutputPlan};
use tideline_common::time::Timestamp;
use tideline_common::value::Type;
use tideline_speed::close::ID_HEADER;

use super::{SOURCE, World};

/// An output without a key: a shard alone writes its partition, if there are enough of them.
pub const PLAIN: &str = "plain";
/// An output with a key: each shard writes all partitions.
pub const KEYED: &str = "keyed";

/// The plan of these tests, with both outputs, of which the first has so many partitions.
pub fn plan(partitions: u32, plain: u32) -> Plan {
    let mut plan = super::plan::plan(partitions);
    let columns = [("who", Type::String), (EVENT_TIME, Type::Timestamp), ("amount", Type::Float)];
    let field = |(name, ty): (&str, Type)| Field { name: name.to_owned(), ty };
    let output = |name: &str, key: &[Field], partitions| RowOutputPlan {
        name: name.to_owned(),
        table: "rows".to_owned(),
        source: SOURCE.to_owned(),
        topic: name.to_owned(),
        key: key.to_vec(),
        columns: columns.map(field).to_vec(),
        partitions,
        retention: None,
    };
    plan.row_outputs = vec![output(PLAIN, &[], plain), output(KEYED, &[field(columns[0])], 3)];
    plan
}

/// Where a row is from: partition and offset of its record.
pub type From = (u32, u64);

/// What an output's topic holds.
#[derive(Debug, Default)]
pub struct Told {
    /// Rows, each once.
    pub rows: BTreeMap<From, Json>,
    /// Copies beyond the first.
    pub repeats: usize,
}

impl World {
    /// What is in the topic of an output. Copies of a row are the same; the first ones are in the order of their records in
    /// each partition that has some; each says what its record says.
    pub fn told(&self, output: &str) -> Told {
        let (mut told, mut bytes) = (Told::default(), BTreeMap::<From, (Option<Bytes>, Bytes)>::new());
        for partition in self.log.partitions(output) {
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            for record in self.log.partition(output, partition) {
                let (name, id) = &record.headers[0];
                assert_eq!((name.as_str(), record.headers.len()), (ID_HEADER, 1));
                let id = std::str::from_utf8(id).unwrap();
                let rest = id.strip_prefix(&format!("{output}/{SOURCE}/")).unwrap();
                let parts: Vec<u64> = rest.split('/').map(|part| part.parse().unwrap()).collect();
                let [source, offset, 0] = parts[..] else { panic!("{id}") };
                let from = (source as u32, offset);
                let content = (record.key.clone(), record.payload.clone());
                if let Some(known) = bytes.get(&from) {
                    assert_eq!(*known, content, "copies of {id} differ");
                    told.repeats += 1;
                    continue;
                }
                let before = last.insert(from.0, offset);
                assert!(before.is_none_or(|before| before < offset), "{id} comes after {before:?}");
                let row: Json = serde_json::from_slice(&record.payload).unwrap();
                assert_eq!(row, self.row(from), "{id}");
                let key = (output == KEYED).then(|| row["who"].as_str().unwrap().to_owned());
                assert_eq!(record.key.as_deref(), key.as_deref().map(str::as_bytes), "{id}");
                bytes.insert(from, content);
                told.rows.insert(from, row);
            }
        }
        told
    }

    /// The row that a record makes, by its payload alone.
    fn row(&self, (partition, offset): From) -> Json {
        let payload = self.log.payloads(super::TOPIC, partition)[offset as usize].clone();
        let record: Json = serde_json::from_slice(&payload).unwrap();
        let time = Timestamp(record["at"].as_i64().unwrap() * 1_000);
        json!({ "who": record["who"], "event_time": time.to_string(), "amount": record["amount"] })
    }

    /// Checks that both outputs have every row of records that are neither rejected nor duplicates, late ones included, and
    /// answers how many of them are there more than once.
    pub fn check_told(&self) -> usize {
        let contents = self.views.contents();
        let sum =
            |count: fn(&tideline_common::ports::Progress) -> u64| contents.progress.values().map(count).sum::<u64>();
        let expected = sum(|p| p.records) - sum(|p| p.rejected) - sum(|p| p.duplicates);
        let (plain, keyed) = (self.told(PLAIN), self.told(KEYED));
        assert_eq!(plain.rows.len() as u64, expected);
        assert_eq!(plain.rows, keyed.rows, "the same rows");
        plain.repeats + keyed.repeats
    }
}
