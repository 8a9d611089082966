//! `tideline plan FILE`: what a definition becomes.

use std::path::PathBuf;

use clap::Args;
use tideline_batch::sql::silver_to_gold;
use tideline_stores::analytics::clickhouse;
use tideline_stores::views::scylla::{ScyllaConfig, ddl as cql};

use crate::command::print;
use crate::config::Config;
use crate::{catalog, models};

/// Shows panes, states with their merge rules, tables and the SQL of each layer.
#[derive(Debug, Args)]
pub struct Plan {
    /// The definition.
    file: PathBuf,
    /// Configuration, which names models; ./tideline.toml if there is one.
    #[arg(long, env = "TIDELINE_CONFIG")]
    config: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Plan {
    /// Prints the plan.
    ///
    /// # Errors
    /// Every mistake of the definition.
    pub fn run(self) -> anyhow::Result<()> {
        models::install(&Config::load(self.config.as_deref(), std::env::vars())?);
        let plan = catalog::load_file(&self.file)?;
        if self.json {
            let text = serde_json::to_string_pretty(&plan)?;
            return print(|out| writeln!(out, "{text}"));
        }
        let text = format!("{}{}", plan.explain(), layers(&plan));
        print(|out| writeln!(out, "{}", text.trim_end()))
    }
}

/// What the servers get of it: tables of the speed views, tables of what batch publishes, and Silver to Gold as SQL.
fn layers(plan: &tideline_common::plan::Plan) -> String {
    let mut text = String::new();
    let mut add = |heading: &str, statements: &[String]| {
        text.extend(["\n-- ", heading, "\n"]);
        for statement in statements {
            text.push_str(statement.trim_end().trim_end_matches(';'));
            text.push_str(";\n");
        }
    };
    add("speed views: CQL", &cql(plan, &ScyllaConfig::default()));
    add("analytics: ClickHouse", &clickhouse::ddl(plan));
    for view in &plan.views {
        match silver_to_gold(plan, view) {
            Ok(sql) => add(&format!("Silver to Gold of {}: ClickHouse", view.name), &[sql]),
            Err(why) => add(&format!("Silver to Gold of {}: Polars, as ClickHouse cannot: {why}", view.name), &[]),
        }
    }
    text
}
