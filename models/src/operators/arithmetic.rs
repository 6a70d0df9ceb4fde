//! Sums, differences, products and quotients of two branches, or of one and a constant; broadcast as NumPy does.

use std::sync::Arc;

use super::{Backward, Family, Operator};
use crate::device::{ArithmeticOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::broadcasting::for_each_run;
use crate::kernels::vectorized::elementwise::combined;
use crate::kernels::vectorized::finish::Clamp;
use crate::kernels::zeros;
use crate::value::{Layout, Value};
use candle_core::{DType, Device, Tensor};

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticFunction {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The larger of both; where they are equal, half of a gradient goes to each, as in PyTorch.
    Maximum,
    /// The smaller of both.
    Minimum,
}

impl ArithmeticFunction {
    fn value<T: Element>(self, left: T, right: T) -> T {
        match self {
            ArithmeticFunction::Add => left + right,
            ArithmeticFunction::Subtract => left - right,
            ArithmeticFunction::Multiply => left * right,
            ArithmeticFunction::Divide => left / right,
            ArithmeticFunction::Maximum => left.at_least(right),
            ArithmeticFunction::Minimum => left.at_most(right),
        }
    }

    fn derivative_to_left<T: Element>(self, left: T, right: T) -> T {
        match self {
            ArithmeticFunction::Add | ArithmeticFunction::Subtract => T::one(),
            ArithmeticFunction::Multiply => right,
            ArithmeticFunction::Divide => T::one() / right,
            ArithmeticFunction::Maximum => first_share(right, left),
            ArithmeticFunction::Minimum => first_share(left, right),
        }
    }

    fn derivative_to_right<T: Element>(self, left: T, right: T) -> T {
        match self {
            ArithmeticFunction::Add => T::one(),
            ArithmeticFunction::Subtract => -T::one(),
            ArithmeticFunction::Multiply => left,
            ArithmeticFunction::Divide => -left / (right * right),
            ArithmeticFunction::Maximum => first_share(left, right),
            ArithmeticFunction::Minimum => first_share(right, left),
        }
    }

    /// Whether its derivatives are the same everywhere.
    fn is_linear(self) -> bool {
        matches!(self, ArithmeticFunction::Add | ArithmeticFunction::Subtract)
    }
}

/// 1 where the first is smaller than the second, a half where they are equal, else 0.
fn first_share<T: Element>(first: T, second: T) -> T {
    if first < second {
        T::one()
    } else if first == second {
        T::of(0.5)
    } else {
        T::zero()
    }
}

/// Where the two operands come from; a constant is broadcast against the whole value, batch axis first.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Both are nodes of the graph.
    Graph,
    /// The left one is this constant.
    Left(Tensor),
    /// The right one is this constant.
    Right(Tensor),
}

/// A function of two operands, place by place.
#[derive(Clone, Debug)]
pub struct Arithmetic {
    function: ArithmeticFunction,
    operand: Operand,
}

impl Arithmetic {
    /// Any of the functions.
    pub fn new(function: ArithmeticFunction, operand: Operand) -> Self {
        Arithmetic { function, operand }
    }

    /// `left + right`
    pub fn add(operand: Operand) -> Self {
        Arithmetic::new(ArithmeticFunction::Add, operand)
    }

    /// `left · right`
    pub fn multiply(operand: Operand) -> Self {
        Arithmetic::new(ArithmeticFunction::Multiply, operand)
    }

    /// `left / right`
    pub fn divide(operand: Operand) -> Self {
        Arithmetic::new(ArithmeticFunction::Divide, operand)
    }

    /// What it computes.
    pub fn function(&self) -> ArithmeticFunction {
        self.function
    }

    /// Where its operands come from.
    pub fn operand(&self) -> &Operand {
        &self.operand
    }

    /// Whether one of both operands is taken.
    fn is_choice(&self) -> bool {
        matches!(self.function, ArithmeticFunction::Maximum | ArithmeticFunction::Minimum)
    }

    fn constant(&self) -> Option<&Tensor> {
        match &self.operand {
            Operand::Graph => None,
            Operand::Left(tensor) | Operand::Right(tensor) => Some(tensor),
        }
    }

    fn refuse<V>(&self, reason: String) -> Result<V> {
        Err(ModelError::operator(self.kind(), reason))
    }

    /// The constant with as many axes as the value that it meets.
    fn constant_value(&self, tensor: &Tensor, rank: usize) -> Result<Value> {
        if tensor.rank() > rank {
            return self.refuse(format!("a constant of shape {:?} for a value with {rank} axes", tensor.dims()));
        }
        let shape: Vec<usize> =
            std::iter::repeat_n(1, rank - tensor.rank()).chain(tensor.dims().iter().copied()).collect();
        Value::from_tensor(tensor)?.reshape(&shape)
    }

    /// Both operands, of one rank.
    fn operands(&self, inputs: &[&Value]) -> Result<(Value, Value)> {
        let rank = inputs[0].shape().len();
        Ok(match &self.operand {
            Operand::Graph => (inputs[0].clone(), inputs[1].clone()),
            Operand::Left(tensor) => (self.constant_value(tensor, rank)?, inputs[0].clone()),
            Operand::Right(tensor) => (inputs[0].clone(), self.constant_value(tensor, rank)?),
        })
    }

    /// The shapes of both operands, of one rank.
    fn operand_shapes(&self, backward: &Backward<'_>) -> Result<(Vec<usize>, Vec<usize>)> {
        let of_input = |nth: usize| backward.values.input_shape(nth);
        let of_constant = |tensor: &Tensor| -> Result<Vec<usize>> {
            Ok(self.constant_value(tensor, of_input(0).len())?.shape().to_vec())
        };
        Ok(match &self.operand {
            Operand::Graph => (of_input(0), of_input(1)),
            Operand::Left(tensor) => (of_constant(tensor)?, of_input(0)),
            Operand::Right(tensor) => (of_input(0), of_constant(tensor)?),
        })
    }

    fn input_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?;
        let (left_shape, right_shape) = self.operand_shapes(backward)?;
        let function = self.function;
        let through = |derivative: fn(ArithmeticFunction, T, T) -> T, shape: &[usize]| -> Result<Value> {
            let passed = if function.is_linear() {
                let factor = derivative(function, T::zero(), T::zero());
                if factor == T::one() { gradient.clone() } else { combine::<T>(gradient, gradient, |g, _| g * factor)? }
            } else {
                let inputs =
                    (0..backward.wanted.len()).map(|nth| backward.values.input(nth)).collect::<Result<Vec<_>>>()?;
                let (left, right) = self.operands(&inputs.iter().collect::<Vec<_>>())?;
                let slopes = combine::<T>(&left, &right, |l, r| derivative(function, l, r))?;
                combine::<T>(gradient, &slopes.select_rows(backward.rows)?, |g, slope| g * slope)?
            };
            sum_to::<T>(&passed, shape)
        };
        let to_left = || through(ArithmeticFunction::derivative_to_left, &left_shape);
        let to_right = || through(ArithmeticFunction::derivative_to_right, &right_shape);
        let wanted = |input: usize| backward.wanted[input];
        Ok(match &self.operand {
            Operand::Graph => vec![wanted(0).then(to_left).transpose()?, wanted(1).then(to_right).transpose()?],
            Operand::Left(_) => vec![wanted(0).then(to_right).transpose()?],
            Operand::Right(_) => vec![wanted(0).then(to_left).transpose()?],
        })
    }
}

/// Brings two values to one layout: channels last where either is.
fn aligned(left: &Value, right: &Value) -> Result<(Value, Value, Layout)> {
    let is_last = [left, right].iter().any(|value| value.layout() == Layout::ChannelsLast);
    let layout = if is_last { Layout::ChannelsLast } else { Layout::Logical };
    Ok((left.to_layout(layout)?, right.to_layout(layout)?, layout))
}

/// `combine(left, right)` for each place of the broadcast result.
pub(super) fn combine<T: Element>(left: &Value, right: &Value, combine: impl Fn(T, T) -> T + Sync) -> Result<Value> {
    let shape: Vec<usize> = left.shape().iter().zip(right.shape()).map(|(&l, &r)| if l == 1 { r } else { l }).collect();
    let (left, right, layout) = aligned(left, right)?;
    let (l, r) = (left.numbers::<T>()?, right.numbers::<T>()?);
    if left.shape() == right.shape() {
        return Value::from_vec(combined(&l, &r, &[0], combine), &shape, layout);
    }
    let mut combined = zeros(shape.iter().product());
    let operands = [layout.physical_shape(left.shape()), layout.physical_shape(right.shape())];
    let visit = |start: usize, run: usize, [(l0, l_step), (r0, r_step)]: [(usize, usize); 2]| {
        for (i, combined) in combined[start..start + run].iter_mut().enumerate() {
            *combined = combine(l[l0 + i * l_step], r[r0 + i * r_step]);
        }
    };
    for_each_run(&layout.physical_shape(&shape), [&operands[0], &operands[1]], visit);
    Value::from_vec(combined, &shape, layout)
}

/// Sums a gradient over the axes along which its operand was broadcast; the batch axis stays the gradient's own.
pub(super) fn sum_to<T: Element>(gradient: &Value, operand: &[usize]) -> Result<Value> {
    let mut shape = operand.to_vec();
    shape[0] = gradient.batch();
    if shape == gradient.shape() {
        return Ok(gradient.clone());
    }
    let layout = gradient.layout();
    let numbers = gradient.numbers::<T>()?;
    let mut sums: Vec<T> = zeros(shape.iter().product());
    for_each_run(
        &layout.physical_shape(gradient.shape()),
        [&layout.physical_shape(&shape)],
        |start, run, [(to, step)]| {
            numbers[start..start + run].iter().enumerate().for_each(|(i, &number)| sums[to + i * step] += number);
        },
    );
    Value::from_vec(sums, &shape, layout)
}

impl Operator for Arithmetic {
    fn as_arithmetic(&self) -> Option<&Arithmetic> {
        Some(self)
    }

    fn kind(&self) -> &'static str {
        match self.function {
            ArithmeticFunction::Add => "Add",
            ArithmeticFunction::Subtract => "Sub",
            ArithmeticFunction::Multiply => "Mul",
            ArithmeticFunction::Divide => "Div",
            ArithmeticFunction::Maximum => "Max",
            ArithmeticFunction::Minimum => "Min",
        }
    }

    fn family(&self) -> Family {
        match (&self.operand, self.function.is_linear()) {
            (Operand::Graph, true) => Family::Sum,
            (Operand::Graph, false) if self.is_choice() => Family::MaxPool,
            (Operand::Graph, false) => Family::Product,
            // A sum with a constant is no sum of branches: it moves or scales one.
            _ => Family::Activation,
        }
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let of_constant = |tensor: &Tensor| -> Vec<usize> {
            let missing = inputs[0].len().saturating_sub(tensor.rank());
            std::iter::repeat_n(1, missing).chain(tensor.dims().iter().copied()).collect()
        };
        let (left, right) = match &self.operand {
            Operand::Graph if inputs.len() == 2 => (inputs[0].to_vec(), inputs[1].to_vec()),
            Operand::Graph => return self.refuse(format!("needs two inputs, not {}", inputs.len())),
            Operand::Left(tensor) => (of_constant(tensor), inputs[0].to_vec()),
            Operand::Right(tensor) => (inputs[0].to_vec(), of_constant(tensor)),
        };
        let fits = left.len() == right.len() && left.iter().zip(&right).all(|(&l, &r)| l == r || l == 1 || r == 1);
        if !fits {
            return self.refuse(format!("shapes {left:?} and {right:?} cannot be broadcast"));
        }
        let shape: Vec<usize> = left.iter().zip(&right).map(|(&l, &r)| if l == 1 { r } else { l }).collect();
        if self
            .constant()
            .is_some_and(|tensor| of_constant(tensor).first() != Some(&1) && inputs[0].len() == tensor.rank())
        {
            return self
                .refuse(format!("shapes {left:?} and {right:?}: a constant may not have a batch axis of its own"));
        }
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        let (left, right) = self.operands(inputs)?;
        let function = self.function;
        // A loop for each function, so that none has a branch inside.
        with_element!(inputs[0].dtype(), T => Ok(vec![match function {
            ArithmeticFunction::Add => combine::<T>(&left, &right, |l, r| l + r)?,
            _ => combine::<T>(&left, &right, |l, r| function.value(l, r))?,
        }]))
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Vec<Value>>> {
        if self.function != ArithmeticFunction::Add {
            return None;
        }
        let add = || {
            let (left, right) = self.operands(inputs)?;
            with_element!(inputs[0].dtype(), T => {
                let clamp = Clamp { low: T::of(low), high: T::of(high) };
                Ok(vec![combine::<T>(&left, &right, |l, r| clamp.of(l + r))?])
            })
        };
        Some(add())
    }

    fn on_windows(&self, n_spatial: usize) -> Option<Arc<dyn Operator>> {
        let lengths = self.constant().map_or(&[][..], Tensor::dims);
        // A constant that differs from place to place would have to be cut as well.
        let is_same_everywhere = lengths.iter().rev().take(n_spatial).all(|&length| length == 1);
        is_same_everywhere.then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => self.input_gradients_as::<T>(backward))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        self.constant().map(|tensor| ("constant", tensor)).into_iter().collect()
    }

    fn n_parameters(&self) -> usize {
        // A constant of the file's arithmetic was not learned.
        0
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        let form = ArithmeticOnDevice::of(self, device)?;
        Some(form.map(|form| -> Arc<dyn OnTensors> { Arc::new(form) }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let operand = match &self.operand {
            Operand::Graph => Operand::Graph,
            Operand::Left(tensor) => Operand::Left(tensor.to_dtype(dtype)?),
            Operand::Right(tensor) => Operand::Right(tensor.to_dtype(dtype)?),
        };
        Ok(Arc::new(Arithmetic::new(self.function, operand)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    const FUNCTIONS: [ArithmeticFunction; 6] = [
        ArithmeticFunction::Add,
        ArithmeticFunction::Subtract,
        ArithmeticFunction::Multiply,
        ArithmeticFunction::Divide,
        ArithmeticFunction::Maximum,
        ArithmeticFunction::Minimum,
    ];

    fn away_from_zero(shape: &[usize], seed: u64) -> Value {
        let numbers =
            random_value(shape, seed).to_f64_vec().unwrap().into_iter().map(|number| number + number.signum());
        Value::from_vec::<f64>(numbers.collect(), shape, Layout::Logical).unwrap()
    }

    #[test]
    fn two_branches_a_gate_and_constants() {
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        let constant = (random_tensor(&[3, 1, 1], 6).abs().unwrap() + 1.0).unwrap();
        for function in FUNCTIONS {
            let of_graph = Arithmetic::new(function, Operand::Graph);
            check_gradients(&of_graph, &[image.clone(), away_from_zero(&[2, 3, 4, 5], 2)]);
            check_gradients(&of_graph, &[image.clone(), away_from_zero(&[2, 3, 1, 1], 3)]);
            check_gradients(&of_graph, &[random_value(&[2, 1, 5], 4), away_from_zero(&[2, 3, 5], 5)]);
            check_gradients(&Arithmetic::new(function, Operand::Right(constant.clone())), std::slice::from_ref(&image));
            check_gradients(
                &Arithmetic::new(function, Operand::Left(constant.clone())),
                &[away_from_zero(&[2, 3, 4, 5], 7)],
            );
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let error = Arithmetic::add(Operand::Graph).output_shapes(&[&[1, 3, 4], &[1, 2, 4]]).unwrap_err();
        assert_eq!(error.to_string(), "Add: shapes [1, 3, 4] and [1, 2, 4] cannot be broadcast");
    }
}
