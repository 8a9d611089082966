//! The time as connectors see it: a clock, and pauses. Both are ports, so that a test lives through hours at once.

use std::sync::Arc;

use async_trait::async_trait;
use tideline_common::ports::Clock;
use tideline_common::time::{Span, Timestamp};

/// Waits.
#[async_trait]
pub trait Pause: Send + Sync + std::fmt::Debug {
    /// Waits for so long. A pause may be given up at any time by dropping it.
    async fn pause(&self, span: Span);

    /// Waits for so long beside something else that is waited for, whichever comes first.
    async fn beat(&self, span: Span) {
        self.pause(span).await;
    }
}

/// Waits by the timer of tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioPause;

#[async_trait]
impl Pause for TokioPause {
    async fn pause(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
}

/// A clock and pauses that belong together.
#[derive(Clone, Debug)]
pub struct Time {
    clock: Arc<dyn Clock>,
    pause: Arc<dyn Pause>,
}

impl Time {
    /// Time that passes as `clock` and `pause` say.
    pub fn new(clock: Arc<dyn Clock>, pause: Arc<dyn Pause>) -> Self {
        Self { clock, pause }
    }

    /// The time of `clock`, with pauses of tokio's timer.
    pub fn of(clock: Arc<dyn Clock>) -> Self {
        Self::new(clock, Arc::new(TokioPause))
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits for so long; not at all when that is nothing or less.
    pub async fn pause(&self, span: Span) {
        if span > Span::ZERO {
            self.pause.pause(span).await;
        }
    }

    /// Waits for so long beside something else that is waited for.
    pub async fn beat(&self, span: Span) {
        self.pause.beat(span).await;
    }
}
