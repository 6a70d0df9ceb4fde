//! Gradients to the parameters that LSTM and GRU share, from those at the sums before their gates.

use candle_core::{Device, Tensor};

use super::recurrent::{Recurrence, States};
use super::{Backward, ParameterGradients};
use crate::element::Element;
use crate::error::Result;
use crate::kernels::vectorized::matrix::{Matrix, multiply_add};
use crate::kernels::vectorized::taps::Threads;
use crate::kernels::weight_gradient::sum_of_rows;
use crate::value::Value;

/// What one direction's walk backwards found; gradients are `[pair, time, gate · unit]`.
#[derive(Debug)]
pub(super) struct SumGradients<T> {
    /// The gradient at the sums before the gates, and so at the products with the input.
    pub(super) sums: Vec<T>,
    /// That at the products with the state before, where it differs.
    pub(super) products: Option<Vec<T>>,
    /// What the recurrent weights multiplied.
    pub(super) multiplied: Vec<Multiplied<T>>,
}

/// What a run of gates multiplies with its recurrent weights.
#[derive(Debug)]
pub(super) struct Multiplied<T> {
    /// Which gates.
    pub(super) gates: std::ops::Range<usize>,
    /// `[pair, time, unit]`
    pub(super) states: Vec<T>,
}

impl Recurrence {
    /// The gradient to the input where it is wanted, and those of [`Recurrence::parameters`]: those of weights are products of what arrives at the sums with what
    /// the weights multiplied, those of biases the sums themselves.
    pub(super) fn gradients<T: Element>(
        &self,
        backward: &Backward<'_>,
        directions: &[SumGradients<T>],
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let to_input = match backward.wanted.contains(&true) {
            true => self.input_gradient(backward, directions.iter().map(|direction| &direction.sums[..]))?,
            false => vec![None],
        };
        let input = backward.input_of_pairs(0)?.to_logical()?;
        let x = input.numbers::<T>()?;
        let (n_rows, n_units) = (self.n_rows(), self.n_units());
        let n_features = self.params.input_weight.dims()[2];
        let (mut input_weight, mut recurrent_weight, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        for SumGradients { sums, products, multiplied } in directions {
            let products = products.as_ref().unwrap_or(sums);
            input_weight.extend(turned_product(sums, 0..n_rows, n_rows, &x, n_features));
            for Multiplied { gates, states } in multiplied {
                let rows = gates.start * n_units..gates.end * n_units;
                recurrent_weight.extend(turned_product(products, rows, n_rows, states, n_units));
            }
            bias.extend(sum_of_rows(sums, n_rows));
            bias.extend(sum_of_rows(products, n_rows));
        }
        let params = &self.params;
        let like = |numbers: Vec<T>, tensor: &Tensor| Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu);
        let weights = [
            ("input_weight", like(input_weight, &params.input_weight)?),
            ("recurrent_weight", like(recurrent_weight, &params.recurrent_weight)?),
        ];
        let bias = params.bias.as_ref().map(|tensor| like(bias, tensor)).transpose()?;
        Ok((to_input, weights.into_iter().chain(bias.map(|bias| ("bias", bias))).collect()))
    }
}

/// `output[row, k] = Σ_place left[place, row] · right[place, k]`, for some rows of `left`, which has `n` in all.
fn turned_product<T: Element>(left: &[T], rows: std::ops::Range<usize>, n: usize, right: &[T], k: usize) -> Vec<T> {
    let mut output = vec![T::zero(); rows.len() * k];
    let turned = Matrix { numbers: &left[rows.start..], row_stride: 1, column_stride: n };
    let product = (rows.len(), left.len() / n, k);
    multiply_add(&mut output, k, product, turned, Matrix::row_major(right, k), Threads::All);
    output
}

/// The state before each step that a direction took, for each pair.
///
/// # Shapes
/// - returns `[pair, time, unit]`
pub(super) fn states_before<T: Element>(
    hidden: &States<'_, T>,
    rows: &[usize],
    initial: &[T],
    steps: &[super::recurrent::Step],
) -> Vec<T> {
    let n_units = hidden.width;
    let mut states = vec![T::zero(); rows.len() * hidden.n_steps * n_units];
    for (pair, &row) in rows.iter().enumerate() {
        for step in steps {
            let before = step.before.map_or(initial, |before| hidden.at(row, before));
            states[(pair * hidden.n_steps + step.at) * n_units..][..n_units].copy_from_slice(before);
        }
    }
    states
}
