//! Versions of what the speed layer computes, by source.

use std::collections::BTreeMap;

use tideline_common::plan::Plan;
use tideline_common::ports::Progress;
use tideline_common::position::Shard;

/// The version of every source of a plan, made once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(BTreeMap<String, String>);

impl Versions {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self(plan.sources.iter().map(|source| (source.name.clone(), plan.version_of(&source.name))).collect())
    }

    /// Whether progress tells of rows of this plan: that of another version of a shard says nothing of them. What was
    /// written before there were versions counts.
    pub(crate) fn has(&self, shard: &Shard, progress: &Progress) -> bool {
        progress.version.is_empty() || self.0.get(&shard.source) == Some(&progress.version)
    }
}
