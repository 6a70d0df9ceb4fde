//! Learned numbers before and behind a value along an axis, such as the class token of a transformer.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// The same numbers for every row of a batch, joined to what is computed along `axis`, which is not the batch.
#[derive(Clone, Debug)]
pub struct Extend {
    axis: usize,
    before: Option<Tensor>,
    behind: Option<Tensor>,
}

/// How a value lies within what it was extended to, seen from its axis: runs of the axis and all behind it.
struct Runs {
    n_outer: usize,
    before: usize,
    own: usize,
    behind: usize,
}

impl Extend {
    /// Numbers of shape `[1, …]`, elsewhere than along `axis` as long as the value.
    pub fn new(axis: usize, before: Option<Tensor>, behind: Option<Tensor>) -> Result<Self> {
        let both = [&before, &behind];
        let has_wrong_batch = both.into_iter().flatten().any(|tensor| tensor.dims().first() != Some(&1));
        if axis == 0 || has_wrong_batch {
            let shapes: Vec<&[usize]> = both.into_iter().flatten().map(Tensor::dims).collect();
            let reason = format!("constants of shapes {shapes:?} along axis {axis}; axis 0 is the batch, of length 1");
            return Err(ModelError::operator("Concat", reason));
        }
        let contiguous = |tensor: Option<Tensor>| tensor.map(|tensor| tensor.contiguous()).transpose();
        Ok(Extend { axis, before: contiguous(before)?, behind: contiguous(behind)? })
    }

    fn runs(&self, input: &[usize]) -> Runs {
        let inner: usize = input[self.axis + 1..].iter().product();
        let run = |tensor: &Option<Tensor>| tensor.as_ref().map_or(0, |tensor| tensor.dims()[self.axis] * inner);
        Runs {
            n_outer: input[..self.axis].iter().product(),
            before: run(&self.before),
            own: input[self.axis] * inner,
            behind: run(&self.behind),
        }
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let Runs { n_outer, before, own, behind } = self.runs(input.shape());
        let constant = |tensor: &Option<Tensor>| tensor.as_ref().map(Value::from_tensor).transpose();
        let constants = [constant(&self.before)?, constant(&self.behind)?];
        let numbers = |value: &'_ Option<Value>| -> Result<Vec<T>> {
            Ok(value
                .as_ref()
                .map(|value| value.numbers::<T>().map(|numbers| numbers.to_vec()))
                .transpose()?
                .unwrap_or_default())
        };
        let (before_it, behind_it) = (numbers(&constants[0])?, numbers(&constants[1])?);
        let input = input.to_logical()?;
        let given = input.numbers::<T>()?;
        let outer_of_row = n_outer / input.batch().max(1);
        let mut joined = Vec::with_capacity(shape.iter().product());
        for outer in 0..n_outer {
            let of_row = outer % outer_of_row;
            joined.extend_from_slice(&before_it[of_row * before..][..before]);
            joined.extend_from_slice(&given[outer * own..][..own]);
            joined.extend_from_slice(&behind_it[of_row * behind..][..behind]);
        }
        Value::from_vec(joined, &shape, Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, shape: &[usize], gradient: &Value) -> Result<Value> {
        let Runs { n_outer, before, own, behind } = self.runs(shape);
        let gradient = gradient.to_logical()?;
        let arrived = gradient.numbers::<T>()?;
        let whole = before + own + behind;
        let passed = (0..n_outer).flat_map(|outer| &arrived[outer * whole + before..][..own]).copied().collect();
        Value::from_vec::<T>(passed, shape, Layout::Logical)
    }
}

impl Operator for Extend {
    fn kind(&self) -> &'static str {
        "Concat"
    }

    fn family(&self) -> Family {
        Family::Rearrangement
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let mut shape = inputs[0].to_vec();
        for constant in [&self.before, &self.behind].into_iter().flatten() {
            let dims = constant.dims();
            let fits = |axis: usize| axis == 0 || axis == self.axis || dims[axis] == shape[axis];
            if dims.len() != shape.len() || self.axis >= shape.len() || !(0..shape.len()).all(fits) {
                let reason = format!(
                    "constants of shape {dims:?} and a value of shape {:?} differ elsewhere than along axis {}",
                    inputs[0], self.axis
                );
                return Err(ModelError::operator("Concat", reason));
            }
            shape[self.axis] += dims[self.axis];
        }
        Ok(vec![shape])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (shape, gradient) = (&backward.gradient_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(shape, gradient)?))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        let before = self.before.iter().map(|tensor| ("before", tensor));
        before.chain(self.behind.iter().map(|tensor| ("behind", tensor))).collect()
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let of = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.to_dtype(dtype)).transpose();
        Ok(Arc::new(Extend { axis: self.axis, before: of(&self.before)?, behind: of(&self.behind)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    #[test]
    fn tokens_before_and_behind_a_sequence() {
        let sequence = random_value(&[2, 3, 4], 1);
        let (first, last) = (random_tensor(&[1, 1, 4], 2), random_tensor(&[1, 2, 4], 3));
        let extend = Extend::new(1, Some(first.clone()), Some(last)).unwrap();
        check_gradients(&extend, std::slice::from_ref(&sequence));
        let joined = extend.forward(&[&sequence]).unwrap().remove(0);
        assert_eq!(joined.shape(), [2, 6, 4]);
        let (joined, first) = (joined.to_f64_vec().unwrap(), Value::from_tensor(&first).unwrap().to_f64_vec().unwrap());
        assert_eq!([&joined[..4], &joined[24..28]], [&first[..], &first[..]], "the same for both rows");
        assert_eq!(joined[28..40], sequence.to_f64_vec().unwrap()[12..]);
    }

    #[test]
    fn along_an_inner_axis_each_line_gets_its_own_numbers() {
        let extend = Extend::new(2, None, Some(random_tensor(&[1, 3, 2], 4))).unwrap();
        check_gradients(&extend, &[random_value(&[2, 3, 4], 5)]);
        check_gradients(&extend, &[random_value(&[2, 3, 4], 6).to_channels_last().unwrap()]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = Extend::new(1, Some(random_tensor(&[1, 1, 5], 1)), None).unwrap();
        let error = error.output_shapes(&[&[2, 3, 4]]).unwrap_err().to_string();
        assert!(error.contains("[1, 1, 5]") && error.contains("[2, 3, 4]"), "{error}");
        assert!(Extend::new(0, Some(random_tensor(&[1, 1, 5], 1)), None).is_err());
        assert!(Extend::new(1, Some(random_tensor(&[2, 1, 5], 1)), None).is_err());
    }
}
