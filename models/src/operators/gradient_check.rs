//! Checks of any operator in f64: gradients against central differences, pairs of a walk against rows of a batch,
//! a batch against its rows one by one, and declared shapes against computed ones.

use candle_core::{Device, Tensor};

use super::{Backward, NodeValues, Operator};
use crate::error::Result;
use crate::value::{Layout, Value};

/// Uniform in (-1, 1), the same for the same seed (a linear congruential generator is enough here).
pub(crate) fn random_numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / f64::from(1u32 << 31)) * 2.0 - 1.0
    };
    (0..n).map(next).collect()
}

pub(crate) fn random_tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(random_numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

pub(crate) fn random_value(shape: &[usize], seed: u64) -> Value {
    Value::from_tensor(&random_tensor(shape, seed)).unwrap()
}

/// Values that are all there.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) inputs: &'a [Value],
    pub(crate) outputs: &'a [Value],
}

impl NodeValues for Given<'_> {
    fn input_shape(&self, nth: usize) -> Vec<usize> {
        self.inputs[nth].shape().to_vec()
    }

    fn input(&self, nth: usize) -> Result<Value> {
        Ok(self.inputs[nth].clone())
    }

    fn output(&self, nth: usize) -> Result<Value> {
        Ok(self.outputs[nth].clone())
    }
}

fn gradients(
    operator: &dyn Operator,
    inputs: &[Value],
    outputs: &[Value],
    (port, gradient): (usize, &Value),
    rows: &[usize],
) -> Vec<Value> {
    let mut gradients = vec![None; outputs.len()];
    gradients[port] = Some(gradient.clone());
    let wanted = vec![true; inputs.len()];
    let values = Given { inputs, outputs };
    let backward = Backward { values: &values, gradients: &gradients, rows, wanted: &wanted };
    operator
        .input_gradients(&backward)
        .unwrap()
        .into_iter()
        .map(|gradient| gradient.expect("all were wanted"))
        .collect()
}

fn assert_close(got: &Value, want: &[f64], tolerance: f64, what: &str) {
    let got = got.to_f64_vec().unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}, number {index}: {got} is not {want}");
    }
}

/// Runs all checks of the module's documentation on each output of an operator.
pub(crate) fn check_gradients(operator: &dyn Operator, inputs: &[Value]) {
    (0..operator.n_outputs()).for_each(|port| check_output(operator, inputs, port));
}

fn check_output(operator: &dyn Operator, inputs: &[Value], port: usize) {
    let forward = |inputs: &[Value]| operator.forward(&inputs.iter().collect::<Vec<_>>()).unwrap();
    let outputs = forward(inputs);
    let shapes: Vec<&[usize]> = inputs.iter().map(Value::shape).collect();
    assert_eq!(operator.output_shapes(&shapes).unwrap()[port], outputs[port].shape(), "declared shape");

    let batch = outputs[port].batch();
    let seed = random_value(outputs[port].shape(), 99);
    let rows: Vec<usize> = (0..batch).collect();
    let found = gradients(operator, inputs, &outputs, (port, &seed), &rows);
    for (which, gradient) in found.iter().enumerate() {
        assert_eq!(gradient.shape(), inputs[which].shape(), "shape of the gradient to input {which}");
        let expected = central_differences(&|inputs| forward(inputs).swap_remove(port), inputs, which, &seed);
        assert_close(gradient, &expected, 1e-6, &format!("gradient to input {which}"));
    }

    // A walk's pairs may be about any rows, in any order.
    let pairs: Vec<usize> = rows.iter().rev().copied().chain([0]).collect();
    let of_pairs = gradients(operator, inputs, &outputs, (port, &seed.select_rows(&pairs).unwrap()), &pairs);
    for (of_pairs, of_rows) in of_pairs.iter().zip(&found) {
        assert_close(of_pairs, &of_rows.select_rows(&pairs).unwrap().to_f64_vec().unwrap(), 1e-12, "pairs");
    }
    for row in rows {
        let of_row: Vec<Value> = inputs.iter().map(|input| input.row(row).unwrap()).collect();
        assert_close(
            &forward(&of_row)[port],
            &outputs[port].row(row).unwrap().to_f64_vec().unwrap(),
            1e-12,
            "batch of one",
        );
    }
}

fn central_differences(forward: &dyn Fn(&[Value]) -> Value, inputs: &[Value], which: usize, seed: &Value) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let seed = seed.to_f64_vec().unwrap();
    let numbers = inputs[which].to_f64_vec().unwrap();
    let score_with = |index: usize, step: f64| -> f64 {
        let mut moved = numbers.clone();
        moved[index] += step;
        let mut inputs = inputs.to_vec();
        inputs[which] = Value::from_vec(moved, inputs[which].shape(), Layout::Logical).unwrap();
        let output = forward(&inputs).to_f64_vec().unwrap();
        output.iter().zip(&seed).map(|(output, seed)| output * seed).sum()
    };
    (0..numbers.len()).map(|index| (score_with(index, STEP) - score_with(index, -STEP)) / (2.0 * STEP)).collect()
}
