//! `tideline.toml`: where the platform's parts are. Everything is optional; what is absent is embedded.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tideline_batch::BatchConfig;
use tideline_speed::SpeedConfig;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The log.
    pub log: LogConfig,
    /// The lake.
    pub lake: LakeConfig,
    /// Speed views.
    pub views: ViewsConfig,
    /// Analytics.
    pub analytics: AnalyticsConfig,
    /// The speed layer.
    pub speed: SpeedConfig,
    /// The batch layer.
    pub batch: BatchConfig,
    /// The serving layer.
    pub serve: ServeConfig,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `embedded`.
    pub kind: String,
    /// The most bytes that the embedded log may hold; appends beyond it are refused with 503.
    pub max_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { kind: EMBEDDED.to_owned(), max_bytes: 64 << 30 }
    }
}

/// `[lake]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// A folder; `lake` in the data folder when absent.
    pub url: Option<PathBuf>,
}

/// `[views]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// `embedded`.
    pub kind: String,
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self { kind: EMBEDDED.to_owned() }
    }
}

/// `[analytics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// `embedded`.
    pub kind: String,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self { kind: EMBEDDED.to_owned() }
    }
}

/// `[serve]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Address to listen at.
    pub listen: String,
    /// The longest record, in bytes.
    pub max_record_bytes: usize,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".to_owned(), max_record_bytes: 1 << 20, max_body_bytes: 64 << 20 }
    }
}

const EMBEDDED: &str = "embedded";
/// File that is read when none is named.
const DEFAULT_FILE: &str = "tideline.toml";
/// Prefix of environment variables that override keys: `TIDELINE_LOG__KIND` is `log.kind`.
const ENV_PREFIX: &str = "TIDELINE_";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a key or value is wrong.
    #[error("{origin}: {message}")]
    Invalid {
        /// File or variable.
        origin: String,
        /// What is wrong, with its place.
        message: String,
    },
}

impl Config {
    /// Reads `file`, or `./tideline.toml` if there is one, and lets `env` override it.
    ///
    /// # Errors
    /// A file that is named and not there, unknown keys, wrong values, kinds that this build does not have.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let env: Vec<(String, String)> = env.collect();
        let path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        Self::parse(&path.display().to_string(), &text, &env)
    }

    fn parse(origin: &str, text: &str, env: &[(String, String)]) -> Result<Self, ConfigError> {
        let invalid = |message: String| ConfigError::Invalid { origin: origin.to_owned(), message };
        // The file alone first: its errors then carry line and column.
        let lookup = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let text = expand(text, lookup).map_err(invalid)?;
        toml::from_str::<Self>(&text).map_err(|error| invalid(error.to_string()))?;
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        let mut origins = Vec::new();
        for (name, value) in env {
            // TIDELINE_ with a double underscore: other variables of this prefix belong to definitions.
            let Some((section, key)) = name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__")) else {
                continue;
            };
            let section = table.entry(section.to_lowercase()).or_insert_with(|| toml::Table::new().into());
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_lowercase(), scalar(value));
                origins.push(name.as_str());
            }
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| ConfigError::Invalid {
            origin: if origins.is_empty() { origin.to_owned() } else { origins.join(", ") },
            message: error.to_string(),
        })?;
        config.check().map_err(|message| ConfigError::Invalid { origin: origin.to_owned(), message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (section, kind) in
            [("log", &self.log.kind), ("views", &self.views.kind), ("analytics", &self.analytics.kind)]
        {
            if kind != EMBEDDED {
                return Err(format!("{section}.kind = \"{kind}\": this build has only \"{EMBEDDED}\""));
            }
        }
        if let Some(url) = &self.lake.url
            && url.to_string_lossy().contains("://")
        {
            return Err(format!("lake.url = \"{}\": this build has only a local folder", url.display()));
        }
        self.speed.check().map_err(|error| error.to_string())?;
        self.batch.check().map_err(|error| error.to_string())?;
        if self.serve.max_record_bytes == 0 || self.serve.max_body_bytes < self.serve.max_record_bytes {
            return Err("serve.max_body_bytes must be at least serve.max_record_bytes, and both positive".to_owned());
        }
        Ok(())
    }
}

/// A TOML value of an environment variable: a boolean or an integer where it reads as one.
fn scalar(text: &str) -> toml::Value {
    text.parse::<bool>()
        .map(toml::Value::Boolean)
        .or_else(|_| text.parse::<i64>().map(toml::Value::Integer))
        .unwrap_or_else(|_| toml::Value::String(text.to_owned()))
}

/// Replaces `${VAR}` and `${VAR:-default}`; `$${` stands for `${`.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let end = rest[at..].find('}').ok_or_else(|| format!("line {}: `${{` without `}}`", number + 1))? + at;
            let inner = &rest[at + 2..end];
            let (name, default) = inner.split_once(":-").map_or((inner, None), |(n, d)| (n, Some(d)));
            let value = lookup(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                format!("line {}: the environment has no {name}, and there is no default", number + 1)
            })?;
            out.push_str(&value);
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::parse("test.toml", text, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_needed() {
        let config = parse("", &[]).unwrap();
        assert_eq!(config.serve.listen, "127.0.0.1:8080");
        assert_eq!(config.batch.schedule, "0 */5 * * * *");
    }

    #[test]
    fn the_environment_overrides() {
        let env = [("TIDELINE_SERVE__LISTEN", "0.0.0.0:1"), ("TIDELINE_START", "latest"), ("N", "7")];
        let config = parse("[batch]\nkeep_versions = ${N}\n[speed]\nflush_interval = \"${F:-50ms}\"", &env).unwrap();
        assert_eq!(config.serve.listen, "0.0.0.0:1");
        assert_eq!(config.batch.keep_versions, 7);
        assert_eq!(config.speed.flush_interval, tideline_common::time::Span::from_millis(50));
    }

    #[test]
    fn mistakes_name_their_place() {
        let wrong = |text: &str, env: &[(&str, &str)], part: &str| {
            let message = parse(text, env).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        wrong("[serve]\nlisen = \"x\"", &[], "line 2, column 1");
        wrong("[log]\nkind = \"rabbit\"", &[], "log.kind = \"rabbit\"");
        wrong("[log]\nkind = \"${NONE}\"", &[], "line 2: the environment has no NONE");
        wrong("[speed]\nflush_interval = \"5\"", &[], "not a duration");
        wrong("[speed]\ncheckpoint_interval = \"2m\"", &[], "checkpoint_interval");
        wrong("[batch]\nschedule = \"often\"", &[], "often");
        wrong("[batch]\nparallelism = 0", &[], "batch.parallelism");
        wrong("", &[("TIDELINE_SERVE__NOPE", "1")], "TIDELINE_SERVE__NOPE");
        wrong("[lake]\nurl = \"s3://x\"", &[], "lake.url");
    }
}
