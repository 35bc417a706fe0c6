//! The nearest of a few names, for "did you mean".
//!
//! Plain edit distance over short lists; never used to guess on the user's behalf.

/// The name nearest to `given`, if it is near enough to be a slip: at most a third of its characters differ, or only
/// upper and lower case do.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = names.into_iter().map(|name| (distance(given, name), name)).min_by_key(|(distance, _)| *distance)?;
    let longest = given.chars().count().max(best.1.chars().count());
    (best.0 * 3 <= longest || given.eq_ignore_ascii_case(best.1)).then_some(best.1)
}

/// Insertions, deletions, replacements and swaps of two neighbours that turn `a` into `b`, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    // `rows[i][j]` turns the first `i` characters of `a` into the first `j` of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
            row.push(replaced.min(swap).min(rows[i - 1][j] + 1).min(row[j - 1] + 1));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `names` as `a, b or c`; `nothing` if there are none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "nothing".to_string(),
        [one] => (*one).to_string(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        assert_eq!(nearest("formt", ["path", "format"]), Some("format"));
        assert_eq!(nearest("Path", ["path", "format"]), Some("path"));
        assert_eq!(nearest("lniger", ["linger", "timeout"]), Some("linger"));
        assert_eq!(nearest("colour", ["path", "format"]), None);
        assert_eq!(nearest("txet", ["id", "text", "echo"]), Some("text"));
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(listed(["a", "b", "c"]), "a, b or c");
        assert_eq!(listed([]), "nothing");
    }
}
