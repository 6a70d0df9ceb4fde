//! Places along an axis: chosen one by one (`Gather`), or from a start to an end (`Slice`, of which `Split` is made).

use std::sync::Arc;

use candle_core::DType;

use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// The places at these indices along an axis, negative ones counted from its end.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Not the batch.
    pub axis: usize,
    pub indices: Vec<i64>,
    /// Whether the axis stays; without it, one index takes the axis away.
    pub keeps_axis: bool,
}

/// Every `step`-th place from `start` up to `end`, which is not reached; negative ones count from the axis's end, and
/// what lies beyond an end is cut off.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Not the batch.
    pub axis: usize,
    pub start: i64,
    pub end: i64,
    pub step: usize,
}

fn check_axis(kind: &'static str, axis: usize, shape: &[usize]) -> Result<()> {
    if (1..shape.len()).contains(&axis) {
        return Ok(());
    }
    Err(ModelError::operator(kind, format!("axis {axis} of shape {shape:?}; axis 0 is the batch")))
}

impl Gather {
    fn places(&self, shape: &[usize]) -> Result<Vec<usize>> {
        check_axis("Gather", self.axis, shape)?;
        let length = shape[self.axis];
        let from_start = |&index: &i64| usize::try_from(if index < 0 { index + length as i64 } else { index }).ok();
        let places: Option<Vec<usize>> =
            self.indices.iter().map(|index| from_start(index).filter(|place| *place < length)).collect();
        places.filter(|places| !places.is_empty() && (self.keeps_axis || places.len() == 1)).ok_or_else(|| {
            let reason = format!("indices {:?} along an axis of length {length}", self.indices);
            ModelError::operator("Gather", reason)
        })
    }

    fn keeps_axis(&self) -> bool {
        self.keeps_axis
    }
}

impl Slice {
    fn places(&self, shape: &[usize]) -> Result<Vec<usize>> {
        check_axis("Slice", self.axis, shape)?;
        let length = shape[self.axis] as i64;
        let bound =
            |place: i64| (if place < 0 { place.saturating_add(length) } else { place }).clamp(0, length) as usize;
        let places: Vec<usize> = (bound(self.start)..bound(self.end)).step_by(self.step.max(1)).collect();
        if places.is_empty() {
            let reason = format!("from {} to {} of an axis of length {length} is nothing", self.start, self.end);
            return Err(ModelError::operator("Slice", reason));
        }
        Ok(places)
    }

    fn keeps_axis(&self) -> bool {
        true
    }
}

/// Visits each run of numbers that lie together behind an axis: where it begins among all places and among the chosen.
fn for_each_run(shape: &[usize], axis: usize, places: &[usize], mut visit: impl FnMut(usize, usize, usize)) {
    let run: usize = shape[axis + 1..].iter().product();
    for outer in 0..shape[..axis].iter().product::<usize>() {
        for (nth, place) in places.iter().enumerate() {
            visit((outer * shape[axis] + place) * run, (outer * places.len() + nth) * run, run);
        }
    }
}

fn take<T: Element>(input: &Value, axis: usize, places: &[usize], shape: &[usize]) -> Result<Value> {
    let input = input.to_logical()?;
    let numbers = input.numbers::<T>()?;
    let mut taken = vec![T::zero(); shape.iter().product()];
    for_each_run(input.shape(), axis, places, |from, to, n| {
        taken[to..to + n].copy_from_slice(&numbers[from..from + n])
    });
    Value::from_vec(taken, shape, Layout::Logical)
}

/// Adds, since an index may come twice.
fn put_back<T: Element>(gradient: &Value, axis: usize, places: &[usize], shape: &[usize]) -> Result<Value> {
    let gradient = gradient.to_logical()?;
    let arrived = gradient.numbers::<T>()?;
    let mut passed = vec![T::zero(); shape.iter().product()];
    for_each_run(shape, axis, places, |to, from, n| {
        passed[to..to + n].iter_mut().zip(&arrived[from..from + n]).for_each(|(sum, &number)| *sum += number);
    });
    Value::from_vec(passed, shape, Layout::Logical)
}

/// An operator that takes places along an axis.
macro_rules! takes_places {
    ($operator:ident, $kind:literal) => {
        impl Operator for $operator {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn family(&self) -> Family {
                Family::Rearrangement
            }

            fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
                let n_places = self.places(inputs[0])?.len();
                let mut shape = inputs[0].to_vec();
                if self.keeps_axis() {
                    shape[self.axis] = n_places;
                } else {
                    shape.remove(self.axis);
                }
                Ok(vec![shape])
            }

            fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
                let Some(axes) = inputs.first() else { return AxisKind::by_rank(rank) };
                let is_left = |axis: usize| self.keeps_axis() || axis != self.axis;
                axes.iter().enumerate().filter(|(axis, _)| is_left(*axis)).map(|(_, kind)| *kind).collect()
            }

            fn reach(&self) -> Reach {
                Reach::Global
            }

            fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
                let places = self.places(inputs[0].shape())?;
                let shape = self.output_shapes(&[inputs[0].shape()])?.remove(0);
                with_element!(inputs[0].dtype(), T => Ok(vec![take::<T>(inputs[0], self.axis, &places, &shape)?]))
            }

            fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
                let (shape, gradient) = (backward.gradient_shape(0), backward.gradient()?);
                let places = self.places(&shape)?;
                with_element!(gradient.dtype(), T => {
                    Backward::only(put_back::<T>(gradient, self.axis, &places, &shape)?)
                })
            }

            fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
                Ok(Arc::new(self.clone()))
            }
        }
    };
}

takes_places!(Gather, "Gather");
takes_places!(Slice, "Slice");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn indices_may_repeat_and_an_axis_may_go() {
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        let gather = |axis, indices: &[i64], keeps_axis| Gather { axis, indices: indices.to_vec(), keeps_axis };
        check_gradients(&gather(2, &[3, 0, -1, 3], true), std::slice::from_ref(&image));
        check_gradients(&gather(1, &[-1], false), std::slice::from_ref(&image));
        let last = gather(3, &[-1], false).forward(&[&image]).unwrap().remove(0);
        let every_fifth: Vec<f64> = image.to_f64_vec().unwrap().into_iter().skip(4).step_by(5).collect();
        assert_eq!((last.shape(), last.to_f64_vec().unwrap()), (&[2, 3, 4][..], every_fifth));
    }

    #[test]
    fn slices_with_steps_and_open_ends() {
        let slice = |axis, start, end, step| Slice { axis, start, end, step };
        let sequence = random_value(&[2, 3, 7], 2);
        for (start, end, step) in [(0, 3, 1), (1, i64::MAX, 2), (-3, -1, 1), (2, 100, 3)] {
            check_gradients(&slice(2, start, end, step), std::slice::from_ref(&sequence));
        }
        assert_eq!(slice(2, 1, i64::MAX, 2).output_shapes(&[&[2, 3, 7]]).unwrap(), [[2, 3, 3]]);
        assert_eq!(slice(2, -3, -1, 1).places(&[2, 3, 7]).unwrap(), [4, 5]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let gather = Gather { axis: 1, indices: vec![3], keeps_axis: true };
        let error = gather.output_shapes(&[&[2, 3]]).unwrap_err();
        assert_eq!(error.to_string(), "Gather: indices [3] along an axis of length 3");
        let error = Slice { axis: 0, start: 0, end: 1, step: 1 }.output_shapes(&[&[2, 3]]).unwrap_err();
        assert_eq!(error.to_string(), "Slice: axis 0 of shape [2, 3]; axis 0 is the batch");
        let error = Slice { axis: 1, start: 2, end: 1, step: 1 }.output_shapes(&[&[2, 3]]).unwrap_err();
        assert_eq!(error.to_string(), "Slice: from 2 to 1 of an axis of length 3 is nothing");
    }
}
