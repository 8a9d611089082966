//! `tideline status`: how is it going?

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::command::print;
use crate::command::query::Server;
use crate::output::{Format, Rows};

/// Prints how far a running server has come: shards, views, the last batch run, whether the layers agree.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    server: Server,
    /// Print the whole status as JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints the status.
    ///
    /// # Errors
    /// No server.
    pub async fn run(self) -> anyhow::Result<()> {
        let status: Json = self.server.client()?.get("/v1/status", &[]).await?;
        if self.json {
            let text = serde_json::to_string_pretty(&status)?;
            return print(|out| writeln!(out, "{text}"));
        }
        print(|out| write(&status, out))
    }
}

/// A status document of `/v1/status` for people. What a server does not know is a dash.
///
/// # Errors
/// When `out` fails.
pub fn write(status: &Json, out: &mut dyn Write) -> io::Result<()> {
    let text = |value: &Json| value.as_str().unwrap_or("-").to_owned();
    writeln!(out, "{} · tideline {} · {}", text(&status["pipeline"]), text(&status["version"]), text(&status["now"]))?;
    writeln!(out)?;
    shards(status).write(Format::Table, out)?;
    // Reasons are sentences: beside the table.
    for shard in status["process"]["shards"].as_array().into_iter().flatten() {
        if let Some(reason) = shard["reason"].as_str() {
            writeln!(out, "{}: {reason}", shard_name(&shard["shard"]))?;
        }
    }
    outputs(status, out)?;
    writeln!(out)?;
    views(status).write(Format::Table, out)?;
    writeln!(out)?;
    let manifest = &status["manifest"];
    match manifest["version"].as_u64() {
        Some(version) => writeln!(out, "published: version {version}, {}", text(&manifest["published_at"]))?,
        None => writeln!(out, "published: nothing yet")?,
    }
    let run = &status["process"]["batch"]["last_run"];
    if run.is_object() {
        let when = run["finished_at"].as_str().map_or("since", |_| "at");
        let at = run["finished_at"].as_str().or(run["started_at"].as_str()).unwrap_or("-");
        write!(out, "last run:  {} {when} {at}", text(&run["state"]))?;
        match run["error"].as_str() {
            Some(error) => writeln!(out, ": {error}")?,
            None => writeln!(out)?,
        }
    } else {
        writeln!(out, "last run:  none since the process started")?;
    }
    writeln!(out, "agreement: {}", agreement(&status["process"]["agreement"]))?;
    connectors(&status["process"]["connectors"], out)
}

/// One row per connector; nothing where the process has none.
fn connectors(status: &Json, out: &mut dyn Write) -> io::Result<()> {
    let all = status.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return Ok(());
    }
    let row = |one: &Json| {
        json!({
            "connector": one["name"],
            "kind": one["kind"],
            "topic": one["topic"],
            "state": one["state"],
            "records": one["records"],
            "filtered": one["filtered"],
            "gaps": one["gaps"],
            "polled_at": one["polled_at"],
        })
    };
    writeln!(out)?;
    named(&all.iter().map(row).collect::<Vec<_>>(), &["connector"]).write(Format::Table, out)?;
    for one in all {
        let name = one["name"].as_str().unwrap_or("-");
        if let Some(error) = one["error"].as_str() {
            writeln!(out, "{name}: {error}")?;
        }
        if let Some(gap) = one["last_gap"].as_str() {
            writeln!(out, "{name}: a gap: {gap}")?;
        }
    }
    Ok(())
}

fn shard_name(shard: &Json) -> String {
    format!("{}/{}", shard["source"].as_str().unwrap_or("-"), shard["partition"])
}

/// One row per shard: what is visible, and, where the process runs the speed layer, how that goes.
fn shards(status: &Json) -> Rows {
    let live = status["process"]["shards"].as_array();
    let seen = status["shards"].as_array();
    let of = |list: Option<&Vec<Json>>, name: &str, shard: &dyn Fn(&Json) -> String| {
        list.into_iter().flatten().find(|one| shard(one) == name).cloned().unwrap_or(Json::Null)
    };
    let flat = |one: &Json| shard_name(one);
    let nested = |one: &Json| shard_name(&one["shard"]);
    let mut names: Vec<String> = live.into_iter().flatten().map(nested).collect();
    names.extend(seen.into_iter().flatten().map(flat));
    names.sort();
    names.dedup();
    let rows: Vec<Json> = names
        .iter()
        .map(|name| {
            let (live, seen) = (of(live, name, &nested), of(seen, name, &flat));
            let either = |field: &str| if live[field].is_null() { seen[field].clone() } else { live[field].clone() };
            json!({
                "shard": name,
                "condition": live["condition"],
                "position": either("position"),
                "lag": live["lag"],
                "records": either("records"),
                "rejected": either("rejected"),
                "duplicates": either("duplicates"),
                "late": either("late"),
                "highest_event_time": seen["highest_event_time"],
            })
        })
        .collect();
    named(&rows, &["shard"])
}

/// One row per output of rows and shard: how far its topic is behind; nothing where there is none.
fn outputs(status: &Json, out: &mut dyn Write) -> io::Result<()> {
    let of = |shard: &Json| -> Vec<Json> {
        let position = shard["position"].as_u64().unwrap_or_default();
        let row = |(output, appended): (&String, &Json)| {
            let waiting = position.saturating_sub(appended.as_u64().unwrap_or_default());
            json!({ "output": output, "shard": shard_name(&shard["shard"]), "appended": appended, "waiting": waiting })
        };
        shard["outputs"].as_object().into_iter().flatten().map(row).collect()
    };
    let rows: Vec<Json> = status["process"]["shards"].as_array().into_iter().flatten().flat_map(of).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    named(&rows, &["output"]).write(Format::Table, out)
}

/// One row per view: how far batch answers, and the newest pane of the speed layer.
fn views(status: &Json) -> Rows {
    let rows: Vec<Json> = status["views"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, view)| {
            json!({
                "view": name,
                "through": view["through"],
                "newest_pane": view["newest_pane"],
                "watermark": status["process"]["watermarks"][name],
            })
        })
        .collect();
    named(&rows, &["view"])
}

/// Rows, with a heading also when there are none.
fn named(rows: &[Json], heading: &[&str]) -> Rows {
    let mut table = Rows::of_objects(rows);
    if table.columns.is_empty() {
        table.columns = heading.iter().map(|name| (*name).to_owned()).collect();
    }
    table
}

/// The last comparison in one line.
fn agreement(last: &Json) -> String {
    let Some(version) = last["version"].as_u64() else {
        return last["failed_at"].as_str().map_or_else(
            || "not compared since the process started".to_owned(),
            |at| format!("could not be compared at {at}; the log says why"),
        );
    };
    let sum = |field: &str| -> u64 {
        last["views"].as_object().into_iter().flatten().filter_map(|(_, view)| view[field].as_u64()).sum()
    };
    let verdict = if last["unexplained"] == 0 { "the layers agree" } else { "THE LAYERS DISAGREE" };
    let again = last["failed_at"].as_str().map(|at| format!("; could not be compared again at {at}"));
    format!(
        "{verdict}: version {version} at {}, {} panes compared, {} equal, {} explained, {} unexplained{}",
        last["at"].as_str().unwrap_or("-"),
        sum("compared"),
        sum("equal"),
        sum("explained"),
        sum("unexplained"),
        again.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(status: &Json) -> String {
        let mut out = Vec::new();
        write(status, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_status_fits_on_a_screen() {
        let view = json!({ "compared": 40, "equal": 38, "explained": 1, "unexplained": 1 });
        let status = json!({
            "pipeline": "trades", "version": "1.0.0", "now": "2026-01-01T12:00:00Z",
            "shards": [{ "source": "feed", "partition": 0, "position": 90, "highest_event_time": "2026-01-01T11:59:00Z" }],
            "manifest": { "version": 7, "published_at": "2026-01-01T11:55:00Z" },
            "views": { "prices": { "through": "2026-01-01T11:50:00Z", "newest_pane": null } },
            "process": {
                "shards": [
                    { "shard": { "source": "feed", "partition": 0 }, "condition": "paused", "reason": "the disk is full",
                      "position": 100, "lag": 3, "records": 100, "rejected": 1, "duplicates": 2, "late": 4 },
                ],
                "watermarks": { "prices": "2026-01-01T11:58:00Z" },
                "batch": { "last_run": { "state": "failed", "started_at": "2026-01-01T11:55:00Z",
                                         "finished_at": "2026-01-01T11:55:09Z", "error": "a gap" } },
                "agreement": { "version": 7, "at": "2026-01-01T11:55:01Z", "unexplained": 1, "views": { "prices": view } },
            },
        });
        insta::assert_snapshot!(written(&status), @r"
        trades · tideline 1.0.0 · 2026-01-01T12:00:00Z

        shard   condition  position  lag  records  rejected  duplicates  late  highest_event_time
        ──────  ─────────  ────────  ───  ───────  ────────  ──────────  ────  ────────────────────
        feed/0  paused          100    3      100         1           2     4  2026-01-01T11:59:00Z
        feed/0: the disk is full

        view    through               newest_pane  watermark
        ──────  ────────────────────  ───────────  ────────────────────
        prices  2026-01-01T11:50:00Z            -  2026-01-01T11:58:00Z

        published: version 7, 2026-01-01T11:55:00Z
        last run:  failed at 2026-01-01T11:55:09Z: a gap
        agreement: THE LAYERS DISAGREE: version 7 at 2026-01-01T11:55:01Z, 40 panes compared, 38 equal, 1 explained, 1 unexplained
        ");
    }

    #[test]
    fn outputs_of_rows_are_shown_with_what_waits() {
        let shard = |partition: u64, position: u64, appended: u64| json!({ "shard": { "source": "feed", "partition": partition }, "position": position, "outputs": { "told": appended } });
        let status = json!({ "process": { "shards": [shard(0, 40, 40), shard(1, 120, 7)] } });
        let mut out = Vec::new();
        outputs(&status, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"

        output  shard   appended  waiting
        ──────  ──────  ────────  ───────
        told    feed/0        40        0
        told    feed/1         7      113
        ");
    }

    #[test]
    fn connectors_are_shown_with_what_is_wrong_with_them() {
        let status = json!([
            { "name": "tmdb", "kind": "tmdb", "topic": "tmdb_stream", "state": "running", "records": 40, "filtered": 0, "gaps": 0,
              "polled_at": "2026-01-01T12:00:00Z", "error": null, "last_gap": null },
            { "name": "posts", "kind": "twitter", "topic": "tweets", "state": "failing", "records": 7, "filtered": 2, "gaps": 1,
              "polled_at": null, "error": "https://api.x.com/2: no answer in time", "last_gap": "a week" },
        ]);
        let mut out = Vec::new();
        connectors(&status, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"

        connector  kind     topic        state    records  filtered  gaps  polled_at
        ─────────  ───────  ───────────  ───────  ───────  ────────  ────  ────────────────────
        tmdb       tmdb     tmdb_stream  running       40         0     0  2026-01-01T12:00:00Z
        posts      twitter  tweets       failing        7         2     1  -
        posts: https://api.x.com/2: no answer in time
        posts: a gap: a week
        ");
    }

    #[test]
    fn a_status_of_nothing_has_dashes() {
        let status = json!({ "pipeline": "trades", "shards": null, "views": {}, "process": {} });
        insta::assert_snapshot!(written(&status), @r"
        trades · tideline - · -

        shard
        ─────

        view
        ────

        published: nothing yet
        last run:  none since the process started
        agreement: not compared since the process started
        ");
    }
}
