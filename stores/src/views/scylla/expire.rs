//! What the servers do not drop by themselves: rows of lookups beyond their limit, and tables of old versions.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use tideline_common::ports::{LookupSchema, PortResult};

use super::ScyllaConfig;
use super::catalog::Identity;
use super::statements::LookupStatements;
use super::write::trim;

/// Trims the keys of which this process has written at least as many rows as the limit since they were last trimmed;
/// how many keys.
///
/// Only hot keys can outgrow their limit by much before their rows' time is over, and whoever writes them knows them:
/// no table has to be searched.
pub(super) async fn trim_hot(
    session: &Arc<Session>,
    config: &ScyllaConfig,
    statements: &LookupStatements,
    lookup: &LookupSchema,
) -> PortResult<u64> {
    let threshold = lookup.limit.max(1);
    let hot: Vec<Vec<u8>> = {
        let mut written = statements.written.lock();
        let hot: Vec<_> = written.iter().filter(|(_, rows)| **rows >= threshold).map(|(key, _)| key.clone()).collect();
        if hot.is_empty() && written.len() >= super::write::COUNTED_MAX {
            // Full of keys that are not hot: make room for others.
            written.clear();
        }
        for key in &hot {
            written.remove(key);
        }
        hot
    };
    let trimmed = hot.len() as u64;
    let trims: Vec<_> = hot
        .into_iter()
        .map(|key| {
            let session = session.clone();
            async move { trim(&session, statements, &key, lookup.limit).await }
        })
        .collect();
    stream::iter(trims).buffer_unordered(config.read_concurrency.max(1)).try_collect::<()>().await?;
    Ok(trimmed)
}

/// The versions that are wanted.
pub(super) fn wanted<'a>(all: impl Iterator<Item = super::catalog::Wanted<'a>>) -> HashSet<Identity> {
    all.map(|wanted| wanted.identity()).collect()
}
