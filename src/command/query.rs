//! `tideline query VIEW` and `tideline top VIEW`: answers of a view.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value as Json;

use crate::client::{Client, Token, escape};
use crate::command::print;
use crate::config::Config;
use crate::output::{Format, Rows};

/// Which server.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Base URL of the server; by default where the configuration says that it listens.
    #[arg(long, env = "TIDELINE_URL")]
    url: Option<String>,
    /// Configuration.
    #[arg(long, env = "TIDELINE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    token: Token,
}

impl Server {
    /// The base URL.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let config = Config::load(self.config.as_deref(), std::env::vars())?;
        Ok(config.serve.url())
    }

    /// A client of it.
    ///
    /// # Errors
    /// A configuration that cannot be read, and a token that is none.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::remote(&self.url()?, &self.token)
    }
}

/// Prints the rows of a view.
#[derive(Debug, Args)]
pub struct Query {
    /// View.
    view: String,
    /// Key, its columns joined by commas; all keys when absent.
    #[arg(long)]
    key: Option<String>,
    /// First window start.
    #[arg(long)]
    from: Option<String>,
    /// Window starts before this.
    #[arg(long)]
    to: Option<String>,
    /// Window size, any multiple of the pane; that of the definition when absent.
    #[arg(long)]
    window: Option<String>,
    /// Distance between windows; that of the definition when absent.
    #[arg(long)]
    slide: Option<String>,
    /// merged, speed or batch.
    #[arg(long, default_value = "merged", value_parser = ["merged", "speed", "batch"])]
    layer: String,
    /// Rows at most; all when absent.
    #[arg(long)]
    limit: Option<usize>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: Server,
}

/// Rows of one request.
const PAGE: usize = 10_000;

impl Query {
    /// Prints the rows, page by page.
    ///
    /// # Errors
    /// No server, or its problem.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let path = format!("/v1/views/{}/rows", escape(&self.view));
        let mut parameters = vec![("layer", self.layer.clone())];
        for (name, value) in [
            ("key", &self.key),
            ("from", &self.from),
            ("to", &self.to),
            ("window", &self.window),
            ("slide", &self.slide),
        ] {
            parameters.extend(value.clone().map(|value| (name, value)));
        }
        let mut rows: Vec<Json> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let wanted = self.limit.map_or(PAGE, |limit| (limit - rows.len()).min(PAGE));
            if wanted == 0 {
                break;
            }
            let mut query = parameters.clone();
            query.push(("limit", wanted.to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut answer = client.get(&path, &query).await?;
            if let Some(missing) = answer["provenance"]["missing"].as_array().filter(|missing| !missing.is_empty()) {
                eprintln!("warning: the answer is partial, missing: {}", Json::from(missing.clone()));
            }
            if let Json::Array(page) = answer["rows"].take() {
                rows.extend(page);
            }
            match answer["cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        print(|out| Rows::of_objects(&rows).write(self.format, out))
    }
}

/// Prints the leaders of a view.
#[derive(Debug, Args)]
pub struct Top {
    /// View.
    view: String,
    /// Column to rank by; the first ranking of the definition when absent.
    #[arg(long)]
    by: Option<String>,
    /// Rows at most.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Window size; that of the definition when absent.
    #[arg(long)]
    window: Option<String>,
    /// End of the window, or `complete` for the newest that has ended; that of the newest data when absent.
    #[arg(long)]
    at: Option<String>,
    /// Also show what ranked each key in the window one slide before, and the direction since.
    #[arg(long)]
    previous: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: Server,
}

impl Top {
    /// Prints the ranking.
    ///
    /// # Errors
    /// No server, or its problem.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        for (name, value) in [("by", &self.by), ("window", &self.window), ("at", &self.at)] {
            query.extend(value.clone().map(|value| (name, value)));
        }
        if self.previous {
            query.push(("previous", "true".to_owned()));
        }
        let answer = client.get(&format!("/v1/views/{}/top", escape(&self.view)), &query).await?;
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        print(|out| Rows::of_objects(&rows).write(self.format, out))
    }
}
