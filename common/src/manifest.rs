//! What the batch layer publishes: one manifest per version of Silver and Gold.
//!
//! A manifest is an object `gold/_manifests/<version, 20 digits>.json`, created only if absent; the highest
//! number is the published one. Readers see one version whole; files that a newer manifest no longer names are
//! kept until no kept manifest names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Field;
use crate::ports::{PortError, PortResult};
use crate::position::{Partition, Positions};
use crate::state::StateField;
use crate::time::Timestamp;
use crate::watermark::Watermark;

/// Folder of the manifests in the lake.
pub const MANIFESTS: &str = "gold/_manifests";

/// A manifest as it is stored: with the number of its format.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "format")]
pub enum StoredManifest {
    /// The first format.
    #[serde(rename = "1")]
    V1(Manifest),
}

/// By hand: what serde derives for a tagged enum cannot read maps whose keys are numbers, as partitions are.
impl<'de> Deserialize<'de> for StoredManifest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        let format = fields.remove("format").ok_or_else(|| D::Error::missing_field("format"))?;
        match format.as_str() {
            Some("1") => serde_json::from_value(fields.into()).map(Self::V1).map_err(D::Error::custom),
            _ => Err(D::Error::custom(format_args!("format {format} is not known to this version of tideline"))),
        }
    }
}

/// A published version of the batch layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number: 1, 2, 3 …
    pub version: u64,
    /// The run that made it.
    pub run: String,
    /// When it was published.
    pub published_at: Timestamp,
    /// Per source, how far Bronze has been taken in, and what was seen there.
    pub sources: BTreeMap<String, SourceProgress>,
    /// Silver, by table.
    pub tables: BTreeMap<String, TableFiles>,
    /// Gold states, by view.
    pub views: BTreeMap<String, ViewFiles>,
    /// Reports, by name.
    pub reports: BTreeMap<String, ReportFiles>,
}

/// How far a source's Bronze has been taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceProgress {
    /// Version of the source's plan.
    pub plan: String,
    /// Next offset per partition.
    pub positions: Positions,
    /// Event-time progress per partition.
    pub watermarks: BTreeMap<Partition, Watermark>,
    /// Records taken in.
    pub records: u64,
    /// Records rejected (dead letters).
    pub rejected: u64,
    /// Duplicates left out.
    pub duplicates: u64,
    /// Files of the keys already seen, for deduplication.
    pub seen: Vec<TimedFile>,
}

/// A file of rows with the event times in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedFile {
    /// Path in the lake.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
    /// Least event time (or pane start) in it.
    pub min_time: Timestamp,
    /// Greatest event time (or pane start) in it.
    pub max_time: Timestamp,
}

/// Silver files of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFiles {
    /// Version of the table's plan.
    pub plan: String,
    /// Files, in the order in which they were written.
    pub files: Vec<TimedFile>,
    /// Rows before this event time may be missing: retention has dropped files. `None`: all are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_from: Option<Timestamp>,
}

/// Gold files of a view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewFiles {
    /// Version of the view's plan.
    pub plan: String,
    /// Every pane ending at or before this belongs to batch; `None`: nothing does yet.
    pub through: Option<Timestamp>,
    /// Key columns.
    pub key: Vec<Field>,
    /// State columns.
    pub fields: Vec<StateField>,
    /// Files: disjoint in pane time, ascending, each sorted by (key, pane).
    pub files: Vec<TimedFile>,
}

/// The file of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportFiles {
    /// Version of the report's plan.
    pub plan: String,
    /// Columns, in order.
    pub columns: Vec<Field>,
    /// Files, in row order.
    pub files: Vec<ReportFile>,
    /// Rows in all.
    pub rows: u64,
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportFile {
    /// Path in the lake.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
}

/// Reads the stored manifest `version`.
///
/// # Errors
/// `Invalid` for a format that a newer version of this program wrote, which is no damage; `Corrupt` for bytes that are
/// no manifest, or not this one.
pub fn decode_manifest(version: u64, bytes: &[u8]) -> PortResult<Manifest> {
    /// The format alone, of whatever is stored.
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let path = manifest_path(version);
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| PortError::corrupt(&path, error))?;
    if format != "1" {
        let reason = format!("format {format:?} is unknown: it was written by a newer version of this program");
        return Err(PortError::invalid(path, reason));
    }
    let StoredManifest::V1(manifest) =
        serde_json::from_slice(bytes).map_err(|error| PortError::corrupt(&path, error))?;
    if manifest.version != version {
        return Err(PortError::corrupt(path, format!("it says that it is version {}", manifest.version)));
    }
    Ok(manifest)
}

/// The number in the path of a manifest; `None` for other objects.
pub fn version_of(path: &str) -> Option<u64> {
    let digits = path.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The path of manifest `version`.
pub fn manifest_path(version: u64) -> String {
    format!("{MANIFESTS}/{version:020}.json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_manifest_reads_back() {
        let mut manifest = Manifest { version: 7, run: "r".to_owned(), ..Manifest::default() };
        let progress = SourceProgress {
            positions: Positions::from([(0, 10), (11, 12)]),
            watermarks: BTreeMap::from([(11, Watermark { highest: Some(Timestamp(5)), last_appended: None })]),
            ..SourceProgress::default()
        };
        manifest.sources.insert("tweets".to_owned(), progress);
        let stored = StoredManifest::V1(manifest);
        let text = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<StoredManifest>(&text).unwrap(), stored);
    }

    #[test]
    fn only_manifests_have_versions() {
        assert_eq!(version_of(&manifest_path(7)), Some(7));
        assert_eq!(version_of("gold/_manifests/README.md"), None);
        assert_eq!(version_of("gold/_manifests/x.json"), None);
        assert_eq!(version_of("gold/_manifests/7.json"), None, "no reader would find it there");
    }

    #[test]
    fn what_is_newer_is_not_damaged() {
        let stored =
            |version| serde_json::to_vec(&StoredManifest::V1(Manifest { version, ..Manifest::default() })).unwrap();
        assert_eq!(decode_manifest(3, &stored(3)).unwrap().version, 3);
        assert!(matches!(decode_manifest(4, &stored(3)), Err(PortError::Corrupt { .. })));
        assert!(matches!(decode_manifest(1, b"{"), Err(PortError::Corrupt { .. })));
        assert!(matches!(decode_manifest(1, br#"{"format": "9"}"#), Err(PortError::Invalid { .. })));
    }

    #[test]
    fn another_format_is_named() {
        let error = serde_json::from_str::<StoredManifest>(r#"{"format": "9"}"#).unwrap_err().to_string();
        assert!(error.contains("format \"9\" is not known"), "{error}");
        assert!(serde_json::from_str::<StoredManifest>("{}").is_err());
    }
}
