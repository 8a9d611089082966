//! Alerts that were fired, as they travel: to webhooks, and in a topic of the log to whoever shows them.
//!
//! Every process that fires one appends it to [`TOPIC`], as JSON under the key of its alert and group; those that serve
//! read the topic and pass it on. An alert may be there more than once, always with the same id and content.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::plan::AlertOn;
use crate::time::Timestamp;

/// The topic of fired alerts.
pub const TOPIC: &str = "tideline.alerts";

/// An alert that was fired: once per alert, key and window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Follows from alert, view, key and window alone: who takes in each id once takes in each alert once.
    pub id: String,
    /// The alert.
    pub alert: String,
    /// The view.
    pub view: String,
    /// What it looked at: closed windows or running ones.
    pub on: AlertOn,
    /// Key column → value.
    pub key: Map<String, Json>,
    /// Start of the window, RFC 3339.
    pub window_start: String,
    /// End of the window, RFC 3339.
    pub window_end: String,
    /// Column → value, of the window when it was looked at.
    pub columns: Map<String, Json>,
    /// Those of the window before, where the condition looks at it; null without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Map<String, Json>>,
    /// When it was decided, RFC 3339.
    pub fired_at: String,
}

impl AlertEvent {
    /// The id of an alert for a key and a window, 32 hex digits.
    pub fn id(alert: &str, view: &str, key: &[u8], window_start: Timestamp) -> String {
        let mut bytes = Vec::with_capacity(alert.len() + view.len() + key.len() + 16);
        for part in [alert.as_bytes(), view.as_bytes(), key] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&window_start.0.to_be_bytes());
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes))
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Texts and JSON: there is nothing that could not be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From JSON.
    ///
    /// # Errors
    /// Bytes that are no alert.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_tell_everything_apart() {
        let id = |alert: &str, view: &str, key: &[u8], start| AlertEvent::id(alert, view, key, Timestamp(start));
        let all = [
            id("a", "v", b"k", 1),
            id("a", "v", b"k", 2),
            id("a", "v", b"l", 1),
            id("a", "w", b"k", 1),
            id("b", "v", b"k", 1),
            id("av", "", b"k", 1),
            id("", "av", b"k", 1),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 32);
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
        assert_eq!(id("a", "v", b"k", 1), all[0], "and is the same every time");
    }

    #[test]
    fn events_read_back() {
        let event = AlertEvent {
            id: "1".to_owned(),
            alert: "crash".to_owned(),
            view: "v".to_owned(),
            on: AlertOn::Running,
            key: Map::from_iter([("symbol".to_owned(), Json::from("TSLA"))]),
            window_start: "2024-05-06T00:00:00Z".to_owned(),
            window_end: "2024-05-06T00:05:00Z".to_owned(),
            columns: Map::from_iter([("sentiment".to_owned(), Json::from(-0.75))]),
            previous: None,
            fired_at: "2024-05-06T00:05:01Z".to_owned(),
        };
        let json = event.to_json();
        assert!(String::from_utf8_lossy(&json).contains(r#""on":"running""#));
        assert_eq!(AlertEvent::from_json(&json).unwrap(), event);
        assert!(AlertEvent::from_json(b"{}").is_err());
    }
}
