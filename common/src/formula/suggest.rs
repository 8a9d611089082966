//! "Did you mean": the name nearest to one that does not exist.

/// The candidate nearest to `name`, when it is near enough to be a slip: at most a third of the letters differ
/// (at least one may), case not counted. Swapped neighbours count once. The first of several equally near.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(MAX_LENGTH).flat_map(char::to_lowercase).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other: Vec<char> = candidate.chars().take(MAX_LENGTH).flat_map(char::to_lowercase).collect();
        let limit = (name.len().max(other.len()) / 3).max(1);
        if name.len().abs_diff(other.len()) > limit {
            continue;
        }
        let distance = distance(&name, &other);
        // A name of one or two letters is near to every other such name.
        if distance <= limit && distance < name.len().max(2) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longer names are compared by their beginnings.
const MAX_LENGTH: usize = 64;

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found() {
        let columns = ["symbol", "sentiment", "open_price", "close_price"];
        assert_eq!(suggest("sentimnet", columns), Some("sentiment"));
        assert_eq!(suggest("SYMBOL", columns), Some("symbol"));
        assert_eq!(suggest("closeprice", columns), Some("close_price"));
        assert_eq!(suggest("volume", columns), None);
        assert_eq!(suggest("", columns), None);
        assert_eq!(suggest("x", ["y"]), Some("y"));
        assert_eq!(suggest("x", []), None);
    }

    #[test]
    fn long_names_are_bounded() {
        let long = "x".repeat(100_000);
        assert_eq!(suggest(&long, ["y"]), None);
    }
}
