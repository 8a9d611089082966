//! The tables: their columns, and the CQL that creates them.

use std::fmt::Write as _;

use tideline_common::plan::{Field, Plan};
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_common::state::{Rule, StateField};
use tideline_common::time::Span;
use tideline_common::value::Type;

use super::ScyllaConfig;
use super::names::{self, Columns, quoted};
use super::types::{CqlType, cells_of};

/// Longest time to live that every server takes: Cassandra 4 knows no time after January 2038. What is to be kept
/// longer is kept for ever.
const TTL_MAX: Span = Span(Span::DAY.0 * 3_650);

/// Tombstones may go after a day: servers that were away for longer must be repaired before. What a tombstone that
/// went too early would bring back are rows past their time or beyond a limit, which no answer has anyway.
const GC_GRACE_SECONDS: u32 = 86_400;

/// Seconds to live of a row; `None`: for ever.
pub(super) fn ttl_seconds(ttl: Option<Span>) -> Option<i32> {
    ttl.filter(|ttl| *ttl <= TTL_MAX).map(|ttl| (ttl.0.div_euclid(1_000_000) + 1) as i32)
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ty: CqlType,
}

impl Column {
    fn new(name: impl Into<String>, ty: CqlType) -> Self {
        Self { name: name.into(), ty }
    }
}

/// How the files of a table are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// As the server likes.
    Any,
    /// By windows of event time, which are dropped whole when their rows are over.
    Windows(Option<Span>),
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) partition: Vec<Column>,
    /// With whether the greatest comes first.
    pub(super) clustering: Vec<(Column, bool)>,
    pub(super) regular: Vec<Column>,
    /// Column that a partition has once.
    pub(super) partition_wide: Option<Column>,
    pub(super) files: Files,
    pub(super) comment: String,
}

impl Table {
    /// With its keyspace, as CQL text.
    pub(super) fn path(&self, keyspace: &str) -> String {
        format!("{}.{}", quoted(keyspace), quoted(&self.name))
    }

    /// The statement that creates it.
    pub(super) fn create(&self, keyspace: &str) -> String {
        let mut cql = format!("CREATE TABLE IF NOT EXISTS {} (\n", self.path(keyspace));
        for column in self.key_columns().chain(&self.regular) {
            let _ = writeln!(cql, "    {} {},", quoted(&column.name), column.ty.name());
        }
        if let Some(column) = &self.partition_wide {
            let _ = writeln!(cql, "    {} {} STATIC,", quoted(&column.name), column.ty.name());
        }
        let list = |columns: &mut dyn Iterator<Item = &Column>| {
            columns.map(|c| quoted(&c.name)).collect::<Vec<_>>().join(", ")
        };
        let _ = write!(cql, "    PRIMARY KEY (({})", list(&mut self.partition.iter()));
        if !self.clustering.is_empty() {
            let _ = write!(cql, ", {}", list(&mut self.clustering.iter().map(|(c, _)| c)));
        }
        cql.push_str(")\n) WITH ");
        if self.clustering.iter().any(|(_, descending)| *descending) {
            let order = |(c, descending): &(Column, bool)| {
                format!("{} {}", quoted(&c.name), if *descending { "DESC" } else { "ASC" })
            };
            let order: Vec<_> = self.clustering.iter().map(order).collect();
            let _ = write!(cql, "CLUSTERING ORDER BY ({})\n    AND ", order.join(", "));
        }
        let _ = write!(cql, "comment = {}", names::literal(&self.comment));
        if let Files::Windows(ttl) = self.files {
            let days = ttl.map_or(30, |ttl| (ttl.0 / Span::DAY.0 / 30).max(1));
            let _ = write!(
                cql,
                "\n    AND compaction = {{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', \
                 'compaction_window_size': '{days}'}}",
            );
            if let Some(seconds) = ttl_seconds(ttl) {
                let _ = write!(cql, "\n    AND default_time_to_live = {seconds}");
            }
        }
        let _ = write!(cql, "\n    AND gc_grace_seconds = {GC_GRACE_SECONDS}");
        cql
    }

    /// Columns of the primary key, in its order.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.partition.iter().chain(self.clustering.iter().map(|(c, _)| c))
    }

    /// An `INSERT` of all columns, in the order of the table; the markers of `using` come last.
    pub(super) fn insert(&self, keyspace: &str, using: &str) -> String {
        let names: Vec<_> = self.key_columns().chain(&self.regular).map(|c| quoted(&c.name)).collect();
        let markers = vec!["?"; names.len()].join(", ");
        format!("INSERT INTO {} ({}) VALUES ({markers}){using}", self.path(keyspace), names.join(", "))
    }
}

/// `name type` of a definition, in a line of a comment.
fn what(kind: &str, name: &str, version: &str) -> String {
    format!("{kind} {name}, version {version}")
}

/// The tables of a version of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ViewTables {
    /// `<view>_panes`: by key, the newest pane first.
    pub(super) panes: Table,
    /// `<view>_by_pane`: by pane and shard, in the order of keys.
    pub(super) by_pane: Table,
    /// `<view>_late`: late counts, by pane and shard.
    pub(super) late: Table,
}

/// Key columns under the names that a table gives them.
fn key_columns(columns: &mut Columns, key: &[Field]) -> Vec<Column> {
    key.iter().map(|field| Column::new(columns.claim(&field.name), CqlType::of(field.ty))).collect()
}

/// Partition columns of a key: a server wants one at least.
fn partition_columns(columns: &mut Columns, key: &[Field]) -> Vec<Column> {
    if key.is_empty() {
        return vec![Column::new(columns.claim("all_keys"), CqlType::Boolean)];
    }
    key_columns(columns, key)
}

/// The columns of a value: a time takes two.
fn value_columns(columns: &mut Columns, name: &str, ty: Type, out: &mut Vec<Column>) {
    let name = columns.claim(name);
    out.push(Column::new(name.clone(), CqlType::of(ty)));
    if cells_of(ty) == 2 {
        out.push(Column::new(columns.claim(&format!("{name}_us")), CqlType::Smallint));
    }
}

/// The columns of states, in the order in which they are bound.
fn state_columns(columns: &mut Columns, fields: &[StateField]) -> Vec<Column> {
    let mut out = Vec::new();
    for field in fields {
        match field.rule {
            Rule::MapSum | Rule::MapMax => {
                let ty = if field.ty == Type::Int { CqlType::IntMap } else { CqlType::TextMap };
                out.push(Column::new(columns.claim(&field.name), ty));
            }
            Rule::First | Rule::Last => {
                value_columns(columns, &field.name, field.ty, &mut out);
                value_columns(columns, &format!("{}_time", field.name), Type::Timestamp, &mut out);
                out.push(Column::new(columns.claim(&format!("{}_sequence", field.name)), CqlType::Bigint));
            }
            Rule::Sum | Rule::Min | Rule::Max => value_columns(columns, &field.name, field.ty, &mut out),
        }
    }
    out
}

impl ViewTables {
    pub(super) fn new(stem: &str, view: &ViewSchema) -> Self {
        let what = what("view", &view.name, &view.version);
        let files = Files::Windows(view.ttl);
        // Columns of the definition have the first choice.
        let of = |by_key: bool, fields: &[StateField]| {
            let mut columns = Columns::default();
            let key =
                if by_key { partition_columns(&mut columns, &view.key) } else { key_columns(&mut columns, &view.key) };
            let states = state_columns(&mut columns, fields);
            let ours = ["pane_start", "shard", "key", "written_at", "nulls"].map(|name| columns.claim(name));
            let types = [CqlType::Timestamp, CqlType::Text, CqlType::Blob, CqlType::Timestamp, CqlType::Blob];
            let mut ours = ours.into_iter().zip(types).map(|(name, ty)| Column { name, ty });
            let mut next = || ours.next().unwrap_or_else(|| Column::new("", CqlType::Blob));
            let (pane, shard, exact) = (next(), next(), next());
            let regular: Vec<_> = states.into_iter().chain([next(), next()]).collect();
            if by_key {
                (key, vec![(pane, true), (shard, false), (exact, false)], regular)
            } else {
                (vec![pane, shard], vec![(exact, false)], key.into_iter().chain(regular).collect())
            }
        };
        let table = |suffix: &str, comment: &str, (partition, clustering, regular)| Table {
            name: format!("{stem}{suffix}"),
            partition,
            clustering,
            regular,
            partition_wide: None,
            files,
            comment: format!("{what}: {comment}"),
        };
        Self {
            panes: table("_panes", "states of each key, newest pane first", of(true, &view.fields)),
            by_pane: table("_by_pane", "states of each pane and shard, by key", of(false, &view.fields)),
            late: table("_late", "rows that came too late, by pane and shard", of(false, &super::late_fields())),
        }
    }

    pub(super) fn all(self) -> Vec<Table> {
        vec![self.panes, self.by_pane, self.late]
    }
}

/// The table of a version of a lookup.
pub(super) fn lookup_table(stem: &str, lookup: &LookupSchema) -> Table {
    let mut columns = Columns::default();
    let partition = partition_columns(&mut columns, &lookup.key);
    let mut regular = Vec::new();
    for field in &lookup.columns {
        value_columns(&mut columns, &field.name, field.ty, &mut regular);
    }
    let mut time = Vec::new();
    value_columns(&mut columns, "event_time", Type::Timestamp, &mut time);
    let mut clustering: Vec<_> = time.into_iter().map(|column| (column, true)).collect();
    clustering.push((Column::new(columns.claim("sequence"), CqlType::Bigint), true));
    clustering.push((Column::new(columns.claim("ordinal"), CqlType::Int), true));
    clustering.push((Column::new(columns.claim("key"), CqlType::Blob), false));
    regular.push(Column::new(columns.claim("written_at"), CqlType::Timestamp));
    let what = what("lookup", &lookup.name, &lookup.version);
    let comment = format!("{what}: the newest {} rows of each key, newest first", lookup.limit);
    Table {
        name: stem.to_owned(),
        partition,
        clustering,
        regular,
        partition_wide: None,
        files: Files::Windows(lookup.ttl),
        comment,
    }
}

/// Names of the tables of a view or lookup with this stem.
pub(super) fn table_names(is_view: bool, stem: &str) -> Vec<String> {
    if is_view {
        ["_panes", "_by_pane", "_late"].map(|suffix| format!("{stem}{suffix}")).to_vec()
    } else {
        vec![stem.to_owned()]
    }
}

/// The tables that every keyspace has.
pub(super) fn own_tables() -> Vec<Table> {
    use CqlType::{Bigint, Int, Smallint, Text, Timestamp};
    let columns = |list: &[(&str, CqlType)]| list.iter().map(|(name, ty)| Column::new(*name, *ty)).collect::<Vec<_>>();
    let table =
        |name: &str, comment: &str, partition: &[(&str, CqlType)], clustering: &[(&str, CqlType)], regular| Table {
            name: name.to_owned(),
            partition: columns(partition),
            clustering: columns(clustering).into_iter().map(|c| (c, false)).collect(),
            regular: columns(regular),
            partition_wide: None,
            files: Files::Any,
            comment: comment.to_owned(),
        };
    let scope: &[(&str, CqlType)] = &[("scope", Text)];
    let mut claims = table(
        "tideline_tables",
        "which version of a view or lookup has the tables of which stem; changed by compare and set alone",
        scope,
        &[("stem", Text)],
        &[("kind", Text), ("name", Text), ("version", Text), ("state", Text)],
    );
    claims.partition_wide = Some(Column::new("generation", Int));
    let mut panes = table(
        "tideline_panes",
        "pane starts of each table, and the shards with rows there; newest first",
        &[("table_name", Text)],
        &[("pane_start", Timestamp), ("shard", Text)],
        &[("written_at", Timestamp)],
    );
    panes.clustering[0].1 = true;
    vec![
        claims,
        table("tideline_usage", "when tables were last used", scope, &[("stem", Text)], &[("used_at", Timestamp)]),
        table(
            "tideline_lock",
            "who changes the schema now; expires by itself",
            &[("name", Text)],
            &[],
            &[("owner", Text)],
        ),
        panes,
        table(
            "tideline_progress",
            "how far each shard has come, as of its rows",
            scope,
            &[("source", Text), ("partition", Int)],
            &[
                ("position", Bigint),
                ("highest", Timestamp),
                ("highest_us", Smallint),
                ("last_appended", Timestamp),
                ("last_appended_us", Smallint),
                ("written_at", Timestamp),
                ("written_at_us", Smallint),
                ("records", Bigint),
                ("rejected", Bigint),
                ("duplicates", Bigint),
                ("late", Bigint),
                ("version", Text),
            ],
        ),
    ]
}

/// The statement that creates the keyspace.
pub(super) fn create_keyspace(config: &ScyllaConfig) -> String {
    let replication = match &config.datacenter {
        Some(datacenter) => format!(
            "{{'class': 'NetworkTopologyStrategy', {}: '{}'}}",
            names::literal(datacenter),
            config.replication_factor
        ),
        None => {
            format!("{{'class': 'NetworkTopologyStrategy', 'replication_factor': '{}'}}", config.replication_factor)
        }
    };
    format!("CREATE KEYSPACE IF NOT EXISTS {}\n    WITH replication = {replication}", quoted(&config.keyspace))
}

/// The statements that create what `plan` needs in an empty cluster, each ready to be run: the keyspace, Tideline's own
/// tables, and those of the first version of every view and lookup.
pub fn ddl(plan: &Plan, config: &ScyllaConfig) -> Vec<String> {
    let mut tables = own_tables();
    for view in &plan.views {
        tables.extend(ViewTables::new(&names::stem(&view.name, 1), &view.into()).all());
    }
    for lookup in &plan.lookups {
        tables.push(lookup_table(&names::stem(&lookup.name, 1), &lookup.into()));
    }
    std::iter::once(create_keyspace(config)).chain(tables.iter().map(|table| table.create(&config.keyspace))).collect()
}

#[cfg(test)]
mod tests {
    use tideline_common::state::Input;

    use super::*;

    #[test]
    fn columns_of_a_definition_keep_their_names() {
        let field = |name: &str| StateField {
            name: name.to_owned(),
            rule: Rule::Last,
            ty: Type::Timestamp,
            input: Input::Value,
            table: "t".to_owned(),
            argument: None,
        };
        let view = ViewSchema {
            name: "v".to_owned(),
            version: "1".to_owned(),
            key: vec![Field { name: "shard".to_owned(), ty: Type::String }],
            fields: vec![field("Order")],
            pane: Span::MINUTE,
            ttl: Some(Span::HOUR),
        };
        let cql = ViewTables::new("v", &view).panes.create("k");
        for line in [
            "    shard text,",
            "    shard_ text,",
            "    \"Order\" timestamp,",
            "    \"Order_us\" smallint,",
            "    \"Order_time\" timestamp,",
            "    \"Order_time_us\" smallint,",
            "    \"Order_sequence\" bigint,",
            "    PRIMARY KEY ((shard), pane_start, shard_, key)",
            ") WITH CLUSTERING ORDER BY (pane_start DESC, shard_ ASC, key ASC)",
            "    AND default_time_to_live = 3601",
        ] {
            assert!(cql.lines().any(|l| l == line), "{line} in {cql}");
        }
    }

    #[test]
    fn windows_grow_with_the_time_to_live() {
        let days = |ttl| {
            let lookup = LookupSchema {
                name: "l".to_owned(),
                version: "1".to_owned(),
                key: Vec::new(),
                columns: Vec::new(),
                limit: 1,
                ttl,
            };
            let cql = lookup_table("l", &lookup).create("k");
            let after = cql.split("'compaction_window_size': '").nth(1).unwrap_or_default().to_owned();
            after.split('\'').next().unwrap_or_default().to_owned()
        };
        assert_eq!(days(Some(Span::HOUR)), "1");
        assert_eq!(days(Some(Span(Span::DAY.0 * 90))), "3");
        assert_eq!(days(None), "30");
        assert_eq!(ttl_seconds(Some(Span(Span::DAY.0 * 36_500))), None);
    }
}
