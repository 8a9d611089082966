//! How predictions are doing, as it lies in the lake: written by whoever predicts, read by whoever serves.
//!
//! ```text
//! predictions/<name>/<partition>/status.json          a [`PredictionStatus`], replaced whenever windows have closed
//! predictions/<name>/<partition>/drift/<hour>.json    the drift report of that hour, and .html the same as a page
//! ```
//! The partition is that of the topic of the view's changes: a model learns from the keys of its own. A report's name is
//! the start of its hour, `2024-05-06T20`; it is written once, and always the same.

use serde::{Deserialize, Serialize};

use crate::position::Partition;
use crate::time::{Span, Timestamp};

/// The folder of all of them.
pub const FOLDER: &str = "predictions";
/// Reports that are kept of a prediction and partition: a week's.
pub const REPORTS_KEPT: usize = 168;
const STATUS: &str = "status.json";

/// How one prediction is doing in one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionStatus {
    /// The prediction.
    pub prediction: String,
    /// The partition of the view's changes.
    pub partition: Partition,
    /// Windows that start before this have been learnt from, RFC 3339; null while there are none.
    pub through: Option<String>,
    /// When this was written, RFC 3339.
    pub written_at: String,
    /// Why nothing is predicted; null when all is well.
    pub refused: Option<String>,
    /// Keys that are remembered.
    pub keys: u64,
    /// What happened to windows.
    pub windows: WindowCounts,
    /// The versions.
    pub models: Vec<ModelStatus>,
    /// Hours of which there is a drift report, as in its name, newest first.
    pub drift: Vec<String>,
}

/// What happened to windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowCounts {
    /// New ones.
    pub new: u64,
    /// Without a target while predictions waited for them.
    pub without_target: u64,
    /// Too long after the prediction that waited.
    pub after_gap: u64,
    /// Keys that were forgotten to make room.
    pub forgotten_keys: u64,
}

/// How a version is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// The version.
    pub version: String,
    /// Predictions that were made.
    pub predictions: u64,
    /// Predictions whose window came.
    pub evaluated: u64,
    /// Mean absolute error over them.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Coefficient of determination.
    pub r2: f64,
    /// The prediction where every scaled feature is 0.
    pub intercept: f64,
    /// The features, in order.
    pub features: Vec<FeatureStatus>,
}

/// A feature as the model stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureStatus {
    /// Its name.
    pub name: String,
    /// Its mean so far.
    pub mean: f64,
    /// Its population variance so far.
    pub variance: f64,
    /// The weight of the scaled value.
    pub weight: f64,
}

/// What a record of a prediction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStatus {
    /// The window is to come.
    Predicted,
    /// It came, and the error is known.
    Settled,
}

impl RecordStatus {
    /// Its name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Predicted => "predicted",
            Self::Settled => "settled",
        }
    }
}

/// The identity of a record: follows from prediction, key, window, version and status alone. 32 hex digits.
pub fn record_id(name: &str, key: &[u8], window: Timestamp, version: &str, status: RecordStatus) -> String {
    let mut bytes = Vec::with_capacity(name.len() + key.len() + version.len() + 32);
    for part in [name.as_bytes(), key, version.as_bytes(), status.name().as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(&window.0.to_be_bytes());
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes))
}

/// Which form of a drift report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// JSON.
    Json,
    /// A page.
    Html,
}

/// The folder of a prediction.
pub fn folder(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

/// Where the status lies.
pub fn status_path(name: &str, partition: Partition) -> String {
    format!("{FOLDER}/{name}/{partition}/{STATUS}")
}

/// The partition of a status, by its path below the folder of a prediction; `None` for other objects.
pub fn partition_of(name: &str, path: &str) -> Option<Partition> {
    let rest = path.strip_prefix(&folder(name))?.strip_prefix('/')?;
    let (partition, file) = rest.split_once('/')?;
    (file == STATUS).then(|| partition.parse().ok())?
}

/// The hour that holds a time, as reports are named.
pub fn hour_name(time: Timestamp) -> String {
    let text = time.floor(Span::HOUR).to_string();
    text.split_once(':').map_or(text.clone(), |(hour, _)| hour.to_owned())
}

/// The start of an hour by its name.
pub fn hour_of(name: &str) -> Option<Timestamp> {
    let time = Timestamp::parse(&format!("{name}:00:00Z")).ok()?;
    (hour_name(time) == name).then_some(time)
}

/// Where a drift report lies.
pub fn report_path(name: &str, partition: Partition, hour: Timestamp, format: ReportFormat) -> String {
    let extension = match format {
        ReportFormat::Json => "json",
        ReportFormat::Html => "html",
    };
    format!("{FOLDER}/{name}/{partition}/drift/{}.{extension}", hour_name(hour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_what_they_hold() {
        let time = Timestamp::parse("2024-05-06T20:59:59.999Z").ok();
        assert_eq!(time.map(hour_name).as_deref(), Some("2024-05-06T20"));
        assert_eq!(hour_of("2024-05-06T20"), Timestamp::parse("2024-05-06T20:00:00Z").ok());
        for name in ["", "2024-05-06", "2024-05-06T20:00", "2024-5-6T20", "../../x"] {
            assert_eq!(hour_of(name), None, "{name}");
        }
        assert_eq!(partition_of("trend", &status_path("trend", 3)), Some(3));
        for path in [
            "predictions/trend/3/drift/2024-05-06T20.json",
            "predictions/other/3/status.json",
            "predictions/trend/x/status.json",
        ] {
            assert_eq!(partition_of("trend", path), None, "{path}");
        }
        let hour = hour_of("2024-05-06T20").unwrap_or(Timestamp(0));
        let path = report_path("trend", 0, hour, ReportFormat::Html);
        assert_eq!(path, "predictions/trend/0/drift/2024-05-06T20.html");
    }
}
