//! Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates), as ONNX defines it, without peepholes.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::activation::sigmoid;
use super::recurrent::{
    OfDirection, Recurrence, RecurrentParams, States, arrived_or_zeros, side_by_side, with_matrix, with_transposed,
};
use super::recurrent_gradients::{Multiplied, SumGradients, states_before};
use super::{AxisKind, Backward, Family, Operator, ParameterGradients, Reach, check_parameters};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

const N_GATES: usize = 4;

/// One layer of LSTM units over `[batch, time, feature]`, with gates in ONNX's order: input `i`, output `o`, forget
/// `f`, cell candidate `g`.
///
/// `c_t = f ⊙ c_{t-1} + i ⊙ g`, `h_t = o ⊙ tanh(c_t)`, with `i, o, f = σ(W x_t + R h_{t-1} + b)` and
/// `g = tanh(W x_t + R h_{t-1} + b)`.
///
/// # Shapes
/// - first output, the hidden states `h`: `[batch, time, direction, unit]`
/// - second output, the cells `c`: `[batch, time, direction, unit]`
/// - third output, the gates behind their functions: `[batch, time, direction, gate · unit]`
#[derive(Clone, Debug)]
pub struct Lstm {
    recurrence: Recurrence,
    initial_cell: Option<Tensor>,
}

/// What one direction computes, `[row, time, …]`.
struct Computed<T> {
    hidden: Vec<T>,
    cell: Vec<T>,
    gates: Vec<T>,
}

impl Lstm {
    /// Checks that the parameters fit; `initial_cell` is `[direction, unit]`, zeros where there is none.
    pub fn new(params: RecurrentParams, initial_cell: Option<Tensor>) -> Result<Self> {
        let recurrence = Recurrence::new("LSTM", N_GATES, params)?;
        let wanted = [recurrence.n_directions(), recurrence.n_units()];
        if let Some(found) = initial_cell.as_ref().map(Tensor::dims).filter(|dims| *dims != wanted) {
            return Err(ModelError::operator("LSTM", format!("initial cells {found:?}; they must be {wanted:?}")));
        }
        Ok(Lstm { recurrence, initial_cell })
    }

    /// What it learned.
    pub fn params(&self) -> &RecurrentParams {
        &self.recurrence.params
    }

    /// The cells before the first step, `[direction, unit]`; zeros where there are none.
    pub fn initial_cell(&self) -> Option<&Tensor> {
        self.initial_cell.as_ref()
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Vec<Value>> {
        let shapes = self.output_shapes(&[input.shape()])?;
        let (batch, n_steps) = (shapes[0][0], shapes[0][1]);
        let input = input.to_logical()?;
        let input = input.numbers::<T>()?;
        let input: &[T] = &input;
        let n_units = self.recurrence.n_units();
        let computed = self.recurrence.each_direction::<T, _>(self.initial_cell.as_ref(), |_, weights, cell| {
            forward_through_time(&weights, &cell, weights.projected(input), batch, n_steps)
        })?;
        let (mut hidden, mut cell, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        for of_direction in computed {
            hidden.push(of_direction.hidden);
            cell.push(of_direction.cell);
            gates.push(of_direction.gates);
        }
        Ok(vec![
            Value::from_vec(side_by_side(hidden, n_units), &shapes[0], Layout::Logical)?,
            Value::from_vec(side_by_side(cell, n_units), &shapes[1], Layout::Logical)?,
            Value::from_vec(side_by_side(gates, N_GATES * n_units), &shapes[2], Layout::Logical)?,
        ])
    }

    /// The gradient at the sums before the gates of each direction, `[pair, time, gate · unit]`, with what `then` makes
    /// of the direction beside.
    fn sum_gradients<T: Element, R: Send>(
        &self,
        backward: &Backward<'_>,
        then: impl Fn(usize, &OfDirection<'_, T>) -> R + Sync,
    ) -> Result<Vec<(Vec<T>, R)>> {
        let of_trace = [backward.values.output(1)?.to_logical()?, backward.values.output(2)?.to_logical()?];
        let (cells, gates) = (of_trace[0].numbers::<T>()?, of_trace[1].numbers::<T>()?);
        let arrived = [
            arrived_or_zeros(backward, 0, &of_trace[0])?,
            arrived_or_zeros(backward, 1, &of_trace[0])?,
            arrived_or_zeros(backward, 2, &of_trace[1])?,
        ];
        let arrived = [arrived[0].numbers::<T>()?, arrived[1].numbers::<T>()?, arrived[2].numbers::<T>()?];
        let (cells, gates): (&[T], &[T]) = (&cells, &gates);
        let [to_hidden, to_cell, to_gates]: [&[T]; 3] = [&arrived[0], &arrived[1], &arrived[2]];
        let (n_units, n_directions) = (self.recurrence.n_units(), self.recurrence.n_directions());
        let n_steps = of_trace[0].shape()[1];
        self.recurrence.each_direction::<T, _>(self.initial_cell.as_ref(), |direction, weights, initial| {
            let states =
                |numbers, n_gates| States { numbers, n_steps, n_directions, direction, width: n_gates * n_units };
            let beside = then(direction, &weights);
            let walk = BackThroughTime {
                weights,
                initial,
                cells: states(cells, 1),
                gates: states(gates, N_GATES),
                to_hidden: states(to_hidden, 1),
                to_cell: states(to_cell, 1),
                to_gates: states(to_gates, N_GATES),
            };
            (walk.sums(backward.rows), beside)
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
        let hidden = backward.values.output(0)?.to_logical()?;
        let (n_steps, numbers) = (hidden.shape()[1], hidden.numbers::<T>()?);
        let (numbers, n_directions): (&[T], _) = (&numbers, self.recurrence.n_directions());
        let directions = self.sum_gradients::<T, _>(backward, |direction, weights| {
            let hidden = States { numbers, n_steps, n_directions, direction, width: self.recurrence.n_units() };
            states_before(&hidden, backward.rows, &weights.initial_hidden, &weights.steps(n_steps))
        })?;
        let found = directions.into_iter().map(|(sums, states)| SumGradients {
            sums,
            products: None,
            multiplied: vec![Multiplied { gates: 0..N_GATES, states }],
        });
        self.recurrence.gradients(backward, &found.collect::<Vec<_>>())
    }
}

/// Walks one direction forward.
///
/// # Shapes
/// - `sums`: the input's part of the sums before the gates, `[batch, time, gate · unit]`; `initial_cell`: `[unit]`
fn forward_through_time<T: Element>(
    weights: &OfDirection<'_, T>,
    initial_cell: &[T],
    sums: Vec<T>,
    batch: usize,
    n_steps: usize,
) -> Computed<T> {
    let n_units = initial_cell.len();
    let width = N_GATES * n_units;
    let mut computed = Computed {
        hidden: vec![T::zero(); sums.len() / N_GATES],
        cell: vec![T::zero(); sums.len() / N_GATES],
        gates: sums,
    };
    let (mut hidden, mut cell) = (weights.initial(batch), initial_cell.repeat(batch));
    for step in weights.steps(n_steps) {
        let recurrent = with_transposed(&hidden, weights.recurrent_weight, n_units);
        for row in 0..batch {
            let place = row * n_steps + step.at;
            let gates = &mut computed.gates[place * width..][..width];
            let recurrent = recurrent[row * width..][..width].iter().zip(&weights.recurrent_bias);
            gates.iter_mut().zip(recurrent).for_each(|(sum, (&more, &bias))| *sum += more + bias);
            let (sigmoids, candidates) = gates.split_at_mut(3 * n_units);
            sigmoids.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
            candidates.iter_mut().for_each(|gate| *gate = gate.tanh());
            let (hidden, cell) = (&mut hidden[row * n_units..][..n_units], &mut cell[row * n_units..][..n_units]);
            for unit in 0..n_units {
                let [i, o, f, g] = std::array::from_fn(|gate| gates[gate * n_units + unit]);
                cell[unit] = f * cell[unit] + i * g;
                hidden[unit] = o * cell[unit].tanh();
            }
            computed.hidden[place * n_units..][..n_units].copy_from_slice(hidden);
            computed.cell[place * n_units..][..n_units].copy_from_slice(cell);
        }
    }
    computed
}

/// One direction's walk backwards: what the trace holds of rows, and what arrived for pairs.
struct BackThroughTime<'a, T> {
    weights: OfDirection<'a, T>,
    initial: Vec<T>,
    cells: States<'a, T>,
    gates: States<'a, T>,
    to_hidden: States<'a, T>,
    to_cell: States<'a, T>,
    to_gates: States<'a, T>,
}

impl<T: Element> BackThroughTime<'_, T> {
    /// The gradient at the sums before the gates, `[pair, time, gate · unit]`.
    fn sums(&self, rows: &[usize]) -> Vec<T> {
        let (n_units, width, n_steps) = (self.cells.width, self.gates.width, self.cells.n_steps);
        let mut all = vec![T::zero(); rows.len() * n_steps * width];
        // What the step behind says of this one's states.
        let (mut hidden, mut cell) = (vec![T::zero(); rows.len() * n_units], vec![T::zero(); rows.len() * n_units]);
        let mut of_step = vec![T::zero(); rows.len() * width];
        for step in self.weights.steps(n_steps).into_iter().rev() {
            for (pair, &row) in rows.iter().enumerate() {
                let before = step.before.map_or(&self.initial[..], |before| self.cells.at(row, before));
                let (cells, gates) = (self.cells.at(row, step.at), self.gates.at(row, step.at));
                let [to_hidden, to_cell] = [self.to_hidden, self.to_cell].map(|arrived| arrived.at(pair, step.at));
                let to_gates = self.to_gates.at(pair, step.at);
                let sums = &mut of_step[pair * width..][..width];
                for unit in 0..n_units {
                    let [i, o, f, g] = std::array::from_fn(|gate| gates[gate * n_units + unit]);
                    let [to_i, to_o, to_f, to_g] = std::array::from_fn(|gate| to_gates[gate * n_units + unit]);
                    let one = T::one();
                    let squashed = cells[unit].tanh();
                    let dh = hidden[pair * n_units + unit] + to_hidden[unit];
                    let kept = &mut cell[pair * n_units + unit];
                    let dc = *kept + to_cell[unit] + dh * o * (one - squashed * squashed);
                    *kept = dc * f;
                    sums[unit] = (dc * g + to_i) * i * (one - i);
                    sums[n_units + unit] = (dh * squashed + to_o) * o * (one - o);
                    sums[2 * n_units + unit] = (dc * before[unit] + to_f) * f * (one - f);
                    sums[3 * n_units + unit] = (dc * i + to_g) * (one - g * g);
                }
                all[(pair * n_steps + step.at) * width..][..width].copy_from_slice(sums);
            }
            hidden = with_matrix(&of_step, self.weights.recurrent_weight, n_units);
        }
        all
    }
}

impl Operator for Lstm {
    fn kind(&self) -> &'static str {
        "LSTM"
    }

    fn family(&self) -> Family {
        Family::Recurrent
    }

    fn n_outputs(&self) -> usize {
        3
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let states = self.recurrence.states_shape(inputs[0], self.recurrence.n_units())?;
        let gates = self.recurrence.states_shape(inputs[0], self.recurrence.n_rows())?;
        Ok(vec![states.clone(), states, gates])
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
        let recurrence = self.recurrence.with_parameters(parameters);
        Ok(Arc::new(Lstm { recurrence, initial_cell: self.initial_cell.clone() }))
    }

    fn as_lstm(&self) -> Option<&Lstm> {
        Some(self)
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let initial_cell = self.initial_cell.as_ref().map(|cell| cell.to_dtype(dtype)).transpose()?;
        Ok(Arc::new(Lstm { recurrence: self.recurrence.to_dtype(dtype)?, initial_cell }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::recurrent::tests::{equals_pytorch, of_pytorch, random_params};
    use super::*;
    use crate::operators::Direction;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_tensor, random_value};

    #[test]
    fn every_direction_with_and_without_what_is_optional() {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for is_full in [true, false] {
                let cell = is_full.then(|| random_tensor(&[direction.n_directions(), 4], 5));
                let lstm = Lstm::new(random_params(direction, N_GATES, 4, is_full), cell).unwrap();
                check_gradients(&lstm, &[random_value(&[2, 5, 3], 6)]);
                check_parameter_gradients(&lstm, &[random_value(&[2, 5, 3], 6)]);
            }
        }
        let single = Lstm::new(random_params(Direction::Forward, N_GATES, 1, true), None).unwrap();
        check_gradients(&single, &[random_value(&[3, 1, 3], 7)]);
    }

    /// `nn.LSTM(2, 2, bidirectional=True)` of PyTorch 2.15 in f64, whose gates are in the order i, f, g, o.
    #[test]
    fn equals_nn_lstm() {
        let lstm = Lstm::new(of_pytorch(&[0, 3, 1, 2]), None).unwrap();
        let hidden = [
            0.17801869237406978,
            0.0013351340091935174,
            -0.4353063342981825,
            0.34865557031722844,
            0.11939943322204863,
            0.07036840631568657,
            -0.3790404678045374,
            0.1687169122427521,
            0.18925392470536992,
            0.061121826563643435,
            -0.22441333745153844,
            0.1540711511239728,
        ];
        let gradient = [
            0.0703759470266305,
            0.07305935304085598,
            0.14014711864433352,
            0.08129070608928175,
            0.16534539394449274,
            0.05920461036896287,
        ];
        equals_pytorch(&lstm, &hidden, &gradient);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let params = || random_params(Direction::Forward, N_GATES, 4, true);
        let error = Lstm::new(params(), Some(random_tensor(&[2, 4], 1))).unwrap_err();
        assert_eq!(error.to_string(), "LSTM: initial cells [2, 4]; they must be [1, 4]");
        let error =
            Lstm::new(RecurrentParams { bias: Some(random_tensor(&[1, 16], 1)), ..params() }, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "LSTM: weights [1, 16, 3] and [1, 16, 4], bias Some([1, 16]), initial state Some([1, 4]); they must be \
             [1, 4 · units, features], [1, 4 · units, units], [1, 8 · units] and [1, units]"
        );
        let lstm = Lstm::new(params(), None).unwrap();
        let error = lstm.output_shapes(&[&[2, 5, 4]]).unwrap_err();
        assert_eq!(error.to_string(), "LSTM: input must be [batch, time, 3 features] but is [2, 5, 4]");
    }
}
