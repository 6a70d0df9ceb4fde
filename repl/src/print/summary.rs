//! An array in a line or two: its shape, what the axes mean, and where its numbers lie.

use client_protocol::{Axis, Tensor, TensorData};

use super::numbers::{length, number};

/// How many numbers are still shown one by one.
const FEW: usize = 10;

/// A summary of an array.
pub(crate) fn tensor_summary(tensor: &Tensor) -> String {
    let mut line = length(&tensor.shape);
    if !tensor.axes.is_empty() {
        line += &format!("  ({})", tensor.axes.iter().map(axis).collect::<Vec<_>>().join(", "));
    }
    match (&tensor.data, tensor.numbers()) {
        (TensorData::Text(path), _) if path.ends_with(".npy") => line + &format!("\nin {path}"),
        (_, Err(fault)) => line + &format!("\nunreadable: {fault}"),
        (_, Ok(numbers)) => line + "\n" + &spread(&numbers),
    }
}

/// An axis with its unit, where it has one.
fn axis(axis: &Axis) -> String {
    let unit = axis.unit.as_deref().unwrap_or_default();
    let step = axis.step.map(|step| format!("every {}", number(step)));
    let words: Vec<String> = [Some(axis.name.clone()), step, Some(unit.to_owned())].into_iter().flatten().collect();
    words.join(" ").trim_end().to_owned()
}

fn spread(numbers: &[f32]) -> String {
    if numbers.is_empty() {
        return "empty".to_owned();
    }
    if numbers.len() <= FEW {
        return numbers.iter().map(|&value| number(f64::from(value))).collect::<Vec<_>>().join("  ");
    }
    let finite: Vec<f64> = numbers.iter().map(|&value| f64::from(value)).filter(|value| value.is_finite()).collect();
    let strange = numbers.len() - finite.len();
    let strange = if strange == 0 { String::new() } else { format!("  ({strange} are no finite numbers)") };
    if finite.is_empty() {
        return format!("no finite number among {}", numbers.len());
    }
    let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = finite.iter().sum();
    let mean = sum / finite.len() as f64;
    format!("min {}  max {}  mean {}  sum {}{strange}", number(least), number(largest), number(mean), number(sum))
}
