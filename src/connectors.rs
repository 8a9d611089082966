//! The connectors of this process: those that are configured, each at work on its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tideline_common::plan::Plan;
use tideline_common::time::Span;
use tideline_enrich::TitleMatcher;
use tideline_enrich::titles::Inserted;
use tideline_ingest::appender::Appender;
use tideline_ingest::connector::config::Kind;
use tideline_ingest::connector::mentions::{MENTIONS, Titles};
use tideline_ingest::connector::runner::Surroundings;
use tideline_ingest::connector::status::StatusCell;
use tideline_ingest::connector::time::Time;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::stores::Stores;

/// For how long a process has a connector for itself, where others may have it.
const LEASE: Span = Span::MINUTE;
/// How long their end in order may take: an append, and a note.
const END: Duration = Duration::from_secs(10);

/// Titles, as `titles()` of definitions finds them: longest match, whole words, any case.
#[derive(Debug)]
struct SeenTitles(TitleMatcher);

impl Titles for SeenTitles {
    fn learn(&mut self, title: &str) {
        if let Inserted::TooLong | Inserted::Full = self.0.insert(title) {
            tracing::warn!(title, "a title is not looked for in comments: it is too long, or there are too many");
        }
    }

    fn mentions(&self, text: &str) -> Vec<String> {
        self.0.mentions(text).into_iter().map(str::to_owned).collect()
    }
}

/// Connectors at work.
#[derive(Debug, Default)]
pub struct Connectors {
    running: Vec<(String, JoinHandle<()>)>,
    statuses: Vec<StatusCell>,
    cancel: CancellationToken,
}

impl Connectors {
    /// Looks whether every connector's topic is one that a pipeline reads, and its records have what the pipeline makes rows of.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(config: &Config, plan: &Plan) -> anyhow::Result<()> {
        for (name, connector) in config.connectors.iter().filter(|(_, connector)| connector.enabled) {
            let readers: Vec<_> = plan.sources.iter().filter(|source| source.topic == connector.topic).collect();
            if readers.is_empty() {
                let topics: Vec<&str> = plan.sources.iter().map(|source| source.topic.as_str()).collect();
                bail!(
                    "connectors.{name}.topic = \"{}\": no source of the pipelines reads it; they read {}",
                    connector.topic,
                    topics.join(", ")
                );
            }
            // Mentions are found when a comment is appended, or never: views of them would be empty, and nothing would say why.
            let mentioning = readers.iter().find(|source| source.columns.iter().any(|column| column.name == MENTIONS));
            if let (Kind::Reddit, None, Some(source)) = (connector.kind, &connector.titles_topic, mentioning) {
                bail!(
                    "connectors.{name}.titles_topic: source `{}` has a column `{MENTIONS}`, so that a connector of kind = \"reddit\" needs \
                     it: the topic with the titles that comments may mention",
                    source.name
                );
            }
        }
        Ok(())
    }

    /// Starts those that are configured, until `cancel`. What goes wrong from then on is their own.
    ///
    /// # Errors
    /// As [`Connectors::check`]; one that cannot be made.
    pub fn start(
        config: &Config,
        plan: &Plan,
        stores: &Stores,
        appender: &Arc<Appender>,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Self> {
        Self::check(config, plan)?;
        let cancel = cancel.child_token();
        let around = Surroundings {
            appender: Arc::clone(appender),
            log: Arc::clone(&stores.log),
            titles: || Box::new(SeenTitles(TitleMatcher::default())),
            objects: Arc::clone(&stores.objects),
            time: Time::of(Arc::clone(&stores.clock)),
            max_record_bytes: config.serve.max_record_bytes,
            holder: format!("{}-{:x}", std::process::id(), stores.clock.now().micros()),
            lease: stores.is_shared().then_some(LEASE),
        };
        let made: Vec<_> = config
            .connectors
            .iter()
            .filter(|(_, connector)| connector.enabled)
            .map(|(name, connector)| Ok((name.clone(), connector.connector(name, around.clone())?)))
            .collect::<anyhow::Result<_>>()?;
        let statuses = made.iter().map(|(_, runner)| runner.status()).collect();
        let running = made.into_iter().map(|(name, runner)| (name, tokio::spawn(runner.run(cancel.clone())))).collect();
        Ok(Self { running, statuses, cancel })
    }

    /// How they are doing, for others to read.
    pub fn statuses(&self) -> Vec<StatusCell> {
        self.statuses.clone()
    }

    /// Ends them in order: what was appended is noted. One that takes too long is dropped where it stands.
    pub async fn stop(self) {
        self.cancel.cancel();
        let deadline = tokio::time::Instant::now() + END;
        for (name, mut task) in self.running {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(connector = name, %error, "a connector ended by itself"),
                Err(_) => {
                    task.abort();
                    tracing::warn!(
                        connector = name,
                        "a connector did not end in time: it may fetch its last records again"
                    );
                }
            }
        }
    }
}
