//! Rows on their way to the topics of outputs.
//!
//! A *lane* per output takes the rows of each micro-batch as soon as they are made, and appends them beside the loop, in
//! their order, while the shard computes and flushes what comes next. What waits is bounded: a shard whose rows the log does
//! not take stops reading.
//!
//! # Nothing is missing, and what is there is not appended again
//! **A record is in Bronze only when its rows are in the topics.** A commit waits for the lanes before it writes the file.
//! So rows of records that are in Bronze are never appended: not by a recovery, not by a replay with another plan or in
//! another generation. Rows of later records may be in the topics or not, when a predecessor has ended between the two
//! steps: the first append of a lane looks for them at the ends of the topic's partitions ([`tail`]), and leaves out what it
//! finds. So does one that has failed, of which nobody knows what it has left.
//!
//! What remains: a predecessor that is still at work (a zombie), or records that a Kafka client delivers after it was given
//! up. Then a row may be there twice, under one id and with the same bytes; of each row the first copy is in order.

mod lane;
mod record;
mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tideline_common::position::Offset;
use tideline_common::time::Timestamp;
use tideline_transform::JsonRows;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use self::lane::Batch;
use crate::SpeedError;
use crate::context::Context;

/// The lanes of a shard, one per output of the program. See the module.
#[derive(Debug)]
pub(crate) struct Outputs {
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Lane {
    sender: mpsc::UnboundedSender<Batch>,
    appended: watch::Receiver<Offset>,
    _task: AbortOnDropHandle<()>,
}

/// What the lanes of a shard have in common.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes of records whose rows wait.
    bytes: AtomicUsize,
    /// Told when some have been appended.
    room: Notify,
}

/// Up to where each of the lanes has appended everything.
pub(crate) type Appended = Vec<watch::Receiver<Offset>>;

impl Outputs {
    /// For a shard that stands at `position`, of a log that ends at `log_end`. Of records before that end a predecessor may
    /// have appended rows.
    pub(crate) fn start(context: &Arc<Context>, position: Offset, log_end: Option<Offset>) -> Self {
        let shared = Arc::new(Shared::default());
        let lane = |at: usize| {
            // Bounded by bytes, see `has_room`.
            let (sender, waiting) = mpsc::unbounded_channel();
            let (told, appended) = watch::channel(position);
            let lane = lane::Lane::new(Arc::clone(context), at, log_end.unwrap_or(position));
            let task = lane.run(Arc::clone(&shared), waiting, told);
            Lane { sender, appended, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
        };
        let lanes = (0..context.program.outputs.len()).map(lane).collect();
        context.status.update(|status| {
            let names = context.program.outputs.iter().map(|output| output.plan.name.clone());
            status.outputs = names.map(|name| (name, position)).collect();
        });
        Self { lanes, shared }
    }

    /// Takes in the rows of a micro-batch, one per output, after which the position is `next`. `payload`: the bytes of its
    /// records, which its rows are made of; `since`: when the log took the first of them.
    pub(crate) fn add(&self, rows: Vec<Option<JsonRows>>, payload: usize, next: Offset, since: Timestamp) {
        for (lane, rows) in self.lanes.iter().zip(rows) {
            let bytes = if rows.is_some() { payload } else { 0 };
            self.shared.bytes.fetch_add(bytes, Ordering::SeqCst);
            // The other side ends only with the shard, or in a panic, which a commit finds out.
            let _ = lane.sender.send(Batch { rows, next, since, bytes });
        }
    }

    /// Whether more rows may be taken in.
    pub(crate) fn has_room(&self, context: &Context) -> bool {
        self.shared.bytes.load(Ordering::SeqCst) < context.config.max_output_bytes
    }

    /// Ends when some rows have been appended since this ended last.
    pub(crate) async fn room(&self) {
        self.shared.room.notified().await;
    }

    /// Up to where each of the lanes has appended everything.
    pub(crate) fn appended(&self) -> Appended {
        self.lanes.iter().map(|lane| lane.appended.clone()).collect()
    }
}

/// Waits until the rows of all records before `position` have been appended.
///
/// # Errors
/// [`SpeedError::Panicked`].
pub(crate) async fn wait(appended: Appended, position: Offset) -> Result<(), SpeedError> {
    for mut lane in appended {
        let reached = lane.wait_for(|appended| *appended >= position).await;
        reached.map_err(|_| SpeedError::Panicked("what appends rows to an output ended".to_owned()))?;
    }
    Ok(())
}
