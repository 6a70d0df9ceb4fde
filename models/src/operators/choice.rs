//! Comparisons of a value with a constant, and the choice between two values that they decide: how exporters write
//! functions in pieces.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::arithmetic::{combine, sum_to};
use super::{Backward, Family, Operator};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// How a number is compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    fn holds<T: Element>(self, x: T, constant: T) -> bool {
        match self {
            Comparison::Greater => x > constant,
            Comparison::GreaterOrEqual => x >= constant,
            Comparison::Less => x < constant,
            Comparison::LessOrEqual => x <= constant,
        }
    }
}

/// 1 where a number compares so with a constant, else 0; no gradient passes.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    pub comparison: Comparison,
    pub constant: f64,
}

impl Compare {
    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let constant = T::of(self.constant);
        let compared = |&x: &T| if self.comparison.holds(x, constant) { T::one() } else { T::zero() };
        let compared = input.numbers::<T>()?.iter().map(compared).collect();
        Value::from_vec(compared, input.shape(), input.layout())
    }
}

impl Operator for Compare {
    fn kind(&self) -> &'static str {
        match self.comparison {
            Comparison::Greater => "Greater",
            Comparison::GreaterOrEqual => "GreaterOrEqual",
            Comparison::Less => "Less",
            Comparison::LessOrEqual => "LessOrEqual",
        }
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Backward::only(Value::zeros_like(backward.gradient()?, backward.rows.len())?)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(*self))
    }
}

/// The first value where a condition is not 0, else the second; either may be a constant, and all are broadcast as NumPy
/// does. The inputs are the condition, then those values that are no constants.
#[derive(Clone, Debug)]
pub struct Choice {
    pub first: Option<Tensor>,
    pub second: Option<Tensor>,
}

impl Choice {
    /// A constant with as many axes as the condition, or the next of the inputs.
    fn operand(&self, constant: Option<&Tensor>, rank: usize, next: &mut impl Iterator<Item = Value>) -> Result<Value> {
        let Some(tensor) = constant else {
            return next.next().ok_or_else(|| ModelError::operator("Where", "a value to choose from is missing"));
        };
        let shape: Vec<usize> =
            std::iter::repeat_n(1, rank.saturating_sub(tensor.rank())).chain(tensor.dims().iter().copied()).collect();
        Value::from_tensor(tensor)?.reshape(&shape)
    }

    fn forward_as<T: Element>(&self, inputs: &[&Value]) -> Result<Value> {
        let condition = inputs[0];
        let rank = condition.shape().len();
        let mut next = inputs[1..].iter().map(|value| (*value).clone());
        let first = self.operand(self.first.as_ref(), rank, &mut next)?;
        let second = self.operand(self.second.as_ref(), rank, &mut next)?;
        let zero = T::zero();
        let first = combine::<T>(condition, &first, |condition, x| if condition != zero { x } else { zero })?;
        let second = combine::<T>(condition, &second, |condition, x| if condition == zero { x } else { zero })?;
        combine::<T>(&first, &second, |first, second| first + second)
    }

    fn input_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let condition = backward.values.input(0)?.select_rows(backward.rows)?;
        let gradient = backward.gradient()?;
        let zero = T::zero();
        let through = |nth: usize, is_first: bool| {
            let passed = combine::<T>(
                gradient,
                &condition,
                |g, condition| {
                    if (condition != zero) == is_first { g } else { zero }
                },
            )?;
            sum_to::<T>(&passed, &backward.values.input_shape(nth))
        };
        let mut passed = vec![Some(Value::zeros_like(&condition, backward.rows.len())?)];
        for (constant, is_first) in [(&self.first, true), (&self.second, false)] {
            if constant.is_none() {
                let nth = passed.len();
                passed.push(backward.wanted[nth].then(|| through(nth, is_first)).transpose()?);
            }
        }
        Ok(passed)
    }
}

impl Operator for Choice {
    fn kind(&self) -> &'static str {
        "Where"
    }

    fn family(&self) -> Family {
        // As at a max pool, one of several is taken.
        Family::MaxPool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let rank = inputs[0].len();
        let constants = [&self.first, &self.second].into_iter().flatten().map(|tensor| tensor.dims().to_vec());
        let mut shape = inputs[0].to_vec();
        for other in inputs[1..].iter().map(|shape| shape.to_vec()).chain(constants) {
            let missing = rank.saturating_sub(other.len());
            let other: Vec<usize> = std::iter::repeat_n(1, missing).chain(other).collect();
            let fits = other.len() == rank && shape.iter().zip(&other).all(|(&a, &b)| a == b || a == 1 || b == 1);
            if !fits {
                let reason = format!("shapes {shape:?} and {other:?} cannot be broadcast");
                return Err(ModelError::operator("Where", reason));
            }
            shape.iter_mut().zip(other).for_each(|(length, other)| *length = (*length).max(other));
        }
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs)?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => self.input_gradients_as::<T>(backward))
    }

    fn reach(&self) -> super::Reach {
        // Constants that differ from place to place are not cut.
        super::Reach::Global
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let to = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.to_dtype(dtype)).transpose();
        Ok(Arc::new(Choice { first: to(&self.first)?, second: to(&self.second)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    #[test]
    fn comparisons_are_flat() {
        use Comparison::*;
        for comparison in [Greater, GreaterOrEqual, Less, LessOrEqual] {
            check_gradients(&Compare { comparison, constant: 0.1 }, &[random_value(&[2, 3, 5], 1)]);
        }
        let compared = Compare { comparison: Less, constant: 0.5 };
        let input = random_value(&[1, 4], 2).map(|_| 0.5).unwrap();
        assert_eq!(compared.forward(&[&input]).unwrap()[0].to_f64_vec().unwrap(), [0.0; 4]);
    }

    #[test]
    fn values_and_constants_are_chosen_from() {
        let condition = random_value(&[2, 3, 4, 5], 3).map(|number| if number > 0.0 { 1.0 } else { 0.0 }).unwrap();
        let of = |seed: u64| random_value(&[2, 3, 4, 5], seed).to_channels_last().unwrap();
        // The gradient to a condition is nothing, and so is what a small change of it does while it stays away from 0.
        let checked = |choice: &Choice, values: &[Value]| {
            let all: Vec<&Value> = std::iter::once(&condition).chain(values).collect();
            let output = choice.forward(&all).unwrap().remove(0).to_f64_vec().unwrap();
            let conditions = condition.to_f64_vec().unwrap();
            (output, conditions)
        };
        let (a, b) = (of(4), of(5));
        let (output, conditions) = checked(&Choice { first: None, second: None }, &[a.clone(), b.clone()]);
        let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
        for (place, chosen) in output.iter().enumerate() {
            assert_eq!(*chosen, if conditions[place] > 0.0 { a[place] } else { b[place] });
        }
        let true_everywhere = condition.map(|_| 1.0).unwrap();
        let first = Choice { first: None, second: Some(random_tensor(&[3, 1, 1], 6)) };
        check_gradients(&first, &[true_everywhere.clone(), of(7)]);
        let both = Choice { first: None, second: None };
        check_gradients(&both, &[true_everywhere, of(8), of(9)]);
        let (output, conditions) = checked(&Choice { first: Some(random_tensor(&[1], 6)), second: None }, &[of(4)]);
        let constant = random_tensor(&[1], 6).to_vec1::<f64>().unwrap()[0];
        assert!(output.iter().zip(conditions).all(|(chosen, condition)| condition == 0.0 || *chosen == constant));
    }
}
