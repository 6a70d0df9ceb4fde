//! Other places along the spatial axes, each a weighted sum of places: resizing, and padding that repeats what is there.

use std::sync::Arc;

use candle_core::DType;
use rayon::prelude::*;

use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// What an axis becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resampling {
    /// It stays.
    Kept,
    /// `scale` times as long, each place the nearest below or at `place(at)`.
    Nearest { scale: f64, coordinates: Coordinates, rounding: Rounding },
    /// `scale` times as long, between the two nearest places.
    Linear { scale: f64, coordinates: Coordinates },
    /// Longer by so many places before and behind, which mirror those inside.
    Reflected { before: usize, behind: usize },
    /// Longer by so many places before and behind, which repeat the first and the last.
    Repeated { before: usize, behind: usize },
}

/// Where a new place lies among the old ones (ONNX's `coordinate_transformation_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// Centres of pixels.
    HalfPixel,
    /// The same, but 0 where there is but one place.
    PytorchHalfPixel,
    /// First and last places stay first and last.
    AlignCorners,
    /// `at / scale`
    Asymmetric,
}

/// Which place is nearest where two are (ONNX's `nearest_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Floor,
    Ceil,
    PreferFloor,
    PreferCeil,
}

impl Coordinates {
    fn place(self, at: usize, scale: f64, from: usize, to: usize) -> f64 {
        let at = at as f64;
        match self {
            Coordinates::PytorchHalfPixel if to <= 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if to <= 1 => 0.0,
            Coordinates::AlignCorners => at * (from as f64 - 1.0) / (to as f64 - 1.0),
            Coordinates::Asymmetric => at / scale,
        }
    }
}

impl Rounding {
    fn of(self, place: f64) -> f64 {
        match self {
            Rounding::Floor => place.floor(),
            Rounding::Ceil => place.ceil(),
            Rounding::PreferFloor => (place - 0.5).ceil(),
            Rounding::PreferCeil => (place + 0.5).floor(),
        }
    }
}

impl Resampling {
    /// The new length of an axis of this length; `None` where it cannot have one.
    fn length(self, length: usize) -> Option<usize> {
        match self {
            Resampling::Kept => Some(length),
            Resampling::Nearest { scale, .. } | Resampling::Linear { scale, .. } => {
                // A scale that was computed from lengths may be a rounding below what it stands for.
                Some((length as f64 * scale + 1e-4).floor() as usize).filter(|length| *length > 0)
            }
            Resampling::Reflected { before, behind } => {
                (before < length && behind < length).then_some(length + before + behind)
            }
            Resampling::Repeated { before, behind } => (length > 0).then_some(length + before + behind),
        }
    }

    /// The old places that make a new one, with their weights.
    fn taps(self, at: usize, from: usize, to: usize) -> Vec<(usize, f64)> {
        let last = from as isize - 1;
        let inside = |place: isize| place.clamp(0, last) as usize;
        match self {
            Resampling::Kept => vec![(at, 1.0)],
            Resampling::Nearest { scale, coordinates, rounding } => {
                vec![(inside(rounding.of(coordinates.place(at, scale, from, to)) as isize), 1.0)]
            }
            Resampling::Linear { scale, coordinates } => {
                let place = coordinates.place(at, scale, from, to);
                let (below, part) = (place.floor() as isize, place - place.floor());
                let taps = [(inside(below), 1.0 - part), (inside(below + 1), part)];
                taps.into_iter().filter(|(_, weight)| *weight != 0.0).collect()
            }
            Resampling::Reflected { before, .. } => {
                let place = (at as isize - before as isize).abs();
                vec![(if place > last { 2 * last - place } else { place } as usize, 1.0)]
            }
            Resampling::Repeated { before, .. } => vec![(inside(at as isize - before as isize), 1.0)],
        }
    }
}

/// One resampling for each axis behind the batch.
#[derive(Clone, Debug)]
pub struct Resample {
    kind: &'static str,
    axes: Vec<Resampling>,
}

impl Resample {
    /// Under the name that the field has for it.
    pub fn new(kind: &'static str, axes: Vec<Resampling>) -> Self {
        Resample { kind, axes }
    }

    /// Each axis in turn; `spread` where a gradient goes back.
    fn through<T: Element>(&self, mut numbers: Vec<T>, inner: &[usize], is_back: bool) -> Result<Vec<T>> {
        let outer = self.new_lengths(inner)?;
        let mut lengths = if is_back { outer.clone() } else { inner.to_vec() };
        for (axis, resampling) in self.axes.iter().enumerate().filter(|(_, axis)| **axis != Resampling::Kept) {
            let (from, to) = (inner[axis], outer[axis]);
            let taps: Vec<Vec<(usize, f64)>> = (0..to).map(|at| resampling.taps(at, from, to)).collect();
            let step: usize = lengths[axis + 1..].iter().product();
            let (old, new) = if is_back { (to, from) } else { (from, to) };
            let n_lines = numbers.len() / (old * step).max(1);
            let mut changed = vec![T::zero(); n_lines * new * step];
            changed.par_chunks_exact_mut(new * step).zip(numbers.par_chunks_exact(old * step)).for_each(
                |(changed, numbers)| {
                    for (at, taps) in taps.iter().enumerate() {
                        for &(place, weight) in taps {
                            let (read, write) = if is_back { (at, place) } else { (place, at) };
                            let read = &numbers[read * step..][..step];
                            let write = &mut changed[write * step..][..step];
                            write.iter_mut().zip(read).for_each(|(sum, &x)| *sum += T::of(weight) * x);
                        }
                    }
                },
            );
            numbers = changed;
            lengths[axis] = new;
        }
        Ok(numbers)
    }

    fn new_lengths(&self, lengths: &[usize]) -> Result<Vec<usize>> {
        let new = |(axis, &length): (&Resampling, &usize)| axis.length(length);
        let all: Option<Vec<usize>> = self.axes.iter().zip(lengths).map(new).collect();
        all.filter(|all| all.len() == lengths.len()).ok_or_else(|| {
            ModelError::operator(self.kind, format!("{:?} of lengths {lengths:?} behind the batch", self.axes))
        })
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let numbers = input.to_logical()?.numbers::<T>()?.to_vec();
        Value::from_vec(self.through(numbers, &input.shape()[1..], false)?, &shape, Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, shape: &[usize], gradient: &Value) -> Result<Value> {
        let numbers = gradient.to_logical()?.numbers::<T>()?.to_vec();
        Value::from_vec(self.through(numbers, &shape[1..], true)?, shape, Layout::Logical)
    }
}

impl Operator for Resample {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn family(&self) -> Family {
        // Its outputs are weighted sums of its inputs with weights of zero or more, as those of average pools.
        Family::AveragePool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let lengths = inputs[0].get(1..).unwrap_or_default();
        Ok(vec![inputs[0].first().copied().into_iter().chain(self.new_lengths(lengths)?).collect()])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (shape, gradient) = (backward.gradient_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(&shape, gradient)?))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    fn along(resampling: Resampling, numbers: &[f64]) -> Vec<f64> {
        let resample = Resample::new("Resize", vec![Resampling::Kept, resampling]);
        let input = Value::from_vec(numbers.to_vec(), &[1, 1, numbers.len()], Layout::Logical).unwrap();
        resample.forward(&[&input]).unwrap()[0].to_f64_vec().unwrap()
    }

    #[test]
    fn resized_as_torch_does() {
        let nearest =
            Resampling::Nearest { scale: 2.0, coordinates: Coordinates::Asymmetric, rounding: Rounding::Floor };
        assert_eq!(along(nearest, &[1.0, 5.0]), [1.0, 1.0, 5.0, 5.0]);
        let linear = Resampling::Linear { scale: 2.0, coordinates: Coordinates::HalfPixel };
        assert_eq!(along(linear, &[1.0, 5.0]), [1.0, 2.0, 4.0, 5.0]);
        let corners = Resampling::Linear { scale: 2.5, coordinates: Coordinates::AlignCorners };
        assert_eq!(along(corners, &[1.0, 5.0]), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn padded_by_what_is_there() {
        let reflected = Resampling::Reflected { before: 2, behind: 1 };
        assert_eq!(along(reflected, &[1.0, 2.0, 3.0]), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        let repeated = Resampling::Repeated { before: 1, behind: 2 };
        assert_eq!(along(repeated, &[1.0, 2.0, 3.0]), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn gradients_of_images_and_sequences() {
        let linear = Resampling::Linear { scale: 1.5, coordinates: Coordinates::PytorchHalfPixel };
        let reflected = Resampling::Reflected { before: 1, behind: 2 };
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        check_gradients(&Resample::new("Resize", vec![Resampling::Kept, linear, reflected]), &[image]);
        let nearest =
            Resampling::Nearest { scale: 0.5, coordinates: Coordinates::HalfPixel, rounding: Rounding::PreferFloor };
        check_gradients(&Resample::new("Resize", vec![Resampling::Kept, nearest]), &[random_value(&[2, 3, 7], 2)]);
    }

    #[test]
    fn more_to_mirror_than_there_is_is_refused() {
        let resample = Resample::new("Pad", vec![Resampling::Kept, Resampling::Reflected { before: 3, behind: 0 }]);
        assert!(resample.output_shapes(&[&[1, 2, 3]]).unwrap_err().to_string().starts_with("Pad: [Kept, Reflected"));
    }
}
