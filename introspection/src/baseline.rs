//! Inputs to compare with, made of the input itself.

use models::{Layout, Value};

use crate::error::Result;

/// How wide a blur is: its standard deviation in parts of each axis' length.
const WIDTH: f64 = 1.0 / 20.0;

/// The same number everywhere.
pub fn constant(input: &Value, number: f64) -> Result<Value> {
    Ok(input.map(|_| number)?)
}

/// A row's channels, each changed by itself.
fn by_channel(input: &Value, change: impl Fn(&[f64]) -> Vec<f64>) -> Result<Value> {
    let shape = input.shape();
    let per_channel = shape.get(2..).unwrap_or_default().iter().product::<usize>().max(1);
    // Features without places are one channel.
    let length = if shape.len() > 2 { per_channel } else { input.len().max(1) };
    let numbers = input.to_f64_vec()?.chunks(length).flat_map(change).collect::<Vec<f64>>();
    Ok(Value::from_vec(numbers, shape, Layout::Logical)?.to_dtype(input.dtype())?)
}

/// The mean of each channel.
pub fn mean(input: &Value) -> Result<Value> {
    by_channel(input, |channel| vec![channel.iter().sum::<f64>() / channel.len() as f64; channel.len()])
}

/// The smallest number of each channel.
pub fn silence(input: &Value) -> Result<Value> {
    by_channel(input, |channel| vec![channel.iter().copied().fold(f64::INFINITY, f64::min); channel.len()])
}

/// The smallest number of all.
pub fn black(input: &Value) -> Result<Value> {
    constant(input, input.to_f64_vec()?.into_iter().fold(f64::INFINITY, f64::min))
}

/// Blurred along its places by a Gaussian a twentieth of each axis wide; edges are continued.
pub fn blur(input: &Value) -> Result<Value> {
    let places = input.shape().get(2..).unwrap_or_default().to_vec();
    by_channel(input, |channel| {
        let mut blurred = channel.to_vec();
        for axis in 0..places.len() {
            blurred = blurred_along(&blurred, &places, axis);
        }
        blurred
    })
}

fn blurred_along(numbers: &[f64], places: &[usize], axis: usize) -> Vec<f64> {
    let (length, step) = (places[axis], places[axis + 1..].iter().product::<usize>());
    let deviation = (length as f64 * WIDTH).max(1e-9);
    let reach = (3.0 * deviation).ceil() as isize;
    let weights: Vec<f64> = (-reach..=reach).map(|offset| (-0.5 * (offset as f64 / deviation).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let blurred = |index: usize| {
        let place = index / step % length;
        let first = index - place * step;
        let read = |offset: isize| {
            let place = (place as isize + offset).clamp(0, length as isize - 1) as usize;
            numbers[first + place * step]
        };
        (-reach..=reach).zip(&weights).map(|(offset, weight)| weight * read(offset)).sum::<f64>() / total
    };
    (0..numbers.len()).map(blurred).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_what_is_even_and_spreads_a_point() {
        let even = Value::from_vec(vec![3.0f64; 40], &[1, 1, 40], Layout::Logical).unwrap();
        assert!(blur(&even).unwrap().to_f64_vec().unwrap().iter().all(|number| (number - 3.0).abs() < 1e-12));
        let mut point = vec![0.0f64; 400];
        point[210] = 1.0;
        let point = Value::from_vec(point, &[1, 1, 20, 20], Layout::Logical).unwrap();
        let blurred = blur(&point).unwrap().to_f64_vec().unwrap();
        assert!((blurred.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(blurred[210] < 0.2 && blurred[211] > 0.0 && (blurred[211] - blurred[209]).abs() < 1e-12);
    }

    #[test]
    fn each_channel_has_its_own_mean_and_silence() {
        let input = Value::from_vec(vec![1.0f64, 3.0, 5.0, 9.0], &[1, 2, 2], Layout::Logical).unwrap();
        assert_eq!(mean(&input).unwrap().to_f64_vec().unwrap(), [2.0, 2.0, 7.0, 7.0]);
        assert_eq!(silence(&input).unwrap().to_f64_vec().unwrap(), [1.0, 1.0, 5.0, 5.0]);
    }
}
