//! `tideline generate SYSTEM`: synthetic records.

use std::io::Write;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use tideline_common::ports::Clock;
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::generate::{self, Mix, Settings, System};
use tideline_ingest::pace::{Pace, Rate};
use tideline_stores::clock::SystemClock;

use crate::client::{Client, Token};

/// Makes synthetic records of a system, to standard output or into a running server.
#[derive(Debug, Args)]
pub struct Generate {
    /// stock-sentiment, movie-viewing, trendscope or customer-sentiment.
    system: System,
    /// How many records; without it, no end.
    #[arg(long)]
    count: Option<u64>,
    /// Records per second, such as 500/s; as fast as they are taken when absent.
    #[arg(long)]
    rate: Option<Rate>,
    /// Seed: one seed (and start) always gives the same records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only records of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Send to the topics of the server at this URL instead of printing.
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// Records at the beginning that are made but not sent: continues a stream of the same seed, start, step and mix.
    #[arg(long, default_value_t = 0, requires = "start")]
    skip: u64,
    #[command(flatten)]
    token: Token,
    /// Event time of the first record (RFC 3339). When absent: now, or with a count and without a rate so long ago that
    /// the last record is of now.
    #[arg(long, value_parser = Timestamp::parse)]
    start: Option<Timestamp>,
    /// Event time between two records; that of the rate, or 100ms, when absent.
    #[arg(long, value_parser = Span::parse)]
    step: Option<Span>,
    /// Share of records with an event time up to 15 minutes back.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    late: f64,
    /// Share of records sent twice.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    duplicates: f64,
    /// Share of records that cannot be read (of customer-sentiment also: with an empty text or without a time).
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    broken: f64,
    /// Changes a weight of what is picked, such as sentiment.negative=60 or `city.*=0`; repeatable, in order. docs/cli.md
    /// lists what each system has.
    #[arg(long, value_name = "DIMENSION.CHOICE=WEIGHT")]
    mix: Vec<String>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share: use a number from 0 to 1")),
    }
}

/// Records in one request or write when no rate bounds it.
const BATCH: usize = 1_000;

impl Generate {
    /// Prints or sends the records.
    ///
    /// # Errors
    /// A topic that the system does not have, a mix that it does not know, or a server that refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(topic) = &self.topic
            && !self.system.topics().contains(&topic.as_str())
        {
            bail!("{} has no topic `{topic}`: it has {}", self.system.name(), self.system.topics().join(", "));
        }
        let client = self.into.as_deref().map(|url| Client::remote(url, &self.token)).transpose()?;
        let topic = self.topic.clone();
        let mix = Mix::of(self.system, &self.mix)?;
        let settings = self.settings(&mix);
        let mut records = generate::records_of(self.system, settings, &mix)
            .filter(move |record| topic.as_ref().is_none_or(|topic| topic == record.topic))
            .skip(usize::try_from(self.skip).unwrap_or(usize::MAX))
            .take(self.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX)));
        let mut pace = self.rate.map(Pace::new);
        let batch = pace.as_ref().map_or(BATCH, Pace::batch);
        let mut sent = 0;
        loop {
            let chunk: Vec<generate::Generated> = records.by_ref().take(batch).collect();
            if chunk.is_empty() {
                break;
            }
            if let Some(pace) = &mut pace {
                pace.wait(chunk.len()).await;
            }
            sent += chunk.len();
            match &client {
                Some(client) => send(client, self.system, &chunk).await?,
                None => {
                    if !write(&chunk)? {
                        return Ok(());
                    }
                }
            }
        }
        if client.is_some() {
            println!("sent {sent} records");
        }
        Ok(())
    }

    fn settings(&self, mix: &Mix) -> Settings {
        let step = match (self.step, self.rate) {
            (Some(step), _) => step.micros() as f64,
            (None, Some(rate)) => 1e6 / rate.get(),
            (None, None) => generate::STEP,
        };
        let mut settings = Settings {
            seed: self.seed,
            start: self.start.unwrap_or_else(|| SystemClock.now()),
            step,
            late: self.late,
            duplicates: self.duplicates,
            broken: self.broken,
        };
        // Sent at once, they would reach into the future, where a source takes in no more than a few minutes (`max_ahead`).
        if let (None, None, Some(count)) = (self.start, self.rate, self.count) {
            let back = generate::duration(self.system, settings, mix, self.topic.as_deref(), count);
            settings.start = settings.start.minus(back).max(Timestamp::from_micros(0));
        }
        settings
    }
}

async fn send(client: &Client, system: System, records: &[generate::Generated]) -> anyhow::Result<()> {
    for topic in system.topics() {
        let mut body = String::new();
        for record in records.iter().filter(|record| record.topic == *topic) {
            body.push_str(&record.payload);
            body.push('\n');
        }
        if !body.is_empty() {
            client
                .post(&format!("/v1/topics/{topic}"), Bytes::from(body))
                .await
                .with_context(|| format!("topic {topic}"))?;
        }
    }
    Ok(())
}

/// Prints records; false when the reader has gone.
fn write(records: &[generate::Generated]) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut text = String::new();
    for record in records {
        text.push_str(&record.payload);
        text.push('\n');
    }
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => {
            other?;
            Ok(true)
        }
    }
}
