//! From a body of lines to the log: split, keyed, appended, durable when answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::ports::{Appended, Clock, Log, PortError};
use tideline_common::record::NewRecord;

use crate::lines::{self, TooLong};

/// Finds the partition key of records that have not been parsed yet.
pub trait RecordKeys: Send + Sync {
    /// One key per record; `None` for a record without one (it cannot be read, or has no key): any partition
    /// will do.
    fn keys(&self, records: &[Bytes]) -> Vec<Option<Bytes>>;
}

/// Why a body was not taken. None of its records was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A record is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] PortError),
}

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Number of records.
    pub records: usize,
    /// Where they are.
    pub positions: Appended,
}

/// Appends bodies of lines to topics.
pub struct Appender {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    keys: BTreeMap<String, Arc<dyn RecordKeys>>,
    max_record_bytes: usize,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("topics", &self.keys.keys()).finish_non_exhaustive()
    }
}

impl Appender {
    /// Appends to `log`. Records of a topic that `keys` knows are partitioned by what it finds; those of other
    /// topics have no key.
    pub fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        keys: BTreeMap<String, Arc<dyn RecordKeys>>,
        max_record_bytes: usize,
    ) -> Self {
        Self { log, clock, keys, max_record_bytes }
    }

    /// Appends every record of `body`, or none when this fails.
    ///
    /// # Errors
    /// A record that is too long, a topic that is not there, a log that is full or not available.
    pub async fn append(&self, topic: &str, body: &Bytes) -> Result<Accepted, AppendError> {
        let payloads = lines::records(body, self.max_record_bytes)?;
        if payloads.is_empty() {
            // The topic's existence is answered for also when there is nothing to append.
            self.log.topic(topic).await?;
            return Ok(Accepted::default());
        }
        let keys = match self.keys.get(topic) {
            Some(finder) => {
                let finder = Arc::clone(finder);
                let payloads = payloads.clone();
                tokio::task::spawn_blocking(move || finder.keys(&payloads))
                    .await
                    .map_err(|error| PortError::unavailable("finding partition keys", error))?
            }
            None => vec![None; payloads.len()],
        };
        let records: Vec<NewRecord> = payloads
            .into_iter()
            .zip(keys)
            .map(|(payload, key)| NewRecord { key, headers: Vec::new(), payload })
            .collect();
        let count = records.len();
        let positions = self.log.append(topic, records, self.clock.now()).await?;
        Ok(Accepted { records: count, positions })
    }
}
