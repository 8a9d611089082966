//! `POST /v1/topics/{topic}`: NDJSON into a topic.
//!
//! The body is taken in whole before anything is appended, so that a request that is refused has appended nothing; its
//! lines are found while it comes in, so that one that is too long refuses it at once. The records are slices of the
//! body: no copy. All bodies together are bounded by a budget; beyond it a request is sent away to come again.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Serialize;
use tideline_common::ports::{Appended, PortError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{ApiResult, Problem};
use super::query::Query;
use super::{Api, ApiConfig};
use crate::error::{QueryError, Thing};

/// Bytes per permit of the budget.
const PERMIT_BYTES: usize = 64 << 10;

/// The budget of all bodies together.
pub(crate) fn budget(config: &ApiConfig) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((config.max_bodies_bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)))
}

#[derive(Serialize)]
struct Accepted {
    accepted: usize,
    positions: Appended,
}

/// Takes NDJSON into a topic.
pub(crate) async fn append(
    State(api): State<Api>,
    Path(topic): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    Query::of(&uri).done()?;
    let topics = api.topics.topics();
    if !topics.contains(&topic) {
        return Err(QueryError::unknown(Thing::Topic, &topic, topics).into());
    }
    // Decoding took gzip off; whatever is left here nobody can read.
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let detail =
            format!("`{}` is not supported: send gzip or nothing", String::from_utf8_lossy(encoding.as_bytes()));
        return Err(Problem::new("unsupported-encoding", detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let (records, held) = read(&api, body, length).await?;
    let count = records.len();
    if count == 0 {
        return Ok(axum::Json(Accepted { accepted: 0, positions: Appended::new() }).into_response());
    }
    // On its own task: a caller that hangs up does not cut an append in two.
    let writer = api.topics.clone();
    let append = tokio::spawn(async move {
        let appended = writer.append(&topic, records).await;
        drop(held);
        (appended, topic)
    });
    match append.await {
        Ok((Ok(positions), topic)) => {
            metrics::counter!("tideline_http_records_total", "topic" => topic).increment(count as u64);
            Ok(axum::Json(Accepted { accepted: count, positions }).into_response())
        }
        Ok((Err(error), topic)) => Err(refused(error, &topic, api.topics.topics())),
        Err(error) => {
            tracing::error!(%error, "an append panicked");
            Err(Problem::new("internal", "the failure has been logged"))
        }
    }
}

fn refused(error: PortError, topic: &str, topics: Vec<String>) -> Problem {
    match error {
        PortError::NotFound { .. } => QueryError::unknown(Thing::Topic, topic, topics).into(),
        PortError::Full { .. } => {
            tracing::warn!(%error, topic, "the log has no room");
            Problem::new(
                "full",
                "the log has no room for these records; none of this request's answer is promised, send it again later",
            )
        }
        error => QueryError::port("the log", error).into(),
    }
}

/// The records of a body, and the part of the budget that they hold.
async fn read(api: &Api, body: Body, length: Option<usize>) -> ApiResult<(Vec<Bytes>, Option<OwnedSemaphorePermit>)> {
    let config = &api.config;
    let mut lines = Lines::new(config.max_record_bytes);
    let mut buffer = BytesMut::with_capacity(length.unwrap_or(0).min(config.max_body_bytes).min(1 << 20));
    let mut held: Option<OwnedSemaphorePermit> = None;
    let mut chunks = body.into_data_stream();
    let began = Instant::now();
    loop {
        let wait = config.body_timeout.min(config.body_total_timeout.saturating_sub(began.elapsed()));
        let chunk = match tokio::time::timeout(wait, chunks.next()).await {
            Err(_) => {
                let detail = format!("the body did not go on for {} s; nothing was appended", wait.as_secs());
                return Err(Problem::new("body-timeout", detail));
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a body could not be read");
                return Err(Problem::new(
                    "invalid-body",
                    "the body ended early or its gzip is damaged; nothing was appended",
                ));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if buffer.len() + chunk.len() > config.max_body_bytes {
            let detail =
                format!("a body may have {} bytes; nothing was appended: send less at once", config.max_body_bytes);
            return Err(Problem::new("body-too-large", detail));
        }
        buffer.extend_from_slice(&chunk);
        let permits = buffer.len().div_ceil(PERMIT_BYTES) - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if permits > 0 {
            let more = api.bodies.clone().try_acquire_many_owned(u32::try_from(permits).unwrap_or(u32::MAX));
            let more = more.map_err(|_| {
                Problem::new(
                    "overloaded",
                    "too many bytes are being taken in at once; nothing was appended: send it again later",
                )
            })?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
        }
        lines.feed(&buffer).map_err(|line| too_long(line, config.max_record_bytes))?;
    }
    let buffer = buffer.freeze();
    let places = lines.finish(&buffer).map_err(|line| too_long(line, config.max_record_bytes))?;
    Ok((places.into_iter().map(|(start, end)| buffer.slice(start..end)).collect(), held))
}

fn too_long(line: u64, max: usize) -> Problem {
    let detail =
        format!("line {line} is longer than {max} bytes, the most that a record may have; nothing was appended");
    Problem::new("record-too-large", detail).line(line)
}

/// Finds the lines of a buffer that grows.
struct Lines {
    max: usize,
    /// Start of the line that has not ended.
    start: usize,
    /// Where to look on.
    at: usize,
    /// Number of the line that has not ended, from 1.
    line: u64,
    places: Vec<(usize, usize)>,
}

impl Lines {
    const fn new(max: usize) -> Self {
        Self { max, start: 0, at: 0, line: 1, places: Vec::new() }
    }

    /// Looks through what is new in the buffer; the number of a line that is too long is the error.
    fn feed(&mut self, buffer: &[u8]) -> Result<(), u64> {
        while let Some(length) = memchr::memchr(b'\n', &buffer[self.at..]) {
            let end = self.at + length;
            self.end_line(buffer, end)?;
            (self.start, self.at) = (end + 1, end + 1);
            self.line += 1;
        }
        self.at = buffer.len();
        // One more for a carriage return that does not count.
        if buffer.len() - self.start > self.max + 1 { Err(self.line) } else { Ok(()) }
    }

    fn end_line(&mut self, buffer: &[u8], end: usize) -> Result<(), u64> {
        let end = if end > self.start && buffer[end - 1] == b'\r' { end - 1 } else { end };
        if end - self.start > self.max {
            return Err(self.line);
        }
        if end > self.start {
            self.places.push((self.start, end));
        }
        Ok(())
    }

    fn finish(mut self, buffer: &[u8]) -> Result<Vec<(usize, usize)>, u64> {
        self.feed(buffer)?;
        self.end_line(buffer, buffer.len())?;
        Ok(self.places)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn lines(body: &[u8], cut: usize, max: usize) -> Result<Vec<Vec<u8>>, u64> {
        let mut lines = Lines::new(max);
        let mut end = 0;
        while end < body.len() {
            end = (end + cut).min(body.len());
            lines.feed(&body[..end])?;
        }
        Ok(lines.finish(body)?.into_iter().map(|(start, end)| body[start..end].to_vec()).collect())
    }

    #[test]
    fn empty_lines_and_carriage_returns_are_no_records() {
        for cut in 1..8 {
            let found = lines(b"\n{}\r\n\r\n  \nlast\r", cut, 10).unwrap();
            assert_eq!(found, [b"{}".to_vec(), b"  ".to_vec(), b"last".to_vec()], "{cut}");
        }
        assert!(lines(b"", 1, 10).unwrap().is_empty());
    }

    #[test]
    fn a_long_line_is_named() {
        for cut in 1..9 {
            assert_eq!(lines(b"a\n\n12345678\nb", cut, 7), Err(3), "{cut}");
            assert_eq!(lines(b"a\n\n12345678", cut, 7), Err(3), "{cut}");
            assert!(lines(b"a\n\n1234567\r\nb", cut, 7).is_ok(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_chunks(body in "[ab\\n\\r]{0,40}", cut in 1usize..10) {
            let naive: Vec<Vec<u8>> = body.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).filter(|l| !l.is_empty()).map(|l| l.as_bytes().to_vec()).collect();
            prop_assert_eq!(lines(body.as_bytes(), cut, 100).unwrap(), naive);
        }
    }
}
