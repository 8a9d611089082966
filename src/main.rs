//! The `tideline` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tideline::command;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One definition file in, a running lambda platform out.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log as JSON, one object a line (also `TIDELINE_LOG_JSON=1`).
    #[arg(long, global = true, env = "TIDELINE_LOG_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(command::up::Up),
    Speed(command::speed::Speed),
    Serve(command::serve::Serve),
    Ingest(command::ingest::Ingest),
    Migrate(command::migrate::Migrate),
    Batch(command::batch::Batch),
    Replay(command::replay::Replay),
    Produce(command::produce::Produce),
    Query(command::query::Query),
    Top(command::query::Top),
    Check(command::check::Check),
    Plan(command::plan::Plan),
    Test(command::test::Test),
    Verify(command::verify::Verify),
    Generate(command::generate::Generate),
    Sql(command::sql::Sql),
    DeadLetters(command::dead_letters::DeadLetters),
    Status(command::status::Status),
    Drift(command::drift::Drift),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two TLS libraries bring a provider each; the process names one. Nobody has set another before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    init_logging(cli.log_json);
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    runtime.block_on(async {
        match command {
            Command::Up(up) => done(up.run().await),
            Command::Speed(speed) => done(speed.run().await),
            Command::Serve(serve) => done(serve.run().await),
            Command::Ingest(ingest) => done(ingest.run().await),
            Command::Migrate(migrate) => done(migrate.run().await),
            Command::Batch(batch) => batch.run().await,
            Command::Replay(replay) => replay.run().await,
            Command::Produce(produce) => done(produce.run().await),
            Command::Query(query) => done(query.run().await),
            Command::Top(top) => done(top.run().await),
            Command::Check(check) => done(check.run()),
            Command::Plan(plan) => done(plan.run()),
            Command::Test(test) => test.run().await,
            Command::Verify(verify) => verify.run().await,
            Command::Generate(generate) => done(generate.run().await),
            Command::Sql(sql) => done(tokio::task::spawn_blocking(move || sql.run()).await?),
            Command::DeadLetters(letters) => done(letters.run().await),
            Command::Status(status) => done(status.run().await),
            Command::Drift(drift) => done(drift.run().await),
        }
    })
}

/// Logs go to standard error; `RUST_LOG` chooses what.
fn init_logging(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("info,polars=warn,fjall=warn,lsm_tree=warn,scylla=error,rdkafka=warn,librdkafka=warn")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).init();
    }
}
