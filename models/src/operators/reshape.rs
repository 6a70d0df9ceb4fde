//! The same numbers under another shape: reshapes, and axes of length 1 that come and go.

use std::sync::Arc;

use candle_core::DType;

use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// An operator that renames places; its gradient is the numbers under the input's shape, with the pairs as batch. Where
/// time comes before features, a function may say what the axes mean behind it; else their number says it.
macro_rules! renames_places {
    ($operator:ident, $kind:literal $(, $axes:expr)?) => {
        impl Operator for $operator {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn family(&self) -> Family {
                Family::Rearrangement
            }

            fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
                Ok(vec![self.output_shape(inputs[0])?])
            }

            $(
                fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
                    let of_sequence = inputs.first().filter(|axes| rank > 2 && axes.get(1) == Some(&AxisKind::Time));
                    of_sequence.map_or_else(|| AxisKind::by_rank(rank), |axes| $axes(self, axes, rank))
                }
            )?

            fn reach(&self) -> Reach {
                Reach::Global
            }

            fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
                Ok(vec![inputs[0].reshape(&self.output_shape(inputs[0].shape())?)?])
            }

            fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
                Backward::only(backward.gradient()?.reshape(&backward.gradient_shape(0))?)
            }

            fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
                Ok(Arc::new(self.clone()))
            }
        }
    };
}
pub(super) use renames_places;

/// Another shape, as ONNX writes it: 0 keeps an axis, -1 takes what is left. The first axis stays the batch.
#[derive(Clone, Debug)]
pub struct Reshape {
    pub shape: Vec<isize>,
}

impl Reshape {
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let refuse = || {
            ModelError::operator(
                "Reshape",
                format!("{input:?} to {:?}, where 0 keeps an axis and -1 takes what is left", self.shape),
            )
        };
        let kept = |(axis, &length): (usize, &isize)| match length {
            0 => input.get(axis).copied().ok_or_else(refuse),
            -1 => Ok(1),
            length => usize::try_from(length).map_err(|_| refuse()),
        };
        let mut shape = self.shape.iter().enumerate().map(kept).collect::<Result<Vec<usize>>>()?;
        let (n, known) = (input.iter().product::<usize>(), shape.iter().product::<usize>());
        if let Some(open) = self.shape.iter().position(|&length| length == -1) {
            if known == 0 || n % known != 0 {
                return Err(refuse());
            }
            shape[open] = n / known;
        }
        let keeps_batch = shape.first() == input.first() && shape.iter().product::<usize>() == n;
        if keeps_batch { Ok(shape) } else { Err(refuse()) }
    }

    /// Time stays where its axis is kept, or where directions and units behind it are joined.
    fn kinds(&self, axes: &[AxisKind], rank: usize) -> Vec<AxisKind> {
        let keeps_time = self.shape.get(1) == Some(&0) || axes.len() == 4;
        if keeps_time && rank == 3 {
            return vec![AxisKind::Batch, AxisKind::Time, AxisKind::Feature];
        }
        AxisKind::by_rank(rank)
    }
}

renames_places!(Reshape, "Reshape", Reshape::kinds);

/// Takes away axes of length 1; negative ones count from the end.
#[derive(Clone, Debug)]
pub struct Squeeze {
    pub axes: Vec<isize>,
}

impl Squeeze {
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let rank = input.len() as isize;
        let taken: Vec<isize> = self.axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
        let can_go = taken.iter().all(|&axis| axis > 0 && axis < rank && input[axis as usize] == 1);
        if !can_go {
            return Err(ModelError::operator(
                "Squeeze",
                format!("axes {:?} of shape {input:?}: only axes of length 1 behind the batch can go", self.axes),
            ));
        }
        Ok(input
            .iter()
            .enumerate()
            .filter(|(axis, _)| !taken.contains(&(*axis as isize)))
            .map(|(_, &length)| length)
            .collect())
    }
}

impl Squeeze {
    fn kinds(&self, axes: &[AxisKind], _rank: usize) -> Vec<AxisKind> {
        let from_start = |axis: isize| if axis < 0 { axis + axes.len() as isize } else { axis };
        let is_taken = |place: usize| self.axes.iter().any(|&axis| from_start(axis) == place as isize);
        axes.iter().enumerate().filter(|(place, _)| !is_taken(*place)).map(|(_, kind)| *kind).collect()
    }
}

renames_places!(Squeeze, "Squeeze", Squeeze::kinds);

/// Puts in axes of length 1, at these places of the result; negative ones count from its end.
#[derive(Clone, Debug)]
pub struct Unsqueeze {
    pub axes: Vec<isize>,
}

impl Unsqueeze {
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let rank = (input.len() + self.axes.len()) as isize;
        let put: Vec<isize> = self.axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
        if put.iter().any(|&axis| axis < 1 || axis >= rank) {
            return Err(ModelError::operator(
                "Unsqueeze",
                format!("axes {:?} of shape {input:?}: new axes come behind the batch", self.axes),
            ));
        }
        let mut lengths = input.iter();
        let length = |axis: isize| if put.contains(&axis) { Some(1) } else { lengths.next().copied() };
        Ok((0..rank).filter_map(length).collect())
    }
}

renames_places!(Unsqueeze, "Unsqueeze");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn from_channels_last_in_logical_order() {
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        check_gradients(&Reshape { shape: vec![0, -1] }, std::slice::from_ref(&image));
        check_gradients(&Reshape { shape: vec![0, 2, -1, 5] }, std::slice::from_ref(&image));
        let flat = Reshape { shape: vec![0, -1] }.forward(&[&image]).unwrap().remove(0);
        assert_eq!(flat.to_f64_vec().unwrap(), image.to_f64_vec().unwrap());
        check_gradients(&Squeeze { axes: vec![-1] }, &[random_value(&[2, 3, 1], 2)]);
        check_gradients(&Unsqueeze { axes: vec![1, -1] }, &[random_value(&[2, 3], 3)]);
    }

    #[test]
    fn time_stays_time() {
        use AxisKind::{Batch, Channel, Feature, Other, Row, Time};
        let states = [Batch, Time, Other, Feature];
        assert_eq!(Squeeze { axes: vec![2] }.output_axes(&[&states], 3), [Batch, Time, Feature]);
        assert_eq!(Reshape { shape: vec![0, 0, -1] }.output_axes(&[&states], 3), [Batch, Time, Feature]);
        let image = [Batch, Channel, Row, Row];
        assert_eq!(Squeeze { axes: vec![2, 3] }.output_axes(&[&image], 2), [Batch, Feature]);
    }

    #[test]
    fn the_batch_cannot_be_reshaped_away() {
        let error = Reshape { shape: vec![-1, 3] }.output_shapes(&[&[2, 6]]).unwrap_err();
        assert_eq!(error.to_string(), "Reshape: [2, 6] to [-1, 3], where 0 keeps an axis and -1 takes what is left");
    }
}
