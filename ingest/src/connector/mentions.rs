//! Titles that a comment mentions, among those that were seen on another topic until then (`docs/adr/0013`).
//!
//! Whether a title has been seen depends on when one asks. So it is asked once, when the comment is appended, and the answer is
//! part of the record: whoever reads it, now or in a replay, reads the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tideline_common::ports::{Log, PortError, PortResult, ReadRequest};
use tideline_common::position::{Offset, Partition};

/// Titles that are looked for in texts.
pub trait Titles: Send + Sync + std::fmt::Debug {
    /// Looks for one more title from now on; one that is known already, or cannot be looked for, changes nothing.
    fn learn(&mut self, title: &str);

    /// The titles that a text mentions, each once, in the order of their first mention.
    fn mentions(&self, text: &str) -> Vec<String>;
}

/// Records that are read at once.
const READ_RECORDS: usize = 5_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 20;
/// How long a read waits for records that the log says it has.
const READ_WAIT: Duration = Duration::from_secs(1);

/// The titles of a topic, as far as it has been read.
#[derive(Debug)]
pub struct Mentions {
    log: Arc<dyn Log>,
    topic: String,
    field: String,
    titles: Box<dyn Titles>,
    read: BTreeMap<Partition, Offset>,
}

/// The field of a record that holds what it mentions.
pub const MENTIONS: &str = "movie_mentions";

impl Mentions {
    /// Mentions of the titles in `field` of the records of `topic`; `titles` knows none yet.
    pub const fn new(log: Arc<dyn Log>, topic: String, field: String, titles: Box<dyn Titles>) -> Self {
        Self { log, topic, field, titles, read: BTreeMap::new() }
    }

    /// Reads what the topic has by now. A topic that is not there has no titles.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn catch_up(&mut self) -> PortResult<()> {
        let info = match self.log.topic(&self.topic).await {
            Ok(info) => info,
            Err(PortError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for (partition, (first, next)) in info.partitions {
            let mut at = self.read.get(&partition).copied().unwrap_or(0).max(first);
            while at < next {
                let request = ReadRequest {
                    topic: self.topic.clone(),
                    partition,
                    from: at,
                    max_records: READ_RECORDS,
                    max_bytes: READ_BYTES,
                    wait: READ_WAIT,
                };
                let records = match self.log.read(&request).await {
                    Ok(records) => records,
                    // Retention was faster.
                    Err(PortError::Expired { first }) if first > at => {
                        at = first;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for record in &records {
                    self.learn(&record.payload);
                }
                let after = match records.last() {
                    Some(last) => last.offset + 1,
                    None => self.log.skip(&self.topic, partition, at).await?,
                };
                if after <= at {
                    let what = format!("topic {}, partition {partition}, offset {at}", self.topic);
                    return Err(PortError::unavailable(what, "the log does not give what it says it has"));
                }
                at = after;
                self.read.insert(partition, at);
            }
            self.read.insert(partition, at);
        }
        Ok(())
    }

    /// What cannot be read has no title; it is for the layers to find.
    fn learn(&mut self, payload: &[u8]) {
        if let Ok(record) = serde_json::from_slice::<Json>(payload)
            && let Some(title) = record.get(&self.field).and_then(Json::as_str)
        {
            self.titles.learn(title);
        }
    }

    /// Puts into a record what its text mentions; one that has mentions keeps them.
    pub fn put(&self, record: &mut Json, text: &str) {
        if let Some(fields) = record.as_object_mut()
            && !fields.contains_key(MENTIONS)
        {
            fields.insert(MENTIONS.to_owned(), json!(self.titles.mentions(text)));
        }
    }
}
