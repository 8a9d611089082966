//! Runs by the clock: cron with six fields, second first, in UTC.

use std::sync::Arc;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::error::BatchError;
use crate::layer::BatchLayer;

/// Checks a schedule without starting anything.
///
/// # Errors
/// [`BatchError::Schedule`], with what is wrong.
pub fn check_schedule(expression: &str) -> Result<(), BatchError> {
    let error = |reason: String| BatchError::Schedule { expression: expression.to_owned(), reason };
    let fields = expression.split_whitespace().count();
    if fields != 6 {
        return Err(error(format!("it has {fields} fields")));
    }
    match Job::new_async(expression, |_, _| Box::pin(async {})) {
        Ok(_) => Ok(()),
        Err(_) => Err(error("a field is out of range or not understood".to_owned())),
    }
}

impl BatchLayer {
    /// Runs on schedule until `cancel`: then no tick comes any more, the run in progress ends at its next step
    /// without publishing, and this returns when all is quiet. A tick that falls into a run is skipped and
    /// counted ([`BatchLayer::skipped`]).
    ///
    /// # Errors
    /// [`BatchError::Schedule`] when `expression` is no schedule, [`BatchError::Worker`] when the scheduler fails.
    pub async fn schedule(self: &Arc<Self>, expression: &str, cancel: CancellationToken) -> Result<(), BatchError> {
        check_schedule(expression)?;
        let failed = |error: JobSchedulerError| BatchError::Worker(format!("scheduler: {error}"));
        let mut scheduler = JobScheduler::new().await.map_err(failed)?;
        let layer = Arc::clone(self);
        let job = Job::new_async(expression, move |_, _| {
            let layer = Arc::clone(&layer);
            Box::pin(async move { layer.run_unless_busy().await })
        })
        .map_err(failed)?;
        scheduler.add(job).await.map_err(failed)?;
        scheduler.start().await.map_err(failed)?;
        tracing::info!(schedule = expression, "batch runs are scheduled");
        cancel.cancelled().await;
        scheduler.shutdown().await.map_err(failed)?;
        self.shutdown().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wrong_schedule_says_what_is_wrong() {
        check_schedule("0 */5 * * * *").unwrap();
        let message = |expression| check_schedule(expression).unwrap_err().to_string();
        assert!(message("*/5 * * * *").contains("it has 5 fields"));
        assert!(message("every day").contains("it has 2 fields"));
        assert!(message("0 99 * * * *").contains("out of range"));
        assert!(message("0 x * * * *").contains("`0 x * * * *` is not a schedule"));
    }
}
