//! The prepared statements over the tables of one version of a view or lookup.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use tideline_common::plan::Field;
use tideline_common::ports::{LookupSchema, PortResult, ViewSchema};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;

use super::ScyllaConfig;
use super::connection::prepare;
use super::names::quoted;
use super::schema::{self, Table, ViewTables};

/// Entries of the memory of what was written before it is cleared: memory stays bounded, and something is written
/// again.
const REMEMBERED_MAX: usize = 100_000;

/// When something was written last, by name.
#[derive(Debug)]
pub(super) struct Remembered<K>(Mutex<HashMap<K, Timestamp>>);

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: std::hash::Hash + Eq> Remembered<K> {
    /// Whether `key` was noted less than `span` before `now`.
    pub(super) fn is_recent(&self, key: &K, now: Timestamp, span: Span) -> bool {
        self.0.lock().get(key).is_some_and(|at| now.since(*at) < span)
    }

    pub(super) fn note(&self, key: K, now: Timestamp) {
        let mut map = self.0.lock();
        if map.len() >= REMEMBERED_MAX {
            map.clear();
        }
        let at = map.entry(key).or_insert(now);
        *at = (*at).max(now);
    }
}

/// When the use of tables was noted last, in µs.
#[derive(Debug)]
pub(super) struct LastUse(AtomicI64);

impl Default for LastUse {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl LastUse {
    /// Whether it is time to note it again; then it counts as noted.
    pub(super) fn is_due(&self, now: Timestamp, drop_after: Span) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let due = Timestamp(last).plus(Span(drop_after.0 / 10));
        (last == i64::MIN || (now > Timestamp(last) && now >= due))
            && self.0.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A table of states by pane and shard: those of a view, or its late counts.
pub(super) struct PaneTable {
    /// Its name in the list of panes.
    pub(super) name: String,
    pub(super) insert: PreparedStatement,
    /// Keys and states of (pane, shard).
    pub(super) select: PreparedStatement,
    /// After a key.
    pub(super) select_after: PreparedStatement,
    /// Of one key.
    pub(super) select_key: PreparedStatement,
    /// When the rows of (pane, shard) were written.
    pub(super) select_written: PreparedStatement,
    /// (pane, shard) → when it was put on the list of panes.
    pub(super) listed: Remembered<(Timestamp, String)>,
}

impl PaneTable {
    async fn prepare(session: &Session, config: &ScyllaConfig, table: Table) -> PortResult<Self> {
        let path = table.path(&config.keyspace);
        let statement = |cql: String| prepare(session, cql, config.page_rows);
        let columns: Vec<String> = table.regular.iter().map(|column| quoted(&column.name)).collect();
        let (pane, shard) = (quoted(&table.partition[0].name), quoted(&table.partition[1].name));
        let key = quoted(&table.clustering[0].0.name);
        let written = quoted(&table.regular[table.regular.len() - 2].name);
        let of_pane = format!("FROM {path} WHERE {pane} = ? AND {shard} = ?");
        let select = format!("SELECT {key}, {} {of_pane}", columns.join(", "));
        Ok(Self {
            insert: statement(table.insert(&config.keyspace, " USING TTL ? AND TIMESTAMP ?")).await?,
            select: statement(select.clone()).await?,
            select_after: statement(format!("{select} AND {key} > ?")).await?,
            select_key: statement(format!("{select} AND {key} = ?")).await?,
            select_written: statement(format!("SELECT {written} {of_pane}")).await?,
            name: table.name,
            listed: Remembered::default(),
        })
    }
}

/// Statements of a view.
pub(super) struct ViewStatements {
    pub(super) stem: String,
    pub(super) key: Vec<Type>,
    pub(super) insert_panes: PreparedStatement,
    /// Panes of a key in [from, to), the newest first.
    pub(super) select_panes: PreparedStatement,
    pub(super) by_pane: PaneTable,
    pub(super) late: PaneTable,
    pub(super) last_use: LastUse,
}

fn types(key: &[Field]) -> Vec<Type> {
    key.iter().map(|field| field.ty).collect()
}

/// `a = ? AND b = ?` over the partition columns.
fn of_partition(table: &Table) -> String {
    let equal: Vec<_> = table.partition.iter().map(|column| format!("{} = ?", quoted(&column.name))).collect();
    equal.join(" AND ")
}

impl ViewStatements {
    pub(super) async fn prepare(
        session: &Session,
        config: &ScyllaConfig,
        stem: &str,
        view: &ViewSchema,
    ) -> PortResult<Self> {
        let tables = ViewTables::new(stem, view);
        let panes = &tables.panes;
        let columns: Vec<String> = panes.regular.iter().map(|column| quoted(&column.name)).collect();
        let [pane, shard, key] = [0, 1, 2].map(|at| quoted(&panes.clustering[at].0.name));
        let select = format!(
            "SELECT {pane}, {shard}, {key}, {} FROM {} WHERE {} AND {pane} >= ? AND {pane} < ?",
            columns.join(", "),
            panes.path(&config.keyspace),
            of_partition(panes),
        );
        let insert = panes.insert(&config.keyspace, " USING TTL ? AND TIMESTAMP ?");
        Ok(Self {
            stem: stem.to_owned(),
            key: types(&view.key),
            insert_panes: prepare(session, insert, config.page_rows).await?,
            select_panes: prepare(session, select, config.page_rows).await?,
            by_pane: PaneTable::prepare(session, config, tables.by_pane).await?,
            late: PaneTable::prepare(session, config, tables.late).await?,
            last_use: LastUse::default(),
        })
    }
}

/// Statements of a lookup.
pub(super) struct LookupStatements {
    pub(super) stem: String,
    pub(super) key: Vec<Type>,
    pub(super) insert: PreparedStatement,
    /// Rows of a key, the newest first.
    pub(super) select: PreparedStatement,
    /// Times of the rows of a key, the newest first.
    pub(super) select_times: PreparedStatement,
    /// Deletes the rows of a key before a time.
    pub(super) delete_before: PreparedStatement,
    pub(super) last_use: LastUse,
    /// Rows written since the key was last trimmed.
    pub(super) written: Mutex<HashMap<Vec<u8>, usize>>,
}

impl LookupStatements {
    pub(super) async fn prepare(
        session: &Session,
        config: &ScyllaConfig,
        stem: &str,
        lookup: &LookupSchema,
    ) -> PortResult<Self> {
        let table = schema::lookup_table(stem, lookup);
        let path = table.path(&config.keyspace);
        let statement = |cql: String| prepare(session, cql, config.page_rows);
        let columns: Vec<_> =
            table.clustering.iter().map(|(c, _)| c).chain(&table.regular).map(|c| quoted(&c.name)).collect();
        let of_key = format!("FROM {path} WHERE {}", of_partition(&table));
        let time = quoted(&table.clustering[0].0.name);
        Ok(Self {
            stem: stem.to_owned(),
            key: types(&lookup.key),
            insert: statement(table.insert(&config.keyspace, " USING TTL ? AND TIMESTAMP ?")).await?,
            select: statement(format!("SELECT {} {of_key}", columns.join(", "))).await?,
            select_times: statement(format!("SELECT {time} {of_key}")).await?,
            delete_before: statement(format!(
                "DELETE FROM {path} USING TIMESTAMP ? WHERE {} AND {time} < ?",
                of_partition(&table)
            ))
            .await?,
            last_use: LastUse::default(),
            written: Mutex::new(HashMap::new()),
        })
    }
}

/// Statements of whatever has tables. They live behind one `Arc` each: their size does not matter.
#[allow(clippy::large_enum_variant)]
pub(super) enum Statements {
    View(ViewStatements),
    Lookup(LookupStatements),
}

impl Statements {
    /// The stem, and when its use was noted.
    pub(super) const fn usage(&self) -> (&String, &LastUse) {
        match self {
            Self::View(view) => (&view.stem, &view.last_use),
            Self::Lookup(lookup) => (&lookup.stem, &lookup.last_use),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_noted_now_and_then() {
        let last = LastUse::default();
        let due = |at| last.is_due(Timestamp(at), Span(100));
        assert_eq!([0, 0, 9, 10, 10, 19, 25].map(due), [true, false, false, true, false, false, true]);
    }

    #[test]
    fn memory_of_what_was_written_is_bounded() {
        let remembered = Remembered::default();
        for key in 0..=2 * REMEMBERED_MAX {
            remembered.note(key, Timestamp(5));
        }
        assert!(remembered.0.lock().len() <= REMEMBERED_MAX);
        let last = 2 * REMEMBERED_MAX;
        assert!(
            remembered.is_recent(&last, Timestamp(9), Span(5)) && !remembered.is_recent(&last, Timestamp(10), Span(5))
        );
        remembered.note(last, Timestamp(1));
        assert!(remembered.is_recent(&last, Timestamp(9), Span(5)), "it never goes back");
    }
}
