//! Names of tables and columns: those of the definition wherever CQL lets them be.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

/// Characters of a table's name that every server takes.
const TABLE_MAX: usize = 48;

/// Characters that the name of a table adds to its stem, at most: `_by_pane`.
const SUFFIX_MAX: usize = 8;

/// Words of CQL that are no names unless they are quoted: those that Cassandra or Scylla reserve.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "cast",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "scylla_clustering_bound",
    "scylla_counter_shard_list",
    "scylla_timeuuid_list_index",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "vector",
    "view",
    "where",
    "with",
];

/// A name as CQL text: quoted where it has to be.
pub(super) fn quoted(name: &str) -> String {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let plain = first && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && RESERVED.binary_search(&name).is_err() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A text of CQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What the names of the tables of something begin with: its own name for the first version, `_v2` and so on behind
/// it for later ones. A name that is too long is cut, with a hash behind it.
pub(super) fn stem(name: &str, number: u32) -> String {
    let suffix = if number == 1 { String::new() } else { format!("_v{number}") };
    let room = TABLE_MAX - SUFFIX_MAX - suffix.len();
    if name.len() <= room {
        return format!("{name}{suffix}");
    }
    let front = &name[..name.floor_char_boundary(room - 9)];
    format!("{front}_{:08x}{suffix}", xxh3_64(name.as_bytes()) as u32)
}

/// Gives the columns of one table names that differ.
#[derive(Debug, Default)]
pub(super) struct Columns {
    taken: HashSet<String>,
}

impl Columns {
    /// `name`, with `_` behind it while another column has it.
    pub(super) fn claim(&mut self, name: &str) -> String {
        let mut name = name.to_owned();
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_needed() {
        assert!(RESERVED.is_sorted());
        for name in ["symbol", "a1_b", "timestamp", "key"] {
            assert_eq!(quoted(name), name);
        }
        for name in ["order", "Symbol", "token", "_x", "1a", "é"] {
            assert_eq!(quoted(name), format!("\"{name}\""));
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn stems_fit_and_differ() {
        assert_eq!(stem("tweets", 1), "tweets");
        assert_eq!(stem("tweets", 2), "tweets_v2");
        let (long, other) = ("x".repeat(128), format!("{}y", "x".repeat(127)));
        let stems: HashSet<String> =
            [&long, &other].into_iter().flat_map(|name| [1, 2, 10, 4_000_000_000].map(|n| stem(name, n))).collect();
        assert_eq!(stems.len(), 8);
        assert!(stems.iter().all(|stem| stem.len() + SUFFIX_MAX <= TABLE_MAX), "{stems:?}");
    }

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let mut columns = Columns::default();
        assert_eq!(
            ["shard", "shard", "shard_", "x"].map(|name| columns.claim(name)),
            ["shard", "shard_", "shard__", "x"]
        );
    }
}
