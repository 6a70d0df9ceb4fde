//! Point-wise functions: rectifiers and all other activations.

use std::sync::Arc;

use super::{Backward, Family, Operator};
use crate::device::{ActivationOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::Result;
use crate::kernels::vectorized::elementwise::{combined, mapped};
use crate::kernels::vectorized::finish::Clamp;
use crate::value::Value;
use candle_core::{DType, Device};

/// A function of one number, with its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointwiseFunction {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, low), high)`
    Clip {
        low: f64,
        high: f64,
    },
    /// `x` where positive, else `alpha x`
    LeakyRelu {
        alpha: f64,
    },
    /// `x` where positive, else `alpha (exp(x) - 1)`
    Elu {
        alpha: f64,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    Tanh,
    /// `x sigmoid(x)`
    Silu,
    /// `min(max(alpha x + beta, 0), 1)`
    HardSigmoid {
        alpha: f64,
        beta: f64,
    },
    /// `x min(max(x / 6 + 1/2, 0), 1)`
    HardSwish,
    /// `x Φ(x)`, with Φ the normal distribution
    Gelu,
    /// GELU's approximation by a hyperbolic tangent
    GeluTanh,
    /// `log(1 + exp(x))`
    Softplus,
    /// `2/√π ∫₀ˣ exp(-t²) dt`, of which exporters make GELU
    Erf,
    /// `gamma x` where positive, else `gamma alpha (exp(x) - 1)`
    Selu {
        alpha: f64,
        gamma: f64,
    },
    /// `x` where positive, else `alpha (exp(x / alpha) - 1)`
    Celu {
        alpha: f64,
    },
    /// `x tanh(log(1 + exp(x)))`
    Mish,
    /// `x / (1 + |x|)`
    Softsign,
    /// `|x|`
    Abs,
    /// `-x`
    Negative,
    /// `exp(x)`
    Exp,
    /// `log(x)`
    Log,
    /// `1 / x`
    Reciprocal,
    /// `√x`
    Sqrt,
    /// `x^exponent`
    Power {
        exponent: f64,
    },
}

impl PointwiseFunction {
    /// Whether it is one of those that guided backpropagation and deconvnet change: a rectifier, clipped or leaky.
    pub fn is_rectifier(self) -> bool {
        match self {
            PointwiseFunction::Relu | PointwiseFunction::LeakyRelu { .. } => true,
            PointwiseFunction::Clip { low, .. } => low == 0.0,
            _ => false,
        }
    }

    /// The bounds, where all it does is to bring numbers between two.
    pub fn bounds(self) -> Option<(f64, f64)> {
        match self {
            PointwiseFunction::Relu => Some((0.0, f64::INFINITY)),
            PointwiseFunction::Clip { low: 0.0, high } => Some((0.0, high)),
            _ => None,
        }
    }

    /// The function.
    pub fn value<T: Element>(self, x: T) -> T {
        let (zero, one, half) = (T::zero(), T::one(), T::of(0.5));
        match self {
            PointwiseFunction::Relu => x.at_least(zero),
            PointwiseFunction::Clip { low, high } => x.at_least(T::of(low)).at_most(T::of(high)),
            PointwiseFunction::LeakyRelu { alpha } => {
                if x > zero {
                    x
                } else {
                    T::of(alpha) * x
                }
            }
            PointwiseFunction::Elu { alpha } => {
                if x > zero {
                    x
                } else {
                    T::of(alpha) * x.exp_m1()
                }
            }
            PointwiseFunction::Sigmoid => sigmoid(x),
            PointwiseFunction::Tanh => x.tanh(),
            PointwiseFunction::Silu => x * sigmoid(x),
            PointwiseFunction::HardSigmoid { alpha, beta } => {
                (T::of(alpha) * x + T::of(beta)).at_least(zero).at_most(one)
            }
            PointwiseFunction::HardSwish => x * (x / T::of(6.0) + half).at_least(zero).at_most(one),
            PointwiseFunction::Erf => T::of(candle_core::cpu::erf::erf_f64(x.wide())),
            PointwiseFunction::Gelu => x * normal_distribution(x),
            PointwiseFunction::GeluTanh => half * x * (one + gelu_tanh_argument(x).tanh()),
            PointwiseFunction::Softplus => x.at_least(zero) + (-x.abs()).exp().ln_1p(),
            PointwiseFunction::Selu { alpha, gamma } => {
                T::of(gamma) * if x > zero { x } else { T::of(alpha) * x.exp_m1() }
            }
            PointwiseFunction::Celu { alpha } => {
                if x > zero {
                    x
                } else {
                    T::of(alpha) * (x / T::of(alpha)).exp_m1()
                }
            }
            PointwiseFunction::Mish => x * PointwiseFunction::Softplus.value(x).tanh(),
            PointwiseFunction::Softsign => x / (one + x.abs()),
            PointwiseFunction::Abs => x.abs(),
            PointwiseFunction::Negative => -x,
            PointwiseFunction::Exp => x.exp(),
            PointwiseFunction::Log => x.ln(),
            PointwiseFunction::Reciprocal => x.recip(),
            PointwiseFunction::Sqrt => x.sqrt(),
            PointwiseFunction::Power { exponent: 2.0 } => x * x,
            PointwiseFunction::Power { exponent } => x.powf(T::of(exponent)),
        }
    }

    /// The derivative; at a kink the one that PyTorch takes (0 for rectifiers, that within for a clip's closed ends).
    pub fn derivative<T: Element>(self, x: T) -> T {
        let (zero, one, half) = (T::zero(), T::one(), T::of(0.5));
        let inside = |is_inside: bool| if is_inside { one } else { zero };
        match self {
            PointwiseFunction::Relu => inside(x > zero),
            // A clip from zero is a rectifier and passes strictly between its ends, as PyTorch's ReLU6 does.
            PointwiseFunction::Clip { low: 0.0, high } => inside(x > zero && x < T::of(high)),
            PointwiseFunction::Clip { low, high } => inside(x >= T::of(low) && x <= T::of(high)),
            PointwiseFunction::LeakyRelu { alpha } => {
                if x > zero {
                    one
                } else {
                    T::of(alpha)
                }
            }
            PointwiseFunction::Elu { alpha } => {
                if x > zero {
                    one
                } else {
                    T::of(alpha) * x.exp()
                }
            }
            PointwiseFunction::Sigmoid => sigmoid(x) * (one - sigmoid(x)),
            PointwiseFunction::Tanh => one - x.tanh() * x.tanh(),
            PointwiseFunction::Silu => sigmoid(x) * (one + x * (one - sigmoid(x))),
            PointwiseFunction::HardSigmoid { alpha, beta } => {
                let line = T::of(alpha) * x + T::of(beta);
                if line > zero && line < one { T::of(alpha) } else { zero }
            }
            PointwiseFunction::HardSwish => {
                if x <= T::of(-3.0) {
                    zero
                } else if x >= T::of(3.0) {
                    one
                } else {
                    x / T::of(3.0) + half
                }
            }
            PointwiseFunction::Erf => T::of(std::f64::consts::FRAC_2_SQRT_PI * (-x.wide() * x.wide()).exp()),
            PointwiseFunction::Gelu => normal_distribution(x) + x * normal_density(x),
            PointwiseFunction::GeluTanh => {
                let tanh = gelu_tanh_argument(x).tanh();
                let inner = T::of(GELU_SCALE) * (one + T::of(3.0 * GELU_CUBIC) * x * x);
                half * (one + tanh) + half * x * (one - tanh * tanh) * inner
            }
            PointwiseFunction::Softplus => sigmoid(x),
            PointwiseFunction::Selu { alpha, gamma } => {
                T::of(gamma) * if x > zero { one } else { T::of(alpha) * x.exp() }
            }
            PointwiseFunction::Celu { alpha } => {
                if x > zero {
                    one
                } else {
                    (x / T::of(alpha)).exp()
                }
            }
            PointwiseFunction::Mish => {
                let tanh = PointwiseFunction::Softplus.value(x).tanh();
                tanh + x * (one - tanh * tanh) * sigmoid(x)
            }
            PointwiseFunction::Softsign => (one + x.abs()).powi(2).recip(),
            PointwiseFunction::Abs => {
                if x > zero {
                    one
                } else if x < zero {
                    -one
                } else {
                    zero
                }
            }
            PointwiseFunction::Negative => -one,
            PointwiseFunction::Exp => x.exp(),
            PointwiseFunction::Log => x.recip(),
            PointwiseFunction::Reciprocal => -(x * x).recip(),
            PointwiseFunction::Sqrt => half / x.sqrt(),
            PointwiseFunction::Power { exponent: 2.0 } => (one + one) * x,
            PointwiseFunction::Power { exponent } => T::of(exponent) * x.powf(T::of(exponent - 1.0)),
        }
    }
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

fn gelu_tanh_argument<T: Element>(x: T) -> T {
    T::of(GELU_SCALE) * (x + T::of(GELU_CUBIC) * x * x * x)
}

pub(super) fn sigmoid<T: Element>(x: T) -> T {
    // Of the two forms the one whose exponential cannot overflow.
    if x >= T::zero() { T::one() / (T::one() + (-x).exp()) } else { x.exp() / (T::one() + x.exp()) }
}

fn normal_distribution<T: Element>(x: T) -> T {
    T::of(0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x.wide() / std::f64::consts::SQRT_2)))
}

fn normal_density<T: Element>(x: T) -> T {
    T::of((-0.5 * x.wide() * x.wide()).exp() / (2.0 * std::f64::consts::PI).sqrt())
}

/// A point-wise function as an operator; `kind` is what the field calls it (`Relu`, `Relu6`, `Clip`, …).
#[derive(Clone, Debug)]
pub struct Activation {
    kind: &'static str,
    function: PointwiseFunction,
}

impl Activation {
    /// A function under its ONNX name.
    pub fn new(function: PointwiseFunction) -> Self {
        let kind = match function {
            PointwiseFunction::Relu => "Relu",
            PointwiseFunction::Clip { .. } => "Clip",
            PointwiseFunction::LeakyRelu { .. } => "LeakyRelu",
            PointwiseFunction::Elu { .. } => "Elu",
            PointwiseFunction::Sigmoid => "Sigmoid",
            PointwiseFunction::Tanh => "Tanh",
            PointwiseFunction::Silu => "Silu",
            PointwiseFunction::HardSigmoid { .. } => "HardSigmoid",
            PointwiseFunction::HardSwish => "HardSwish",
            PointwiseFunction::Gelu | PointwiseFunction::GeluTanh => "Gelu",
            PointwiseFunction::Softplus => "Softplus",
            PointwiseFunction::Erf => "Erf",
            PointwiseFunction::Selu { .. } => "Selu",
            PointwiseFunction::Celu { .. } => "Celu",
            PointwiseFunction::Mish => "Mish",
            PointwiseFunction::Softsign => "Softsign",
            PointwiseFunction::Abs => "Abs",
            PointwiseFunction::Negative => "Neg",
            PointwiseFunction::Exp => "Exp",
            PointwiseFunction::Log => "Log",
            PointwiseFunction::Reciprocal => "Reciprocal",
            PointwiseFunction::Sqrt => "Sqrt",
            PointwiseFunction::Power { .. } => "Pow",
        };
        Activation { kind, function }
    }

    /// `min(max(x, 0), 6)`
    pub fn relu6() -> Self {
        Activation { kind: "Relu6", function: PointwiseFunction::Clip { low: 0.0, high: 6.0 } }
    }

    /// What it computes.
    pub fn function(&self) -> PointwiseFunction {
        self.function
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let numbers = input.numbers::<T>()?;
        let function = self.function;
        let output = match function.bounds().map(|(low, high)| Clamp { low: T::of(low), high: T::of(high) }) {
            Some(clamp) => mapped(&numbers, |number| clamp.of(number)),
            None => mapped(&numbers, |number| function.value(number)),
        };
        Value::from_vec(output, input.shape(), input.layout())
    }

    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let (gradient, rows, function) = (backward.gradient()?, backward.rows, self.function);
        let zero = T::zero();
        // A rectifier's output says where it passes, so that nobody needs to keep what was before it.
        match function {
            PointwiseFunction::Relu => {
                let output = backward.values.output(0)?;
                combine_with_rows::<T>(&output, gradient, rows, |y, g| if y > zero { g } else { zero })
            }
            PointwiseFunction::Clip { low: 0.0, high } => {
                let (output, high) = (backward.values.output(0)?, T::of(high));
                combine_with_rows::<T>(&output, gradient, rows, |y, g| if y > zero && y < high { g } else { zero })
            }
            _ => {
                let input = backward.values.input(0)?;
                combine_with_rows::<T>(&input, gradient, rows, |x, g| g * function.derivative(x))
            }
        }
    }
}

/// `combine(x, g)` for every number `g` of what arrives and the number `x` of its row of the trace.
///
/// # Shapes
/// - `of_trace`: `[row, …]`, `arrived`: `[pair, …]`, `rows`: the row of each pair; returns `[pair, …]`
pub fn combine_with_rows<T: Element>(
    of_trace: &Value,
    arrived: &Value,
    rows: &[usize],
    combine: impl Fn(T, T) -> T + Sync,
) -> Result<Value> {
    let of_trace = of_trace.to_layout(arrived.layout())?;
    let combined = combined(&of_trace.numbers::<T>()?, &arrived.numbers::<T>()?, rows, combine);
    Value::from_vec(combined, arrived.shape(), arrived.layout())
}

/// [`combine_with_rows`] in the values' own element type, computed in f64.
pub fn combine_rows(
    of_trace: &Value,
    arrived: &Value,
    rows: &[usize],
    combine: impl Fn(f64, f64) -> f64 + Sync,
) -> Result<Value> {
    with_element!(arrived.dtype(), T => {
        combine_with_rows::<T>(of_trace, arrived, rows, |x, g| T::of(combine(x.wide(), g.wide())))
    })
}

impl Operator for Activation {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn family(&self) -> Family {
        if self.function.is_rectifier() { Family::Rectifier } else { Family::Activation }
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => self.forward_as::<T>(inputs[0]).map(|output| vec![output]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => Backward::only(self.input_gradient_as::<T>(backward)?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        let form = ActivationOnDevice::of(self.function, device)?;
        Some(Ok(Arc::new(form)))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(self.clone()))
    }

    fn is_output_normalizer(&self) -> bool {
        self.function == PointwiseFunction::Sigmoid
    }

    fn as_activation(&self) -> Option<&Activation> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn every_function_has_its_derivative() {
        use PointwiseFunction::*;
        let functions = [
            Relu,
            Clip { low: 0.0, high: 0.5 },
            Clip { low: -0.3, high: 0.4 },
            LeakyRelu { alpha: 0.2 },
            Elu { alpha: 1.3 },
            Sigmoid,
            Tanh,
            Silu,
            HardSigmoid { alpha: 0.9, beta: 0.5 },
            HardSwish,
            Erf,
            Gelu,
            GeluTanh,
            Softplus,
            Selu { alpha: 1.7, gamma: 1.1 },
            Celu { alpha: 0.7 },
            Mish,
            Softsign,
            Abs,
            Negative,
            Exp,
            Power { exponent: 2.0 },
            Power { exponent: 3.0 },
        ];
        for function in functions {
            check_gradients(&Activation::new(function), &[random_value(&[2, 3, 5], 7)]);
            check_gradients(&Activation::new(function), &[random_value(&[2, 3, 3, 5], 8).to_channels_last().unwrap()]);
        }
    }

    #[test]
    fn what_is_only_of_positive_numbers() {
        use PointwiseFunction::*;
        let positive = random_value(&[2, 3, 5], 9).map(|number| number * number + 0.5).unwrap();
        for function in [Sqrt, Power { exponent: -0.5 }, Log, Reciprocal] {
            check_gradients(&Activation::new(function), std::slice::from_ref(&positive));
        }
    }

    #[test]
    fn known_values() {
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} is not {want}");
        close(PointwiseFunction::Gelu.value(1.0), 0.841_344_746_068_542_9);
        close(PointwiseFunction::Erf.value(0.5), 0.520_499_877_813_046_5);
        close(PointwiseFunction::HardSwish.value(1.0), 2.0 / 3.0);
        close(PointwiseFunction::Softplus.value(-800.0), 0.0);
        close(PointwiseFunction::Sigmoid.value(-800.0), 0.0);
        close(PointwiseFunction::Clip { low: 0.0, high: 6.0 }.derivative(6.0), 0.0);
    }
}
