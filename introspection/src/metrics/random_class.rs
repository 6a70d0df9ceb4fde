//! Classes that were not explained, at random: a map that would be the same for any of them says nothing of its own
//! (random logit test, Sixt et al. 2020).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// So many different classes besides the explained one, as far as there are.
pub fn other_classes(n_classes: usize, explained: usize, n: usize, seed: u64) -> Vec<usize> {
    let n_others = n_classes.saturating_sub(1);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = Vec::with_capacity(n.min(n_others));
    while chosen.len() < n.min(n_others) {
        let class = random.random_range(0..n_others);
        if !chosen.contains(&class) {
            chosen.push(class);
        }
    }
    chosen.into_iter().map(|class| if class < explained { class } else { class + 1 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_others_and_different() {
        let mut all = other_classes(6, 2, 99, 1);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3, 4, 5]);
        assert_eq!(other_classes(1000, 5, 3, 7), other_classes(1000, 5, 3, 7));
        assert_ne!(other_classes(1000, 5, 3, 7), other_classes(1000, 5, 3, 8));
        assert_eq!(other_classes(1, 0, 3, 7), [0; 0]);
    }
}
