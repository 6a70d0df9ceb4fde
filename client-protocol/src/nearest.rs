//! The names nearest to one that is not there, for errors and hints.

/// Up to three of `among` that are likely meant by `asked`, the nearest first.
///
/// Nearness is the edit distance with transpositions (Damerau 1964), ignoring case; a name that contains what was
/// asked is near whatever its length.
pub fn nearest<'a>(asked: &str, among: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let asked = asked.to_lowercase();
    let allowed = (asked.chars().count() / 3).max(2);
    let distance_to = |name: &'a str| {
        let lower = name.to_lowercase();
        let distance = edit_distance(&asked, &lower);
        let contains = asked.len() >= 3 && (lower.contains(&asked) || (lower.len() >= 3 && asked.contains(&lower)));
        (distance <= allowed || contains).then_some((if contains { distance.min(allowed) } else { distance }, name))
    };
    let mut near: Vec<(usize, &str)> = among.into_iter().filter_map(distance_to).collect();
    near.sort_by_key(|(distance, name)| (*distance, name.len()));
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one to the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0usize; to.len() + 1]; from.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=to.len()).collect();
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keys_is_found() {
        assert_eq!(nearest("conv3", ["conv1", "conv2", "fc", "pool"]), ["conv1", "conv2"]);
        assert_eq!(nearest("grda_cam", ["grad_cam", "guided_grad_cam"]), ["grad_cam"]);
    }

    #[test]
    fn a_part_of_a_name_is_near() {
        assert_eq!(nearest("project", ["blocks.1.project_conv", "stem"]), ["blocks.1.project_conv"]);
    }

    #[test]
    fn nothing_is_near_to_nonsense() {
        assert_eq!(nearest("xyzzy", ["conv1", "relu"]), [""; 0]);
    }

    #[test]
    fn distances() {
        let distance = |from, to| edit_distance(from, to);
        assert_eq!(
            [distance("", "abc"), distance("abc", "abc"), distance("abcd", "acbd"), distance("kitten", "sitting")],
            [3, 0, 1, 3]
        );
    }
}
