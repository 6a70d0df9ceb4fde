//! The state that a recurrent layer ends with: ONNX's `Y_h` and `Y_c`.

use std::sync::Arc;

use candle_core::DType;

use super::recurrent::Direction;
use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// Of `[batch, time, direction, unit]` the last step that each direction takes: the first in time where it reads
/// backwards.
#[derive(Clone, Debug)]
pub struct LastState {
    pub direction: Direction,
}

impl LastState {
    /// Visits each direction of each row: where its numbers begin among the states, and how many there are.
    fn for_each_run(&self, shape: &[usize], mut visit: impl FnMut(usize, usize)) {
        let [batch, n_steps, n_directions, n_units] = [shape[0], shape[1], shape[2], shape[3]];
        for row in 0..batch {
            for direction in 0..n_directions {
                let step = if self.direction.is_reversed(direction) { 0 } else { n_steps - 1 };
                visit(((row * n_steps + step) * n_directions + direction) * n_units, n_units);
            }
        }
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let input = input.to_logical()?;
        let numbers = input.numbers::<T>()?;
        let mut last = Vec::with_capacity(shape.iter().product());
        self.for_each_run(input.shape(), |start, n| last.extend_from_slice(&numbers[start..start + n]));
        Value::from_vec(last, &shape, Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, shape: &[usize], gradient: &Value) -> Result<Value> {
        let gradient = gradient.to_logical()?;
        let mut arrived = &gradient.numbers::<T>()?[..];
        let mut passed = vec![T::zero(); shape.iter().product()];
        self.for_each_run(shape, |start, n| {
            let (run, rest) = arrived.split_at(n);
            passed[start..start + n].copy_from_slice(run);
            arrived = rest;
        });
        Value::from_vec(passed, shape, Layout::Logical)
    }
}

impl Operator for LastState {
    fn kind(&self) -> &'static str {
        "LastState"
    }

    fn family(&self) -> Family {
        Family::Rearrangement
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        match *inputs[0] {
            [batch, n_steps, n_directions, n_units] if n_steps > 0 && n_directions == self.direction.n_directions() => {
                Ok(vec![vec![batch, n_directions, n_units]])
            }
            _ => {
                let reason = format!("input must be [batch, time, direction, unit] but is {:?}", inputs[0]);
                Err(ModelError::operator("LastState", reason))
            }
        }
    }

    fn output_axes(&self, _inputs: &[&[AxisKind]], _rank: usize) -> Vec<AxisKind> {
        vec![AxisKind::Batch, AxisKind::Other, AxisKind::Feature]
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

    #[test]
    fn each_direction_ends_at_its_own_end() {
        let states = random_value(&[2, 3, 2, 4], 1);
        let last = LastState { direction: Direction::Bidirectional };
        check_gradients(&last, std::slice::from_ref(&states));
        check_gradients(&LastState { direction: Direction::Reverse }, &[random_value(&[2, 3, 1, 4], 2)]);
        let (all, ends) = (states.to_f64_vec().unwrap(), last.forward(&[&states]).unwrap()[0].to_f64_vec().unwrap());
        assert_eq!(ends[..4], all[16..20], "the last step forward");
        assert_eq!(ends[4..8], all[4..8], "the first step in time, which comes last in reverse");
    }
}
