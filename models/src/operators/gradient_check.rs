//! Checks of any operator in f64: gradients to inputs and parameters against central differences, pairs of a walk against rows of a batch,
//! a batch against its rows one by one, and declared shapes against computed ones.

use candle_core::{Device, Tensor};

use super::{Backward, NodeValues, Operator};
use crate::device::OnDevice;
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
    if let Some(on_tensors) = on_tensors(operator) {
        check_output(&on_tensors, inputs, 0);
        check_same(operator, &on_tensors, inputs);
    }
}

/// The operator's form for devices, computing on the processor.
fn on_tensors(operator: &dyn Operator) -> Option<OnDevice> {
    let shared = operator.to_dtype(candle_core::DType::F64).unwrap();
    OnDevice::of(&shared, &Device::Cpu).map(Result::unwrap)
}

/// Both forms compute the same, clamped as well.
fn check_same(operator: &dyn Operator, on_tensors: &OnDevice, inputs: &[Value]) {
    let inputs: Vec<&Value> = inputs.iter().collect();
    let expected = operator.forward(&inputs).unwrap().remove(0).to_f64_vec().unwrap();
    assert_close(&on_tensors.forward(&inputs).unwrap()[0], &expected, 1e-12, "on a device");
    if let Some(clamped) = on_tensors.forward_clamped(&inputs, 0.0, 0.5) {
        let expected: Vec<f64> = expected.iter().map(|number| number.clamp(0.0, 0.5)).collect();
        assert_close(&clamped.unwrap()[0], &expected, 1e-12, "clamped on a device");
    }
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

/// Each parameter's gradient against central differences, for what arrives at each output; pairs of a walk add up.
pub(crate) fn check_parameter_gradients(operator: &dyn Operator, inputs: &[Value]) {
    check_parameter_gradients_for(operator, inputs, true);
    if let Some(on_tensors) = on_tensors(operator) {
        check_parameter_gradients_for(&on_tensors, inputs, true);
    }
}

/// The same for an operator that ties the rows of a batch together, and so takes no other pairs than those.
pub(crate) fn check_parameter_gradients_of_batch(operator: &dyn Operator, inputs: &[Value]) {
    check_parameter_gradients_for(operator, inputs, false);
    if let Some(on_tensors) = on_tensors(operator) {
        check_parameter_gradients_for(&on_tensors, inputs, false);
    }
}

fn check_parameter_gradients_for(operator: &dyn Operator, inputs: &[Value], takes_any_pairs: bool) {
    const STEP: f64 = 1e-5;
    let forward = |operator: &dyn Operator| operator.forward(&inputs.iter().collect::<Vec<_>>()).unwrap();
    let outputs = forward(operator);
    let seeds: Vec<Value> = outputs.iter().map(|output| random_value(output.shape(), 98)).collect();
    let score = |operator: &dyn Operator| -> f64 {
        let of_output = |(output, seed): (&Value, &Value)| -> f64 {
            let products = output.to_f64_vec().unwrap().into_iter().zip(seed.to_f64_vec().unwrap());
            products.map(|(output, seed)| output * seed).sum()
        };
        forward(operator).iter().zip(&seeds).map(of_output).sum()
    };
    let values = Given { inputs, outputs: &outputs };
    let gradients_of = |rows: &[usize]| {
        let arrived: Vec<Option<Value>> = seeds.iter().map(|seed| Some(seed.select_rows(rows).unwrap())).collect();
        let backward = Backward { values: &values, gradients: &arrived, rows, wanted: &[false] };
        operator.parameter_gradients(&backward).unwrap()
    };
    let numbers_of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let parameters: Vec<Tensor> = operator.parameters().into_iter().map(|(_, tensor)| tensor.clone()).collect();
    let names: Vec<&str> = operator.parameters().into_iter().map(|(name, _)| name).collect();
    let rows: Vec<usize> = (0..inputs[0].batch()).collect();
    let found = gradients_of(&rows);
    assert!(!found.is_empty(), "an operator with parameters learns some");
    for (name, gradient) in &found {
        let which = names.iter().position(|known| known == name).expect("gradients are called as parameters are");
        assert_eq!(gradient.dims(), parameters[which].dims(), "shape of the gradient to {name}");
        let numbers = numbers_of(&parameters[which]);
        let score_with = |index: usize, step: f64| {
            let mut moved = numbers.clone();
            moved[index] += step;
            let mut parameters = parameters.clone();
            parameters[which] = Tensor::from_vec(moved, parameters[which].dims(), &Device::Cpu).unwrap();
            score(&*operator.with_parameters(&parameters).unwrap())
        };
        for (index, found) in numbers_of(gradient).into_iter().enumerate() {
            let expected = (score_with(index, STEP) - score_with(index, -STEP)) / (2.0 * STEP);
            let tolerance = 1e-6 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= tolerance, "{name}, number {index}: {found} is not {expected}");
        }
    }
    if !takes_any_pairs {
        return;
    }
    let twice: Vec<usize> = rows.iter().rev().chain(&rows).copied().collect();
    for ((name, once), (_, twice)) in found.iter().zip(gradients_of(&twice)) {
        for (once, twice) in numbers_of(once).into_iter().zip(numbers_of(&twice)) {
            assert!((2.0 * once - twice).abs() <= 1e-9 * once.abs().max(1.0), "{name}: each pair counts");
        }
    }
}
