//! How far a connector has come, and who of several processes may ask on its behalf.
//!
//! ```text
//! connectors/<name>/<number, 20 digits>.json     {"version": "1", "holder": .., "until": .., "polled_at": .., "cursor": .., "held_until": ..}
//! ```
//! Notes are a chain, as the files of Bronze are: each is put only if absent, under the number after the last one. Of two
//! processes that write at once one finds its number taken, and knows that it is no longer the one. A note says until when
//! its holder has the connector for itself; when that has passed without another note, whoever looks may go on. Older
//! notes than the last few are deleted, which makes their numbers free again: so a note counts only as the last one, and
//! whoever put it looks whether it is. `held_until` is there while the server holds the connector: whoever has it next keeps to
//! that, too.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tideline_common::ports::{Created, Objects, PortError, PortResult};
use tideline_common::time::{Span, Timestamp};

use super::limits;

/// Folder of all cursors.
pub const CONNECTORS: &str = "connectors";

/// Notes that are kept.
const KEPT: u64 = 3;

/// What is noted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Who has the connector.
    holder: String,
    /// Until when, in microseconds since 1970.
    until: Timestamp,
    /// When the last poll began whose records are all in the log.
    pub polled_at: Option<Timestamp>,
    /// Where the next poll goes on, as the connector's feed wrote it.
    pub cursor: Option<Json>,
    /// Until when the server wants no request, when this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<Timestamp>,
}

impl Note {
    /// Until when the server wants no request; `None` when that is over.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until.filter(|until| limits::holds(*until, now))
    }
}

/// A note as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    V1(Note),
}

/// Why nothing was noted.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// Another process has the connector.
    #[error("another process ({holder}) has the connector until {until}")]
    Taken {
        /// Which.
        holder: String,
        /// Until when, if nothing else is noted.
        until: Timestamp,
    },
    /// The object store does not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The chain of notes of one connector.
#[derive(Debug)]
pub struct Cursors {
    objects: Arc<dyn Objects>,
    folder: String,
    holder: String,
    /// For how long a note holds; `None`: nobody else can be there.
    lease: Option<Span>,
    /// Number of the last note that was seen, 0 without one.
    number: u64,
    note: Note,
}

impl Cursors {
    /// The chain of the connector `name`, as far as it has come. `holder` is this process's own name. With `lease`, other
    /// processes may have the connector, and get it when nothing was noted for so long.
    ///
    /// # Errors
    /// What the object store answers; `Corrupt` for a note that cannot be read.
    pub async fn open(objects: Arc<dyn Objects>, name: &str, holder: String, lease: Option<Span>) -> PortResult<Self> {
        let folder = format!("{CONNECTORS}/{name}");
        let mut cursors = Self { objects, folder, holder, lease, number: 0, note: Note::default() };
        cursors.reload().await?;
        Ok(cursors)
    }

    /// What was noted last.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    fn path(&self, number: u64) -> String {
        format!("{}/{number:020}.json", self.folder)
    }

    /// The highest number there is.
    async fn last(&self) -> PortResult<Option<u64>> {
        let prefix = format!("{}/", self.folder);
        let number = |path: &str| path.strip_prefix(&prefix)?.strip_suffix(".json")?.parse::<u64>().ok();
        let found = self.objects.list(&self.folder).await?;
        Ok(found.iter().filter_map(|object| number(&object.path)).max())
    }

    /// Goes to the end of the chain. An object that was deleted meanwhile is not its end.
    async fn reload(&mut self) -> PortResult<()> {
        for _ in 0..KEPT {
            let Some(last) = self.last().await? else {
                (self.number, self.note) = (0, Note::default());
                return Ok(());
            };
            match self.objects.get(&self.path(last)).await {
                Ok(bytes) => {
                    let Stored::V1(note) =
                        serde_json::from_slice(&bytes).map_err(|error| PortError::corrupt(self.path(last), error))?;
                    (self.number, self.note) = (last, note);
                    return Ok(());
                }
                Err(PortError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(PortError::unavailable(self.folder.clone(), "notes come and go faster than they can be read"))
    }

    /// Makes sure that this process has the connector, and has it for a while, and that it is noted until when the server
    /// holds it.
    ///
    /// # Errors
    /// Another process has it; the object store does not answer.
    pub async fn claim(&mut self, now: Timestamp, held_until: Option<Timestamp>) -> Result<(), CursorError> {
        let noted = held_until <= self.note.held_until(now);
        let Some(lease) = self.lease else {
            return if noted { Ok(()) } else { self.put_claim(now, now, held_until).await };
        };
        if self.note.holder != self.holder || self.note.until <= now {
            // Somebody else's note may have been followed by others, and one's own too, once its time is over.
            self.reload().await?;
            if self.note.holder != self.holder && self.note.until > now {
                return Err(self.taken());
            }
        } else if noted && self.note.until.since(now) > Span(lease.micros() / 2) {
            return Ok(());
        }
        self.put_claim(now, now.plus(lease), held_until).await
    }

    async fn put_claim(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        held_until: Option<Timestamp>,
    ) -> Result<(), CursorError> {
        let holder = self.holder.clone();
        self.put(|last| Note {
            holder: holder.clone(),
            until,
            held_until: held_until.max(last.held_until(now)),
            ..last.clone()
        })
        .await
    }

    /// Notes that everything up to `cursor` is in the log, with the poll that began at `polled_at`, and until when the server
    /// holds the connector.
    ///
    /// # Errors
    /// Another process has gone on; the object store does not answer, and the note may be there or not: note it again.
    pub async fn commit(
        &mut self,
        cursor: Json,
        polled_at: Timestamp,
        now: Timestamp,
        held_until: Option<Timestamp>,
    ) -> Result<(), CursorError> {
        let until = self.lease.map_or(now, |lease| now.plus(lease));
        let (holder, polled_at, cursor) = (self.holder.clone(), Some(polled_at), Some(cursor));
        self.put(|last| {
            let held_until = held_until.max(last.held_until(now));
            Note { holder: holder.clone(), until, polled_at, cursor: cursor.clone(), held_until }
        })
        .await
    }

    /// Lets another process have the connector at once.
    ///
    /// # Errors
    /// The object store does not answer: the others wait until what was noted has passed.
    pub async fn release(&mut self, now: Timestamp) -> Result<(), CursorError> {
        if self.lease.is_none() || self.note.holder != self.holder || self.note.until <= now {
            return Ok(());
        }
        self.put(|last| Note { until: now, ..last.clone() }).await
    }

    fn taken(&self) -> CursorError {
        CursorError::Taken { holder: self.note.holder.clone(), until: self.note.until }
    }

    /// Puts what `make` makes of the last note after it.
    async fn put(&mut self, make: impl Fn(&Note) -> Note) -> Result<(), CursorError> {
        // Twice, as the first number may be taken by an attempt of one's own that has worked without our hearing of it.
        for _ in 0..2 {
            let (number, note) = (self.number + 1, make(&self.note));
            let path = self.path(number);
            let stored = serde_json::to_vec(&Stored::V1(note.clone()))
                .map_err(|error| PortError::invalid(path.clone(), error))?;
            if self.objects.put_if_absent(&path, Bytes::from(stored)).await? == Created::Yes {
                self.check_last(number).await?;
                (self.number, self.note) = (number, note.clone());
            } else {
                self.reload().await?;
                if self.note.holder != self.holder {
                    break;
                }
            }
            self.delete_old().await;
            if self.note == note {
                return Ok(());
            }
        }
        Err(self.taken())
    }

    /// Makes sure that the note `number`, which was just put, is the last one. The number was free, too, if others have gone
    /// on from it while this process slept, and have deleted what they put there: then nothing is to go on from this note.
    async fn check_last(&mut self, number: u64) -> Result<(), CursorError> {
        if self.lease.is_none() || self.last().await?.is_none_or(|last| last <= number) {
            return Ok(());
        }
        self.delete(number).await;
        self.reload().await?;
        Err(self.taken())
    }

    async fn delete_old(&self) {
        if let Some(old) = self.number.checked_sub(KEPT).filter(|old| *old > 0) {
            self.delete(old).await;
        }
    }

    /// Deletes a note that nobody reads any more. One that stays does no harm.
    async fn delete(&self, number: u64) {
        let path = self.path(number);
        if let Err(error) = self.objects.delete(&path).await {
            tracing::debug!(%error, path, "a note of a connector was not deleted");
        }
    }
}
