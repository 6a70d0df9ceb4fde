//! What LSTM and GRU share: weights, directions, and states kept for every time step.
//!
//! Sequences have the batch first, as all our values do: `[batch, time, feature]` goes in, and states come out as
//! `[batch, time, direction, unit]`. (ONNX puts time first and the batch behind it; its loader keeps account of that.)
//! The products of all time steps with the input weights are one matrix product; only those with the states before
//! go step by step.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Backward;
use crate::element::Element;
use crate::error::{ModelError, Result};
use crate::kernels::vectorized::matrix::{Matrix, multiply_add};
use crate::kernels::vectorized::rows::{FEW_ROWS, times, times_transposed};
use crate::kernels::vectorized::taps::Threads;
use crate::value::{Layout, Value};

/// In which order a recurrent layer reads its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Reverse,
    /// Forward and reverse by themselves, side by side.
    Bidirectional,
}

impl Direction {
    /// How many directions it has.
    pub fn n_directions(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }

    /// Whether its `nth` direction begins at the end.
    pub fn is_reversed(self, nth: usize) -> bool {
        match self {
            Direction::Forward => false,
            Direction::Reverse => true,
            Direction::Bidirectional => nth == 1,
        }
    }
}

/// What a recurrent layer learned; gates are in ONNX's order, each with a row for each unit.
#[derive(Clone, Debug)]
pub struct RecurrentParams {
    pub direction: Direction,
    /// `[direction, gate · unit, feature]`
    pub input_weight: Tensor,
    /// `[direction, gate · unit, unit]`
    pub recurrent_weight: Tensor,
    /// `[direction, 2 · gate · unit]`: what is added to the product with the input, then to that with the state before.
    pub bias: Option<Tensor>,
    /// `[direction, unit]`: the hidden state before the first step; zeros where there is none.
    pub initial_hidden: Option<Tensor>,
}

/// Parameters that fit together.
#[derive(Clone, Debug)]
pub(super) struct Recurrence {
    kind: &'static str,
    n_gates: usize,
    pub(super) params: RecurrentParams,
}

/// One time step: where it is in the sequence, and where the step that was taken before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) at: usize,
    pub(super) before: Option<usize>,
}

/// The weights of one direction.
#[derive(Debug)]
pub(super) struct OfDirection<'a, T> {
    /// `[gate · unit, feature]`
    pub(super) input_weight: &'a [T],
    /// `[gate · unit, unit]`
    pub(super) recurrent_weight: &'a [T],
    /// `[gate · unit]`, zeros where there is none.
    pub(super) input_bias: Vec<T>,
    pub(super) recurrent_bias: Vec<T>,
    /// `[unit]`
    pub(super) initial_hidden: Vec<T>,
    pub(super) is_reversed: bool,
}

impl Recurrence {
    pub(super) fn new(kind: &'static str, n_gates: usize, params: RecurrentParams) -> Result<Self> {
        let n_directions = params.direction.n_directions();
        let (input, recurrent) = (params.input_weight.dims(), params.recurrent_weight.dims());
        let n_units = recurrent.get(2).copied().unwrap_or(0);
        let bias = params.bias.as_ref().map(|bias| bias.dims().to_vec());
        let initial = params.initial_hidden.as_ref().map(|initial| initial.dims().to_vec());
        let fits = input.len() == 3
            && n_units > 0
            && input[..2] == [n_directions, n_gates * n_units]
            && recurrent == [n_directions, n_gates * n_units, n_units]
            && bias.as_ref().is_none_or(|bias| *bias == [n_directions, 2 * n_gates * n_units])
            && initial.as_ref().is_none_or(|initial| *initial == [n_directions, n_units]);
        if fits {
            return Ok(Recurrence { kind, n_gates, params });
        }
        Err(ModelError::operator(
            kind,
            format!(
                "weights {input:?} and {recurrent:?}, bias {bias:?}, initial state {initial:?}; they must be \
                 [{n_directions}, {n_gates} · units, features], [{n_directions}, {n_gates} · units, units], \
                 [{n_directions}, {} · units] and [{n_directions}, units]",
                2 * n_gates
            ),
        ))
    }

    pub(super) fn n_directions(&self) -> usize {
        self.params.direction.n_directions()
    }

    pub(super) fn n_units(&self) -> usize {
        self.params.recurrent_weight.dims()[2]
    }

    fn n_features(&self) -> usize {
        self.params.input_weight.dims()[2]
    }

    /// Rows of the weights: a unit for each gate.
    pub(super) fn n_rows(&self) -> usize {
        self.n_gates * self.n_units()
    }

    /// `[batch, time, direction, width]`; all outputs have these axes.
    pub(super) fn states_shape(&self, input: &[usize], width: usize) -> Result<Vec<usize>> {
        let [batch, n_steps, n_features] = *input else { return Err(self.refuse_input(input)) };
        if n_features != self.n_features() || n_steps == 0 {
            return Err(self.refuse_input(input));
        }
        Ok(vec![batch, n_steps, self.n_directions(), width])
    }

    fn refuse_input(&self, input: &[usize]) -> ModelError {
        let wanted = self.n_features();
        ModelError::operator(self.kind, format!("input must be [batch, time, {wanted} features] but is {input:?}"))
    }

    /// What is made of the weights of each direction.
    pub(super) fn each_direction<T: Element, R: Send>(
        &self,
        initial_cell: Option<&Tensor>,
        then: impl Fn(usize, OfDirection<'_, T>, Vec<T>) -> R + Sync,
    ) -> Result<Vec<R>> {
        let (n_rows, n_units, params) = (self.n_rows(), self.n_units(), &self.params);
        let input_weight = Value::from_tensor(&params.input_weight)?;
        let recurrent_weight = Value::from_tensor(&params.recurrent_weight)?;
        let (input_weight, recurrent_weight) = (input_weight.numbers::<T>()?, recurrent_weight.numbers::<T>()?);
        let (input_weight, recurrent_weight): (&[T], &[T]) = (&input_weight, &recurrent_weight);
        let biases = self.numbers_or_zeros::<T>(params.bias.as_ref(), 2 * n_rows)?;
        let hidden = self.numbers_or_zeros::<T>(params.initial_hidden.as_ref(), n_units)?;
        let cells = self.numbers_or_zeros::<T>(initial_cell, n_units)?;
        let of_direction = |nth: usize| {
            let bias = &biases[nth * 2 * n_rows..][..2 * n_rows];
            let weights = OfDirection {
                input_weight: &input_weight[nth * n_rows * self.n_features()..][..n_rows * self.n_features()],
                recurrent_weight: &recurrent_weight[nth * n_rows * n_units..][..n_rows * n_units],
                input_bias: bias[..n_rows].to_vec(),
                recurrent_bias: bias[n_rows..].to_vec(),
                initial_hidden: hidden[nth * n_units..][..n_units].to_vec(),
                is_reversed: params.direction.is_reversed(nth),
            };
            then(nth, weights, cells[nth * n_units..][..n_units].to_vec())
        };
        Ok((0..self.n_directions()).into_par_iter().map(of_direction).collect())
    }

    fn numbers_or_zeros<T: Element>(&self, tensor: Option<&Tensor>, per_direction: usize) -> Result<Vec<T>> {
        match tensor {
            Some(tensor) => Ok(Value::from_tensor(tensor)?.numbers::<T>()?.to_vec()),
            None => Ok(vec![T::zero(); self.n_directions() * per_direction]),
        }
    }

    /// The gradient to the input from those at the sums before the gates, one list a direction.
    ///
    /// # Shapes
    /// - `sums`: for each direction `[pair, time, gate · unit]`; returns `[pair, time, feature]`
    pub(super) fn input_gradient<'a, T: Element>(
        &self,
        backward: &Backward<'_>,
        sums: impl Iterator<Item = &'a [T]>,
    ) -> Result<Vec<Option<Value>>> {
        let shape = backward.gradient_shape(0);
        let (n_features, n_rows) = (self.n_features(), self.n_rows());
        let mut gradient = vec![T::zero(); shape.iter().product()];
        let weights = Value::from_tensor(&self.params.input_weight)?;
        let weights = weights.numbers::<T>()?;
        for (sums, weight) in sums.zip(weights.chunks_exact(n_rows * n_features)) {
            let product = (shape[0] * shape[1], n_rows, n_features);
            let (sums, weight) = (Matrix::row_major(sums, n_rows), Matrix::row_major(weight, n_features));
            multiply_add(&mut gradient, n_features, product, sums, weight, Threads::All);
        }
        Backward::only(Value::from_vec(gradient, &shape, Layout::Logical)?)
    }

    pub(super) fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        let params = &self.params;
        let always = [("input_weight", &params.input_weight), ("recurrent_weight", &params.recurrent_weight)];
        always.into_iter().chain(params.bias.iter().map(|bias| ("bias", bias))).collect()
    }

    /// Itself with other parameters, in the order and the shapes of its own; initial states are none of them.
    pub(super) fn with_parameters(&self, parameters: &[Tensor]) -> Self {
        let params = RecurrentParams {
            input_weight: parameters[0].clone(),
            recurrent_weight: parameters[1].clone(),
            bias: parameters.get(2).cloned(),
            ..self.params.clone()
        };
        Recurrence { params, ..self.clone() }
    }

    pub(super) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let params = &self.params;
        let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.to_dtype(dtype)).transpose();
        let params = RecurrentParams {
            direction: params.direction,
            input_weight: params.input_weight.to_dtype(dtype)?,
            recurrent_weight: params.recurrent_weight.to_dtype(dtype)?,
            bias: optional(&params.bias)?,
            initial_hidden: optional(&params.initial_hidden)?,
        };
        Ok(Recurrence { params, ..self.clone() })
    }
}

impl<T: Element> OfDirection<'_, T> {
    /// The steps in the order in which they are taken.
    pub(super) fn steps(&self, n_steps: usize) -> Vec<Step> {
        let place = |nth: usize| if self.is_reversed { n_steps - 1 - nth } else { nth };
        (0..n_steps).map(|nth| Step { at: place(nth), before: nth.checked_sub(1).map(place) }).collect()
    }

    /// The input's part of the sums before the gates, for all time steps at once.
    ///
    /// # Shapes
    /// - `input`: `[batch, time, feature]`; returns `[batch, time, gate · unit]`
    pub(super) fn projected(&self, input: &[T]) -> Vec<T> {
        let n_rows = self.input_bias.len();
        let n_features = self.input_weight.len() / n_rows;
        let n_places = input.len() / n_features;
        let mut sums = Vec::with_capacity(n_places * n_rows);
        (0..n_places).for_each(|_| sums.extend_from_slice(&self.input_bias));
        let transposed = Matrix { numbers: self.input_weight, row_stride: 1, column_stride: n_features };
        let product = (n_places, n_features, n_rows);
        multiply_add(&mut sums, n_rows, product, Matrix::row_major(input, n_features), transposed, Threads::All);
        sums
    }

    /// The hidden state before the first step, for a batch.
    pub(super) fn initial(&self, batch: usize) -> Vec<T> {
        self.initial_hidden.repeat(batch)
    }
}

/// Below so many multiplications a product is done before other threads have heard of it.
const WORTH_SHARING: usize = 1 << 16;

/// `output[row, n] = Σ_k left[row, k] · matrix[n, k]`, for products from small to large.
pub(super) fn with_transposed<T: Element>(left: &[T], matrix: &[T], k: usize) -> Vec<T> {
    let (n_rows, n) = (left.len() / k, matrix.len() / k);
    let is_small = n_rows * n * k < WORTH_SHARING;
    if n_rows <= FEW_ROWS && !is_small {
        return times_transposed(left, matrix, k);
    }
    let mut output = vec![T::zero(); n_rows * n];
    let transposed = Matrix { numbers: matrix, row_stride: 1, column_stride: k };
    let threads = if is_small { Threads::One } else { Threads::All };
    multiply_add(&mut output, n, (n_rows, k, n), Matrix::row_major(left, k), transposed, threads);
    output
}

/// `output[row, k] = Σ_n left[row, n] · matrix[n, k]`, for products from small to large.
pub(super) fn with_matrix<T: Element>(left: &[T], matrix: &[T], k: usize) -> Vec<T> {
    let n = matrix.len() / k;
    let n_rows = left.len() / n;
    let is_small = n_rows * n * k < WORTH_SHARING;
    if n_rows <= FEW_ROWS && !is_small {
        return times(left, matrix, k);
    }
    let mut output = vec![T::zero(); n_rows * k];
    let threads = if is_small { Threads::One } else { Threads::All };
    multiply_add(&mut output, k, (n_rows, n, k), Matrix::row_major(left, n), Matrix::row_major(matrix, k), threads);
    output
}

/// Puts directions side by side.
///
/// # Shapes
/// - `directions`: each `[place, width]`; returns `[place, direction, width]`
pub(super) fn side_by_side<T: Element>(mut directions: Vec<Vec<T>>, width: usize) -> Vec<T> {
    if directions.len() == 1 {
        return directions.swap_remove(0);
    }
    let n_places = directions[0].len() / width;
    let at = |place: usize| directions.iter().flat_map(move |of| &of[place * width..][..width]);
    (0..n_places).flat_map(at).copied().collect()
}

/// Numbers `[row, time, direction, width]` of which one direction is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct States<'a, T> {
    pub(super) numbers: &'a [T],
    pub(super) n_steps: usize,
    pub(super) n_directions: usize,
    pub(super) direction: usize,
    pub(super) width: usize,
}

impl<'a, T: Element> States<'a, T> {
    /// The numbers of one step.
    pub(super) fn at(&self, row: usize, step: usize) -> &'a [T] {
        let place = (row * self.n_steps + step) * self.n_directions + self.direction;
        &self.numbers[place * self.width..][..self.width]
    }
}

/// What arrives at one output; zeros where nothing does.
pub(super) fn arrived_or_zeros(backward: &Backward<'_>, nth: usize, like: &Value) -> Result<Value> {
    match backward.gradients.get(nth).and_then(Option::as_ref) {
        Some(gradient) => gradient.to_logical(),
        None => {
            let mut shape = like.shape().to_vec();
            shape[0] = backward.rows.len();
            crate::element::with_element!(like.dtype(), T => {
                Value::full::<T>(num_traits::Zero::zero(), &shape, Layout::Logical)
            })
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::operators::gradient_check::random_tensor;

    /// `0.6 sin(1.3 i + shift)`, which is as easily written for PyTorch.
    pub(crate) fn waves(shape: &[usize], shift: f64) -> Tensor {
        let numbers: Vec<f64> = (0..shape.iter().product()).map(|i| (i as f64 * 1.3 + shift).sin() * 0.6).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    /// PyTorch's parameters of a bidirectional layer of two units over two features, all of them waves, with the gates
    /// in the order given.
    pub(crate) fn of_pytorch(order: &[usize]) -> RecurrentParams {
        let reordered = |tensor: Tensor| {
            let gate = |&gate: &usize| tensor.narrow(0, 2 * gate, 2).unwrap();
            Tensor::cat(&order.iter().map(gate).collect::<Vec<_>>(), 0).unwrap()
        };
        let both = |shape: &[usize], shift: f64| {
            let of = |shift: f64| reordered(waves(shape, shift));
            Tensor::stack(&[of(shift), of(shift + 4.0)], 0).unwrap()
        };
        let n_rows = 2 * order.len();
        RecurrentParams {
            direction: Direction::Bidirectional,
            input_weight: both(&[n_rows, 2], 0.0),
            recurrent_weight: both(&[n_rows, 2], 1.0),
            bias: Some(Tensor::cat(&[both(&[n_rows], 2.0), both(&[n_rows], 3.0)], 1).unwrap()),
            initial_hidden: None,
        }
    }

    /// Random parameters over three features, with or without what is optional.
    pub(crate) fn random_params(
        direction: Direction,
        n_gates: usize,
        n_units: usize,
        is_full: bool,
    ) -> RecurrentParams {
        let (n, n_rows) = (direction.n_directions(), n_gates * n_units);
        RecurrentParams {
            direction,
            input_weight: random_tensor(&[n, n_rows, 3], 1),
            recurrent_weight: random_tensor(&[n, n_rows, n_units], 2),
            bias: is_full.then(|| random_tensor(&[n, 2 * n_rows], 3)),
            initial_hidden: is_full.then(|| random_tensor(&[n, n_units], 4)),
        }
    }

    /// What PyTorch computes of a sequence of waves, and its gradient of the outputs' sum weighted by waves.
    #[track_caller]
    pub(crate) fn equals_pytorch(operator: &dyn crate::operators::Operator, hidden: &[f64], gradient: &[f64]) {
        use crate::operators::gradient_check::Given;
        let input = [Value::from_tensor(&waves(&[1, 3, 2], 10.0)).unwrap()];
        let outputs = operator.forward(&[&input[0]]).unwrap();
        let mut gradients = vec![None; operator.n_outputs()];
        gradients[0] = Some(Value::from_tensor(&waves(&[1, 3, 2, 2], 20.0)).unwrap());
        let values = Given { inputs: &input, outputs: &outputs };
        let backward = Backward { values: &values, gradients: &gradients, rows: &[0], wanted: &[true] };
        let passed = operator.input_gradients(&backward).unwrap().remove(0).unwrap();
        for (found, expected) in [(&outputs[0], hidden), (&passed, gradient)] {
            let found = found.to_f64_vec().unwrap();
            assert_eq!(found.len(), expected.len());
            let is_close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
            assert!(is_close, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn products_small_and_large_are_the_same() {
        for (n_rows, n, k) in [(1, 8, 3), (3, 300, 90), (20, 100, 70)] {
            let numbers = |n: usize, shift: f64| waves(&[n], shift).to_vec1::<f64>().unwrap();
            let (left, wide, matrix) = (numbers(n_rows * k, 1.0), numbers(n_rows * n, 2.0), numbers(n * k, 3.0));
            let (transposed, plain) = (with_transposed(&left, &matrix, k), with_matrix(&wide, &matrix, k));
            for row in 0..n_rows {
                for at in 0..n {
                    let expected: f64 = (0..k).map(|step| left[row * k + step] * matrix[at * k + step]).sum();
                    assert!((transposed[row * n + at] - expected).abs() < 1e-12);
                }
                for step in 0..k {
                    let expected: f64 = (0..n).map(|at| wide[row * n + at] * matrix[at * k + step]).sum();
                    assert!((plain[row * k + step] - expected).abs() < 1e-12);
                }
            }
        }
    }
}
