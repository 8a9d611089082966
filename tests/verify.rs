//! Agreement of the layers, measured: on demand, after every published version, on the command line, and that a
//! difference which nothing explains is found by each of them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value as Json;
use tideline::client::Client;
use tideline::command::up::router;
use tideline::config::Config;
use tideline::platform::{Platform, Stores};
use tideline_common::ports::{Flush, KeySelector, PaneFlush, PaneQuery, Progress, ViewSchema};
use tideline_common::state::StateColumn;
use tideline_common::time::{Span, Timestamp};
use tideline_serving::api::agreement::Agreement;
use tideline_serving::api::{ServeConfig, serve};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

/// A platform in a folder of its own. The view's name tells its metrics from those of the other tests.
struct World {
    folder: tempfile::TempDir,
    view: &'static str,
    config: Config,
    platform: Platform,
    router: axum::Router,
}

/// The metrics of this process: one recorder for all tests.
fn metrics_text() -> String {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).render()
}

fn definition(view: &str) -> String {
    format!(
        r#"version = 1
name = "trading"

[sources.feed]
topic = "feed"
partitions = 1
columns = {{ at = "string", symbol = "string", x = "float" }}
event_time = {{ column = "at", format = "rfc3339" }}
lateness = "1m"

[tables.trades]
from = "feed"
columns = {{ symbol = "symbol", x = "x" }}

[views.{view}]
key = ["symbol"]
window = {{ size = "5m", slide = "1m" }}
measures.n = {{ table = "trades", agg = "count()" }}
measures.total = {{ table = "trades", agg = "sum(x)" }}
"#
    )
}

/// One record per symbol in minute `minute` of a day long ago.
fn records(minute: i64) -> Vec<Bytes> {
    let at = Timestamp::parse("2024-03-01T00:00:00Z").unwrap().plus(Span(minute * Span::MINUTE.0 + 7));
    let line = |symbol: &str, x: f64| Bytes::from(format!(r#"{{"at":"{at}","symbol":"{symbol}","x":{x}}}"#));
    vec![line("A", 0.1 * minute as f64), line("B", -1.5)]
}

impl World {
    async fn new(view: &'static str) -> Self {
        metrics_text();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pipelines")).unwrap();
        std::fs::write(folder.path().join("pipelines/trading.toml"), definition(view)).unwrap();
        let mut config = Config::default();
        config.batch.schedule = String::new();
        config.speed.flush_interval = Span::from_millis(20);
        config.speed.linger = Span::from_millis(5);
        let plan = tideline::catalog::load_text("trading.toml", &definition(view)).unwrap();
        let stores = Stores::open(&folder.path().join("data"), &config).await.unwrap();
        let platform = Platform::start(Arc::new(plan), stores, &config).await.unwrap();
        let router = router(&platform, &config, Arc::new(metrics_text));
        Self { folder, view, config, platform, router }
    }

    async fn append(&self, minutes: impl IntoIterator<Item = i64>) {
        for minute in minutes {
            self.platform.appender.append("feed", records(minute)).await.unwrap();
        }
    }

    async fn run(&self) {
        let report = self.platform.batch.run().await.unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    async fn get(&self, path: &str) -> Json {
        Client::Local(self.router.clone()).get(path, &[]).await.unwrap()
    }

    async fn agreement(&self) -> Agreement {
        serde_json::from_value(self.get("/v1/agreement").await).unwrap()
    }

    /// What `/v1/status` says of the last comparison, once it was of this version.
    async fn compared(&self, version: u64) -> Json {
        let began = Instant::now();
        loop {
            let last = self.get("/v1/status").await["process"]["agreement"].clone();
            if last["version"] == version {
                return last;
            }
            assert!(began.elapsed() < PATIENCE, "version {version} is not compared: {last}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The value of a metric of this world's view.
    fn metric(&self, name: &str, outcome: Option<&str>) -> Option<f64> {
        let text = metrics_text();
        let view = format!("view=\"{}\"", self.view);
        let line = text.lines().find(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains(&view)
                && outcome.is_none_or(|outcome| line.contains(&format!("outcome=\"{outcome}\"")))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Makes the speed layer's count of the oldest pane of symbol A wrong, as a bug in it would.
    async fn tamper(&self) {
        let (views, now) = (&self.platform.stores.views, self.platform.stores.clock.now());
        let schema = ViewSchema::from(self.platform.plan.view(self.view).unwrap());
        let query =
            PaneQuery { keys: KeySelector::All { after: None }, from: Timestamp::MIN, to: Timestamp::MAX, max_rows: 1 };
        let page = views.panes(&schema, &query, now).await.unwrap();
        let late = views.late(&schema, &query, now).await.unwrap().panes;
        assert_eq!(late.len(), 0, "nothing may explain the difference");
        let mut panes = tideline_common::state::StateBatch::new(&schema.fields);
        panes.push_from(&page.panes, 0);
        let count = panes.states.iter_mut().find_map(|column| match column {
            StateColumn::SumInt(counts) => Some(&mut counts[0]),
            _ => None,
        });
        *count.unwrap() += 5;
        let (shard, progress) = views.progress().await.unwrap().remove(0);
        let progress = Progress { position: progress.position + 1, ..progress };
        let flush = Flush { shard, panes: vec![PaneFlush { view: schema, panes, late }], rows: Vec::new(), progress };
        views.write(&flush, now).await.unwrap();
    }

    /// Serves until the guard is dropped or cancelled; answers with the base URL.
    async fn listen(&self) -> (String, CancellationToken, tokio::task::JoinHandle<std::io::Result<()>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, self.router.clone(), shutdown.clone(), ServeConfig::default()));
        (base, shutdown, server)
    }
}

/// `tideline verify` in a process of its own.
async fn verify(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tideline"));
    command.args(["verify", "--data", "data", "--pipelines", "pipelines"]).args(arguments);
    command.current_dir(folder).env_remove("TIDELINE_URL");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_that_saw_the_same_agree_and_the_metrics_say_so() {
    let world = World::new("same").await;
    // Before anything is published there is nothing to compare.
    let nothing = world.agreement().await;
    assert_eq!((nothing.version, nothing.unexplained, nothing.views.len()), (0, 0, 0));
    let output = {
        let (base, shutdown, server) = world.listen().await;
        let output = verify(world.folder.path(), &["--url", &base]).await;
        shutdown.cancel();
        server.await.unwrap().unwrap();
        output
    };
    assert!(output.status.success() && text(&output.stdout).contains("nothing to compare"), "{output:?}");

    world.append(0..30).await;
    world.run().await;
    let agreement = world.agreement().await;
    let found = &agreement.views["same"];
    // Minute 29 less a minute of lateness: panes 0 to 27 belong to batch, of two symbols each.
    assert_eq!(found.through.as_deref(), Some("2024-03-01T00:28:00Z"));
    assert_eq!((found.compared, found.equal, agreement.unexplained), (56, 56, 0), "{found:?}");
    assert!(found.examples.is_empty());
    assert_eq!(world.metric("tideline_agreement_panes_total", Some("equal")), Some(56.0));
    assert_eq!(world.metric("tideline_agreement_panes_total", Some("unexplained")), Some(0.0));
    assert_eq!(world.metric("tideline_agreement_unexplained_panes", None), Some(0.0));
    let process = world.get("/v1/status").await["process"].clone();
    assert_eq!(process["agreement"]["views"]["same"]["equal"], 56);
    // Times are text everywhere in the API, also in what other layers tell of themselves.
    assert_eq!(process["shards"][0]["watermark"], "2024-03-01T00:28:00.000007Z");
    assert_eq!(process["shards"][0]["progress"]["highest"], "2024-03-01T00:29:00.000007Z");
    assert_eq!(process["batch"]["last_run"]["report"]["through"]["same"], "2024-03-01T00:28:00Z");

    // Without a server that could be asked, a folder that is held is an error, not an agreement.
    let refused = verify(world.folder.path(), &["--url", "http://127.0.0.1:1"]).await;
    assert!(!refused.status.success() && text(&refused.stderr).contains("in use by process"), "{refused:?}");
    let World { folder, platform, router, .. } = world;
    drop(router);
    platform.stop().await;
    let output = verify(folder.path(), &["--format", "ndjson"]).await;
    assert!(output.status.success(), "{output:?}");
    let row: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&row["view"], &row["equal"], &row["unexplained"]), (&"same".into(), &56.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_records_are_differences_that_are_explained() {
    let world = World::new("late").await;
    world.append(0..30).await;
    world.platform.speed.seal().await.unwrap();
    // Every window that holds minute 3 was over at minute 9, lateness included.
    world.append([3]).await;
    world.run().await;
    let agreement = world.agreement().await;
    let found = &agreement.views["late"];
    assert_eq!((found.compared, found.equal, found.late, found.unexplained), (56, 54, 2, 0), "{found:?}");
    let example = &found.examples[0];
    assert_eq!((example.because.as_str(), example.pane.as_str()), ("late", "2024-03-01T00:03:00Z"));
    assert_eq!(world.metric("tideline_agreement_panes_total", Some("late")), Some(2.0));
    let World { folder, platform, router, .. } = world;
    drop(router);
    platform.stop().await;
    let output = verify(folder.path(), &[]).await;
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("the layers agree on version 1"), "{output:?}");
    assert!(said.contains("late: late (A) at 2024-03-01T00:03:00Z"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_difference_is_found_by_itself_and_on_demand() {
    let mut world = World::new("planted").await;
    world.platform.follow_agreement();
    world.append(0..30).await;
    world.run().await;
    let last = world.compared(1).await;
    assert_eq!((&last["unexplained"], &last["views"]["planted"]["equal"]), (&0.into(), &56.into()), "{last}");

    world.tamper().await;
    world.append(30..32).await;
    world.run().await;
    // The version that this run published is compared without being asked.
    let last = world.compared(2).await;
    assert_eq!(last["unexplained"], 1, "{last}");
    assert_eq!(world.metric("tideline_agreement_unexplained_panes", None), Some(1.0));
    assert_eq!(world.metric("tideline_agreement_panes_total", Some("unexplained")), Some(1.0));

    let (base, shutdown, server) = world.listen().await;
    let output = verify(world.folder.path(), &["--url", &base]).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("DISAGREE on version 2: 1 differences"), "{said}");
    assert!(
        said.contains("unexplained (A) at 2024-03-01T00:00:00Z") && said.contains("speed has 6, batch has 1"),
        "{said}"
    );
    let status = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_tideline")).args(["status", "--url", &base]).output().unwrap()
    });
    let status = status.await.unwrap();
    let said = text(&status.stdout);
    assert!(said.contains("feed/0") && said.contains("THE LAYERS DISAGREE: version 2"), "{status:?}");
    shutdown.cancel();
    server.await.unwrap().unwrap();

    // Without the server: the same verdict from the folder.
    let World { folder, platform, router, config, .. } = world;
    drop((router, config));
    platform.stop().await;
    let output = verify(folder.path(), &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("DISAGREE on version 2"), "{output:?}");
}
