//! Completeness: whether a map's numbers sum to what they share out (Sundararajan et al. 2017, proposition 1).

use models::{Trace, Value};

use crate::attribution::Question;
use crate::error::Result;
use crate::target::ResolvedTarget;

/// A map's sum beside what it could be the sum of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completeness {
    /// Of all numbers of the map.
    pub sum: f64,
    /// The target's score.
    pub score: f64,
    /// The same target's score of the baseline.
    pub baseline_score: f64,
}

impl Completeness {
    /// What the sum misses of the score's change: `Σ m − (f(x) − f(b))`.
    pub fn gap(&self) -> f64 {
        self.sum - (self.score - self.baseline_score)
    }
}

/// For each target how complete its map is, by the map's sum, against a baseline.
///
/// # Shapes
/// - `sums`: `[target]`; `baseline`: one row, shaped as the input
pub fn completeness(question: &Question<'_>, sums: &[f64], baseline: &Value) -> Result<Vec<Completeness>> {
    let baseline = baseline.to_dtype(question.graph.dtype())?;
    let trace = Trace::record(question.graph, &[baseline], question.interrupt)?;
    let of_baseline = question.scores_on(&trace)?;
    let of_target = |(nth, target): (usize, &ResolvedTarget)| Completeness {
        sum: sums[nth],
        score: target.score,
        baseline_score: of_baseline[nth],
    };
    Ok(question.targets.iter().enumerate().map(of_target).collect())
}
