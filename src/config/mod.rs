//! `tideline.toml`: where the platform's parts are. Everything is optional; what is absent is embedded.

mod serve;
mod tracking;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use tideline_batch::BatchConfig;
use tideline_common::time::Span;
use tideline_ingest::connector::config::ConnectorConfig;
use tideline_speed::SpeedConfig;
use tideline_speed::close::CloseConfig;

pub use self::serve::{ServeAuthConfig, ServeConfig, ServeTlsConfig};
pub use self::tracking::{TrackingConfig, TrackingKind};

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
    /// Closing windows: outputs and alerts.
    pub close: CloseConfig,
    /// The batch layer.
    pub batch: BatchConfig,
    /// The serving layer.
    pub serve: ServeConfig,
    /// The tracker of experiments.
    pub tracking: TrackingConfig,
    /// Connectors by name.
    pub connectors: BTreeMap<String, ConnectorConfig>,
    /// Models that classify texts, by name.
    pub models: BTreeMap<String, ModelConfig>,
}

/// `[log]`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Which log.
    pub kind: LogKind,
    /// The most bytes that the embedded log may hold; appends beyond it are refused with 503.
    pub max_bytes: u64,
    /// Kafka: `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Kafka: the group whose members share the partitions, and under which progress is noted.
    pub group: String,
    /// Kafka: replication factor of topics that Tideline creates.
    pub replication_factor: i32,
    /// Kafka: after how long without a sign of life the group gives a worker's partitions to the others.
    #[serde(deserialize_with = "span")]
    pub session_timeout: Span,
    /// Kafka: handed to librdkafka as they are (`security.protocol`, `sasl.username`, ...).
    pub properties: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            kind: LogKind::Embedded,
            max_bytes: 64 << 30,
            brokers: vec!["127.0.0.1:9092".to_owned()],
            group: "tideline".to_owned(),
            replication_factor: 1,
            session_timeout: Span::from_secs(6),
            properties: BTreeMap::new(),
        }
    }
}

// By hand: properties hold passwords.
impl std::fmt::Debug for LogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogConfig")
            .field("kind", &self.kind)
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Kinds of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// In the data folder.
    Embedded,
    /// Kafka.
    Kafka,
}

/// `[lake]`
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// A folder, or `s3://bucket/prefix`; `lake` in the data folder when absent.
    pub url: Option<String>,
    /// S3: address of a server that is not Amazon's, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// S3: region.
    pub region: Option<String>,
    /// S3: access key; from the machine's role or environment when absent.
    pub access_key: Option<String>,
    /// S3: secret key.
    pub secret_key: Option<String>,
}

// By hand: the secret is never printed.
impl std::fmt::Debug for LakeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeConfig")
            .field("url", &self.url)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl LakeConfig {
    /// Whether it is in an object store.
    pub fn is_s3(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.starts_with(S3))
    }
}

/// `[views]`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// Which store.
    pub kind: ViewsKind,
    /// Scylla: `host:port` of some nodes.
    pub nodes: Vec<String>,
    /// Scylla: the keyspace; `tideline migrate` creates it.
    pub keyspace: String,
    /// Scylla: replication factor of a keyspace that `tideline migrate` creates.
    pub replication_factor: u32,
    /// Scylla: name of the data centre whose nodes are asked; any when absent.
    pub datacenter: Option<String>,
    /// Scylla: user; none when absent.
    pub username: Option<String>,
    /// Scylla: the user's password.
    pub password: Option<String>,
    /// Scylla: file of certificates (PEM) that are trusted; TLS is used when it is given.
    pub ca_file: Option<PathBuf>,
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self {
            kind: ViewsKind::Embedded,
            nodes: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "tideline".to_owned(),
            replication_factor: 1,
            datacenter: None,
            username: None,
            password: None,
            ca_file: None,
        }
    }
}

// By hand: the password is never printed.
impl std::fmt::Debug for ViewsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewsConfig")
            .field("kind", &self.kind)
            .field("nodes", &self.nodes)
            .field("keyspace", &self.keyspace)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Kinds of stores of speed views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewsKind {
    /// In the data folder.
    Embedded,
    /// Scylla, or any CQL server.
    Scylla,
}

/// `[analytics]`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// Which store.
    pub kind: AnalyticsKind,
    /// `ClickHouse`: address of its HTTP interface.
    pub url: String,
    /// `ClickHouse`: database; `tideline migrate` creates it.
    pub database: String,
    /// `ClickHouse`: user.
    pub user: Option<String>,
    /// `ClickHouse`: the user's password.
    pub password: Option<String>,
    /// `ClickHouse`: name of the cluster for `s3Cluster`; one server when absent.
    pub cluster: Option<String>,
    /// `ClickHouse`: address of the lake as the server sees it, when it is another one than ours.
    pub lake_endpoint: Option<String>,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self {
            kind: AnalyticsKind::Embedded,
            url: "http://127.0.0.1:8123".to_owned(),
            database: "tideline".to_owned(),
            user: None,
            password: None,
            cluster: None,
            lake_endpoint: None,
        }
    }
}

// By hand: the password is never printed.
impl std::fmt::Debug for AnalyticsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnalyticsConfig")
            .field("kind", &self.kind)
            .field("url", &self.url)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Kinds of stores of batch results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalyticsKind {
    /// Gold as it lies in the lake.
    Embedded,
    /// `ClickHouse`.
    Clickhouse,
}

/// `[models.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Its folder, as Hugging Face gives it.
    pub path: PathBuf,
    /// The program that computes it; `tideline-transformer` beside this one, or wherever programs are looked for, when absent.
    #[serde(default)]
    pub program: Option<PathBuf>,
}

/// How the address of a lake in an object store begins.
const S3: &str = "s3://";
/// File that is read when none is named.
const DEFAULT_FILE: &str = "tideline.toml";
/// Prefix of environment variables that override keys: `TIDELINE_LOG__KIND` is `log.kind`.
const ENV_PREFIX: &str = "TIDELINE_";
/// Sections that hold further tables by name, as such a variable names them.
const NAMED: [&str; 3] = ["CONNECTORS", "MODELS", "SERVE"];

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
            let Some((name_of, key)) = name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__")) else {
                continue;
            };
            // Connectors and models have a table each: TIDELINE_CONNECTORS__TMDB__EVERY is `connectors.tmdb.every`, and
            // TIDELINE_SERVE__TLS__KEY is `serve.tls.key`.
            let inner = if NAMED.contains(&name_of) { key.split_once("__") } else { None };
            let (section, key) = match inner {
                Some((inner, key)) => {
                    let all = section_of(&mut table, name_of);
                    (all.and_then(|named| section_of(named, inner)), key)
                }
                None => (section_of(&mut table, name_of), key),
            };
            if let Some(section) = section {
                let key = key.to_lowercase();
                let value = value_of(&key, value);
                section.insert(key, value);
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

    /// Keys of what is embedded, and therefore one process's own.
    pub fn embedded(&self) -> Vec<&'static str> {
        let keys = [
            ("log.kind", self.log.kind == LogKind::Embedded),
            ("lake.url", self.lake.url.is_none()),
            ("views.kind", self.views.kind == ViewsKind::Embedded),
        ];
        keys.into_iter().filter_map(|(key, embedded)| embedded.then_some(key)).collect()
    }

    fn check(&self) -> Result<(), String> {
        if let Some(url) = &self.lake.url
            && url.contains("://")
            && !self.lake.is_s3()
        {
            return Err(format!("lake.url = \"{url}\": it is a folder, or s3://bucket/prefix"));
        }
        if self.lake.access_key.is_some() != self.lake.secret_key.is_some() {
            return Err("lake.access_key and lake.secret_key belong together".to_owned());
        }
        if self.log.kind == LogKind::Kafka && (self.log.brokers.is_empty() || self.log.group.is_empty()) {
            return Err("log.brokers and log.group must not be empty with log.kind = \"kafka\"".to_owned());
        }
        if self.log.session_timeout < Span::SECOND || self.log.session_timeout > Span::from_secs(60) {
            return Err("log.session_timeout must be between 1 s and 60 s".to_owned());
        }
        if self.views.kind == ViewsKind::Scylla && self.views.nodes.is_empty() {
            return Err("views.nodes must not be empty with views.kind = \"scylla\"".to_owned());
        }
        for (key, name) in [("views.keyspace", &self.views.keyspace), ("analytics.database", &self.analytics.database)]
        {
            if !is_identifier(name) {
                return Err(format!("{key} = \"{name}\": letters, digits and _ only, and at most 48 of them"));
            }
        }
        self.speed.check().map_err(|error| error.to_string())?;
        self.close.check().map_err(|error| error.to_string())?;
        self.batch.check().map_err(|error| error.to_string())?;
        self.tracking.check()?;
        for (name, connector) in &self.connectors {
            // It is a folder in the lake, and part of an environment variable.
            check_name("connectors", name)?;
            connector.check(name).map_err(|error| error.to_string())?;
        }
        for name in self.models.keys() {
            // It is part of an environment variable, and a text in expressions.
            check_name("models", name)?;
        }
        if let Some(auth) = &self.serve.auth {
            auth.tokens()?;
        }
        if self.serve.max_store_reads == 0 {
            return Err("serve.max_store_reads must be at least 1".to_owned());
        }
        if self.serve.max_live == 0 {
            return Err("serve.max_live must be at least 1".to_owned());
        }
        if let Some(origin) = self.serve.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "serve.origins: \"{origin}\" is no origin: scheme, host and port, as in https://example.com:8443, or *"
            ));
        }
        if self.serve.max_record_bytes == 0 || self.serve.max_body_bytes < self.serve.max_record_bytes {
            return Err("serve.max_body_bytes must be at least serve.max_record_bytes, and both positive".to_owned());
        }
        Ok(())
    }
}

/// Whether `name` can be the name of a table in `section`.
fn check_name(section: &str, name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 48 || !name.chars().all(fits) {
        return Err(format!("{section}.{name}: letters, digits, _ and - only, and at most 48 of them"));
    }
    Ok(())
}

/// What a browser sends as the origin of a page: no path, no slash at the end.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']))
}

/// A table within a table, made where there is none; `None` when something else has its name.
fn section_of<'t>(table: &'t mut toml::Table, name: &str) -> Option<&'t mut toml::Table> {
    table.entry(name.to_lowercase()).or_insert_with(|| toml::Table::new().into()).as_table_mut()
}

/// A length of time, written as text: `"6s"`.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    Span::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Whether a name needs no quoting in any of the databases.
fn is_identifier(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= 48 && name.chars().all(word) && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Keys that are lists of texts.
const LISTS: [&str; 6] = ["brokers", "nodes", "keywords", "languages", "hashtags", "symbols"];

/// A TOML value of an environment variable: a list where the key is one, written as in TOML or with commas.
fn value_of(key: &str, text: &str) -> toml::Value {
    let written = || format!("list = {text}").parse::<toml::Table>().ok()?.remove("list");
    match text.trim_start().starts_with(['[', '{']).then(written).flatten() {
        Some(value) => value,
        None if LISTS.contains(&key) => {
            text.split(',').map(|part| toml::Value::String(part.trim().to_owned())).collect::<Vec<_>>().into()
        }
        None => scalar(text),
    }
}

/// A TOML value: a boolean or an integer where the text reads as one.
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
    use tideline_serving::api::auth::{AuthConfig, KeySource};

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
    fn servers_are_named_by_file_or_environment() {
        let text = "[log]\nkind = \"kafka\"\nsession_timeout = \"3s\"\n\
                    properties = { \"sasl.password\" = \"${PW}\" }\n[views]\nkind = \"scylla\"\n\
                    [lake]\nurl = \"s3://b/p\"\n[analytics]\nkind = \"clickhouse\"";
        let env = [("PW", "hush"), ("TIDELINE_LOG__BROKERS", "a:1, b:2"), ("TIDELINE_VIEWS__NODES", "[\"c:3\"]")];
        let config = parse(text, &env).unwrap();
        assert_eq!(config.log.brokers, ["a:1", "b:2"]);
        assert_eq!(config.views.nodes, ["c:3"]);
        assert_eq!(config.log.session_timeout, Span::from_secs(3));
        assert_eq!(config.log.properties["sasl.password"], "hush");
        assert!(config.embedded().is_empty());
        assert_eq!(parse("", &[]).unwrap().embedded(), ["log.kind", "lake.url", "views.kind"]);
    }

    #[test]
    fn connectors_are_named_by_file_and_environment() {
        let text = "[connectors.tmdb]\nkind = \"tmdb\"\ntopic = \"tmdb_stream\"\napi_key = \"${KEY}\"";
        let env = [
            ("KEY", "hush"),
            ("TIDELINE_CONNECTORS__TMDB__EVERY", "1m"),
            ("TIDELINE_CONNECTORS__TMDB__KEYWORDS", "a,b"),
        ];
        let config = parse(text, &env).unwrap();
        let tmdb = &config.connectors["tmdb"];
        assert_eq!((tmdb.every, tmdb.keywords.len()), (Some(Span::MINUTE), 2));
        assert!(!format!("{config:?}").contains("hush"));
        let wrong = |text: &str, env: &[(&str, &str)], part: &str| {
            let message = parse(text, env).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        wrong(&format!("{text}\nkeyword = [\"a\"]"), &env, "line 5, column 1");
        wrong(&format!("{text}\nsymbols = [\"A\"]"), &env, "connectors.tmdb.symbols: kind = \"tmdb\" has no such key");
        wrong(text, &[], "line 4: the environment has no KEY");
        wrong(text, &[("KEY", "")], "connectors.tmdb.api_key: it is empty");
        wrong("[connectors.\"a/b\"]\nkind = \"tmdb\"\ntopic = \"t\"\napi_key = \"k\"", &[], "connectors.a/b: letters");
        wrong("", &[("TIDELINE_CONNECTORS__X__KIND", "tmdb")], "TIDELINE_CONNECTORS__X__KIND");
    }

    #[test]
    fn tls_and_tokens_have_a_table_each() {
        let config = parse("", &[]).unwrap();
        assert!(config.serve.tls.is_none() && config.serve.auth.is_none());
        assert_eq!(config.serve.url(), "http://127.0.0.1:8080");
        let text = "[serve]\nlisten = \"0.0.0.0:1\"\n[serve.tls]\ncertificate = \"/tls/tls.crt\"\nkey = \"/tls/tls.key\"\n\
                    [serve.auth]\nsecret = \"${TIDELINE_JWT_SECRET}\"\naudience = \"tideline\"";
        let secret = "hush".repeat(8);
        let env = [("TIDELINE_JWT_SECRET", secret.as_str()), ("TIDELINE_SERVE__AUTH__ISSUER", "us")];
        let config = parse(text, &env).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        assert_eq!(config.serve.listen, "0.0.0.0:1");
        assert_eq!(config.serve.url(), "https://0.0.0.0:1");
        assert_eq!(config.serve.tls.unwrap().key, Path::new("/tls/tls.key"));
        let tokens = config.serve.auth.unwrap().tokens().unwrap();
        let leeway = std::time::Duration::from_secs(30);
        let (issuer, audience) = (Some("us".to_owned()), Some("tideline".to_owned()));
        assert_eq!(tokens, AuthConfig { keys: KeySource::Secret(secret), issuer, audience, leeway });
        let env = [("TIDELINE_SERVE__AUTH__JWKS", "/keys.json"), ("TIDELINE_SERVE__LISTEN", "0.0.0.0:2")];
        let config = parse("", &env).unwrap();
        assert_eq!(config.serve.listen, "0.0.0.0:2");
        assert_eq!(config.serve.auth.unwrap().tokens().unwrap().keys, KeySource::Jwks("/keys.json".into()));
        let wrong = |text: &str, part: &str| {
            let message = parse(text, &[]).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        wrong("[serve.tls]\ncertificate = \"x\"", "missing field `key`");
        wrong("[serve.tls]\ncertificate = \"x\"\nkey = \"y\"\nca = \"z\"", "line 4, column 1");
        wrong("[serve.auth]", "exactly one of secret, jwks and public_key");
        wrong("[serve.auth]\njwks = \"x\"\npublic_key = \"y\"", "exactly one of secret, jwks and public_key");
        wrong("[serve.auth]\nsecret = \"short\"", "serve.auth.secret has 5 bytes: it needs 32 or more");
        wrong(
            "[serve.auth]\nsecret = \"${TIDELINE_JWT_SECRET}\"",
            "line 2: the environment has no TIDELINE_JWT_SECRET",
        );
        wrong("[serve.auth]\njwks = \"x\"\nleeway = \"6m\"", "serve.auth.leeway");
    }

    #[test]
    fn models_have_a_table_each() {
        let text = "[models.emotion]\npath = \"/models/emotion\"";
        let config = parse(text, &[("TIDELINE_MODELS__EMOTION__PROGRAM", "/opt/t")]).unwrap();
        let (path, program) = (PathBuf::from("/models/emotion"), Some(PathBuf::from("/opt/t")));
        assert_eq!(config.models["emotion"], ModelConfig { path, program });
        let wrong = |text: &str, part: &str| {
            let message = parse(text, &[]).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        wrong("[models.emotion]\nprogram = \"x\"", "missing field `path`");
        wrong("[models.emotion]\npath = \"x\"\nfolder = \"y\"", "line 3, column 1");
        wrong("[models.\"a b\"]\npath = \"x\"", "models.a b: letters, digits, _ and - only");
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = "[lake]\nurl = \"s3://b\"\naccess_key = \"hush\"\nsecret_key = \"hush\"\n[views]\npassword = \"hush\"\n\
                    [analytics]\npassword = \"hush\"\n[tracking]\nuser = \"u\"\npassword = \"hush\"\n[log]\nproperties = { \"sasl.password\" = \"hush\" }";
        let config = parse(text, &[]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn mistakes_name_their_place() {
        let wrong = |text: &str, env: &[(&str, &str)], part: &str| {
            let message = parse(text, env).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        wrong("[serve]\nlisen = \"x\"", &[], "line 2, column 1");
        wrong("[log]\nkind = \"rabbit\"", &[], "unknown variant `rabbit`, expected `embedded` or `kafka`");
        wrong("[log]\nkind = \"${NONE}\"", &[], "line 2: the environment has no NONE");
        wrong("[log]\nsession_timeout = \"100ms\"", &[], "log.session_timeout");
        wrong("[speed]\nflush_interval = \"5\"", &[], "not a duration");
        wrong("[speed]\ncheckpoint_interval = \"2m\"", &[], "checkpoint_interval");
        wrong("[batch]\nschedule = \"often\"", &[], "often");
        wrong("[batch]\nparallelism = 0", &[], "batch.parallelism");
        wrong("", &[("TIDELINE_SERVE__NOPE", "1")], "TIDELINE_SERVE__NOPE");
        wrong("[lake]\nurl = \"gs://x\"", &[], "lake.url");
        wrong("[lake]\naccess_key = \"x\"", &[], "lake.secret_key");
        wrong("[views]\nkeyspace = \"a-b\"", &[], "views.keyspace");
        wrong("[tracking]\nkind = \"wandb\"", &[], "unknown variant `wandb`, expected `mlflow`");
        wrong("[tracking]\nevery = 0", &[], "tracking.every");
        wrong("[tracking]\nuser = \"u\"", &[], "tracking.password");
        wrong("[tracking]\nuser = \"u\"\npassword = \"p\"\ntoken = \"t\"", &[], "tracking.token");
        wrong("[tracking]\ntimeout = \"1ms\"", &[], "tracking.timeout");
    }
}
