//! Claims: who does a unit, and until when nobody else does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tideline_common::ports::Created;
use tideline_common::time::Timestamp;

use super::offer::{Folder, decode, encode};
use super::worker::Worker;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake::Lake;

/// Attempts at a unit: one that ends every process that tries it is left to the coordinator.
pub(super) const ATTEMPTS: u32 = 4;

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// This unit, which is ours now.
    Ours(usize),
    /// Others work on all that is left.
    Wait,
    /// Every unit is done, or given up.
    Nothing,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredClaim {
    worker: String,
    expires: Timestamp,
}

/// What a listing of a shared run tells of its units.
#[derive(Debug, Default)]
struct Places {
    done: std::collections::BTreeSet<usize>,
    /// The last attempt of each unit.
    claimed: BTreeMap<usize, u32>,
}

impl Places {
    async fn list(lake: &Lake, folder: &Folder) -> Result<Self, BatchError> {
        let mut places = Self::default();
        for object in lake.objects.list(folder.path()).await? {
            let Some(rest) = object.path.strip_prefix(folder.path()) else { continue };
            if let Some(unit) = rest.strip_prefix("/parts/").and_then(|name| name.strip_suffix(".json")) {
                places.done.extend(unit.parse::<usize>());
            } else if let Some((unit, attempt)) = rest
                .strip_prefix("/claims/")
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|name| name.split_once('-'))
                && let (Ok(unit), Ok(attempt)) = (unit.parse(), attempt.parse::<u32>())
            {
                let last = places.claimed.entry(unit).or_insert(attempt);
                *last = attempt.max(*last);
            }
        }
        Ok(places)
    }
}

/// Claims the next unit of `units`, looking from the one at `start` on.
pub(super) async fn next(
    lake: &Lake,
    folder: &Folder,
    units: usize,
    start: usize,
    worker: &Worker,
    context: &Context,
) -> Result<Claim, BatchError> {
    let places = Places::list(lake, folder).await?;
    let mut waiting = false;
    for index in (0..units).map(|index| (index + start) % units.max(1)) {
        if places.done.contains(&index) {
            continue;
        }
        let attempt = match places.claimed.get(&index) {
            None => 0,
            Some(last) => {
                let claim: Option<StoredClaim> = decode(lake, &folder.claim_path(index, *last)).await?;
                if claim.is_some_and(|claim| context.clock.now() < claim.expires) {
                    waiting = true;
                    continue;
                }
                last + 1
            }
        };
        if attempt >= ATTEMPTS {
            continue;
        }
        let path = folder.claim_path(index, attempt);
        let expires = context.clock.now().plus(context.config.lease);
        let claim = StoredClaim { worker: worker.name().to_owned(), expires };
        if lake.objects.put_if_absent(&path, encode(&path, &claim)?).await? == Created::Yes {
            return Ok(Claim::Ours(index));
        }
        // Someone was faster, a moment ago.
        waiting = true;
    }
    Ok(if waiting { Claim::Wait } else { Claim::Nothing })
}
