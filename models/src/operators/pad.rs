//! Zeros, or another number, around a value.

use std::sync::Arc;

use candle_core::DType;

use super::identity::Identity;
use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// Constant padding, before and behind for each axis, batch included (where it must be 0).
#[derive(Clone, Debug)]
pub struct Pad {
    pub padding: Vec<(usize, usize)>,
    pub value: f64,
}

impl Pad {
    /// Visits each run of the unpadded value along its last axis: where it starts there and in the padded one.
    fn for_each_run(&self, input: &[usize], mut visit: impl FnMut(usize, usize, usize)) {
        let output: Vec<usize> =
            input.iter().zip(&self.padding).map(|(length, (before, behind))| length + before + behind).collect();
        let run = input[input.len() - 1];
        for nth in 0..input.iter().product::<usize>() / run.max(1) {
            let position = crate::value::unravel(nth * run, input);
            let padded = position.iter().zip(&self.padding).zip(&output);
            let start = padded.fold(0, |start, ((index, (before, _)), length)| start * length + index + before);
            visit(nth * run, start, run);
        }
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let input = input.to_logical()?;
        let numbers = input.numbers::<T>()?;
        let mut padded = vec![T::of(self.value); shape.iter().product()];
        self.for_each_run(input.shape(), |from, to, run| {
            padded[to..to + run].copy_from_slice(&numbers[from..from + run])
        });
        Value::from_vec(padded, &shape, Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, input: &[usize], gradient: &Value) -> Result<Value> {
        let mut shape = input.to_vec();
        shape[0] = gradient.batch();
        let gradient = gradient.to_logical()?;
        let arrived = gradient.numbers::<T>()?;
        let mut passed = vec![T::zero(); shape.iter().product()];
        self.for_each_run(&shape, |to, from, run| passed[to..to + run].copy_from_slice(&arrived[from..from + run]));
        Value::from_vec(passed, &shape, Layout::Logical)
    }
}

impl Operator for Pad {
    fn kind(&self) -> &'static str {
        "Pad"
    }

    fn family(&self) -> Family {
        Family::Rearrangement
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        if self.padding.len() != inputs[0].len() || self.padding.first() != Some(&(0, 0)) {
            return Err(ModelError::operator(
                "Pad",
                format!(
                    "padding {:?} for shape {:?}; each axis needs a pair, and the batch (0, 0)",
                    self.padding, inputs[0]
                ),
            ));
        }
        Ok(vec![
            inputs[0].iter().zip(&self.padding).map(|(length, (before, behind))| length + before + behind).collect(),
        ])
    }

    fn reach(&self) -> Reach {
        let window = |&(before, _): &(usize, usize)| super::AxisWindow { extent: 1, stride: 1, padding: before };
        Reach::Window(self.padding.iter().skip(2).map(window).collect())
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, gradient) = (&backward.values.input_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(input, gradient)?))
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        (self.padding.get(1) == Some(&(0, 0))).then(|| Arc::new(Identity { kind: "Pad" }) as Arc<dyn Operator>)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn around_images_and_sequences() {
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        check_gradients(&Pad { padding: vec![(0, 0), (0, 0), (1, 2), (0, 3)], value: 0.0 }, &[image]);
        let pad = Pad { padding: vec![(0, 0), (1, 0), (2, 1)], value: -1.5 };
        check_gradients(&pad, &[random_value(&[2, 1, 2], 2)]);
        let input = Value::from_vec(vec![1.0f32, 2.0], &[1, 1, 2], Layout::Logical).unwrap();
        let padded = pad.forward(&[&input]).unwrap()[0].to_f32_vec().unwrap();
        assert_eq!(padded, [-1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -1.5, 1.0, 2.0, -1.5]);
    }
}
