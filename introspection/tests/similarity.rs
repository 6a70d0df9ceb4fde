//! What scikit-image and SciPy say of some maps (`scripts/make-similarity-references`), held against ours.

use introspection::metrics::{complexity, discrete_entropy, sparseness};
use introspection::similarity::{Similarity, View};
use serde_json::Value;

const REFERENCES: &str = include_str!("data/similarity.json");

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn measures_agree_with_scikit_image_and_scipy() {
    let cases: Vec<Value> = serde_json::from_str(REFERENCES).unwrap();
    let mut n_checked = 0;
    for case in &cases {
        let shape: Vec<usize> = numbers(&case["shape"]).iter().map(|length| *length as usize).collect();
        let (left, right) = (numbers(&case["left"]), numbers(&case["right"]));
        let views = [&left, &right].map(|map| View::new(map, &shape));
        let similar = |similarity: Similarity| similarity.between(&views[0], &views[1]);
        for (name, expected) in case["expected"].as_object().unwrap() {
            let found = match name.as_str() {
                "spearman_abs" => similar(Similarity::SpearmanAbs),
                "spearman" => similar(Similarity::Spearman),
                "ssim" => similar(Similarity::Ssim),
                "hog" => similar(Similarity::Hog),
                "sparseness" => sparseness(&left).unwrap(),
                "complexity" => complexity(&left).unwrap(),
                "discrete_entropy" => discrete_entropy(&left, 100),
                other => panic!("{other}"),
            };
            let expected = expected.as_f64().unwrap();
            // scikit-image sums its histograms in f32.
            let tolerance = if name == "hog" { 1e-6 } else { 1e-9 };
            assert!((found - expected).abs() < tolerance, "{name} of {shape:?}: {found} is not {expected}");
            n_checked += 1;
        }
    }
    assert_eq!(n_checked, 20);
}
