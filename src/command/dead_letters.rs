//! `tideline dead-letters list|replay`: records that could not be read.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tideline_speed::dead_letter::{self, DeadLetter};

use crate::command::place::Place;
use crate::command::print;
use crate::output::{Format, Rows};
use crate::platform::Stores;

/// Shows records that could not be read, or appends them to their topic again.
#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows them: position, reason, raw bytes.
    List(Selection),
    /// Appends their raw bytes to the topic of their source: after the definition was mended, for instance. Those
    /// that still cannot be read become dead letters again.
    Replay(Selection),
}

#[derive(Debug, Args)]
struct Selection {
    /// Only of this source.
    #[arg(long)]
    source: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

impl DeadLetters {
    /// Lists or replays.
    ///
    /// # Errors
    /// A folder that another process has, an unknown source, a log that refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let (Action::List(selection) | Action::Replay(selection)) = &self.action;
        let config = selection.place.config()?;
        let plan = selection.place.plan()?;
        if let Some(source) = &selection.source
            && plan.source(source).is_none()
        {
            let known: Vec<&str> = plan.sources.iter().map(|source| source.name.as_str()).collect();
            bail!("there is no source `{source}`: there are {}", known.join(", "));
        }
        let stores = Stores::open(&selection.place.data, &config).await?;
        let letters = dead_letter::list(stores.objects.as_ref(), selection.source.as_deref(), selection.limit).await?;
        if matches!(self.action, Action::List(_)) {
            let rows: Vec<Json> = letters.iter().map(row).collect();
            return print(|out| Rows::of_objects(&rows).write(selection.format, out));
        }
        stores.ensure_topics(&plan).await?;
        let appender = stores.appender(&plan)?;
        let mut replayed = 0;
        for source in &plan.sources {
            let raw: Vec<bytes::Bytes> =
                letters.iter().filter(|letter| letter.shard.source == source.name).map(|l| l.raw.clone()).collect();
            // In requests of a bounded size; what was appended before a failure stays.
            for chunk in raw.chunks(1_000) {
                appender.append(&source.topic, chunk.to_vec()).await?;
                replayed += chunk.len();
            }
        }
        println!("{replayed} records appended again; the speed layer takes them in");
        Ok(())
    }
}

fn row(letter: &DeadLetter) -> Json {
    json!({
        "source": letter.shard.source,
        "partition": letter.shard.partition,
        "offset": letter.offset,
        "appended": letter.appended.to_string(),
        "kind": letter.kind,
        "reason": letter.reason,
        "raw": String::from_utf8_lossy(&letter.raw),
    })
}
