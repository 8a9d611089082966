//! From records to the log: keyed, appended, durable when answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::ports::{Appended, Clock, Log, PortError, PortResult};
use tideline_common::record::NewRecord;

/// Finds the partition key of records that have not been parsed yet.
pub trait RecordKeys: Send + Sync {
    /// One key per record; `None` for a record without one (it cannot be read, or has no key): any partition
    /// will do.
    fn keys(&self, records: &[Bytes]) -> Vec<Option<Bytes>>;
}

/// Appends records to topics.
pub struct Appender {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    keys: BTreeMap<String, Arc<dyn RecordKeys>>,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("topics", &self.keys.keys()).finish_non_exhaustive()
    }
}

impl Appender {
    /// Appends to `log`. Records of a topic that `keys` knows are partitioned by what it finds; those of other
    /// topics have no key.
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, keys: BTreeMap<String, Arc<dyn RecordKeys>>) -> Self {
        Self { log, clock, keys }
    }

    /// The topics whose records get a key.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Appends every record, in order, or none when this fails.
    ///
    /// # Errors
    /// A topic that is not there, a log that is full or not available.
    pub async fn append(&self, topic: &str, payloads: Vec<Bytes>) -> PortResult<Appended> {
        if payloads.is_empty() {
            // The topic's existence is answered for also when there is nothing to append.
            self.log.topic(topic).await?;
            return Ok(Appended::default());
        }
        let (payloads, keys) = match self.keys.get(topic) {
            Some(finder) => {
                let finder = Arc::clone(finder);
                tokio::task::spawn_blocking(move || {
                    let keys = finder.keys(&payloads);
                    (payloads, keys)
                })
                .await
                .map_err(|error| PortError::unavailable("finding partition keys", error))?
            }
            None => {
                let keys = vec![None; payloads.len()];
                (payloads, keys)
            }
        };
        let records: Vec<NewRecord> = payloads
            .into_iter()
            .zip(keys)
            .map(|(payload, key)| NewRecord { key, headers: Vec::new(), payload })
            .collect();
        self.log.append(topic, records, self.clock.now()).await
    }
}
