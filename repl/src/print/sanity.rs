//! Sanity checks and metrics as tables.

use client_protocol::metric::{FlippingCurve, Mprt, PixelFlipping};
use client_protocol::sanity::{CurveStep, DataRandomized, Randomized, Similar, SimilarityMetric};

use super::numbers::number;
use super::results::bar;
use super::table::{Column, table};

/// Lines of a flipping curve that are shown.
const FEW: usize = 11;

pub(super) fn randomized(randomized: Randomized) -> String {
    with_notes(curve(&randomized.curve), &randomized.notes)
}

pub(super) fn mprt(mprt: Mprt) -> String {
    let mut parts = Vec::new();
    if !mprt.curve.is_empty() {
        parts.push(curve(&mprt.curve));
    }
    if let Some(entropies) = &mprt.entropies {
        let rows: Vec<Vec<String>> = entropies
            .as_slice()
            .iter()
            .enumerate()
            .map(|(nth, growth)| {
                let score = growth.score.map_or("–".to_owned(), number);
                vec![nth.to_string(), number(growth.before), number(growth.after), score]
            })
            .collect();
        let columns = ["input", "entropy before", "after", "growth"].map(Column::numbers);
        parts.push(table(&columns, &rows));
    }
    with_notes(parts.join("\n\n"), &mprt.notes)
}

pub(super) fn data_randomized(randomized: DataRandomized) -> String {
    let rows: Vec<Vec<String>> = randomized
        .similarities
        .iter()
        .map(|similar| vec![name(similar.metric).to_owned(), spread(similar), bar(similar.mean, 24)])
        .collect();
    let columns = [Column::words("metric"), Column::numbers("similarity"), Column::words("")];
    with_notes(table(&columns, &rows), &randomized.notes)
}

pub(super) fn pixel_flipping(flipping: PixelFlipping) -> String {
    let curves = flipping.curve.as_slice();
    let text = match curves {
        [one] => format!("{}\narea {}", flipping_curve(one), number(one.area)),
        many => {
            let of_input = |(nth, curve): (usize, &FlippingCurve)| vec![nth.to_string(), number(curve.area)];
            let rows: Vec<Vec<String>> = many.iter().enumerate().map(of_input).collect();
            let table = table(&[Column::numbers("input"), Column::numbers("area")], &rows);
            format!("{table}\nmean area {}", number(flipping.area))
        }
    };
    with_notes(text, &flipping.notes)
}

/// Some places of a curve, the first and the last among them.
fn flipping_curve(curve: &FlippingCurve) -> String {
    let last = curve.flipped.len().saturating_sub(1);
    let shown = FEW.min(last + 1);
    let place = |nth: usize| if shown > 1 { nth * last / (shown - 1) } else { 0 };
    let most = curve.scores.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let row =
        |at: usize| vec![curve.flipped[at].to_string(), number(curve.scores[at]), bar(curve.scores[at] / most, 24)];
    let rows: Vec<Vec<String>> = (0..shown).map(|nth| row(place(nth))).collect();
    table(&[Column::numbers("flipped"), Column::numbers("score"), Column::words("")], &rows)
}

/// A line for each step: its measures, and a bar for the first of them.
fn curve(steps: &[CurveStep]) -> String {
    let measures = steps.first().map_or(&[][..], |step| &step.similarities);
    let mut columns = vec![Column::words("randomised")];
    columns.extend(measures.iter().map(|similar| Column::numbers(name(similar.metric))));
    columns.push(Column::words(""));
    let row = |step: &CurveStep| {
        let mut row = vec![step.layer.clone()];
        row.extend(step.similarities.iter().map(spread));
        row.push(step.similarities.first().map_or(String::new(), |similar| bar(similar.mean, 24)));
        row
    };
    table(&columns, &steps.iter().map(row).collect::<Vec<_>>())
}

fn spread(similar: &Similar) -> String {
    match similar.values.len() {
        0 | 1 => format!("{:.3}", similar.mean),
        _ => format!("{:.3} ± {:.3}", similar.mean, similar.std),
    }
}

fn name(metric: SimilarityMetric) -> &'static str {
    match metric {
        SimilarityMetric::SpearmanAbs => "Spearman (abs)",
        SimilarityMetric::Spearman => "Spearman",
        SimilarityMetric::Ssim => "SSIM",
        SimilarityMetric::Hog => "HOG",
    }
}

fn with_notes(text: String, notes: &[String]) -> String {
    std::iter::once(text).chain(notes.iter().map(|note| format!("note: {note}"))).collect::<Vec<_>>().join("\n")
}
