//! The keyspace and its tables as the server has them: what is there, what is missing, what is another.

use std::collections::HashSet;

use scylla::client::session::Session;
use tideline_common::ports::{PortError, PortResult};

use super::ScyllaConfig;
use super::connection::{change_schema, prepare, select};
use super::names::quoted;
use super::schema::{self, Table};
use super::types::{CellReader, Values};

/// The names that a query of the server's own tables answers with.
async fn names(session: &Session, config: &ScyllaConfig, cql: &str, of: &[&str]) -> PortResult<HashSet<String>> {
    let statement = prepare(session, cql.to_owned(), config.page_rows).await?;
    let mut values = Values::new();
    for text in of {
        values.text(text);
    }
    let mut names = HashSet::new();
    select(session, &statement, &values, &mut |cells| {
        names.extend(CellReader::new(cells).text()?.map(str::to_owned));
        Ok(())
    })
    .await?;
    Ok(names)
}

/// Names of the tables in the keyspace.
pub(super) async fn existing(session: &Session, config: &ScyllaConfig) -> PortResult<HashSet<String>> {
    let cql = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    names(session, config, cql, &[&config.keyspace]).await
}

/// Columns that a table had and that were dropped, whether or not they were added again.
async fn dropped_columns(session: &Session, config: &ScyllaConfig, table: &Table) -> PortResult<HashSet<String>> {
    let cql = "SELECT column_name FROM system_schema.dropped_columns WHERE keyspace_name = ? AND table_name = ?";
    names(session, config, cql, &[&config.keyspace, &table.name]).await
}

/// Creates the keyspace and Tideline's own tables where they are missing.
pub(super) async fn bootstrap(session: &Session, config: &ScyllaConfig) -> PortResult<()> {
    let there = existing(session, config).await?;
    if there.is_empty() {
        change_schema(session, schema::create_keyspace(config)).await?;
    }
    create(session, config, &schema::own_tables()).await
}

/// Creates tables that are missing, adds columns that are missing, and refuses tables that are others.
pub(super) async fn create(session: &Session, config: &ScyllaConfig, tables: &[Table]) -> PortResult<()> {
    let there = existing(session, config).await?;
    for table in tables {
        if !there.contains(&table.name) {
            change_schema(session, table.create(&config.keyspace)).await?;
        }
        check(session, config, table).await?;
    }
    Ok(())
}

/// Compares a table with what it should be, and adds columns that it lacks.
async fn check(session: &Session, config: &ScyllaConfig, table: &Table) -> PortResult<()> {
    let cql = "SELECT column_name, kind, position, type FROM system_schema.columns \
               WHERE keyspace_name = ? AND table_name = ?";
    let statement = prepare(session, cql.to_owned(), config.page_rows).await?;
    let mut values = Values::new();
    values.text(&config.keyspace);
    values.text(&table.name);
    let mut columns: Vec<(String, String, i32, String)> = Vec::new();
    select(session, &statement, &values, &mut |cells| {
        let mut reader = CellReader::new(cells);
        let (name, kind) = (reader.text()?.unwrap_or_default(), reader.text()?.unwrap_or_default());
        columns.push((
            name.into(),
            kind.into(),
            reader.int()?.unwrap_or(-1),
            reader.text()?.unwrap_or_default().into(),
        ));
        Ok(())
    })
    .await?;
    let other = |reason: String| {
        let what = format!("table {}", table.path(&config.keyspace));
        Err(PortError::invalid(what, format!("{reason}; drop or rename it, then run `tideline migrate`")))
    };
    let mut of_key: Vec<_> = columns.iter().filter(|c| c.1 == "partition_key" || c.1 == "clustering").collect();
    of_key.sort_by_key(|c| (c.1 != "partition_key", c.2));
    let found: Vec<String> = of_key.iter().map(|c| format!("{} {}", c.0, c.3)).collect();
    let expected: Vec<String> = table.key_columns().map(|c| format!("{} {}", c.name, c.ty.name())).collect();
    let partitions = of_key.iter().filter(|c| c.1 == "partition_key").count();
    if found != expected || partitions != table.partition.len() {
        return other(format!("its primary key is ({}) instead of ({})", found.join(", "), expected.join(", ")));
    }
    let dropped = dropped_columns(session, config, table).await?;
    if let Some(column) = table.regular.iter().find(|column| dropped.contains(&column.name)) {
        // The server hides cells whose timestamp is before the drop, whenever they are written, and those of a row of
        // states are as old as its pane.
        return other(format!(
            "its column {} was dropped once, and a server hides older rows of it for good",
            column.name
        ));
    }
    for (column, is_static) in
        table.regular.iter().map(|c| (c, false)).chain(table.partition_wide.iter().map(|c| (c, true)))
    {
        match columns.iter().find(|c| c.0 == column.name) {
            Some((_, _, _, ty)) if ty == column.ty.name() => {}
            Some((_, _, _, ty)) => {
                return other(format!("its column {} is of type {ty} instead of {}", column.name, column.ty.name()));
            }
            None => {
                let (path, name) = (table.path(&config.keyspace), quoted(&column.name));
                let end = if is_static { " STATIC" } else { "" };
                change_schema(session, format!("ALTER TABLE {path} ADD {name} {}{end}", column.ty.name())).await?;
            }
        }
    }
    Ok(())
}
