//! Integrated gradients: `(x − b) ⊙ ∫₀¹ ∂f/∂x(b + α (x − b)) dα` (Sundararajan et al. 2017, equation 1).

use candle_core::DType;
use models::{Layout, NodeIdx, Outlet, PartOf, Trace, Value};

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::rules::PlainGradient;
use crate::target::ResolvedTarget;
use crate::variations::OwnPart;

/// Where a path is looked at, and how much each place counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quadrature {
    /// Gauss-Legendre: exact for polynomials of degree `2 n − 1`.
    #[default]
    GaussLegendre,
    /// The trapezoidal rule over evenly spaced places, both ends among them.
    RiemannTrapezoid,
}

impl Quadrature {
    /// Places on `[0, 1]` with their weights, which sum to one.
    pub fn places(self, steps: usize) -> Vec<(f64, f64)> {
        match self {
            Quadrature::GaussLegendre => gauss_legendre(steps),
            Quadrature::RiemannTrapezoid if steps == 1 => vec![(0.5, 1.0)],
            Quadrature::RiemannTrapezoid => {
                let step = 1.0 / (steps - 1) as f64;
                let weight = |nth: usize| if nth == 0 || nth + 1 == steps { step / 2.0 } else { step };
                (0..steps).map(|nth| (nth as f64 * step, weight(nth))).collect()
            }
        }
    }
}

/// Roots of the Legendre polynomial by Newton's method, brought to `[0, 1]` (Abramowitz and Stegun, 25.4.29).
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let polynomial = |x: f64| {
        let (mut before, mut last) = (1.0, x);
        for k in 2..=n {
            let k = k as f64;
            (before, last) = (last, ((2.0 * k - 1.0) * x * last - (k - 1.0) * before) / k);
        }
        (last, n as f64 * (x * last - before) / (x * x - 1.0))
    };
    let root = |nth: usize| {
        let mut x = -(std::f64::consts::PI * (nth as f64 + 0.75) / (n as f64 + 0.5)).cos();
        for _ in 0..100 {
            let (value, slope) = polynomial(x);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        let (_, slope) = polynomial(x);
        ((x + 1.0) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    if n == 1 { vec![(0.5, 1.0)] } else { (0..n).map(root).collect() }
}

/// Maps with what they miss of completeness.
#[derive(Clone, Debug)]
pub struct Complete {
    /// `[target, …]`, the input's shape behind the targets.
    pub maps: Value,
    /// For each target the map's sum minus `f(x) − f(b)`.
    pub gaps: Vec<f64>,
}

/// Integrated gradients of each target from a baseline to the input.
///
/// # Shapes
/// - `baseline`: one row, shaped as the input
pub fn integrated_gradients(
    question: &Question<'_>,
    baseline: &Value,
    steps: usize,
    quadrature: Quadrature,
) -> Result<Complete> {
    let input = question.varied_input("integrated gradients")?;
    let row = question.only_row("integrated gradients")?;
    if is_small(question) && question.trace.value(input)?.dtype() == DType::F32 {
        return in_double(question, &|question| integrated_gradients(question, baseline, steps, quadrature));
    }
    if steps == 0 {
        return Err(IntrospectionError::Unfit("integrated gradients need at least one step".to_owned()));
    }
    baseline_numbers(baseline, &question.trace.value(input)?.row(row)?)?;
    if let Some(parts) = question.own_parts()? {
        let ask =
            |question: &Question<'_>, baseline: &Value| integrated_gradients(question, baseline, steps, quadrature);
        return in_parts(question, &parts, baseline, &ask);
    }
    let given = question.trace.value(input)?.row(row)?;
    let (x, b) = (given.to_f64_vec()?, baseline_numbers(baseline, &given)?);
    let places = quadrature.places(steps);
    let between = |nth: usize| -> Result<Value> {
        let alpha = places[nth].0;
        let numbers: Vec<f64> = x.iter().zip(&b).map(|(x, b)| b + alpha * (x - b)).collect();
        Ok(Value::from_vec(numbers, given.shape(), Layout::Logical)?.to_dtype(given.dtype())?)
    };
    let mut means = vec![0.0; question.targets.len() * x.len()];
    question.each_batch(steps, &between, &mut |nths, trace| {
        let gradients = question.walk_on(trace, &PlainGradient)?;
        for (gradients, nth) in gradients.chunks_exact(means.len()).zip(nths) {
            means.iter_mut().zip(gradients).for_each(|(mean, gradient)| *mean += places[nth].1 * gradient);
        }
        Ok(())
    })?;
    for of_target in means.chunks_exact_mut(x.len()) {
        of_target.iter_mut().zip(x.iter().zip(&b)).for_each(|(number, (x, b))| *number *= x - b);
    }
    completed(question, means, baseline)
}

/// Whether a network is so small that double precision costs nothing to speak of.
fn is_small(question: &Question<'_>) -> bool {
    const NUMBERS: usize = 1 << 19;
    const PARAMETERS: usize = 1 << 20;
    let per_row = question.trace.bytes() / size_of::<f32>() / question.trace.batch().max(1);
    per_row <= NUMBERS && question.graph.n_parameters() <= PARAMETERS
}

/// The same question in double precision: a path meets many rectifiers at their kinks, where single precision decides by
/// chance which way a gradient goes.
fn in_double(question: &Question<'_>, ask: &dyn Fn(&Question<'_>) -> Result<Complete>) -> Result<Complete> {
    let graph = question.graph.to_dtype(DType::F64)?;
    let wide = |node: &NodeIdx| question.trace.value(Outlet { node: *node, port: 0 })?.to_dtype(DType::F64);
    let inputs = graph.inputs().iter().map(wide).collect::<models::Result<Vec<_>>>()?;
    let trace = Trace::record(&graph, &inputs, question.interrupt)?;
    let on_trace = |target: &ResolvedTarget| target.on(&graph, &trace, target.row);
    let targets = question.targets.iter().map(on_trace).collect::<Result<Vec<_>>>()?;
    let asked = Question { graph: &graph, trace: &trace, targets: &targets, ..*question };
    let Complete { maps, gaps } = ask(&asked)?;
    Ok(Complete { maps: maps.to_dtype(DType::F32)?, gaps })
}

/// Each target's map of its own part of the input, put where the part was cut.
fn in_parts(
    question: &Question<'_>,
    parts: &[OwnPart],
    baseline: &Value,
    ask: &dyn Fn(&Question<'_>, &Value) -> Result<Complete>,
) -> Result<Complete> {
    let n_steps = question.trace.shape(question.at).last().copied().unwrap_or(1);
    let (mut maps, mut gaps) = (Vec::new(), Vec::new());
    for (nth, part) in parts.iter().enumerate() {
        let interrupt = PartOf { whole: question.interrupt, part: nth, n_parts: parts.len() };
        let question = Question { interrupt: &interrupt, ..*question };
        let complete = ask(&part.question(&question), &part.of(baseline)?)?;
        maps.extend(part.spread(&complete.maps.to_f64_vec()?, n_steps));
        gaps.extend(complete.gaps);
    }
    Ok(Complete { maps: question.maps_of(maps, question.at)?, gaps })
}

/// A baseline's numbers, of an input's shape.
pub(crate) fn baseline_numbers(baseline: &Value, given: &Value) -> Result<Vec<f64>> {
    if baseline.shape() != given.shape() {
        let message =
            format!("a baseline of shape {:?} for an input of shape {:?}", &baseline.shape()[1..], &given.shape()[1..]);
        return Err(IntrospectionError::Unfit(message));
    }
    Ok(baseline.to_f64_vec()?)
}

/// Maps with their gaps to what a baseline promises.
pub(crate) fn completed(question: &Question<'_>, maps: Vec<f64>, baseline: &Value) -> Result<Complete> {
    let input = question.at;
    let dtype = question.trace.value(input)?.dtype();
    let trace =
        question.record_with(baseline.to_dtype(dtype)?, question.targets.first().map_or(0, |target| target.row))?;
    let of_baseline = question.scores_on(&trace)?;
    let per_target = maps.len() / question.targets.len();
    let gap = |(nth, target): (usize, &ResolvedTarget)| {
        maps[nth * per_target..][..per_target].iter().sum::<f64>() - (target.score - of_baseline[nth])
    };
    let gaps = question.targets.iter().enumerate().map(gap).collect();
    Ok(Complete { maps: question.maps_of(maps, input)?, gaps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_legendre_is_exact_for_polynomials() {
        for n in [1, 2, 5, 32, 200] {
            let places = Quadrature::GaussLegendre.places(n);
            for degree in 0..(2 * n).min(40) {
                let integral: f64 = places.iter().map(|(x, weight)| weight * x.powi(degree as i32)).sum();
                assert!(
                    (integral - 1.0 / (degree + 1) as f64).abs() < 1e-13,
                    "{n} places, degree {degree}: {integral}"
                );
            }
        }
    }

    #[test]
    fn the_trapezoid_is_exact_for_lines() {
        let places = Quadrature::RiemannTrapezoid.places(7);
        let integral: f64 = places.iter().map(|(x, weight)| weight * (3.0 * x + 1.0)).sum();
        assert!((integral - 2.5).abs() < 1e-13);
    }
}
