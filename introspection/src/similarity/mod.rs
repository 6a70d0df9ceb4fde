//! How alike two maps are: rank correlation, structural similarity, histograms of gradients, as the sanity checks of
//! Adebayo et al. 2018 (section 3.2) have them. [`View`] says what of a map is compared, a file each how.

mod hog;
mod spearman;
mod ssim;
mod view;

pub use view::View;

/// A measure of similarity; 1 for equal maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// The rank correlation of signed maps.
    Spearman,
    /// The rank correlation of absolute maps.
    SpearmanAbs,
    /// The structural similarity of absolute maps (Wang et al. 2004).
    Ssim,
    /// The correlation of the absolute maps' histograms of oriented gradients (Dalal and Triggs 2005). By Pearson as the
    /// paper says, where the authors' notebook has Spearman.
    Hog,
}

impl Similarity {
    /// All measures.
    pub const ALL: [Similarity; 4] = [Similarity::SpearmanAbs, Similarity::Spearman, Similarity::Ssim, Similarity::Hog];

    /// Why it says nothing of maps of this shape, if it does not.
    pub fn misfit(self, view: &View) -> Option<String> {
        let shape = view.shape();
        match self {
            Similarity::Spearman | Similarity::SpearmanAbs => {
                (view.absolute().len() < 2).then(|| "a rank correlation needs two places or more".to_owned())
            }
            Similarity::Ssim => shape
                .iter()
                .any(|&length| length < ssim::WINDOW)
                .then(|| format!("SSIM needs maps of {} places or more along each axis, not {shape:?}", ssim::WINDOW)),
            Similarity::Hog => {
                let is_large = shape.len() == 2 && shape.iter().all(|&length| length >= hog::SMALLEST);
                (!is_large)
                    .then(|| format!("HOG needs maps of two axes with {} places or more, not {shape:?}", hog::SMALLEST))
            }
        }
    }

    /// What of a map is compared, made once for a map that is compared with many.
    pub fn features(self, view: &View) -> Vec<f64> {
        match self {
            Similarity::Spearman => spearman::ranks(view.signed()),
            Similarity::SpearmanAbs => spearman::ranks(view.absolute()),
            Similarity::Ssim => view.absolute().to_vec(),
            Similarity::Hog => hog::histograms(view.absolute(), view.shape()),
        }
    }

    /// How alike two maps of one shape are, by their features.
    pub fn of(self, left: &[f64], right: &[f64], shape: &[usize]) -> f64 {
        match self {
            Similarity::Spearman | Similarity::SpearmanAbs | Similarity::Hog => correlation(left, right),
            Similarity::Ssim => ssim::structural_similarity(left, right, shape),
        }
    }

    /// How alike two maps of one shape are.
    pub fn between(self, left: &View, right: &View) -> f64 {
        self.of(&self.features(left), &self.features(right), left.shape())
    }
}

/// Pearson's correlation. What is the same everywhere correlates with nothing, 0, but with its like, 1.
fn correlation(left: &[f64], right: &[f64]) -> f64 {
    if left == right {
        return 1.0;
    }
    let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
    let (of_left, of_right) = (mean(left), mean(right));
    let (mut both, mut squares_left, mut squares_right) = (0.0, 0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        both += (a - of_left) * (b - of_right);
        squares_left += (a - of_left).powi(2);
        squares_right += (b - of_right).powi(2);
    }
    let scale = (squares_left * squares_right).sqrt();
    if scale > 0.0 { (both / scale).clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_maps_are_one_and_a_flat_one_is_like_no_other() {
        let numbers: Vec<f64> = (0..64 * 64).map(|n| (n as f64 * 0.37).sin()).collect();
        let map = View::new(&numbers, &[64, 64]);
        let flat = View::new(&[0.0; 64 * 64], &[64, 64]);
        for similarity in Similarity::ALL {
            assert!((similarity.between(&map, &map) - 1.0).abs() < 1e-12, "{similarity:?}");
            assert!((similarity.between(&flat, &flat) - 1.0).abs() < 1e-12, "{similarity:?}");
            assert!(similarity.between(&map, &flat).abs() < 0.2, "{similarity:?}");
        }
    }

    #[test]
    fn a_measure_says_which_maps_it_is_for() {
        let of = |shape: &[usize]| View::new(&vec![1.0; shape.iter().product()], shape);
        let fits = |shape: &[usize]| Similarity::ALL.map(|similarity| similarity.misfit(&of(shape)).is_none());
        assert_eq!(fits(&[3, 224, 224]), [true; 4]);
        assert_eq!(fits(&[500]), [true, true, true, false]);
        assert_eq!(fits(&[1, 8, 8]), [true, true, false, false]);
        assert_eq!(fits(&[1]), [false; 4]);
    }
}
