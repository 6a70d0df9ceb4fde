//! Spearman's rank correlation is Pearson's of the ranks.

/// Each number's rank from 1; equal numbers share the mean of theirs.
pub(super) fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_unstable_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let mean = first as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&place| ranks[place] = mean);
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_share_their_rank() {
        assert_eq!(ranks(&[3.0, -1.0, 3.0, 0.0, -0.0, 9.0]), [4.5, 1.0, 4.5, 2.5, 2.5, 6.0]);
    }

    /// The definition: how many are smaller, and half of those that are equal.
    #[test]
    fn a_rank_counts_what_is_smaller() {
        let numbers: Vec<f64> = (0..60).map(|n| f64::from(n * 7919 % 17)).collect();
        for (rank, number) in ranks(&numbers).iter().zip(&numbers) {
            let smaller = numbers.iter().filter(|other| *other < number).count();
            let equal = numbers.iter().filter(|other| *other == number).count();
            assert_eq!(*rank, smaller as f64 + (equal + 1) as f64 / 2.0);
        }
    }
}
