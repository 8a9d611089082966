//! Map states: sorted (key, number) pairs per row.

/// Bytes of an entry: key and number.
const INT_ENTRY: usize = size_of::<(i32, i64)>();
/// Bytes of an entry without its text.
const TEXT_ENTRY: usize = size_of::<(Box<str>, i64)>();

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

    /// Replaces row `to` by row `row` of `from`. A column of another key type changes nothing.
    pub(super) fn set_row(&mut self, to: usize, from: &Self, row: usize) {
        match (self, from) {
            (Self::Int(a), Self::Int(b)) => a[to].clone_from(&b[row]),
            (Self::Text(a), Self::Text(b)) => a[to].clone_from(&b[row]),
            _ => debug_assert!(false, "maps of two key types"),
        }
    }

    /// Merges row `row` of `from` into row `to`, combining the numbers of equal keys; returns by how many bytes
    /// the row has grown. A column of another key type contributes nothing.
    pub(super) fn merge_row(&mut self, to: usize, from: &Self, row: usize, combine: impl Fn(i64, i64) -> i64) -> usize {
        match (self, from) {
            (Self::Int(a), Self::Int(b)) => {
                let before = a[to].capacity();
                merge(&mut a[to], &b[row], combine, |_| 0);
                // A merge never shrinks.
                (a[to].capacity() - before) * INT_ENTRY
            }
            (Self::Text(a), Self::Text(b)) => merge(&mut a[to], &b[row], combine, |key| key.len() + TEXT_ENTRY),
            _ => 0,
        }
    }

    /// Memory of row `row` beyond its fixed part, in bytes.
    pub(super) fn row_bytes(&self, row: usize) -> usize {
        match self {
            Self::Int(rows) => rows[row].capacity() * INT_ENTRY,
            Self::Text(rows) => rows[row].iter().map(|(k, _)| k.len() + TEXT_ENTRY).sum(),
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

/// Both sides are sorted by key. What is there is combined where it is; what is new moves in from the back, in one
/// pass and without a second buffer. Returns the `size` of all that is new.
fn merge<K: Ord + Clone + Default>(
    to: &mut Vec<(K, i64)>,
    from: &[(K, i64)],
    combine: impl Fn(i64, i64) -> i64,
    size: impl Fn(&K) -> usize,
) -> usize {
    let after_all = match (from.first(), to.last()) {
        (Some((least, _)), Some((greatest, _))) => least > greatest,
        _ => true,
    };
    if after_all {
        to.extend_from_slice(from);
        return from.iter().map(|(key, _)| size(key)).sum();
    }
    // Where the incoming side is much the smaller, look its keys up; else walk along both.
    let search = from.len() * 8 < to.len();
    let (mut missing, mut at, mut bytes) = (0, 0, 0);
    for (key, number) in from {
        if search {
            at += to[at..].partition_point(|(k, _)| k < key);
        } else {
            while to.get(at).is_some_and(|(k, _)| k < key) {
                at += 1;
            }
        }
        match to.get_mut(at) {
            Some((k, own)) if k == key => *own = combine(*own, *number),
            _ => {
                missing += 1;
                bytes += size(key);
            }
        }
    }
    if missing == 0 {
        return bytes;
    }
    // `old` entries are left to place, and their new places end at `end`; between the two there is room for
    // those that are still missing.
    let (mut old, mut new) = (to.len(), from.len());
    to.resize_with(old + missing, Default::default);
    let mut end = to.len();
    while end > old {
        let (key, number) = &from[new - 1];
        match old.checked_sub(1).map(|last| to[last].0.cmp(key)) {
            Some(std::cmp::Ordering::Greater) => {
                to.swap(end - 1, old - 1);
                (old, end) = (old - 1, end - 1);
            }
            Some(std::cmp::Ordering::Equal) => new -= 1,
            _ => {
                to[end - 1] = (key.clone(), *number);
                (new, end) = (new - 1, end - 1);
            }
        }
    }
    bytes
}
