//! The largest number over whole axes: global max pools and ONNX's `ReduceMax`. The gradient goes to the first place, in
//! row-major order, that holds it.

use std::sync::Arc;

use candle_core::DType;

use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::broadcasting::for_each_run;
use crate::value::{Layout, Value};

/// A maximum over these axes, which are not the batch's.
#[derive(Clone, Debug)]
pub struct Largest {
    kind: &'static str,
    axes: Vec<usize>,
    keep_dims: bool,
}

impl Largest {
    /// A global max pool of a value with so many axes: over all spatial axes, which stay with length 1.
    pub fn global_max_pool(rank: usize) -> Self {
        Largest { kind: "GlobalMaxPool", axes: (2..rank).collect(), keep_dims: true }
    }

    /// Over the axes listed.
    pub fn over(axes: &[usize], keep_dims: bool) -> Self {
        Largest { kind: "ReduceMax", axes: axes.to_vec(), keep_dims }
    }

    fn kept_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        if self.axes.iter().any(|&axis| axis == 0 || axis >= shape.len() || shape[axis] == 0) {
            let reason = format!("maximum over axes {:?} of shape {shape:?}; axis 0 is the batch", self.axes);
            return Err(ModelError::operator(self.kind, reason));
        }
        let mut kept = shape.to_vec();
        self.axes.iter().for_each(|&axis| kept[axis] = 1);
        Ok(kept)
    }

    /// For each number kept the logical index of the first that is as large.
    fn winners<T: Element>(&self, shape: &[usize], numbers: &[T]) -> Result<Vec<usize>> {
        let kept = self.kept_shape(shape)?;
        let mut winners: Vec<Option<usize>> = vec![None; kept.iter().product()];
        for_each_run(shape, [&kept], |start, run, [(to, step)]| {
            for index in start..start + run {
                let winner = &mut winners[to + (index - start) * step];
                if winner.is_none_or(|known| numbers[index] > numbers[known]) {
                    *winner = Some(index);
                }
            }
        });
        Ok(winners.into_iter().map(|winner| winner.expect("no axis is empty")).collect())
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let input = input.to_logical()?;
        let numbers = input.numbers::<T>()?;
        let largest = self.winners(input.shape(), &numbers)?.into_iter().map(|winner| numbers[winner]).collect();
        Value::from_vec(largest, &self.output_shapes(&[input.shape()])?[0], Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let (input, gradient) = (backward.values.input(0)?.to_logical()?, backward.gradient()?.to_logical()?);
        let winners = self.winners(input.shape(), &input.numbers::<T>()?)?;
        let (per_row, per_input) = (winners.len() / input.batch().max(1), input.len() / input.batch().max(1));
        let shape = backward.gradient_shape(0);
        let mut passed = vec![T::zero(); shape.iter().product()];
        for (pair, arrived) in gradient.numbers::<T>()?.chunks_exact(per_row.max(1)).enumerate() {
            let row = backward.rows[pair];
            for (winner, &arrived) in winners[row * per_row..][..per_row].iter().zip(arrived) {
                passed[pair * per_input + winner - row * per_input] = arrived;
            }
        }
        Value::from_vec(passed, &shape, Layout::Logical)
    }
}

impl Operator for Largest {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn family(&self) -> Family {
        Family::MaxPool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let kept = self.kept_shape(inputs[0])?;
        let is_left = |axis: &usize| self.keep_dims || !self.axes.contains(axis);
        Ok(vec![(0..kept.len()).filter(is_left).map(|axis| kept[axis]).collect()])
    }

    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        let Some(axes) = inputs.first() else { return AxisKind::by_rank(rank) };
        let is_left = |axis: &usize| axes.len() == rank || !self.axes.contains(axis);
        (0..axes.len()).filter(is_left).map(|axis| axes[axis]).collect()
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => Backward::only(self.input_gradient_as::<T>(backward)?))
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
    fn over_places_channels_and_features() {
        let image = random_value(&[2, 3, 5, 4], 1).to_channels_last().unwrap();
        check_gradients(&Largest::global_max_pool(4), std::slice::from_ref(&image));
        check_gradients(&Largest::over(&[3, 1], false), &[image]);
        check_gradients(&Largest::over(&[2], true), &[random_value(&[2, 3, 5], 2)]);
        check_gradients(&Largest::over(&[1], false), &[random_value(&[3, 4], 3)]);
    }

    #[test]
    fn over_the_batch_is_refused() {
        let error = Largest::over(&[0], true).output_shapes(&[&[2, 3]]).unwrap_err();
        assert_eq!(error.to_string(), "ReduceMax: maximum over axes [0] of shape [2, 3]; axis 0 is the batch");
    }
}
