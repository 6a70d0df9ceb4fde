//! Resize and Pad: other places along the axes.

use super::folding::{N_SCENARIOS, Scenarios};
use super::operators::{Converted, layer};
use super::reading::{Read, Reading};
use super::tensor::Numbers;
use crate::loaders::LoadError;
use crate::operators::{Coordinates, Pad, Resample, Resampling, Rounding};

/// How ONNX pads by what is there.
type Mirror = fn(usize, usize) -> Resampling;

impl Reading<'_> {
    pub(super) fn pad(&self) -> Result<Converted, LoadError> {
        let mirror: Option<Mirror> = match self.attributes.text("mode") {
            None | Some("constant") => None,
            Some("reflect") => Some(|before, behind| Resampling::Reflected { before, behind }),
            Some("edge") => Some(|before, behind| Resampling::Repeated { before, behind }),
            Some(mode) => return Err(self.unsupported(format!("Pad by `{mode}`"))),
        };
        let (pads, rank) = (self.whole(1)?, self.rank()?);
        let axes = match self.optional_constant(3)? {
            Some(_) => self.whole(3)?,
            None => (0..rank as i64).collect(),
        };
        if pads.len() != 2 * axes.len() || pads.iter().any(|&pad| !(0..1 << 24).contains(&pad)) {
            return Err(self.refused(format!("pads {pads:?} for axes {axes:?}; two numbers from 0 an axis are needed")));
        }
        let mut padding = vec![(0, 0); rank];
        for (nth, &axis) in axes.iter().enumerate() {
            padding[self.axis(axis)?] = (pads[nth] as usize, pads[axes.len() + nth] as usize);
        }
        let Some(mirror) = mirror else {
            return layer(Pad { padding, value: self.scalar(2)?.unwrap_or(0.0) }, &[0]);
        };
        if padding[0] != (0, 0) {
            return Err(self.refused("it pads the batch"));
        }
        let of_axis = |&(before, behind): &(usize, usize)| match before + behind {
            0 => Resampling::Kept,
            _ => mirror(before, behind),
        };
        layer(Resample::new("Pad", padding[1..].iter().map(of_axis).collect()), &[0])
    }

    pub(super) fn resize(&self) -> Result<Converted, LoadError> {
        let coordinates = match self.attributes.text("coordinate_transformation_mode") {
            None | Some("half_pixel") => Coordinates::HalfPixel,
            Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
            Some("align_corners") => Coordinates::AlignCorners,
            Some("asymmetric") => Coordinates::Asymmetric,
            Some(other) => return Err(self.unsupported(format!("Resize by `{other}`"))),
        };
        let rounding = match self.attributes.text("nearest_mode") {
            None | Some("round_prefer_floor") => Rounding::PreferFloor,
            Some("round_prefer_ceil") => Rounding::PreferCeil,
            Some("floor") => Rounding::Floor,
            Some("ceil") => Rounding::Ceil,
            Some(other) => return Err(self.refused(format!("`nearest_mode` is `{other}`"))),
        };
        let is_linear = match self.attributes.text("mode") {
            None | Some("nearest") => false,
            Some("linear") => true,
            Some(other) => return Err(self.unsupported(format!("Resize by `{other}` interpolation"))),
        };
        if self.attributes.int("antialias", 0) != 0 {
            return Err(self.unsupported("Resize with antialiasing"));
        }
        let of_axis = |scale: f64| match (scale == 1.0, is_linear) {
            (true, _) => Resampling::Kept,
            (_, true) => Resampling::Linear { scale, coordinates },
            (_, false) => Resampling::Nearest { scale, coordinates, rounding },
        };
        let scales = self.scales()?;
        if scales[0] != 1.0 {
            return Err(self.refused(format!("scales {scales:?} would change the batch")));
        }
        layer(Resample::new("Resize", scales[1..].iter().copied().map(of_axis).collect()), &[0])
    }

    /// How much longer each axis becomes.
    fn scales(&self) -> Result<Vec<f64>, LoadError> {
        let (rank, shapes) = (self.rank()?, self.shapes()?);
        let given = match (self.numbers_of(2)?, self.numbers_of(3)?) {
            (Some(scales), _) => scales,
            (None, Some(mut sizes)) => {
                for (sizes, shape) in sizes.iter_mut().zip(shapes) {
                    let lengths = shape.iter().skip(rank - sizes.len().min(rank));
                    sizes.iter_mut().zip(lengths).for_each(|(size, &length)| *size /= length as f64);
                    // The batch that the exporter was shown stands for any.
                    if sizes.len() == rank {
                        sizes[0] = 1.0;
                    }
                }
                sizes
            }
            (None, None) => return Err(self.refused("it says neither scales nor sizes")),
        };
        let alike = |other: &Vec<f64>| other.iter().zip(&given[0]).all(|(a, b)| (a - b).abs() < 1e-3);
        if !given.iter().all(alike) {
            return Err(self.refused("it makes inputs of different lengths differently longer"));
        }
        let [first, ..] = given;
        let axes: Vec<usize> = match self.attributes.ints("axes") {
            Some(axes) => axes.into_iter().map(|axis| self.file_axis(axis)).collect::<Result<_, _>>()?,
            None => (rank - first.len().min(rank)..rank).collect(),
        };
        let is_sound = first.iter().all(|scale| scale.is_finite() && (1e-3..1e3).contains(scale));
        if axes.len() != first.len() || !is_sound {
            return Err(self.refused(format!("scales {first:?} for axes {axes:?}")));
        }
        let mut scales = vec![1.0; rank];
        axes.into_iter().zip(first).for_each(|(axis, scale)| scales[axis] = scale);
        Ok(scales)
    }

    /// The numbers of an input that is known in each scenario; `None` where it is left out or empty.
    fn numbers_of(&self, nth: usize) -> Result<Option<Scenarios<Vec<f64>>>, LoadError> {
        let known = match self.inputs.get(nth) {
            None | Some(None) => return Ok(None),
            Some(Some(Read::Known(known))) => known,
            Some(Some(_)) => return Err(self.refused(format!("input {nth} is computed from the numbers of the input"))),
        };
        let mut all: Scenarios<Vec<f64>> = Default::default();
        for (scenario, numbers) in all.iter_mut().enumerate().take(N_SCENARIOS) {
            *numbers = match &known.at(scenario).numbers {
                Numbers::Float(numbers) => numbers.iter().map(|&number| f64::from(number)).collect(),
                Numbers::Whole(numbers) => numbers.iter().map(|&number| number as f64).collect(),
            };
        }
        Ok(Some(all).filter(|all| !all[0].is_empty()))
    }
}
