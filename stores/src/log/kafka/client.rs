//! What all clients of librdkafka share: where their log lines go.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// A client tells of the same trouble again and again: once in this time is enough.
const QUIET: Duration = Duration::from_secs(10);

/// Forwards what a client has to say to the log of Tideline.
#[derive(Debug)]
pub(super) struct Context {
    /// What the client is for.
    role: &'static str,
    warned: Mutex<Option<Instant>>,
}

impl Context {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, warned: Mutex::new(None) }
    }

    /// Whether it is time for another warning.
    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock();
        let due = warned.is_none_or(|at| at.elapsed() >= QUIET);
        if due {
            *warned = Some(Instant::now());
        }
        due
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let role = self.role;
        // Properties that another kind of client takes are handed to all of them.
        let expected = facility == "CONFWARN";
        let serious = level as i32 <= RDKafkaLogLevel::Warning as i32;
        if serious && !expected && self.may_warn() {
            tracing::warn!(role, facility, message, "Kafka client");
        } else {
            tracing::debug!(role, facility, message, "Kafka client");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let role = self.role;
        if matches!(error, KafkaError::Global(code) if code == rdkafka::types::RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        if self.may_warn() {
            tracing::warn!(role, %error, reason, "Kafka client");
        } else {
            tracing::debug!(role, %error, reason, "Kafka client");
        }
    }
}

impl ConsumerContext for Context {}
