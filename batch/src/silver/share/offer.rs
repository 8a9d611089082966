//! The objects of a shared run, and where they lie.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tideline_common::plan::SourcePlan;
use tideline_common::ports::{Created, PortError};
use tideline_common::position::{Offset, Partition};
use tideline_common::time::Span;
use tideline_transform::bronze::chain::ChainFile;

use super::part::Part;
use crate::chain::Unit;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake::Lake;

/// Folder of all shared runs.
pub(super) const RUNS: &str = "silver/_runs";

/// Number of the format of these objects: a process of another one leaves them alone.
pub(super) const FORMAT: u32 = 1;

/// What is to be done, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) format: u32,
    /// The run: part of the names of its files.
    pub(super) run: String,
    pub(super) source: String,
    /// Version of the source's plan: a process with another definition makes other rows, and must not take part.
    pub(super) source_version: String,
    /// Tables to make, with their versions.
    pub(super) tables: Vec<(String, String)>,
    /// `batch.bucket` of the run, in microseconds.
    pub(super) bucket: Span,
    units: Vec<OfferedUnit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfferedUnit {
    partition: Partition,
    from: Offset,
    until: Offset,
    files: Vec<OfferedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfferedFile {
    path: String,
    first: Offset,
    next: Option<Offset>,
    size: u64,
}

impl Offer {
    pub(super) fn new(context: &Context, source: &SourcePlan, tables: &[String], units: &[Unit]) -> Self {
        let version = |name: &String| context.plan().table(name).map(|table| (name.clone(), table.version.clone()));
        let file = |file: &ChainFile| OfferedFile {
            path: file.path.clone(),
            first: file.first,
            next: file.next,
            size: file.size,
        };
        let unit = |unit: &Unit| OfferedUnit {
            partition: unit.partition,
            from: unit.from,
            until: unit.until,
            files: unit.files.iter().map(file).collect(),
        };
        Self {
            format: FORMAT,
            run: context.run.clone(),
            source: source.name.clone(),
            source_version: source.version.clone(),
            tables: tables.iter().filter_map(version).collect(),
            bucket: context.config.bucket,
            units: units.iter().map(unit).collect(),
        }
    }

    /// Number of units.
    pub(super) const fn len(&self) -> usize {
        self.units.len()
    }

    /// A unit.
    pub(super) fn unit(&self, index: usize) -> Option<Unit> {
        let unit = self.units.get(index)?;
        let file = |file: &OfferedFile| ChainFile {
            path: file.path.clone(),
            first: file.first,
            next: file.next,
            size: file.size,
        };
        Some(Unit {
            partition: unit.partition,
            files: unit.files.iter().map(file).collect(),
            from: unit.from,
            until: unit.until,
        })
    }
}

/// The folder of one shared run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder(String);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        Self(format!("{RUNS}/{name}"))
    }

    /// The folder of an offer's path; `None` for other objects.
    pub(super) fn of_offer(path: &str) -> Option<Self> {
        let folder = path.strip_suffix("/offer.json")?;
        folder.starts_with(RUNS).then(|| Self(folder.to_owned()))
    }

    pub(super) fn path(&self) -> &str {
        &self.0
    }

    fn offer_path(&self) -> String {
        format!("{}/offer.json", self.0)
    }

    pub(super) fn claim_path(&self, unit: usize, attempt: u32) -> String {
        format!("{}/claims/{unit:06}-{attempt:03}.json", self.0)
    }

    pub(super) fn part_path(&self, unit: usize) -> String {
        format!("{}/parts/{unit:06}.json", self.0)
    }

    pub(super) fn keys_folder(&self) -> String {
        format!("{}/keys", self.0)
    }

    pub(super) async fn put_offer(&self, lake: &Lake, offer: &Offer) -> Result<(), BatchError> {
        let path = self.offer_path();
        // Its name holds the run: it is there only if an earlier try of this put has come through.
        lake.objects.put_if_absent(&path, encode(&path, offer)?).await?;
        Ok(())
    }

    /// The offer; `None` when it has been withdrawn, or is of another format.
    pub(super) async fn offer(&self, lake: &Lake) -> Result<Option<Offer>, BatchError> {
        Ok(decode::<Offer>(lake, &self.offer_path()).await?.filter(|offer| offer.format == FORMAT))
    }

    /// What came of a unit; `None` when nothing has yet.
    pub(super) async fn part(&self, lake: &Lake, unit: usize) -> Result<Option<Part>, BatchError> {
        Ok(decode::<Part>(lake, &self.part_path(unit)).await?.filter(|part| part.format == FORMAT))
    }

    /// Puts down what came of a unit, unless someone was faster.
    pub(super) async fn put_part(&self, lake: &Lake, unit: usize, part: &Part) -> Result<Created, BatchError> {
        let path = self.part_path(unit);
        Ok(lake.objects.put_if_absent(&path, encode(&path, part)?).await?)
    }

    /// Deletes everything, the offer first: nobody claims any more.
    pub(super) async fn remove(&self, lake: &Lake) -> Result<(), BatchError> {
        lake.objects.delete(&self.offer_path()).await?;
        for object in lake.objects.list(&self.0).await? {
            lake.objects.delete(&object.path).await?;
        }
        Ok(())
    }
}

pub(super) fn encode<T: Serialize>(path: &str, value: &T) -> Result<Bytes, BatchError> {
    let bytes = serde_json::to_vec(value).map_err(|error| PortError::invalid(path, error))?;
    Ok(Bytes::from(bytes))
}

/// An object, `None` when it is not there or not one of ours.
pub(super) async fn decode<T: for<'a> Deserialize<'a>>(lake: &Lake, path: &str) -> Result<Option<T>, BatchError> {
    match lake.objects.get(path).await {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                tracing::warn!(path, %error, "an object of a shared run cannot be read");
                Ok(None)
            }
        },
        Err(PortError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
