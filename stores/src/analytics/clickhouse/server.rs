//! Requests to a server: statements with parameters, streamed answers, streamed inserts; bounded in time and number of
//! attempts; errors in terms of the ports.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use clickhouse::insert_formatted::InsertFormatted;
use clickhouse::query::Query;
use clickhouse::{Client, Compression};
use tideline_common::ports::{PortError, PortResult};
use tokio::sync::Semaphore;

use super::ClickHouseConfig;

/// Bytes of an error's message that are kept.
const MESSAGE_BYTES: usize = 600;
/// The setting that lets a query take the place of the one that runs with its id.
const REPLACES: &str = "replace_running_query";
/// How long a query of an id that runs already waits before it asks again; twice as long each time.
const RUNNING_WAIT: Duration = Duration::from_millis(5);
/// The longest of these waits.
const RUNNING_WAIT_MAX: Duration = Duration::from_secs(1);

/// A value that is put in a statement by the server, never by us.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Param {
    Int(i64),
    Unsigned(u64),
    Text(String),
    Texts(Vec<String>),
}

/// A statement with its parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct Statement {
    pub(super) sql: String,
    params: Vec<(String, Param)>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), params: Vec::new() }
    }

    /// Adds a parameter; returns its name with its type, as it is written in SQL.
    pub(super) fn param(&mut self, param: Param) -> String {
        let ty = match param {
            Param::Int(_) => "Int64",
            Param::Unsigned(_) => "UInt64",
            Param::Text(_) => "String",
            Param::Texts(_) => "Array(String)",
        };
        let name = format!("p{}", self.params.len());
        let placeholder = format!("{{{name}:{ty}}}");
        self.params.push((name, param));
        placeholder
    }

    /// Appends SQL.
    pub(super) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    fn query(&self, client: &Client) -> Query {
        self.params.iter().fold(client.query_raw(&self.sql), |query, (name, param)| match param {
            Param::Int(i) => query.param(name, i),
            Param::Unsigned(u) => query.param(name, u),
            Param::Text(s) => query.param(name, s),
            Param::Texts(list) => query.param(name, list),
        })
    }
}

impl From<&str> for Statement {
    fn from(sql: &str) -> Self {
        Self::new(sql)
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql)
    }
}

/// What takes in an answer, part by part.
pub(super) trait Answer: Send {
    /// The next bytes of the answer.
    fn part(&mut self, bytes: &[u8]) -> PortResult<()>;

    /// The answer is whole.
    fn end(&mut self) -> PortResult<()>;
}

/// A server, and one database of it.
pub(super) struct Server {
    client: Client,
    /// Without a database: it may not be there yet.
    bare: Client,
    database: String,
    config: ClickHouseConfig,
    reads: Semaphore,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(config: &ClickHouseConfig) -> PortResult<Self> {
        let url = config.url.trim_end_matches('/');
        let scheme = url.split_once("://").map(|(scheme, rest)| (scheme, !rest.is_empty()));
        if !matches!(scheme, Some(("http" | "https", true))) {
            return Err(PortError::invalid("ClickHouse", "the address must be http://HOST:PORT or https://HOST:PORT"));
        }
        if url.contains('@') {
            return Err(PortError::invalid(
                "ClickHouse",
                "user and password have settings of their own, not the address",
            ));
        }
        if config.database.is_empty() {
            return Err(PortError::invalid("ClickHouse", "the database has no name"));
        }
        let compression = if config.compress { Compression::Lz4 } else { Compression::None };
        let mut bare = Client::default().with_url(url).with_compression(compression);
        if let Some(user) = &config.user {
            bare = bare.with_user(user);
        }
        if let Some(password) = &config.password {
            bare = bare.with_password(password);
        }
        let client = bare.clone().with_database(&config.database);
        let reads = Semaphore::new(config.max_reads.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self { client, bare, database: config.database.clone(), config: config.clone(), reads })
    }

    /// Makes the database.
    pub(super) async fn create_database(&self) -> PortResult<()> {
        let sql = format!("CREATE DATABASE IF NOT EXISTS {}", super::names::name(&self.database));
        self.again("creating the database", self.config.timeout, || self.bare.query_raw(&sql).execute()).await
    }

    /// Runs a statement that may be run twice. `what` names it in errors.
    pub(super) async fn run(&self, what: &str, statement: impl Into<Statement>) -> PortResult<()> {
        let statement = statement.into();
        self.again(what, self.config.load_timeout, || statement.query(&self.client).execute()).await
    }

    /// Runs a statement that must not be run twice: once, whatever comes of it.
    pub(super) async fn run_once(&self, what: &str, statement: impl Into<Statement>) -> PortResult<()> {
        let statement = statement.into();
        self.within(what, self.config.load_timeout, statement.query(&self.client).execute()).await
    }

    /// Runs a statement that may be run twice, but not by two at the same time: `id` is the query's id, and the server
    /// refuses a second query of an id for as long as the first one runs, whoever waits for it or does not any more.
    /// Waits for that one.
    pub(super) async fn run_alone(&self, what: &str, id: &str, statement: impl Into<Statement>) -> PortResult<()> {
        let statement = statement.into();
        // A profile of the user may say otherwise: the second one would end the first.
        let query = || statement.query(&self.client).with_setting("query_id", id).with_setting(REPLACES, "0");
        let attempts = async {
            let mut wait = RUNNING_WAIT;
            loop {
                match self.again(what, self.config.load_timeout, || query().execute()).await {
                    Err(error) if is_running(&error) => {
                        tracing::debug!(what, id, "the same is running; waiting");
                        tokio::time::sleep(wait).await;
                        wait = wait.saturating_mul(2).min(RUNNING_WAIT_MAX);
                    }
                    result => return result,
                }
            }
        };
        let limit = self.config.load_timeout;
        tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(late(what, limit)))
    }

    /// Rows of an answer, few and small, as texts: columns are separated by tabs and must not hold any.
    pub(super) async fn table(&self, what: &str, statement: impl Into<Statement>) -> PortResult<Vec<Vec<String>>> {
        /// The whole answer.
        struct Whole(Vec<u8>);
        impl Answer for Whole {
            fn part(&mut self, bytes: &[u8]) -> PortResult<()> {
                self.0.extend_from_slice(bytes);
                Ok(())
            }
            fn end(&mut self) -> PortResult<()> {
                Ok(())
            }
        }
        let Whole(bytes) = self.fetch(what, &statement.into(), "TSVRaw", || Whole(Vec::new())).await?;
        let text = String::from_utf8(bytes).map_err(|e| PortError::corrupt(what, e))?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The answer of a query in `format`. `answer` makes what takes it in: a new one for each attempt.
    pub(super) async fn fetch<A: Answer>(
        &self,
        what: &str,
        statement: &Statement,
        format: &str,
        answer: impl Fn() -> A + Send + Sync,
    ) -> PortResult<A> {
        /// A failure of the server, or of what takes in the answer.
        enum Failure {
            Server(Error),
            Answer(PortError),
        }
        let _permit = self.reads.acquire().await.map_err(|e| PortError::unavailable(what, e))?;
        let seconds = self.config.timeout.as_secs().max(1).to_string();
        let attempt = || async {
            let mut taken = answer();
            // The server gives up when we do.
            let query = statement.query(&self.client).with_setting("max_execution_time", &seconds);
            let mut cursor = query.fetch_bytes(format).map_err(Failure::Server)?;
            while let Some(bytes) = cursor.next().await.map_err(Failure::Server)? {
                taken.part(&bytes).map_err(Failure::Answer)?;
            }
            taken.end().map_err(Failure::Answer)?;
            Ok::<A, Failure>(taken)
        };
        self.repeat(what, self.config.timeout, || async {
            attempt().await.map_err(|failure| match failure {
                Failure::Server(error) => port_error(what, &error),
                Failure::Answer(error) => error,
            })
        })
        .await
    }

    /// Begins an insert.
    pub(super) fn insert(&self, what: &str, sql: String) -> Insert {
        let settings = [("max_partitions_per_insert_block", "0"), ("insert_allow_materialized_columns", "1")];
        let insert = self.client.insert_formatted_with(sql);
        let insert = settings.into_iter().fold(insert, |insert, (name, value)| insert.with_setting(name, value));
        let limit = self.config.load_timeout;
        Insert { what: what.to_owned(), request: insert.with_timeouts(Some(limit), Some(limit)), bytes: 0 }
    }

    async fn again<F: Future<Output = Result<(), Error>> + Send>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Fn() -> F + Send + Sync,
    ) -> PortResult<()> {
        self.repeat(what, limit, || {
            let attempt = call();
            async move { attempt.await.map_err(|error| port_error(what, &error)) }
        })
        .await
    }

    async fn within(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<(), Error>> + Send,
    ) -> PortResult<()> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| port_error(what, &error)),
            Err(_) => Err(late(what, limit)),
        }
    }

    /// Tries again what may work later, so often as is configured, all of it within `limit`.
    async fn repeat<T, F: Future<Output = PortResult<T>> + Send>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Fn() -> F + Send + Sync,
    ) -> PortResult<T> {
        let attempts = async {
            let (mut left, mut wait) = (self.config.attempts.max(1), self.config.retry_wait);
            loop {
                left -= 1;
                match call().await {
                    Err(error @ PortError::Unavailable { .. }) if left > 0 => {
                        tracing::debug!(what, %error, left, "ClickHouse did not answer; trying again");
                        tokio::time::sleep(wait).await;
                        wait = wait.saturating_mul(2);
                    }
                    result => return result,
                }
            }
        };
        tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(late(what, limit)))
    }
}

fn late(what: &str, limit: Duration) -> PortError {
    PortError::unavailable(format!("ClickHouse ({what})"), format!("no answer within {} s", limit.as_secs_f64()))
}

/// An insert under way. Dropped without an end, it is given up; some of it may have been written.
pub(super) struct Insert {
    what: String,
    request: InsertFormatted,
    bytes: u64,
}

impl Insert {
    /// Sends the next rows.
    pub(super) async fn send(&mut self, rows: Vec<u8>) -> PortResult<()> {
        /// The server is given pieces of this size, so that it can work on one while the next is made.
        const PIECE: usize = 1 << 20;
        self.bytes += rows.len() as u64;
        let mut rows = Bytes::from(rows);
        while !rows.is_empty() {
            let piece = rows.split_to(rows.len().min(PIECE));
            self.request.send(piece).await.map_err(|e| port_error(&self.what, &e))?;
        }
        Ok(())
    }

    /// Ends the insert; returns the bytes sent.
    pub(super) async fn end(self) -> PortResult<u64> {
        self.request.end().await.map_err(|e| port_error(&self.what, &e))?;
        Ok(self.bytes)
    }
}

/// Codes of errors that pass: time, memory and connections run out, a server starts or stops.
const PASSING: &[u32] =
    &[159, 160, 198, 202, 203, 209, 210, 236, 241, 242, 252, 279, 285, 319, 373, 394, 425, 439, 473, 499, 999];
/// No room on the device.
const FULL: u32 = 243;

/// The code of an exception of the server in its text.
fn code(message: &str) -> Option<u32> {
    let digits = message.split_once("Code: ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Whether an error says that a table or a database is not there.
pub(super) fn is_absent(error: &PortError) -> bool {
    matches!(error, PortError::Invalid { reason, .. } if matches!(code(reason), Some(60 | 81)))
}

/// Whether an error says that a query of the same id runs already.
fn is_running(error: &PortError) -> bool {
    matches!(error, PortError::Invalid { reason, .. } if code(reason) == Some(216))
}

/// Whether an error says that a table is there already.
pub(super) fn is_taken(error: &PortError) -> bool {
    matches!(error, PortError::Invalid { reason, .. } if code(reason) == Some(57))
}

fn port_error(what: &str, error: &Error) -> PortError {
    let what = format!("ClickHouse ({what})");
    let mut message = error.to_string();
    if let Error::BadResponse(text) = error {
        message.clone_from(text);
    } else {
        // Of an error of the network only the last cause says what happened.
        let mut cause = std::error::Error::source(error).and_then(std::error::Error::source);
        while let Some(source) = cause {
            let _ = write!(message, ": {source}");
            cause = source.source();
        }
    }
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    match error {
        Error::BadResponse(_) => match code(&message) {
            Some(FULL) => PortError::Full { what, source: message.into() },
            Some(code) if !PASSING.contains(&code) => PortError::invalid(what, message),
            // Without a code it is something in front of the server that answered.
            _ => PortError::unavailable(what, message),
        },
        Error::InvalidParams(_) | Error::Unsupported(_) => PortError::invalid(what, message),
        Error::Decompression(_) | Error::NotEnoughData | Error::InvalidUtf8Encoding(_) => {
            PortError::corrupt(what, message)
        }
        // The network, or time.
        _ => PortError::unavailable(what, message),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bad(text: &str) -> PortError {
        port_error("a test", &Error::BadResponse(text.to_owned()))
    }

    #[test]
    fn errors_say_whether_it_may_work_later() {
        let missing = bad("Code: 60. DB::Exception: Table x.y does not exist. (UNKNOWN_TABLE)");
        assert!(matches!(missing, PortError::Invalid { .. }) && is_absent(&missing), "{missing}");
        assert!(bad("Code: 241. DB::Exception: Memory limit").is_retryable());
        assert!(matches!(bad("Code: 243. DB::Exception: Not enough space"), PortError::Full { .. }));
        assert!(bad("502 Bad Gateway").is_retryable());
        assert!(port_error("a test", &Error::TimedOut).is_retryable());
        assert!(!bad("Code: 516. DB::Exception: default: Authentication failed").is_retryable());
        let long = bad(&format!("Code: 62. {}", "é".repeat(5_000))).to_string();
        assert!(long.len() < 2 * MESSAGE_BYTES && long.ends_with('…'), "{}", long.len());
    }

    #[test]
    fn passwords_are_not_printed() {
        let config = ClickHouseConfig {
            user: Some("someone".to_owned()),
            password: Some("secret".to_owned()),
            ..ClickHouseConfig::default()
        };
        let server = Server::new(&config).unwrap();
        assert!(!format!("{server:?} {config:?}").contains("secret"));
        let inline = ClickHouseConfig { url: "http://u:secret@host:1".to_owned(), ..config };
        let error = Server::new(&inline).unwrap_err();
        assert!(matches!(error, PortError::Invalid { .. }) && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn addresses_are_checked() {
        for url in ["", "localhost:8123", "ftp://host", "http://"] {
            let config = ClickHouseConfig { url: url.to_owned(), ..ClickHouseConfig::default() };
            assert!(matches!(Server::new(&config), Err(PortError::Invalid { .. })), "{url}");
        }
    }
}
