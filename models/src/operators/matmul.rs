//! The product of two matrices that the network computes, as attention makes it.

use std::sync::Arc;

use candle_core::DType;
use rayon::prelude::*;

use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::vectorized::matrix::{Matrix, multiply_add};
use crate::kernels::vectorized::taps::Threads;
use crate::value::{Layout, Value};

/// `[batch, …, m, k]` times `[batch, …, k, n]`, for each place of the axes before, which both have alike.
#[derive(Clone, Debug)]
pub struct MatMul;

/// The lengths of one product, and how many there are in a row of the batch.
#[derive(Clone, Copy)]
struct Lengths {
    m: usize,
    k: usize,
    n: usize,
    per_row: usize,
}

fn lengths(left: &[usize], right: &[usize]) -> Result<Lengths> {
    let rank = left.len();
    let fits =
        rank >= 3 && right.len() == rank && left[..rank - 2] == right[..rank - 2] && left[rank - 1] == right[rank - 2];
    if !fits {
        let reason = format!(
            "{left:?} times {right:?}; [batch, …, m, k] times [batch, …, k, n] with the same axes \
             before is needed"
        );
        return Err(ModelError::operator("MatMul", reason));
    }
    let per_row = left[1..rank - 2].iter().product();
    Ok(Lengths { m: left[rank - 2], k: left[rank - 1], n: right[rank - 1], per_row })
}

/// Products of matrices `[m, k]` and `[k, n]`, a chunk of `into` each; `operands` says which, by the product's place.
fn products<'a, T: Element>(
    into: &mut [T],
    (m, k, n): (usize, usize, usize),
    operands: impl Fn(usize) -> (Matrix<'a, T>, Matrix<'a, T>) + Sync,
) {
    // One large product has all threads, several have one each.
    let n_products = into.len() / (m * n).max(1);
    if n_products == 1 {
        let (left, right) = operands(0);
        return multiply_add(into, n, (m, k, n), left, right, Threads::All);
    }
    into.par_chunks_mut((m * n).max(1)).enumerate().for_each(|(place, into)| {
        let (left, right) = operands(place);
        multiply_add(into, n, (m, k, n), left, right, Threads::One);
    });
}

fn transposed<T>(numbers: &[T], n_columns: usize) -> Matrix<'_, T> {
    Matrix { numbers, row_stride: 1, column_stride: n_columns }
}

impl MatMul {
    fn forward_as<T: Element>(&self, left: &Value, right: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[left.shape(), right.shape()])?.remove(0);
        let Lengths { m, k, n, .. } = lengths(left.shape(), right.shape())?;
        let (left, right) = (left.to_logical()?, right.to_logical()?);
        let (left, right) = (left.numbers::<T>()?, right.numbers::<T>()?);
        let (left, right): (&[T], &[T]) = (&left, &right);
        let mut product = vec![T::zero(); shape.iter().product()];
        products(&mut product, (m, k, n), |place| {
            let (left, right) = (&left[place * m * k..][..m * k], &right[place * k * n..][..k * n]);
            (Matrix::row_major(left, k), Matrix::row_major(right, n))
        });
        Value::from_vec(product, &shape, Layout::Logical)
    }

    /// `G Bᵀ` to the left and `Aᵀ G` to the right.
    fn input_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let shapes = [backward.gradient_shape(0), backward.gradient_shape(1)];
        let Lengths { m, k, n, per_row } = lengths(&shapes[0], &shapes[1])?;
        let gradient = backward.gradient()?.to_logical()?;
        let gradient = gradient.numbers::<T>()?;
        let gradient: &[T] = &gradient;
        let of_pair = |place: usize| &gradient[place * m * n..][..m * n];
        // Where a pair's product is within the trace.
        let in_trace = |place: usize| backward.rows[place / per_row] * per_row + place % per_row;
        let to_left = || -> Result<Value> {
            let right = backward.values.input(1)?.to_logical()?;
            let right = right.numbers::<T>()?;
            let right: &[T] = &right;
            let mut passed = vec![T::zero(); shapes[0].iter().product()];
            products(&mut passed, (m, n, k), |place| {
                let right = &right[in_trace(place) * k * n..][..k * n];
                (Matrix::row_major(of_pair(place), n), transposed(right, n))
            });
            Value::from_vec(passed, &shapes[0], Layout::Logical)
        };
        let to_right = || -> Result<Value> {
            let left = backward.values.input(0)?.to_logical()?;
            let left = left.numbers::<T>()?;
            let left: &[T] = &left;
            let mut passed = vec![T::zero(); shapes[1].iter().product()];
            products(&mut passed, (k, m, n), |place| {
                let left = &left[in_trace(place) * m * k..][..m * k];
                (transposed(left, k), Matrix::row_major(of_pair(place), n))
            });
            Value::from_vec(passed, &shapes[1], Layout::Logical)
        };
        Ok(vec![backward.wanted[0].then(to_left).transpose()?, backward.wanted[1].then(to_right).transpose()?])
    }
}

impl Operator for MatMul {
    fn kind(&self) -> &'static str {
        "MatMul"
    }

    fn family(&self) -> Family {
        Family::Product
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let Lengths { n, .. } = lengths(inputs[0], inputs[1])?;
        let mut shape = inputs[0].to_vec();
        shape[inputs[0].len() - 1] = n;
        Ok(vec![shape])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0], inputs[1])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => self.input_gradients_as::<T>(backward))
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
    fn with_and_without_axes_before() {
        check_gradients(
            &MatMul,
            &[random_value(&[2, 3, 5], 1).to_channels_last().unwrap(), random_value(&[2, 5, 4], 2)],
        );
        check_gradients(&MatMul, &[random_value(&[2, 3, 4, 5], 3), random_value(&[2, 3, 5, 2], 4)]);
        check_gradients(&MatMul, &[random_value(&[1, 1, 5], 5), random_value(&[1, 5, 1], 6)]);
    }

    #[test]
    fn equals_the_definition() {
        let (left, right) = (random_value(&[2, 3, 4], 1), random_value(&[2, 4, 2], 2));
        let product = MatMul.forward(&[&left, &right]).unwrap()[0].to_f64_vec().unwrap();
        let (left, right) = (left.to_f64_vec().unwrap(), right.to_f64_vec().unwrap());
        for (place, found) in product.iter().enumerate() {
            let (row, i, j) = (place / 6, place / 2 % 3, place % 2);
            let expected: f64 = (0..4).map(|l| left[row * 12 + i * 4 + l] * right[row * 8 + l * 2 + j]).sum();
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let error = MatMul.output_shapes(&[&[2, 3, 4], &[2, 3, 4]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MatMul: [2, 3, 4] times [2, 3, 4]; [batch, …, m, k] times [batch, …, k, n] with the same axes before is needed"
        );
    }
}
