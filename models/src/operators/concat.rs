//! Branches side by side along one axis.

use std::sync::Arc;

use candle_core::DType;

use super::{Backward, Family, Operator};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// A concatenation; `axis` is logical, negative ones count from the end, and is not the batch.
#[derive(Clone, Debug)]
pub struct Concat {
    pub axis: isize,
}

impl Concat {
    fn axis(&self, rank: usize) -> Result<usize> {
        let axis = if self.axis < 0 { self.axis + rank as isize } else { self.axis };
        if axis < 1 || axis >= rank as isize {
            return Err(ModelError::operator(
                "Concat",
                format!("axis {} of values with {rank} axes; axis 0 is the batch", self.axis),
            ));
        }
        Ok(axis as usize)
    }

    fn common_layout(inputs: &[&Value]) -> Layout {
        inputs.first().map_or(Layout::Logical, |first| first.layout())
    }

    fn forward_as<T: Element>(&self, inputs: &[&Value]) -> Result<Value> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let shape = self.output_shapes(&shapes)?.remove(0);
        let layout = Self::common_layout(inputs);
        let inputs = inputs.iter().map(|input| input.to_layout(layout)).collect::<Result<Vec<_>>>()?;
        let numbers = inputs.iter().map(Value::numbers::<T>).collect::<Result<Vec<_>>>()?;
        let axis = layout.physical_axis(self.axis(shape.len())?, shape.len());
        let physical = layout.physical_shape(&shape);
        let n_outer: usize = physical[..axis].iter().product();
        let mut joined = Vec::with_capacity(shape.iter().product());
        for outer in 0..n_outer {
            for numbers in &numbers {
                let run = numbers.len() / n_outer;
                joined.extend_from_slice(&numbers[outer * run..][..run]);
            }
        }
        Value::from_vec(joined, &shape, layout)
    }

    fn input_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?;
        let (rank, layout) = (gradient.shape().len(), gradient.layout());
        let axis = layout.physical_axis(self.axis(rank)?, rank);
        let physical = layout.physical_shape(gradient.shape());
        let n_outer: usize = physical[..axis].iter().product();
        let arrived = gradient.numbers::<T>()?;
        let whole_run = arrived.len() / n_outer.max(1);
        let mut start = 0;
        let mut passed = Vec::new();
        for (input, &wanted) in backward.wanted.iter().enumerate() {
            let shape = backward.gradient_shape(input);
            let run = shape.iter().product::<usize>() / n_outer.max(1);
            let numbers =
                || (0..n_outer).flat_map(|outer| &arrived[outer * whole_run + start..][..run]).copied().collect();
            passed.push(wanted.then(|| Value::from_vec::<T>(numbers(), &shape, layout)).transpose()?);
            start += run;
        }
        Ok(passed)
    }
}

impl Operator for Concat {
    fn kind(&self) -> &'static str {
        "Concat"
    }

    fn family(&self) -> Family {
        Family::Concat
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let mut shape = inputs[0].to_vec();
        let axis = self.axis(shape.len())?;
        for input in &inputs[1..] {
            let fits = input.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || input[other] == shape[other]);
            if !fits {
                return Err(ModelError::operator(
                    "Concat",
                    format!("shapes {inputs:?} differ elsewhere than along axis {axis}"),
                ));
            }
            shape[axis] += input[axis];
        }
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs)?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => self.input_gradients_as::<T>(backward))
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        (self.axis == 1).then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
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
    fn channels_and_places_in_either_layout() {
        let branches = [random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap(), random_value(&[2, 1, 4, 5], 2)];
        check_gradients(&Concat { axis: 1 }, &branches);
        check_gradients(&Concat { axis: -1 }, &[random_value(&[2, 3, 4], 3), random_value(&[2, 3, 2], 4)]);
        let joined = Concat { axis: 1 }.forward(&[&branches[0], &branches[1]]).unwrap().remove(0).to_f64_vec().unwrap();
        assert_eq!(joined[60..80], branches[1].to_f64_vec().unwrap()[..20], "the fourth channel of the first image");
    }
}
