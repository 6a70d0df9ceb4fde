//! Relevance through LSTM and GRU layers, step by step backwards in time (Arras et al. 2017, section 3.2).
//!
//! Three kinds of connections make up such a layer, and each has its rule. A *gate times a signal* passes all relevance
//! to the signal: gates say how much of it there is, not what it says. A *sum of two signals* (what a cell keeps and
//! what comes in) and a *weighted sum* (before a candidate's tanh) split it in proportion, by the epsilon rule; biases
//! are in the denominators and so take their part, unless they are left out. A tanh passes it on.
//!
//! Relevance that reaches the states before the first step stays there, as it does at biases.

use candle_core::{DType, Tensor};
use models::operators::{Backward, Gru, Lstm, Operator, RecurrentParams};
use models::{Layout, Node, Value};
use rayon::prelude::*;

use super::stabilized;
use crate::backward_walk::Rule;

/// The rule at LSTM and GRU layers.
#[derive(Clone, Copy, Debug)]
pub struct SignalTakesAll {
    epsilon: f64,
    has_bias: bool,
}

impl SignalTakesAll {
    /// With this stabiliser of denominators.
    pub fn epsilon(epsilon: f64) -> Self {
        SignalTakesAll { epsilon, has_bias: true }
    }

    /// Without biases in the denominators, so that nothing is lost to them.
    pub fn without_bias(self) -> Self {
        SignalTakesAll { has_bias: false, ..self }
    }
}

impl Rule for SignalTakesAll {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let layer = Layer::of(&*node.operator)?;
        let input = backward.values.input(0)?;
        let [n_steps, n_features] = [input.shape()[1], input.shape()[2]];
        let n_directions = layer.params.direction.n_directions();
        let read = |nth: usize| backward.values.output(nth)?.to_f64_vec();
        let computed = Computed {
            input: input.to_f64_vec()?,
            outputs: (0..layer.n_outputs()).map(read).collect::<models::Result<_>>()?,
        };
        let arrived = |value: &Option<Value>| value.as_ref().map(Value::to_f64_vec).transpose();
        let arrived = backward.gradients.iter().map(arrived).collect::<models::Result<Vec<_>>>()?;
        let directions =
            (0..n_directions).map(|nth| layer.direction(nth, self.has_bias)).collect::<models::Result<Vec<_>>>()?;
        let of_pair = |(pair, &row): (usize, &usize)| {
            let mut relevance = vec![0.0; n_steps * n_features];
            for (nth, weights) in directions.iter().enumerate() {
                let sequence = Sequence { layer: &layer, n_steps, n_directions, direction: nth, row, pair };
                let walk = BackThroughTime {
                    sequence,
                    weights,
                    computed: &computed,
                    arrived: &arrived,
                    epsilon: self.epsilon,
                };
                walk.add_relevance(&mut relevance);
            }
            relevance
        };
        let relevance: Vec<f64> = backward.rows.par_iter().enumerate().flat_map_iter(of_pair).collect();
        Ok(vec![Some(
            Value::from_vec(relevance, &backward.gradient_shape(0), Layout::Logical)?.to_dtype(input.dtype())?,
        )])
    }
}

/// Which layer it is; gates are in ONNX's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Gates `i`, `o`, `f`, candidate `g`.
    Lstm,
    /// Gates `z`, `r`, candidate `n`, the reset behind the product with the state or before it.
    Gru { resets_product: bool },
}

struct Layer<'a> {
    kind: Kind,
    params: &'a RecurrentParams,
    initial_cell: Option<&'a Tensor>,
    n_units: usize,
}

impl<'a> Layer<'a> {
    fn of(operator: &'a dyn Operator) -> models::Result<Self> {
        let layer = |kind, params: &'a RecurrentParams, initial_cell| Layer {
            kind,
            params,
            initial_cell,
            n_units: params.recurrent_weight.dims()[2],
        };
        let lstm = operator.as_lstm().map(|lstm: &Lstm| layer(Kind::Lstm, lstm.params(), lstm.initial_cell()));
        let gru = |gru: &'a Gru| layer(Kind::Gru { resets_product: gru.linear_before_reset() }, gru.params(), None);
        lstm.or_else(|| operator.as_gru().map(gru))
            .ok_or_else(|| models::ModelError::operator(operator.kind(), "this rule is for LSTM and GRU layers"))
    }

    fn n_outputs(&self) -> usize {
        if self.kind == Kind::Lstm { 3 } else { 2 }
    }

    /// The gates are the last output, the candidate among them the last.
    fn n_gates(&self) -> usize {
        if self.kind == Kind::Lstm { 4 } else { 3 }
    }

    fn direction(&self, nth: usize, has_bias: bool) -> models::Result<OfDirection> {
        let list = |tensor: &Tensor| -> models::Result<Vec<f64>> {
            Ok(tensor.get(nth)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
        };
        let or_zeros = |tensor: Option<&Tensor>, length: usize| tensor.map_or_else(|| Ok(vec![0.0; length]), list);
        let n_rows = self.n_gates() * self.n_units;
        let mut input_bias = or_zeros(self.params.bias.as_ref().filter(|_| has_bias), 2 * n_rows)?;
        let recurrent_bias = input_bias.split_off(n_rows);
        Ok(OfDirection {
            input_weight: list(&self.params.input_weight)?,
            recurrent_weight: list(&self.params.recurrent_weight)?,
            input_bias,
            recurrent_bias,
            initial_hidden: or_zeros(self.params.initial_hidden.as_ref(), self.n_units)?,
            initial_cell: or_zeros(self.initial_cell, self.n_units)?,
            is_reversed: self.params.direction.is_reversed(nth),
        })
    }
}

/// The weights of one direction, `[gate · unit, …]`.
struct OfDirection {
    input_weight: Vec<f64>,
    recurrent_weight: Vec<f64>,
    input_bias: Vec<f64>,
    recurrent_bias: Vec<f64>,
    initial_hidden: Vec<f64>,
    initial_cell: Vec<f64>,
    is_reversed: bool,
}

/// What the layer read, `[row, time, feature]`, and computed, `[row, time, direction, …]` each.
struct Computed {
    input: Vec<f64>,
    outputs: Vec<Vec<f64>>,
}

/// One direction of one row and one pair, as places in arrays.
#[derive(Clone, Copy)]
struct Sequence<'a> {
    layer: &'a Layer<'a>,
    n_steps: usize,
    n_directions: usize,
    direction: usize,
    row: usize,
    pair: usize,
}

impl Sequence<'_> {
    /// One step of an array `[row or pair, time, direction, width]`.
    fn at<'n>(&self, numbers: &'n [f64], first: usize, step: usize, width: usize) -> &'n [f64] {
        &numbers[((first * self.n_steps + step) * self.n_directions + self.direction) * width..][..width]
    }
}

struct BackThroughTime<'a> {
    sequence: Sequence<'a>,
    weights: &'a OfDirection,
    computed: &'a Computed,
    arrived: &'a [Option<Vec<f64>>],
    epsilon: f64,
}

/// What one step read and computed.
struct Step<'a> {
    input: &'a [f64],
    hidden_before: &'a [f64],
    gates: &'a [f64],
}

impl BackThroughTime<'_> {
    /// Adds this direction's relevance of the input, `[time, feature]`.
    fn add_relevance(&self, relevance: &mut [f64]) {
        let Sequence { layer, n_steps, row, .. } = self.sequence;
        let n_units = layer.n_units;
        let n_features = relevance.len() / n_steps;
        let (mut hidden, mut cell) = (vec![0.0; n_units], vec![0.0; n_units]);
        for nth in (0..n_steps).rev() {
            let place = |nth: usize| if self.weights.is_reversed { n_steps - 1 - nth } else { nth };
            let (at, before) = (place(nth), nth.checked_sub(1).map(place));
            let step = Step {
                input: &self.computed.input[(row * n_steps + at) * n_features..][..n_features],
                hidden_before: before.map_or(&self.weights.initial_hidden, |before| self.output(0, before)),
                gates: self.output(layer.n_outputs() - 1, at),
            };
            self.add_arrived(0, at, &mut hidden);
            let mut sums = vec![0.0; layer.n_gates() * n_units];
            let candidates = (layer.n_gates() - 1) * n_units;
            match layer.kind {
                Kind::Lstm => {
                    self.add_arrived(1, at, &mut cell);
                    // An output gate times tanh(c): all to the cell.
                    cell.iter_mut().zip(&mut hidden).for_each(|(cell, hidden)| *cell += std::mem::take(hidden));
                    let cell_before = before.map_or(&self.weights.initial_cell[..], |before| self.output(1, before));
                    self.split_cell(&step, self.output(1, at), cell_before, &mut cell, &mut sums[candidates..]);
                }
                Kind::Gru { .. } => self.split_state(&step, self.output(0, at), &mut hidden, &mut sums[candidates..]),
            }
            self.add_arrived(layer.n_outputs() - 1, at, &mut sums);
            self.pass_weighted_sums(&step, &sums, &mut relevance[at * n_features..][..n_features], &mut hidden);
        }
    }

    /// One step of an output.
    fn output(&self, nth: usize, step: usize) -> &[f64] {
        let numbers = &self.computed.outputs[nth];
        let is_gates = nth + 1 == self.sequence.layer.n_outputs();
        let width = self.sequence.layer.n_units * if is_gates { self.sequence.layer.n_gates() } else { 1 };
        self.sequence.at(numbers, self.sequence.row, step, width)
    }

    fn add_arrived(&self, nth: usize, step: usize, to: &mut [f64]) {
        let Some(Some(arrived)) = self.arrived.get(nth) else { return };
        let arrived = self.sequence.at(arrived, self.sequence.pair, step, to.len());
        to.iter_mut().zip(arrived).for_each(|(sum, arrived)| *sum += arrived);
    }

    /// `c_t = f ⊙ c_{t-1} + i ⊙ g`: what is kept goes on in `cell`, the rest to the candidates.
    fn split_cell(&self, step: &Step<'_>, cells: &[f64], before: &[f64], cell: &mut [f64], candidates: &mut [f64]) {
        let n_units = cell.len();
        for unit in 0..n_units {
            let [i, _, f, g] = std::array::from_fn(|gate| step.gates[gate * n_units + unit]);
            let share = cell[unit] / stabilized(cells[unit], self.epsilon);
            cell[unit] = f * before[unit] * share;
            candidates[unit] = i * g * share;
        }
    }

    /// `h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}`: what is kept goes on in `hidden`, the rest to the candidates.
    fn split_state(&self, step: &Step<'_>, states: &[f64], hidden: &mut [f64], candidates: &mut [f64]) {
        let n_units = hidden.len();
        for unit in 0..n_units {
            let (z, n) = (step.gates[unit], step.gates[2 * n_units + unit]);
            let share = hidden[unit] / stabilized(states[unit], self.epsilon);
            hidden[unit] = z * step.hidden_before[unit] * share;
            candidates[unit] = (1.0 - z) * n * share;
        }
    }

    /// The sums before the gates: in proportion to what each feature and each state contributed.
    fn pass_weighted_sums(&self, step: &Step<'_>, sums: &[f64], relevance: &mut [f64], hidden: &mut [f64]) {
        let (weights, n_units) = (self.weights, hidden.len());
        for (row, &arrived) in sums.iter().enumerate().filter(|(_, arrived)| **arrived != 0.0) {
            let of_input = &weights.input_weight[row * relevance.len()..][..relevance.len()];
            let of_state = &weights.recurrent_weight[row * n_units..][..n_units];
            // A reset gate scales a candidate's part of the state, before the product or behind it.
            let reset = |unit: usize| step.gates[n_units + unit];
            let (scale, resets_state) = match self.sequence.layer.kind {
                Kind::Gru { resets_product } if row >= 2 * n_units => {
                    if resets_product {
                        (reset(row - 2 * n_units), false)
                    } else {
                        (1.0, true)
                    }
                }
                _ => (1.0, false),
            };
            let state = |unit: usize| {
                if resets_state { reset(unit) * step.hidden_before[unit] } else { step.hidden_before[unit] }
            };
            let from_input: f64 = of_input.iter().zip(step.input).map(|(w, x)| w * x).sum();
            let from_state: f64 = of_state.iter().enumerate().map(|(unit, w)| w * state(unit)).sum();
            let sum = from_input + weights.input_bias[row] + scale * (from_state + weights.recurrent_bias[row]);
            let share = arrived / stabilized(sum, self.epsilon);
            relevance.iter_mut().zip(of_input).zip(step.input).for_each(|((sum, w), x)| *sum += w * x * share);
            let states = hidden.iter_mut().zip(of_state).enumerate();
            states.for_each(|(unit, (sum, w))| *sum += scale * w * state(unit) * share);
        }
    }
}
