//! `ClickHouse` over HTTP, reading Parquet objects of an S3 store with its own `s3` or `s3Cluster` table function.
//!
//! Only SELECTs go through here, so a request whose answer is lost is made again. Every answer is read in pieces and
//! bounded; no message repeats a secret.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::{Client, StatusCode};
use tideline_common::ports::{Location, Objects, PortError, PortResult, SqlEngine};

/// Requests of one query, at most: the first, and repetitions of what may work later.
const ATTEMPTS: u32 = 4;
/// The pause before the first repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of an error that are read.
const ERROR_BYTES: usize = 4_096;
/// Bytes of a query that the server parses, at most.
const QUERY_BYTES: usize = 16 << 20;
/// Objects of one query.
const FILES: usize = 1_000;

/// Where the server is, and how it reaches the lake.
#[derive(Clone)]
pub struct ClickHouseEngineConfig {
    /// Its HTTP interface: `http://127.0.0.1:8123`.
    pub url: String,
    /// User and password; `None`: the server's default user.
    pub credentials: Option<(String, String)>,
    /// The cluster whose nodes share the reading (`s3Cluster`); `None`: the one server (`s3`).
    pub cluster: Option<String>,
    /// The lake's endpoint as the server sees it, when that differs from how this process does.
    pub lake_endpoint: Option<String>,
    /// How long a query may take.
    pub timeout: Duration,
    /// Bytes of an answer, at most.
    pub max_answer_bytes: usize,
}

impl Default for ClickHouseEngineConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".to_owned(),
            credentials: None,
            cluster: None,
            lake_endpoint: None,
            timeout: Duration::from_mins(30),
            max_answer_bytes: 1 << 30,
        }
    }
}

// By hand: a password is a secret.
impl std::fmt::Debug for ClickHouseEngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickHouseEngineConfig")
            .field("url", &self.url)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// `ClickHouse` as an SQL engine over a lake.
pub struct ClickHouseEngine {
    config: ClickHouseEngineConfig,
    objects: Arc<dyn Objects>,
    client: Client,
}

impl std::fmt::Debug for ClickHouseEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickHouseEngine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// An answer that is not one: the status, and what the server says.
struct Refusal {
    error: PortError,
    /// Whether the same request may work later.
    again: bool,
}

impl ClickHouseEngine {
    /// An engine over `objects`. Nothing is sent before the first query.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: ClickHouseEngineConfig, objects: Arc<dyn Objects>) -> PortResult<Self> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(config.timeout)
            .build()
            .map_err(|error| PortError::invalid("the HTTP client of ClickHouse", error))?;
        Ok(Self { config, objects, client })
    }

    async fn attempt(&self, sql: &str) -> Result<Bytes, Refusal> {
        let what = || format!("ClickHouse at {}", self.config.url);
        let lost =
            |error: reqwest::Error| Refusal { error: PortError::unavailable(what(), error.without_url()), again: true };
        let url =
            format!("{}/?max_query_size={QUERY_BYTES}&wait_end_of_query=1", self.config.url.trim_end_matches('/'));
        let mut request = self.client.post(url).body(format!("{sql}\nFORMAT Parquet"));
        if let Some((user, password)) = &self.config.credentials {
            request = request.header("X-ClickHouse-User", user).header("X-ClickHouse-Key", password);
        }
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let limit = if status.is_success() { self.config.max_answer_bytes } else { ERROR_BYTES };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > limit {
                if status.is_success() {
                    let reason = format!("the answer has more than {limit} bytes");
                    return Err(Refusal {
                        error: PortError::Full { what: what(), source: reason.into() },
                        again: false,
                    });
                }
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body.freeze());
        }
        let text = self.redacted(&String::from_utf8_lossy(&body));
        let again =
            matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY);
        let error = if status.is_client_error() && !again {
            PortError::invalid(what(), text)
        } else {
            PortError::unavailable(what(), text)
        };
        Err(Refusal { error, again })
    }

    /// A message of the server without the secrets of the lake, which stand in the query.
    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let secrets = match self.objects.location("x") {
            Location::S3 { options, .. } => options,
            Location::File(_) | Location::Url(_) => Vec::new(),
        };
        for (name, value) in secrets {
            if ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"].contains(&name.as_str())
                && !value.is_empty()
            {
                text = text.replace(&value, "***");
            }
        }
        text
    }
}

#[async_trait]
impl SqlEngine for ClickHouseEngine {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn table(&self, files: &[&str], structure: &str) -> PortResult<String> {
        let what = "the lake as ClickHouse reads it";
        let mut lake = None;
        let mut keys = Vec::with_capacity(files.len());
        for file in files {
            let Location::S3 { url, options } = self.objects.location(file) else {
                return Err(PortError::invalid(what, "it is not in an S3 store"));
            };
            let place = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
            let (bucket, key) = place.ok_or_else(|| PortError::invalid(what, format!("{url} is no object")))?;
            keys.push(encoded(key)?);
            lake.get_or_insert_with(|| (bucket.to_owned(), options));
        }
        let (bucket, options) = lake.ok_or_else(|| PortError::invalid(what, "no object"))?;
        let option = |name: &str| {
            let found = options.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let root = match self
            .config
            .lake_endpoint
            .as_deref()
            .or_else(|| option("aws_endpoint_url"))
            .or_else(|| option("aws_endpoint"))
        {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{}.amazonaws.com", option("aws_region").unwrap_or("us-east-1")),
        };
        let path = match keys.as_slice() {
            [key] => key.clone(),
            // Named one by one, not found by listing: the server reads what the manifest names, or fails.
            keys => format!("{{{}}}", keys.join(",")),
        };
        let mut arguments = Vec::new();
        arguments.extend(self.config.cluster.as_deref().map(literal));
        arguments.push(literal(&format!("{root}/{path}")));
        if let (Some(key), Some(secret)) = (option("aws_access_key_id"), option("aws_secret_access_key")) {
            arguments.extend([literal(key), literal(secret)]);
            arguments.extend(option("aws_session_token").map(literal));
        }
        arguments.extend([literal("Parquet"), literal(structure)]);
        let function = if self.config.cluster.is_some() { "s3Cluster" } else { "s3" };
        Ok(format!("{function}({})", arguments.join(", ")))
    }

    fn max_files(&self) -> usize {
        FILES
    }

    async fn query(&self, sql: &str) -> PortResult<Bytes> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            match self.attempt(sql).await {
                Ok(answer) => return Ok(answer),
                Err(Refusal { error, again: true }) if attempt < ATTEMPTS => {
                    tracing::warn!(%error, attempt, "a query is sent again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    attempt += 1;
                }
                Err(Refusal { error, .. }) => return Err(error),
            }
        }
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A key as part of a URL, which the server decodes once. Signs by which the server would look for several objects
/// cannot be told from it any more: they are refused.
fn encoded(key: &str) -> PortResult<String> {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'=' => {
                out.push(char::from(byte));
            }
            b'*' | b'?' | b'{' | b'}' | b',' | b'[' | b']' => {
                let reason = format!("ClickHouse cannot read an object with `{}` in its name", char::from(byte));
                return Err(PortError::invalid(key, reason));
            }
            _ => {
                // Writing into a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::ports::{Created, ObjectInfo};

    use super::*;

    /// Objects that are somewhere, and nothing else.
    #[derive(Debug)]
    struct Somewhere(Vec<(&'static str, &'static str)>);

    #[async_trait]
    impl Objects for Somewhere {
        async fn get(&self, path: &str) -> PortResult<Bytes> {
            Err(PortError::NotFound { what: path.to_owned() })
        }

        async fn put(&self, path: &str, _: Bytes) -> PortResult<()> {
            Err(PortError::invalid(path, "read only"))
        }

        async fn put_if_absent(&self, path: &str, _: Bytes) -> PortResult<Created> {
            Err(PortError::invalid(path, "read only"))
        }

        async fn list(&self, _: &str) -> PortResult<Vec<ObjectInfo>> {
            Ok(Vec::new())
        }

        async fn list_after(&self, _: &str, _: &str) -> PortResult<Vec<ObjectInfo>> {
            Ok(Vec::new())
        }

        async fn delete(&self, _: &str) -> PortResult<()> {
            Ok(())
        }

        fn location(&self, path: &str) -> Location {
            let options = self.0.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Location::S3 { url: format!("s3://bucket/lake/{path}"), options }
        }
    }

    fn engine(config: ClickHouseEngineConfig, options: &[(&'static str, &'static str)]) -> ClickHouseEngine {
        ClickHouseEngine::new(config, Arc::new(Somewhere(options.to_vec()))).unwrap()
    }

    const KEYS: &[(&str, &str)] = &[
        ("aws_endpoint_url", "http://minio:9000/"),
        ("aws_access_key_id", "me"),
        ("aws_secret_access_key", "it's secret"),
    ];

    #[test]
    fn files_are_named_one_by_one() {
        let engine = engine(ClickHouseEngineConfig::default(), KEYS);
        assert_eq!(
            engine.table(&["a/symbol=%24T/1.parquet"], "x Int64").unwrap(),
            "s3('http://minio:9000/bucket/lake/a/symbol=%2524T/1.parquet', 'me', 'it\\'s secret', 'Parquet', 'x Int64')"
        );
        let table = engine.table(&["a/1.parquet", "b/2.parquet"], "x Int64").unwrap();
        assert!(table.starts_with("s3('http://minio:9000/bucket/{lake/a/1.parquet,lake/b/2.parquet}', "), "{table}");
        assert!(engine.table(&["a/{1,2}.parquet"], "x").is_err(), "it would name others");
        assert!(engine.table(&[], "x").is_err());
    }

    #[test]
    fn a_cluster_shares_the_reading_and_may_see_another_endpoint() {
        let config = ClickHouseEngineConfig {
            cluster: Some("prod".to_owned()),
            lake_endpoint: Some("http://inside:9000".to_owned()),
            ..ClickHouseEngineConfig::default()
        };
        let table = engine(config, KEYS).table(&["1.parquet"], "x Int64").unwrap();
        assert!(table.starts_with("s3Cluster('prod', 'http://inside:9000/bucket/lake/1.parquet', 'me', "), "{table}");
        // Without keys the server looks for its own, and without an endpoint it is the public one.
        let table =
            engine(ClickHouseEngineConfig::default(), &[("aws_region", "eu-west-1")]).table(&["1.parquet"], "x");
        assert_eq!(table.unwrap(), "s3('https://bucket.s3.eu-west-1.amazonaws.com/lake/1.parquet', 'Parquet', 'x')");
    }

    #[test]
    fn messages_hold_no_secret() {
        let config = ClickHouseEngineConfig {
            credentials: Some(("user".to_owned(), "password".to_owned())),
            ..ClickHouseEngineConfig::default()
        };
        let engine = engine(config, KEYS);
        assert_eq!(engine.redacted("s3('x', 'me', 'it's secret')"), "s3('x', '***', '***')");
        let debug = format!("{engine:?}");
        assert!(!debug.contains("password") && !debug.contains("secret"), "{debug}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable() {
        // Bound and dropped: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config =
            ClickHouseEngineConfig { url: format!("http://127.0.0.1:{port}"), ..ClickHouseEngineConfig::default() };
        let error = engine(config, KEYS).query("SELECT 1").await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { .. }), "{error}");
    }
}
