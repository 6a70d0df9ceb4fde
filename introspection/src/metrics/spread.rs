//! How much of a map there is: on few places or on all of them alike.

/// The Gini index of the numbers' sizes (Chalasani et al. 2020, definition 5; Hurley and Rickard 2009): 0 where all are
/// alike, towards 1 where one place holds all. Of no meaning for a map of zeros.
pub fn sparseness(map: &[f64]) -> Option<f64> {
    let mut sizes: Vec<f64> = map.iter().map(|number| number.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let (n, sum) = (sizes.len() as f64, sizes.iter().sum::<f64>());
    let weighted = sizes.iter().enumerate().map(|(nth, size)| (2.0 * (nth as f64 + 1.0) - n - 1.0) * size);
    (sum > 0.0).then(|| weighted.sum::<f64>() / (n * sum))
}

/// The entropy of the places' shares of a map, in nats (Bhatt et al. 2020, definition 3): 0 where one place holds all, the
/// logarithm of their number where all are alike. Of no meaning for a map of zeros.
pub fn complexity(map: &[f64]) -> Option<f64> {
    let sum: f64 = map.iter().map(|number| number.abs()).sum();
    (sum > 0.0).then(|| entropy(map.iter().map(|number| number.abs() / sum)))
}

/// The entropy of a histogram of the numbers between the smallest and the largest, in nats (Hedström et al. 2024).
pub fn discrete_entropy(map: &[f64], n_bins: usize) -> f64 {
    let low = map.iter().copied().fold(f64::INFINITY, f64::min);
    let high = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let reach = high - low;
    let mut counts = vec![0usize; n_bins.max(1)];
    for number in map {
        let share = if reach > 0.0 { (number - low) / reach } else { 0.0 };
        counts[((share * n_bins as f64) as usize).min(n_bins - 1)] += 1;
    }
    entropy(counts.into_iter().map(|count| count as f64 / map.len() as f64))
}

fn entropy(shares: impl Iterator<Item = f64>) -> f64 {
    -shares.filter(|share| *share > 0.0).map(|share| share * share.ln()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_and_all_places() {
        assert_eq!(sparseness(&[2.0, -2.0, 2.0, 2.0]), Some(0.0));
        assert_eq!(sparseness(&[0.0, 0.0, -3.0, 0.0]), Some(0.75));
        assert_eq!(sparseness(&[0.0; 4]), None);
        assert!((complexity(&[2.0, -2.0, 2.0, 2.0]).unwrap() - 4f64.ln()).abs() < 1e-12);
        assert_eq!(complexity(&[0.0, 0.0, -3.0, 0.0]), Some(0.0));
        assert_eq!(complexity(&[0.0; 4]), None);
    }

    /// Half the mean difference of all pairs, in parts of the mean.
    #[test]
    fn the_gini_index_equals_its_definition() {
        let map: Vec<f64> = (0..40).map(|n| (f64::from(n) * 0.9).sin()).collect();
        let pairs = map.iter().flat_map(|a| map.iter().map(move |b| (a.abs() - b.abs()).abs()));
        let mean = map.iter().map(|a| a.abs()).sum::<f64>() / 40.0;
        let expected = pairs.sum::<f64>() / (2.0 * 1600.0 * mean);
        assert!((sparseness(&map).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_histogram_of_as_many_bins_as_numbers_has_the_most() {
        let map: Vec<f64> = (0..8).map(f64::from).collect();
        assert!((discrete_entropy(&map, 8) - 8f64.ln()).abs() < 1e-12);
        assert_eq!(discrete_entropy(&[5.0; 8], 8), 0.0);
        assert!((discrete_entropy(&[0.0, 0.0, 1.0, 1.0], 100) - 2f64.ln()).abs() < 1e-12);
    }
}
