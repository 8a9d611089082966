//! What Kafka's errors mean to the log port.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tideline_common::ports::PortError;

/// The error of the port for an error of the client. `what` says what was tried.
pub(super) fn port(what: impl Into<String>, error: KafkaError) -> PortError {
    let what = what.into();
    match error {
        // Its text has the value, which may be a password.
        KafkaError::ClientConfig(_, _, key, _) => {
            PortError::invalid(what, format!("librdkafka does not take the property {key} with this value"))
        }
        KafkaError::ClientCreation(reason) => PortError::invalid(what, reason),
        other => match other.rdkafka_error_code() {
            Some(code) => of_code(what, code),
            None => PortError::unavailable(what, other),
        },
    }
}

/// The error of the port for a code of librdkafka or of the broker.
pub(super) fn of_code(what: impl Into<String>, code: RDKafkaErrorCode) -> PortError {
    use RDKafkaErrorCode as Code;
    let what = what.into();
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => PortError::NotFound { what },
        Code::QueueFull => PortError::Full { what, source: Box::new(code) },
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::MessageBatchTooLarge
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedForMessageFormat
        | Code::InvalidArgument
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => PortError::invalid(what, code),
        Code::BadMessage | Code::InvalidMessage => PortError::corrupt(what, code),
        // Connections, timeouts, elections, a coordinator that moves, a broker that is busy or shuts down; also
        // what is new to us: trying again does no harm, and the retries are bounded by whoever makes them.
        _ => PortError::unavailable(what, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_can_branch_on_what_went_wrong() {
        use RDKafkaErrorCode as Code;
        let of = |code| of_code("x", code);
        assert!(matches!(of(Code::UnknownTopicOrPartition), PortError::NotFound { .. }));
        assert!(matches!(of(Code::QueueFull), PortError::Full { .. }));
        assert!(matches!(of(Code::MessageSizeTooLarge), PortError::Invalid { .. }));
        for code in [Code::AllBrokersDown, Code::RequestTimedOut, Code::NotLeaderForPartition, Code::NotEnoughReplicas]
        {
            assert!(of(code).is_retryable(), "{code:?}");
        }
    }
}
