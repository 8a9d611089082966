//! Map states: sorted (key, number) pairs per row.

/// A column of maps, each sorted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapColumn {
    /// Keys are bucket or register numbers.
    Int(Vec<Vec<(i32, i64)>>),
    /// Keys are categories.
    Text(Vec<Vec<(Box<str>, i64)>>),
}

impl MapColumn {
    /// Number of rows.
    pub const fn len(&self) -> usize {
        match self {
            Self::Int(rows) => rows.len(),
            Self::Text(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an empty map.
    pub fn push_empty(&mut self) {
        match self {
            Self::Int(rows) => rows.push(Vec::new()),
            Self::Text(rows) => rows.push(Vec::new()),
        }
    }

    /// Merges row `row` of `from` into row `to`, combining the numbers of equal keys. A column of another key
    /// type contributes nothing.
    pub(super) fn merge_row(&mut self, to: usize, from: &Self, row: usize, combine: impl Fn(i64, i64) -> i64) {
        match (self, from) {
            (Self::Int(a), Self::Int(b)) => merge(&mut a[to], &b[row], combine),
            (Self::Text(a), Self::Text(b)) => merge(&mut a[to], &b[row], combine),
            _ => {}
        }
    }

    /// Memory of row `row` beyond its fixed part, in bytes.
    pub(super) fn row_bytes(&self, row: usize) -> usize {
        match self {
            Self::Int(rows) => rows[row].capacity() * 16,
            Self::Text(rows) => rows[row].iter().map(|(k, _)| k.len() + 24).sum(),
        }
    }

    /// Keeps the rows that `keep` names.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        fn of<T>(rows: &mut Vec<T>, keep: &[bool]) {
            let mut flags = keep.iter();
            rows.retain(|_| flags.next().copied().unwrap_or(true));
        }
        match self {
            Self::Int(rows) => of(rows, keep),
            Self::Text(rows) => of(rows, keep),
        }
    }
}

fn merge<K: Ord + Clone>(to: &mut Vec<(K, i64)>, from: &[(K, i64)], combine: impl Fn(i64, i64) -> i64) {
    // Few incoming entries: insert them one by one. Many: one pass over both.
    if to.is_empty() {
        to.extend_from_slice(from);
    } else if from.len() <= 4 {
        for (key, number) in from {
            match to.binary_search_by(|(k, _)| k.cmp(key)) {
                Ok(at) => to[at].1 = combine(to[at].1, *number),
                Err(at) => to.insert(at, (key.clone(), *number)),
            }
        }
    } else {
        let old = std::mem::take(to);
        to.reserve(old.len() + from.len());
        let mut new = from.iter().peekable();
        for (key, number) in old {
            while let Some(entry) = new.next_if(|(k, _)| *k < key) {
                to.push(entry.clone());
            }
            match new.next_if(|(k, _)| *k == key) {
                Some((_, other)) => to.push((key, combine(number, *other))),
                None => to.push((key, number)),
            }
        }
        to.extend(new.cloned());
    }
}
