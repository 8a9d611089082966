//! `tideline produce TOPIC [FILE|-]`: NDJSON into a topic.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use tideline_ingest::pace::{Pace, Rate};

use crate::client::escape;
use crate::command::query::Server;

/// Sends every line of a file (plain or .gz) or of standard input to a topic of a running server.
#[derive(Debug, Args)]
pub struct Produce {
    /// Topic.
    topic: String,
    /// NDJSON, plain or .gz; `-` is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Records per second, such as 500/s; as fast as they are taken when absent.
    #[arg(long)]
    rate: Option<Rate>,
    #[command(flatten)]
    server: Server,
}

/// Records in one request at most.
const BATCH: usize = 5_000;
/// Bytes in one request at most; one record may be longer.
const BATCH_BYTES: usize = 8 << 20;

impl Produce {
    /// Sends the records; what was sent before a failure is printed with it.
    ///
    /// # Errors
    /// A file that cannot be read, or a server that refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let mut reader = open(&self.file)?;
        let mut pace = self.rate.map(Pace::new);
        let batch = pace.as_ref().map_or(BATCH, Pace::batch);
        let path = format!("/v1/topics/{}", escape(&self.topic));
        let mut sent = 0;
        loop {
            let (body, lines) = next_batch(reader.as_mut(), batch)?;
            if body.is_empty() {
                break;
            }
            if let Some(pace) = &mut pace {
                pace.wait(lines).await;
            }
            let answer = client
                .post(&path, Bytes::from(body))
                .await
                .with_context(|| format!("after {sent} records (none of the last {lines} lines was taken)"))?;
            sent += answer["accepted"].as_u64().unwrap_or_default();
        }
        println!("accepted {sent} records");
        Ok(())
    }
}

fn open(file: &PathBuf) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let reader: Box<dyn Read + Send> = if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(opened))
    } else {
        Box::new(opened)
    };
    Ok(Box::new(BufReader::with_capacity(1 << 20, reader)))
}

fn next_batch(reader: &mut dyn BufRead, lines_max: usize) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut lines = 0;
    while lines < lines_max && body.len() < BATCH_BYTES {
        if reader.read_until(b'\n', &mut body).context("cannot read the records")? == 0 {
            break;
        }
        lines += 1;
    }
    Ok((body, lines))
}
