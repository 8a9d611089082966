//! The session with the servers: made when it is first needed, and requests with their errors.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::frame::types::{Consistency, SerialConsistency};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use tideline_common::ports::{PortError, PortResult};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::ScyllaConfig;
use super::types::{Cell, Cells, Values};

/// What errors call the servers.
pub(super) const WHAT: &str = "the CQL server";

/// After a failed attempt to connect, calls are answered with its error for this long: many callers do not each wait.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The session, or what is needed to make it.
pub(super) struct Connection {
    builder: SessionBuilder,
    timeout: Duration,
    session: OnceCell<Arc<Session>>,
    /// When connecting failed last, and why; held while connecting.
    failed: Mutex<Option<(Instant, String)>>,
}

impl Connection {
    /// Checks the configuration; does not connect.
    pub(super) fn new(config: &ScyllaConfig) -> PortResult<Self> {
        if config.nodes.is_empty() {
            return Err(PortError::invalid("the configuration of the speed views", "no node is named"));
        }
        let mut policy = DefaultPolicy::builder().token_aware(true);
        if let Some(datacenter) = &config.datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::Serial))
            .request_timeout(Some(config.request_timeout))
            .load_balancing_policy(policy.build())
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .connection_timeout(config.connect_timeout.min(Duration::from_secs(5)))
            .keyspaces_to_fetch([&config.keyspace])
            // Tables are read from system_schema where they matter; after a change this program refreshes.
            .refresh_metadata_on_auto_schema_agreement(false);
        if let Some(user) = &config.username {
            builder = builder.user(user, config.password.as_deref().unwrap_or_default());
        }
        if let Some(file) = &config.ca_file {
            builder = builder.tls_context(Some(tls(file)?));
        }
        Ok(Self { builder, timeout: config.connect_timeout, session: OnceCell::new(), failed: Mutex::new(None) })
    }

    /// The session. Once made, it lives through servers that go and come back.
    pub(super) async fn session(&self) -> PortResult<&Arc<Session>> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let mut failed = self.failed.lock().await;
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        if let Some((at, reason)) = &*failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(PortError::unavailable(WHAT, reason.clone()));
        }
        let made = match tokio::time::timeout(self.timeout, self.builder.build()).await {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {:?}", self.timeout)),
        };
        match made {
            Ok(session) => {
                *failed = None;
                Ok(self.session.get_or_init(|| async { Arc::new(session) }).await)
            }
            Err(reason) => {
                *failed = Some((Instant::now(), reason.clone()));
                Err(PortError::unavailable(WHAT, reason))
            }
        }
    }
}

fn tls(file: &std::path::Path) -> PortResult<Arc<rustls::ClientConfig>> {
    let invalid = |reason: String| {
        PortError::invalid(format!("the certificates of the CQL server in {}", file.display()), reason)
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| invalid(e.to_string()))? {
        roots.add(certificate.map_err(|e| invalid(e.to_string()))?).map_err(|e| invalid(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("it has none".to_owned()));
    }
    Ok(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// `NotFound` for a table or keyspace that is not there, `Invalid` for what no repetition mends, else `Unavailable`.
pub(super) fn failure(error: ExecutionError) -> PortError {
    match error {
        ExecutionError::BadQuery(error) => PortError::invalid(WHAT, error),
        ExecutionError::PrepareError(error) => prepare_failure(error),
        ExecutionError::LastAttemptError(error) => attempt_failure(error),
        error => PortError::unavailable(WHAT, error),
    }
}

fn prepare_failure(error: PrepareError) -> PortError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => attempt_failure(first_attempt),
        error => PortError::unavailable(WHAT, error),
    }
}

fn attempt_failure(error: RequestAttemptError) -> PortError {
    match &error {
        RequestAttemptError::DbError(DbError::Invalid | DbError::ConfigError, text) if is_missing(text) => {
            PortError::NotFound { what: text.clone() }
        }
        // Only a table that was dropped and made again changes what a statement is.
        RequestAttemptError::RepreparedIdChanged { .. } | RequestAttemptError::RepreparedIdMissingInBatch => {
            PortError::NotFound { what: error.to_string() }
        }
        RequestAttemptError::DbError(
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::ConfigError
            | DbError::Unauthorized
            | DbError::AlreadyExists { .. }
            | DbError::FunctionFailure { .. },
            text,
        ) => PortError::invalid(WHAT, text),
        RequestAttemptError::SerializationError(error) => PortError::invalid(WHAT, error),
        _ => PortError::unavailable(WHAT, error),
    }
}

fn is_missing(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["unconfigured table", "unconfigured columnfamily", "does not exist", "can't find a column family", "no keyspace"]
        .iter()
        .any(|missing| text.contains(missing))
}

/// Prepares a statement that may be repeated without harm.
pub(super) async fn prepare(session: &Session, cql: String, page_rows: u32) -> PortResult<PreparedStatement> {
    let mut statement = session.prepare(cql).await.map_err(prepare_failure)?;
    statement.set_is_idempotent(true);
    statement.set_page_size(i32::try_from(page_rows.max(1)).unwrap_or(i32::MAX));
    Ok(statement)
}

/// Runs a statement whose answer is short.
pub(super) async fn execute(
    session: &Session,
    statement: &PreparedStatement,
    values: &Values,
) -> PortResult<QueryResult> {
    session.execute_unpaged(statement, values).await.map_err(failure)
}

/// Runs a change of the schema, and waits until all servers know of it.
pub(super) async fn change_schema(session: &Session, cql: String) -> PortResult<()> {
    tracing::debug!(cql, "changing the schema");
    session.query_unpaged(cql, ()).await.map(drop).map_err(failure)
}

/// Calls `row` with each row of an answer.
pub(super) fn each_row(result: QueryResult, row: &mut dyn FnMut(&[Cell<'_>]) -> PortResult<()>) -> PortResult<()> {
    let damaged = |error: &dyn std::fmt::Display| PortError::corrupt("an answer of the CQL server", error);
    let rows = result.into_rows_result().map_err(|e| damaged(&e))?;
    for cells in rows.rows::<Cells<'_>>().map_err(|e| damaged(&e))? {
        row(&cells.map_err(|e| damaged(&e))?.0)?;
    }
    Ok(())
}

/// One page from `state` on; where the next begins, if there is one.
pub(super) async fn page(
    session: &Session,
    statement: &PreparedStatement,
    values: &Values,
    state: PagingState,
    row: &mut (dyn FnMut(&[Cell<'_>]) -> PortResult<()> + Send),
) -> PortResult<Option<PagingState>> {
    let (result, next): (QueryResult, PagingStateResponse) =
        session.execute_single_page(statement, values, state).await.map_err(failure)?;
    each_row(result, row)?;
    Ok(match next.into_paging_control_flow() {
        ControlFlow::Break(()) => None,
        ControlFlow::Continue(state) => Some(state),
    })
}

/// All rows of a query, page by page.
pub(super) async fn select(
    session: &Session,
    statement: &PreparedStatement,
    values: &Values,
    row: &mut (dyn FnMut(&[Cell<'_>]) -> PortResult<()> + Send),
) -> PortResult<()> {
    let mut state = PagingState::start();
    while let Some(next) = page(session, statement, values, state, row).await? {
        state = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_to_try_again() {
        let of = |error, text: &str| attempt_failure(RequestAttemptError::DbError(error, text.to_owned()));
        assert!(matches!(of(DbError::Invalid, "unconfigured table x"), PortError::NotFound { .. }));
        assert!(matches!(of(DbError::Invalid, "Keyspace 'x' does not exist"), PortError::NotFound { .. }));
        assert!(matches!(of(DbError::Invalid, "Undefined column name z"), PortError::Invalid { .. }));
        assert!(matches!(of(DbError::SyntaxError, "line 1:2"), PortError::Invalid { .. }));
        assert!(of(DbError::Overloaded, "").is_retryable());
        assert!(failure(ExecutionError::RequestTimeout(Duration::from_secs(1))).is_retryable());
        assert!(failure(ExecutionError::EmptyPlan).is_retryable());
    }
}
