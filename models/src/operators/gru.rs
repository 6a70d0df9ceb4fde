//! Gated recurrent units (Cho et al. 2014), as ONNX defines them, in both of its forms.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::activation::sigmoid;
use super::recurrent::{
    OfDirection, Recurrence, RecurrentParams, States, arrived_or_zeros, side_by_side, with_matrix, with_transposed,
};
use super::recurrent_gradients::{Multiplied, SumGradients, states_before};
use super::{AxisKind, Backward, Family, Operator, ParameterGradients, Reach, check_parameters};
use crate::element::{Element, with_element};
use crate::error::Result;
use crate::value::{Layout, Value};

const N_GATES: usize = 3;

/// One layer of gated recurrent units over `[batch, time, feature]`, with gates in ONNX's order: update `z`, reset `r`,
/// candidate `n`.
///
/// `h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}`, with `z, r = σ(W x_t + R h_{t-1} + b)`. Where the reset comes after the product
/// (`linear_before_reset`, PyTorch's form), `n = tanh(W x_t + b + r ⊙ (R h_{t-1} + b'))`; else, as in the paper,
/// `n = tanh(W x_t + b + R (r ⊙ h_{t-1}) + b')`.
///
/// # Shapes
/// - first output, the hidden states `h`: `[batch, time, direction, unit]`
/// - second output, the gates behind their functions: `[batch, time, direction, gate · unit]`
#[derive(Clone, Debug)]
pub struct Gru {
    recurrence: Recurrence,
    linear_before_reset: bool,
}

impl Gru {
    /// Checks that the parameters fit.
    pub fn new(params: RecurrentParams, linear_before_reset: bool) -> Result<Self> {
        Ok(Gru { recurrence: Recurrence::new("GRU", N_GATES, params)?, linear_before_reset })
    }

    /// What it learned.
    pub fn params(&self) -> &RecurrentParams {
        &self.recurrence.params
    }

    /// Whether the reset gate scales the product with the state rather than the state.
    pub fn linear_before_reset(&self) -> bool {
        self.linear_before_reset
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Vec<Value>> {
        let shapes = self.output_shapes(&[input.shape()])?;
        let (batch, n_steps) = (shapes[0][0], shapes[0][1]);
        let input = input.to_logical()?;
        let input = input.numbers::<T>()?;
        let input: &[T] = &input;
        let n_units = self.recurrence.n_units();
        let computed = self.recurrence.each_direction::<T, _>(None, |_, weights, _| {
            self.forward_through_time(&weights, weights.projected(input), batch, n_steps)
        })?;
        let (hidden, gates) = computed.into_iter().unzip();
        Ok(vec![
            Value::from_vec(side_by_side(hidden, n_units), &shapes[0], Layout::Logical)?,
            Value::from_vec(side_by_side(gates, N_GATES * n_units), &shapes[1], Layout::Logical)?,
        ])
    }

    /// Walks one direction forward; answers hidden states and gates, `[batch, time, …]`.
    ///
    /// # Shapes
    /// - `sums`: the input's part of the sums before the gates, `[batch, time, gate · unit]`
    fn forward_through_time<T: Element>(
        &self,
        weights: &OfDirection<'_, T>,
        sums: Vec<T>,
        batch: usize,
        n_steps: usize,
    ) -> (Vec<T>, Vec<T>) {
        let n_units = weights.initial_hidden.len();
        let width = N_GATES * n_units;
        let (mut all, mut gates) = (vec![T::zero(); sums.len() / N_GATES], sums);
        let mut hidden = weights.initial(batch);
        for step in weights.steps(n_steps) {
            let mut recurrent = self.recurrent_sums(weights, &hidden);
            for row in 0..batch {
                let gates = &mut gates[(row * n_steps + step.at) * width..][..2 * n_units];
                let recurrent = &recurrent[row * width..][..2 * n_units];
                gates.iter_mut().zip(recurrent).for_each(|(gate, &more)| *gate = sigmoid(*gate + more));
            }
            if !self.linear_before_reset {
                let reset = |row: usize| &gates[(row * n_steps + step.at) * width + n_units..][..n_units];
                self.put_reset_sums(weights, &hidden, reset, &mut recurrent);
            }
            for row in 0..batch {
                let place = row * n_steps + step.at;
                let gates = &mut gates[place * width..][..width];
                let candidates = &recurrent[row * width + 2 * n_units..][..n_units];
                let hidden = &mut hidden[row * n_units..][..n_units];
                for unit in 0..n_units {
                    let (z, r) = (gates[unit], gates[n_units + unit]);
                    let reset = if self.linear_before_reset { r } else { T::one() };
                    let candidate = (gates[2 * n_units + unit] + reset * candidates[unit]).tanh();
                    gates[2 * n_units + unit] = candidate;
                    hidden[unit] = (T::one() - z) * candidate + z * hidden[unit];
                }
                all[place * n_units..][..n_units].copy_from_slice(hidden);
            }
        }
        (all, gates)
    }

    /// The state's part of the sums before the gates, `[row, gate · unit]`.
    fn recurrent_sums<T: Element>(&self, weights: &OfDirection<'_, T>, hidden: &[T]) -> Vec<T> {
        let mut sums = with_transposed(hidden, weights.recurrent_weight, weights.initial_hidden.len());
        let add_bias =
            |row: &mut [T]| row.iter_mut().zip(&weights.recurrent_bias).for_each(|(sum, &bias)| *sum += bias);
        sums.chunks_exact_mut(weights.recurrent_bias.len()).for_each(add_bias);
        sums
    }

    /// Puts the product with the reset state in the place of that with the state, for the candidates.
    fn put_reset_sums<'r, T: Element>(
        &self,
        weights: &OfDirection<'_, T>,
        hidden: &[T],
        reset: impl Fn(usize) -> &'r [T],
        sums: &mut [T],
    ) {
        let n_units = weights.initial_hidden.len();
        let rows = hidden.chunks_exact(n_units).enumerate();
        let state: Vec<T> =
            rows.flat_map(|(row, hidden)| hidden.iter().zip(reset(row)).map(|(&h, &r)| h * r)).collect();
        let product = with_transposed(&state, &weights.recurrent_weight[2 * n_units * n_units..], n_units);
        let bias = &weights.recurrent_bias[2 * n_units..];
        for (sums, product) in sums.chunks_exact_mut(N_GATES * n_units).zip(product.chunks_exact(n_units)) {
            let products = product.iter().zip(bias);
            sums[2 * n_units..].iter_mut().zip(products).for_each(|(sum, (&product, &bias))| *sum = product + bias);
        }
    }

    /// The gradients at the sums before the gates of each direction, with what `then` makes of its walk beside.
    fn sum_gradients<T: Element, R: Send>(
        &self,
        backward: &Backward<'_>,
        then: impl Fn(&BackThroughTime<'_, T>, &[T]) -> R + Sync,
    ) -> Result<Vec<(Vec<T>, R)>> {
        let of_trace = [backward.values.output(0)?.to_logical()?, backward.values.output(1)?.to_logical()?];
        let (hidden, gates) = (of_trace[0].numbers::<T>()?, of_trace[1].numbers::<T>()?);
        let arrived = [arrived_or_zeros(backward, 0, &of_trace[0])?, arrived_or_zeros(backward, 1, &of_trace[1])?];
        let (to_hidden, to_gates) = (arrived[0].numbers::<T>()?, arrived[1].numbers::<T>()?);
        let (hidden, gates): (&[T], &[T]) = (&hidden, &gates);
        let (to_hidden, to_gates): (&[T], &[T]) = (&to_hidden, &to_gates);
        let (n_units, n_directions) = (self.recurrence.n_units(), self.recurrence.n_directions());
        let n_steps = of_trace[0].shape()[1];
        self.recurrence.each_direction::<T, _>(None, |direction, weights, _| {
            let states =
                |numbers, n_gates| States { numbers, n_steps, n_directions, direction, width: n_gates * n_units };
            let walk = BackThroughTime {
                gru: self,
                weights,
                hidden: states(hidden, 1),
                gates: states(gates, N_GATES),
                to_hidden: states(to_hidden, 1),
                to_gates: states(to_gates, N_GATES),
            };
            let sums = walk.sums(backward.rows);
            let beside = then(&walk, &sums);
            (sums, beside)
        })
    }

    fn input_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let directions = self.sum_gradients::<T, ()>(backward, |_, _| ())?;
        self.recurrence.input_gradient(backward, directions.iter().map(|(sums, ())| &sums[..]))
    }

    fn both_gradients_as<T: Element>(
        &self,
        backward: &Backward<'_>,
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let directions = self.sum_gradients::<T, _>(backward, |walk, sums| walk.multiplied(backward.rows, sums))?;
        let found =
            directions.into_iter().map(|(sums, (products, multiplied))| SumGradients { sums, products, multiplied });
        self.recurrence.gradients(backward, &found.collect::<Vec<_>>())
    }
}

/// One direction's walk backwards: what the trace holds of rows, and what arrived for pairs.
struct BackThroughTime<'a, T> {
    gru: &'a Gru,
    weights: OfDirection<'a, T>,
    hidden: States<'a, T>,
    gates: States<'a, T>,
    to_hidden: States<'a, T>,
    to_gates: States<'a, T>,
}

impl<T: Element> BackThroughTime<'_, T> {
    /// The gradient at the sums before the gates, `[pair, time, gate · unit]`.
    fn sums(&self, rows: &[usize]) -> Vec<T> {
        let (width, n_steps) = (self.gates.width, self.gates.n_steps);
        let mut all = vec![T::zero(); rows.len() * n_steps * width];
        // What the step behind says of this one's state.
        let mut carried = vec![T::zero(); rows.len() * self.hidden.width];
        for step in self.weights.steps(n_steps).into_iter().rev() {
            let before: Vec<&[T]> = rows
                .iter()
                .map(|&row| step.before.map_or(&self.weights.initial_hidden[..], |before| self.hidden.at(row, before)))
                .collect();
            let of_step = match self.gru.linear_before_reset {
                true => self.step_reset_behind(rows, step.at, &before, &mut carried),
                false => self.step_reset_before(rows, step.at, &before, &mut carried),
            };
            for (pair, of_pair) in of_step.chunks_exact(width).enumerate() {
                all[(pair * n_steps + step.at) * width..][..width].copy_from_slice(of_pair);
            }
        }
        all
    }

    /// The gradient at the products with the recurrent weights, where it is not that at the sums, and what those weights
    /// multiplied.
    ///
    /// # Shapes
    /// - `sums`: `[pair, time, gate · unit]`
    fn multiplied(&self, rows: &[usize], sums: &[T]) -> (Option<Vec<T>>, Vec<Multiplied<T>>) {
        let (n_units, width, n_steps) = (self.hidden.width, self.gates.width, self.gates.n_steps);
        let steps = self.weights.steps(n_steps);
        let states = states_before(&self.hidden, rows, &self.weights.initial_hidden, &steps);
        let reset = |pair: usize, at: usize| &self.gates.at(rows[pair], at)[n_units..2 * n_units];
        let place = |nth: usize| (nth / n_steps, nth % n_steps);
        if self.gru.linear_before_reset {
            let mut products = sums.to_vec();
            for (nth, products) in products.chunks_exact_mut(width).enumerate() {
                let (pair, at) = place(nth);
                let candidates = products[2 * n_units..].iter_mut().zip(reset(pair, at));
                candidates.for_each(|(product, &r)| *product *= r);
            }
            return (Some(products), vec![Multiplied { gates: 0..N_GATES, states }]);
        }
        let mut after_reset = states.clone();
        for (nth, states) in after_reset.chunks_exact_mut(n_units).enumerate() {
            let (pair, at) = place(nth);
            states.iter_mut().zip(reset(pair, at)).for_each(|(state, &r)| *state *= r);
        }
        (None, vec![Multiplied { gates: 0..2, states }, Multiplied { gates: 2..N_GATES, states: after_reset }])
    }

    /// The gradients at the sums of update gate and candidate of one pair; `carried` keeps what passes by them.
    fn update_and_candidate(
        &self,
        pair: usize,
        row: usize,
        at: usize,
        before: &[T],
        carried: &mut [T],
        sums: &mut [T],
    ) {
        let (n_units, one) = (self.hidden.width, T::one());
        let (gates, to_gates) = (self.gates.at(row, at), self.to_gates.at(pair, at));
        let to_hidden = self.to_hidden.at(pair, at);
        for unit in 0..n_units {
            let (z, candidate) = (gates[unit], gates[2 * n_units + unit]);
            let dh = carried[unit] + to_hidden[unit];
            carried[unit] = dh * z;
            sums[unit] = (dh * (before[unit] - candidate) + to_gates[unit]) * z * (one - z);
            let to_candidate = dh * (one - z) + to_gates[2 * n_units + unit];
            sums[2 * n_units + unit] = to_candidate * (one - candidate * candidate);
        }
    }

    /// One step where the reset gate scales the product with the state.
    fn step_reset_behind(&self, rows: &[usize], at: usize, before: &[&[T]], carried: &mut [T]) -> Vec<T> {
        let (n_units, width, one) = (self.hidden.width, self.gates.width, T::one());
        let products = self.gru.recurrent_sums(&self.weights, &before.concat());
        let mut sums = vec![T::zero(); rows.len() * width];
        let mut of_products = sums.clone();
        for (pair, &row) in rows.iter().enumerate() {
            let (gates, to_gates) = (self.gates.at(row, at), self.to_gates.at(pair, at));
            let sums = &mut sums[pair * width..][..width];
            let carried = &mut carried[pair * n_units..][..n_units];
            self.update_and_candidate(pair, row, at, before[pair], carried, sums);
            let of_products = &mut of_products[pair * width..][..width];
            for unit in 0..n_units {
                let (reset, candidate) = (n_units + unit, 2 * n_units + unit);
                let r = gates[reset];
                let to_reset = sums[candidate] * products[pair * width + candidate] + to_gates[reset];
                sums[reset] = to_reset * r * (one - r);
                of_products[candidate] = sums[candidate] * r;
            }
            of_products[..2 * n_units].copy_from_slice(&sums[..2 * n_units]);
        }
        let passed = with_matrix(&of_products, self.weights.recurrent_weight, n_units);
        carried.iter_mut().zip(passed).for_each(|(carried, passed)| *carried += passed);
        sums
    }

    /// One step where the reset gate scales the state before the product.
    fn step_reset_before(&self, rows: &[usize], at: usize, before: &[&[T]], carried: &mut [T]) -> Vec<T> {
        let (n_units, width, one) = (self.hidden.width, self.gates.width, T::one());
        let (of_gates, of_candidates) = self.weights.recurrent_weight.split_at(2 * n_units * n_units);
        let mut sums = vec![T::zero(); rows.len() * width];
        for (pair, &row) in rows.iter().enumerate() {
            let (sums, carried) = (&mut sums[pair * width..][..width], &mut carried[pair * n_units..][..n_units]);
            self.update_and_candidate(pair, row, at, before[pair], carried, sums);
        }
        let part = |sums: &[T], from: usize, to: usize| -> Vec<T> {
            sums.chunks_exact(width).flat_map(|of_pair| &of_pair[from * n_units..to * n_units]).copied().collect()
        };
        let to_reset_state = with_matrix(&part(&sums, 2, 3), of_candidates, n_units);
        for (pair, &row) in rows.iter().enumerate() {
            let (gates, to_gates) = (self.gates.at(row, at), self.to_gates.at(pair, at));
            for unit in 0..n_units {
                let (r, to_state) = (gates[n_units + unit], to_reset_state[pair * n_units + unit]);
                carried[pair * n_units + unit] += to_state * r;
                let to_reset = to_state * before[pair][unit] + to_gates[n_units + unit];
                sums[pair * width + n_units + unit] = to_reset * r * (one - r);
            }
        }
        let passed = with_matrix(&part(&sums, 0, 2), of_gates, n_units);
        carried.iter_mut().zip(passed).for_each(|(carried, passed)| *carried += passed);
        sums
    }
}

impl Operator for Gru {
    fn kind(&self) -> &'static str {
        "GRU"
    }

    fn family(&self) -> Family {
        Family::Recurrent
    }

    fn n_outputs(&self) -> usize {
        2
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let states = self.recurrence.states_shape(inputs[0], self.recurrence.n_units())?;
        Ok(vec![states, self.recurrence.states_shape(inputs[0], self.recurrence.n_rows())?])
    }

    fn output_axes(&self, _inputs: &[&[AxisKind]], _rank: usize) -> Vec<AxisKind> {
        vec![AxisKind::Batch, AxisKind::Time, AxisKind::Other, AxisKind::Feature]
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => self.forward_as::<T>(inputs[0]))
    }

    /// Backpropagation through time.
    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(self.recurrence.params.input_weight.dtype(), T => self.input_gradients_as::<T>(backward))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        self.recurrence.parameters()
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        Ok(self.input_and_parameter_gradients(backward)?.1)
    }

    fn input_and_parameter_gradients(
        &self,
        backward: &Backward<'_>,
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        with_element!(self.recurrence.params.input_weight.dtype(), T => self.both_gradients_as::<T>(backward))
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        let (recurrence, linear_before_reset) = (self.recurrence.with_parameters(parameters), self.linear_before_reset);
        Ok(Arc::new(Gru { recurrence, linear_before_reset }))
    }

    fn as_gru(&self) -> Option<&Gru> {
        Some(self)
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let (recurrence, linear_before_reset) = (self.recurrence.to_dtype(dtype)?, self.linear_before_reset);
        Ok(Arc::new(Gru { recurrence, linear_before_reset }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::recurrent::tests::{equals_pytorch, of_pytorch, random_params};
    use super::*;
    use crate::operators::Direction;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_value};

    #[test]
    fn every_direction_in_both_forms() {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for (is_full, linear_before_reset) in [(true, true), (true, false), (false, true), (false, false)] {
                let gru = Gru::new(random_params(direction, N_GATES, 4, is_full), linear_before_reset).unwrap();
                check_gradients(&gru, &[random_value(&[2, 5, 3], 6)]);
                check_parameter_gradients(&gru, &[random_value(&[2, 5, 3], 6)]);
            }
        }
    }

    /// `nn.GRU(2, 2, bidirectional=True)` of PyTorch 2.15 in f64, whose gates are in the order r, z, n.
    #[test]
    fn equals_nn_gru() {
        let gru = Gru::new(of_pytorch(&[1, 0, 2]), true).unwrap();
        let hidden = [
            0.5936267535971074,
            0.02233709977655769,
            -0.536535015535151,
            0.5222605925638887,
            0.43204953530145707,
            0.29513403321282583,
            -0.4045219270863796,
            0.22905597327920782,
            0.5876968297234844,
            0.3304346426343815,
            -0.17578525085552554,
            0.19442726010515915,
        ];
        let gradient = [
            0.1748783726514361,
            0.29569956113115503,
            0.19067928607470339,
            0.14299458348744537,
            0.30569560261058815,
            0.11944630999199028,
        ];
        equals_pytorch(&gru, &hidden, &gradient);
    }

    /// The form of the paper, step by step from its equations.
    #[test]
    fn equals_the_definition_with_the_reset_before() {
        let params = random_params(Direction::Forward, N_GATES, 2, true);
        let list = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (w, r) = (list(&params.input_weight), list(&params.recurrent_weight));
        let (b, mut state) = (list(params.bias.as_ref().unwrap()), list(params.initial_hidden.as_ref().unwrap()));
        let input = random_value(&[1, 4, 3], 8);
        let found = Gru::new(params, false).unwrap().forward(&[&input]).unwrap()[0].to_f64_vec().unwrap();
        let x = input.to_f64_vec().unwrap();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for step in 0..4 {
            let of_input = |row: usize| (0..3).map(|i| w[row * 3 + i] * x[step * 3 + i]).sum::<f64>() + b[row];
            let of_state =
                |row: usize, state: &[f64]| (0..2).map(|i| r[row * 2 + i] * state[i]).sum::<f64>() + b[6 + row];
            let gate = |row: usize| sigmoid(of_input(row) + of_state(row, &state));
            let reset = [gate(2) * state[0], gate(3) * state[1]];
            let next = |unit: usize| {
                let candidate = (of_input(4 + unit) + of_state(4 + unit, &reset)).tanh();
                (1.0 - gate(unit)) * candidate + gate(unit) * state[unit]
            };
            state = vec![next(0), next(1)];
            assert!((0..2).all(|unit| (found[step * 2 + unit] - state[unit]).abs() < 1e-12));
        }
    }
}
