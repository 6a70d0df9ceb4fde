//! LSTM and GRU: their inputs and attributes, of which ONNX has more than networks use.
//!
//! ONNX's sequences are `[time, batch, feature]` and ours have the batch first. `axes` keeps account of that, so that
//! the transpositions which exporters put around a layer cost nothing, and `[time, direction, batch, unit]` behind it
//! is another view of our `[batch, time, direction, unit]`.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::folding::{Known, N_SCENARIOS};
use super::reading::{Read, Reading, tensor};
use super::tensor::{Constant, Numbers};
use crate::loaders::LoadError;
use crate::operators::{Direction, Gru, Lstm, Operator, RecurrentParams};

/// A recurrent layer as it was read.
pub(super) struct RecurrentLayer {
    pub(super) operator: Arc<dyn Operator>,
    pub(super) direction: Direction,
    /// What the outputs behind the hidden states are called.
    pub(super) states: &'static [&'static str],
}

impl Reading<'_> {
    pub(super) fn is_recurrent(&self) -> bool {
        ["LSTM", "GRU"].contains(&self.node.op_type.as_str())
    }

    pub(super) fn recurrent(&self) -> Result<RecurrentLayer, LoadError> {
        let is_lstm = self.node.op_type == "LSTM";
        self.check_sequence()?;
        self.check_recurrent_attributes(if is_lstm { &["Sigmoid", "Tanh", "Tanh"] } else { &["Sigmoid", "Tanh"] })?;
        let direction = match self.attributes.text("direction") {
            None | Some("forward") => Direction::Forward,
            Some("reverse") => Direction::Reverse,
            Some("bidirectional") => Direction::Bidirectional,
            Some(other) => {
                let known = "forward, reverse and bidirectional are understood";
                return Err(self.refused(format!("`direction` is `{other}`; {known}")));
            }
        };
        let recurrent_weight = self.weights(2)?;
        let n_units = recurrent_weight.dims().last().copied().unwrap_or(0);
        let params = RecurrentParams {
            direction,
            input_weight: self.weights(1)?,
            recurrent_weight,
            bias: self.optional_weights(3)?,
            initial_hidden: self.initial_state(5, "initial_h", n_units)?,
        };
        let hidden_size = self.attributes.int("hidden_size", n_units as i64);
        if hidden_size != n_units as i64 {
            return Err(self.refused(format!("`hidden_size` is {hidden_size} but its weights are for {n_units} units")));
        }
        if !is_lstm {
            let linear_before_reset = self.attributes.int("linear_before_reset", 0) != 0;
            let gru = Gru::new(params, linear_before_reset).map_err(|error| self.at_node(error))?;
            return Ok(RecurrentLayer { operator: Arc::new(gru), direction, states: &["gates"] });
        }
        if self.optional_constant(7)?.is_some_and(|peepholes| !is_zero(peepholes)) {
            return Err(self.refused("it has peephole weights (input `P`); only layers without them are supported"));
        }
        let lstm =
            Lstm::new(params, self.initial_state(6, "initial_c", n_units)?).map_err(|error| self.at_node(error))?;
        Ok(RecurrentLayer { operator: Arc::new(lstm), direction, states: &["cell", "gates"] })
    }

    /// The input must be a sequence whose batch is where ONNX has it, and of which all is read.
    fn check_sequence(&self) -> Result<(), LoadError> {
        let (axes, shapes) = (self.axes()?, self.shapes()?);
        if axes.rank() != 3 || axes.batch() != Some(1) || axes.own(0).is_none() || axes.alone(1).is_none() {
            return Err(self.refused(format!(
                "its input has shape {:?}, with the batch {}; [time, batch, feature] is needed, which an exporter \
                 writes for a layer that takes the batch first (`batch_first=True`)",
                axes.shape(&shapes[0]),
                axes.batch().map_or("joined with other axes".to_owned(), |axis| format!("as axis {axis}"))
            )));
        }
        let Some(Some(lengths)) = self.inputs.get(4) else { return Ok(()) };
        let is_whole = |scenario: usize| match lengths {
            Read::Known(known) => match &known.at(scenario).numbers {
                Numbers::Whole(numbers) => numbers.iter().all(|&length| length == shapes[scenario][1] as i64),
                Numbers::Float(_) => false,
            },
            _ => false,
        };
        if (0..N_SCENARIOS).all(is_whole) {
            return Ok(());
        }
        Err(self.refused("`sequence_lens` must be left out, or be the constant length of the whole sequence"))
    }

    fn check_recurrent_attributes(&self, functions: &[&str]) -> Result<(), LoadError> {
        let attributes = &self.attributes;
        for (name, value) in
            [("layout", attributes.int("layout", 0)), ("input_forget", attributes.int("input_forget", 0))]
        {
            if value != 0 {
                return Err(self.refused(format!("`{name}` is {value}; only 0 is supported")));
            }
        }
        let clip = attributes.float("clip", 0.0);
        if clip != 0.0 {
            return Err(self.refused(format!("`clip` is {clip}; only layers that do not clip are supported")));
        }
        let given = attributes.texts("activations");
        if given.iter().zip(functions.iter().cycle()).any(|(given, function)| given != function) {
            let supported = functions.join(", ");
            return Err(self.refused(format!("`activations` are {}; only {supported} are supported", given.join(", "))));
        }
        Ok(())
    }

    /// A constant state before the first step, the same for every input of a batch: `[direction, unit]`.
    fn initial_state(&self, nth: usize, name: &str, n_units: usize) -> Result<Option<Tensor>, LoadError> {
        let known = match self.inputs.get(nth) {
            None | Some(None) => return Ok(None),
            Some(Some(Read::Known(known))) => known,
            Some(Some(_)) => {
                let reason = format!("`{name}` is computed by the network; only constant states are supported");
                return Err(self.refused(reason));
            }
        };
        let states: Option<Vec<Constant>> = (0..N_SCENARIOS).map(|scenario| of_any_row(known, scenario)).collect();
        let Some(state) = states.filter(|states| states.iter().all(|state| *state == states[0])) else {
            let reason = format!(
                "`{name}` must be [direction, batch, unit], the same for every input of a batch and every length"
            );
            return Err(self.refused(reason));
        };
        let state = &state[0];
        if state.shape[1] != n_units {
            let reason = format!(
                "`{name}` has {} units where its weights have {n_units}; layers with projections (`proj_size`) are not \
                 supported",
                state.shape[1]
            );
            return Err(self.refused(reason));
        }
        Ok(if is_zero(state) { None } else { Some(tensor(state)?.to_device(&Device::Cpu)?) })
    }
}

fn is_zero(constant: &Constant) -> bool {
    match &constant.numbers {
        Numbers::Float(numbers) => numbers.iter().all(|number| *number == 0.0),
        Numbers::Whole(numbers) => numbers.iter().all(|number| *number == 0),
    }
}

/// Of `[direction, batch, unit]` what all rows of the batch have in common, where they have.
fn of_any_row(known: &Known, scenario: usize) -> Option<Constant> {
    let constant = known.at(scenario);
    let ([n_directions, batch, n_units], Numbers::Float(numbers)) = (&constant.shape[..], &constant.numbers) else {
        return None;
    };
    let mut common = Vec::new();
    for direction in numbers.chunks(batch * n_units) {
        let first = direction.get(..*n_units)?;
        if direction.chunks(*n_units).any(|row| row != first) {
            return None;
        }
        common.extend_from_slice(first);
    }
    Some(Constant { shape: vec![*n_directions, *n_units], numbers: Numbers::Float(common) })
}
