//! A flush: what has changed in a shard goes to the views, and is seen from then on.
//!
//! It is taken from the state between two batches, and written beside the loop, which goes on with the next records
//! meanwhile: a store that is slow for a moment makes views older, and neither rows of outputs nor whatever else waits for a
//! record. One at a time, so that what a shard writes to the views is in order; a commit waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideline_common::ports::Flush;
use tideline_common::position::Offset;
use tideline_common::time::Timestamp;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::SpeedError;
use crate::context::Context;

/// A flush under way.
pub(crate) type Flushing = AbortOnDropHandle<Result<Flushed, SpeedError>>;

/// A flush that is in the views.
#[derive(Debug)]
pub(crate) struct Flushed {
    pub(crate) flush: Flush,
    /// From when it was to be taken until it could be seen.
    pub(crate) took: Duration,
}

/// Up to where a shard's panes are in the views.
#[derive(Debug)]
pub(crate) struct Written(Arc<watch::Sender<Offset>>);

impl Written {
    /// Of a shard whose panes before `position` are there.
    pub(crate) fn new(position: Offset) -> Self {
        Self(Arc::new(watch::channel(position).0))
    }

    /// To wait for a position.
    pub(crate) fn reached(&self) -> watch::Receiver<Offset> {
        self.0.subscribe()
    }

    /// Begins to write what was taken at `now`. `began`: when it was to be.
    pub(crate) fn write(&self, context: &Arc<Context>, flush: Flush, now: Timestamp, began: Instant) -> Flushing {
        let (context, written) = (Arc::clone(context), Arc::clone(&self.0));
        AbortOnDropHandle::new(tokio::spawn(async move {
            let (views, writing) = (&context.ports.views, Instant::now());
            context.retry("write views", || views.write(&flush, now)).await?;
            context.spent("write views", writing.elapsed());
            written.send_replace(flush.progress.position);
            Ok(Flushed { flush, took: began.elapsed() })
        }))
    }
}

/// Waits until everything before `position` is in the views.
///
/// # Errors
/// [`SpeedError::Panicked`].
pub(crate) async fn wait(mut written: watch::Receiver<Offset>, position: Offset) -> Result<(), SpeedError> {
    let reached = written.wait_for(|written| *written >= position).await;
    reached.map(drop).map_err(|_| SpeedError::Panicked("what writes to the views ended".to_owned()))
}
