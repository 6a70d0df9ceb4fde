//! Pictures of sanity checks and metrics: curves over layers, curves of flipping, maps in pairs.

use client_protocol::metric::FlippingCurve;
use client_protocol::sanity::{CurveStep, SimilarityMetric};
use client_protocol::{ErrorObject, Picture, PictureRequest, ScoreOf};
use introspection::similarity::View;
use pictures::{Axis, Curve, LayerCurve, Map};

use crate::draw::{drawn, options};

/// Pairs of maps that one picture shows.
const PAIRS: usize = 8;

/// Similarity over layers, a curve for each measure.
pub(crate) fn of_curve(
    request: Option<&PictureRequest>,
    steps: &[CurveStep],
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = request else { return Ok(None) };
    let options = options(request, title)?;
    let layers: Vec<String> = steps.iter().map(|step| step.layer.clone()).collect();
    let n_measures = steps.first().map_or(0, |step| step.similarities.len());
    let of_measure = |nth: usize| LayerCurve {
        name: name(steps[0].similarities[nth].metric).to_owned(),
        means: steps.iter().map(|step| step.similarities[nth].mean).collect(),
        spreads: steps.iter().map(|step| step.similarities[nth].std).collect(),
    };
    let curves: Vec<LayerCurve> = (0..n_measures).map(of_measure).collect();
    drawn(pictures::layer_curves(&curves, &layers, "similarity to the original", &options), &options)
}

fn name(metric: SimilarityMetric) -> &'static str {
    match metric {
        SimilarityMetric::SpearmanAbs => "Spearman, absolute",
        SimilarityMetric::Spearman => "Spearman, signed",
        SimilarityMetric::Ssim => "SSIM",
        SimilarityMetric::Hog => "HOG",
    }
}

/// Scores of a kind over the share that is flipped, a curve for each input.
pub(crate) fn of_flipping(
    request: Option<&PictureRequest>,
    curves: &[FlippingCurve],
    score: ScoreOf,
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = request else { return Ok(None) };
    let options = options(request, title)?;
    let n_places = curves.iter().map(|curve| curve.scores.len()).max().unwrap_or(1);
    let step = 100.0 / (n_places - 1).max(1) as f64;
    let axis = Axis { unit: Some("%".to_owned()), step, ..Axis::counted("flipped") };
    let of_input = |(nth, curve): (usize, &FlippingCurve)| Curve {
        name: if curves.len() == 1 { String::new() } else { format!("input {nth}") },
        values: curve.scores.iter().map(|score| *score as f32).collect(),
    };
    let curves: Vec<Curve> = curves.iter().enumerate().map(of_input).collect();
    let score = match score {
        ScoreOf::Logit => "score",
        ScoreOf::LogProbability => "logarithm of the probability",
        ScoreOf::Probability => "probability",
        ScoreOf::Output => "output",
    };
    drawn(pictures::curves(&curves, &axis, score, &options), &options)
}

/// Maps of two networks, without their signs, those of one input beside each other.
pub(crate) fn of_pairs(
    request: Option<&PictureRequest>,
    before: &[View],
    after: &[View],
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = request else { return Ok(None) };
    let options = options(request, title)?;
    let pairs = || before.iter().zip(after).take(PAIRS).enumerate();
    let sides = |nth: usize| [format!("input {nth}: true"), format!("input {nth}: permuted")];
    let names: Vec<String> = pairs().flat_map(|(nth, _)| sides(nth)).collect();
    let of_view = |view: &View| -> Vec<f32> { view.absolute().iter().map(|number| *number as f32).collect() };
    let numbers: Vec<(Vec<f32>, Vec<usize>)> = pairs()
        .flat_map(|(_, (before, after))| [before, after])
        .map(|view| (of_view(view), view.shape().to_vec()))
        .collect();
    let maps: Vec<Map<'_>> = numbers.iter().map(|(numbers, shape)| map(numbers, shape)).collect();
    drawn(pictures::grid_of_groups(&maps, &names, 2, &options), &options)
}

fn map<'a>(values: &'a [f32], shape: &[usize]) -> Map<'a> {
    let (rows, columns) = if let [rows, columns] = *shape { (rows, columns) } else { (1, values.len()) };
    Map { values, rows, columns, row_axis: Axis::counted("row"), column_axis: Axis::counted("column") }
}
