//! Maximum over a sliding window. The gradient goes to the first place, in row-major order, that holds the maximum.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::pool_window::{PoolWindow, channels_last};
use super::{Backward, Family, Operator, Reach, RectifierBelow};
use crate::device::{MaxPoolOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::Result;
use crate::kernels::pool::{max_pool, max_pool_gradient, winners};
use crate::kernels::vectorized::finish::Clamp;
use crate::value::{Layout, Value};

/// A max pool; padding never wins.
#[derive(Clone, Debug)]
pub struct MaxPool {
    window: PoolWindow,
}

impl MaxPool {
    /// Checks the window.
    pub fn new(window: PoolWindow) -> Result<Self> {
        Ok(MaxPool { window: window.check("MaxPool")? })
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.window.output_shape("MaxPool", input.shape())?;
        let input = channels_last(input)?;
        let geometry = self.window.geometry(input.shape(), &shape);
        Value::from_vec(max_pool(&geometry, &input.numbers::<T>()?), &shape, Layout::ChannelsLast)
    }

    /// With a rectifier below, a window passes nothing where its winner, which is its output, stood at a bound.
    fn input_gradient_as<T: Element>(
        &self,
        backward: &Backward<'_>,
        rectifier: Option<&RectifierBelow<'_>>,
    ) -> Result<Value> {
        let (gradient, input) = (channels_last(backward.gradient()?)?, channels_last(&backward.values.input(0)?)?);
        let mut output = gradient.shape().to_vec();
        output[0] = input.batch();
        let geometry = self.window.geometry(input.shape(), &output);
        let between = rectifier.map(|below| Clamp { low: T::of(below.low), high: T::of(below.high) });
        let only_positive = rectifier.is_some_and(|below| below.only_positive);
        let lowest = if only_positive { T::zero() } else { T::neg_infinity() };
        let winners = winners(&geometry, &input.numbers::<T>()?, between);
        let passed = max_pool_gradient(&geometry, &winners, &gradient.numbers::<T>()?, backward.rows, lowest);
        Value::from_vec(passed, &backward.gradient_shape(0), Layout::ChannelsLast)
    }
}

impl Operator for MaxPool {
    fn kind(&self) -> &'static str {
        "MaxPool"
    }

    fn family(&self) -> Family {
        Family::MaxPool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![self.window.output_shape("MaxPool", inputs[0])?])
    }

    fn reach(&self) -> Reach {
        self.window.reach()
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => Backward::only(self.input_gradient_as::<T>(backward, None)?))
    }

    fn gradient_through(&self, backward: &Backward<'_>, rectifier: &RectifierBelow<'_>) -> Option<Result<Value>> {
        let passed = || {
            let dtype = backward.gradient()?.dtype();
            with_element!(dtype, T => self.input_gradient_as::<T>(backward, Some(rectifier)))
        };
        Some(passed())
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(MaxPool { window: self.window.without_padding() }))
    }

    fn outside(&self) -> f64 {
        f64::NEG_INFINITY
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(Ok(Arc::new(MaxPoolOnDevice::of(&self.window, device))))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::activation::{Activation, PointwiseFunction};
    use crate::operators::gradient_check::{Given, check_gradients, random_value};

    fn pool(kernel: &[usize], stride: &[usize], padding: &[(usize, usize)], ceil_mode: bool) -> MaxPool {
        MaxPool::new(PoolWindow { padding: padding.to_vec(), ceil_mode, ..PoolWindow::plain(kernel, stride) }).unwrap()
    }

    #[test]
    fn overlap_padding_ceil_and_remainders() {
        check_gradients(&pool(&[2, 2], &[2, 2], &[(0, 0), (0, 0)], false), &[random_value(&[2, 3, 5, 7], 1)]);
        check_gradients(&pool(&[3, 3], &[2, 2], &[(1, 1), (1, 1)], false), &[random_value(&[2, 3, 6, 7], 2)]);
        check_gradients(&pool(&[3, 2], &[1, 2], &[(0, 1), (1, 0)], true), &[random_value(&[1, 2, 6, 7], 3)]);
        check_gradients(&pool(&[3], &[2], &[(1, 1)], true), &[random_value(&[2, 3, 8], 4)]);
    }

    #[test]
    fn dilated_windows_skip_places() {
        let window = PoolWindow { dilation: vec![2], ..PoolWindow::plain(&[2], &[1]) };
        let input = Value::from_vec(vec![1.0f32, 9.0, 2.0, 0.0, 3.0], &[1, 1, 5], Layout::Logical).unwrap();
        let output = MaxPool::new(window).unwrap().forward(&[&input]).unwrap().remove(0);
        assert_eq!(output.to_f32_vec().unwrap(), [2.0, 9.0, 3.0]);
    }

    #[test]
    fn a_tie_goes_to_the_first() {
        let input = Value::from_vec(vec![5.0f32; 4], &[1, 1, 2, 2], Layout::Logical).unwrap();
        let pool = MaxPool::new(PoolWindow::plain(&[2, 2], &[2, 2])).unwrap();
        let outputs = pool.forward(&[&input]).unwrap();
        let gradients = [Some(Value::full(1.0f32, &[1, 1, 1, 1], Layout::Logical).unwrap())];
        let values = Given { inputs: &[input], outputs: &outputs };
        let backward = Backward { values: &values, gradients: &gradients, rows: &[0], wanted: &[true] };
        let passed = pool.input_gradients(&backward).unwrap().remove(0).unwrap();
        assert_eq!(passed.to_f32_vec().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    }

    /// Of clipped rectifiers over few and many channels; several windows over a pixel, and zeros that tie.
    #[test]
    fn a_rectifier_below_passes_as_by_itself() {
        for (channels, only_positive) in [(3, false), (20, false), (20, true)] {
            let relu = Activation::new(PointwiseFunction::Clip { low: 0.0, high: 0.6 });
            let below = random_value(&[2, channels, 7, 6], 7).to_dtype(DType::F64).unwrap();
            let rectified = relu.forward(&[&below]).unwrap();
            let pool = pool(&[3, 3], &[2, 2], &[(1, 1), (1, 1)], false);
            let outputs = pool.forward(&[&rectified[0]]).unwrap();
            // Three pairs of two rows.
            let rows = [1, 0, 1];
            let arriving = Value::stack_rows(&vec![outputs[0].select_rows(&[0]).unwrap(); 3]).unwrap();
            let gradients = [Some(random_value(arriving.shape(), 8).to_dtype(DType::F64).unwrap())];
            let inputs = rectified.clone();
            let values = Given { inputs: &inputs, outputs: &outputs };
            let backward = Backward { values: &values, gradients: &gradients, rows: &rows, wanted: &[true] };
            let rectifier = RectifierBelow { output: &rectified[0], low: 0.0, high: 0.6, only_positive };
            let passed = pool.gradient_through(&backward, &rectifier).unwrap().unwrap();

            let arrived = pool.input_gradients(&backward).unwrap().remove(0).unwrap().to_f64_vec().unwrap();
            let rectified = rectified[0].select_rows(&rows).unwrap().to_f64_vec().unwrap();
            let by_itself = arrived.into_iter().zip(rectified).map(|(gradient, output)| {
                let passes = output > 0.0 && output < 0.6 && (gradient > 0.0 || !only_positive);
                if passes { gradient } else { 0.0 }
            });
            assert_eq!(passed.to_f64_vec().unwrap(), by_itself.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_ceiled_window_that_begins_in_the_padding_is_none() {
        // PyTorch: MaxPool1d(2, stride=2, padding=1, ceil_mode=True) on 5 steps gives 3, not 4.
        let pool = pool(&[2], &[2], &[(1, 1)], true);
        assert_eq!(pool.output_shapes(&[&[1, 1, 5]]).unwrap()[0], [1, 1, 3]);
        assert_eq!(pool.output_shapes(&[&[1, 1, 6]]).unwrap()[0], [1, 1, 4]);
    }
}
