//! `tideline status`: how is it going?

use clap::Args;
use serde_json::Value as Json;

use crate::command::print;
use crate::command::query::Server;

/// Prints the status of a running server.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    server: Server,
}

impl Status {
    /// Prints the status as JSON.
    ///
    /// # Errors
    /// No server.
    pub async fn run(self) -> anyhow::Result<()> {
        let status: Json = self.server.client()?.get("/v1/status", &[]).await?;
        let text = serde_json::to_string_pretty(&status)?;
        print(|out| writeln!(out, "{text}"))
    }
}
