//! What a topic may be called and have, in any log.

use tideline_common::ports::{PortError, PortResult, TopicSpec};

/// The most partitions of a topic.
const PARTITIONS_MAX: u32 = 4096;

/// The longest name of a topic, in bytes: Kafka's bound.
const NAME_MAX: usize = 249;

/// Whether a topic can have this name.
pub(super) fn check_name(name: &str) -> PortResult<()> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(known) || matches!(name, "." | "..") {
        let reason = format!("a name is 1 to {NAME_MAX} of the characters a-z A-Z 0-9 . _ -");
        return Err(PortError::invalid(format!("topic {name:?}"), reason));
    }
    Ok(())
}

/// Whether a topic can be made like this.
pub(super) fn check_spec(spec: &TopicSpec) -> PortResult<()> {
    check_name(&spec.name)?;
    if spec.partitions == 0 || spec.partitions > PARTITIONS_MAX {
        let reason = format!("{} partitions; a topic has 1 to {PARTITIONS_MAX}", spec.partitions);
        return Err(PortError::invalid(format!("topic {:?}", spec.name), reason));
    }
    Ok(())
}
