//! Brings a map to more places, along one spatial axis or two.

use models::{Layout, Value};

use crate::error::{IntrospectionError, Result};

/// How places between places are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Linear along each axis, with places as areas (PyTorch's `align_corners=False`).
    Bilinear,
    /// Index `floor(i · in / out)`.
    Nearest,
}

/// The map with as many places along each spatial axis as asked.
///
/// # Shapes
/// - `map`: `[target, spatial…]`, `places`: a length for each spatial axis; returns `[target, places…]`
pub fn upsample(map: &Value, places: &[usize], interpolation: Interpolation) -> Result<Value> {
    let shape = map.shape();
    if shape.len() != places.len() + 1 {
        let message =
            format!("a map with axes {:?} cannot be brought to places {places:?}; name `upsample=false`", &shape[1..]);
        return Err(IntrospectionError::Unfit(message));
    }
    let mut numbers = map.to_f64_vec()?;
    let mut current = shape.to_vec();
    for (axis, &length) in places.iter().enumerate() {
        numbers = resize_axis(&numbers, &current, axis + 1, length, interpolation);
        current[axis + 1] = length;
    }
    Ok(Value::from_vec(numbers, &current, Layout::Logical)?.to_dtype(map.dtype())?)
}

fn resize_axis(numbers: &[f64], shape: &[usize], axis: usize, length: usize, interpolation: Interpolation) -> Vec<f64> {
    let step: usize = shape[axis + 1..].iter().product();
    let from = shape[axis];
    let of_line: Vec<_> = (0..length).map(|to| neighbours(to, from, length, interpolation)).collect();
    let between = |low: f64, high: f64, share: f64| low + (high - low) * share;
    let mut resized = Vec::with_capacity(numbers.len() / from * length);
    for line in numbers.chunks_exact(from * step) {
        if step == 1 {
            resized.extend(of_line.iter().map(|&(low, high, share)| between(line[low], line[high], share)));
            continue;
        }
        for &(low, high, share) in &of_line {
            let (low, high) = (&line[low * step..][..step], &line[high * step..][..step]);
            resized.extend(low.iter().zip(high).map(|(low, high)| between(*low, *high, share)));
        }
    }
    resized
}

/// The two places between which a new one lies, and how far from the first.
fn neighbours(to: usize, from: usize, length: usize, interpolation: Interpolation) -> (usize, usize, f64) {
    match interpolation {
        Interpolation::Nearest => {
            let place = to * from / length;
            (place, place, 0.0)
        }
        Interpolation::Bilinear => {
            let center = ((to as f64 + 0.5) * from as f64 / length as f64 - 0.5).max(0.0);
            let low = (center as usize).min(from - 1);
            (low, (low + 1).min(from - 1), center - low as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(numbers: &[f64], shape: &[usize], places: &[usize], interpolation: Interpolation) -> Vec<f64> {
        let map = Value::from_vec(numbers.to_vec(), shape, Layout::Logical).unwrap();
        upsample(&map, places, interpolation).unwrap().to_f64_vec().unwrap()
    }

    #[test]
    fn linear_along_time_as_pytorch_has_it() {
        // torch.nn.functional.interpolate(tensor([[[0., 4.]]]), 4, mode="linear")
        assert_eq!(resized(&[0.0, 4.0], &[1, 2], &[4], Interpolation::Bilinear), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn nearest_takes_the_floor() {
        assert_eq!(resized(&[1.0, 2.0, 3.0], &[1, 3], &[5], Interpolation::Nearest), [1.0, 1.0, 2.0, 2.0, 3.0]);
    }

    #[test]
    fn both_axes_of_an_image() {
        let image = resized(&[0.0, 2.0, 4.0, 6.0], &[1, 2, 2], &[2, 4], Interpolation::Bilinear);
        assert_eq!(image, [0.0, 0.5, 1.5, 2.0, 4.0, 4.5, 5.5, 6.0]);
    }
}
