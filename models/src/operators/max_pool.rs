//! Maximum over a sliding window. The gradient goes to the first place, in row-major order, that holds the maximum.

use std::sync::Arc;

use candle_core::DType;

use super::pool_window::{PoolWindow, channels_last};
use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::Result;
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
        let (input, channels) = (channels_last(input)?, shape[1]);
        let numbers = input.numbers::<T>()?;
        let mut output = vec![T::neg_infinity(); shape.iter().product()];
        self.window.for_each_output(input.shape(), &shape, |pixel, _, under| {
            let maxima = &mut output[pixel * channels..][..channels];
            for &place in under {
                for (maximum, &number) in maxima.iter_mut().zip(&numbers[place * channels..][..channels]) {
                    *maximum = if number > *maximum { number } else { *maximum };
                }
            }
        });
        Value::from_vec(output, &shape, Layout::ChannelsLast)
    }

    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let (gradient, input) = (channels_last(backward.gradient()?)?, channels_last(&backward.inputs[0])?);
        let channels = gradient.shape()[1];
        let (arrived, numbers) = (gradient.numbers::<T>()?, input.numbers::<T>()?);
        let image = numbers.len() / input.batch();
        let mut shape = input.shape().to_vec();
        shape[0] = gradient.batch();
        let mut passed = vec![T::zero(); gradient.batch() * image];
        let mut one = (input.shape().to_vec(), gradient.shape().to_vec());
        (one.0[0], one.1[0]) = (1, 1);
        let out_image = arrived.len() / gradient.batch().max(1);
        for (pair, &row) in backward.rows.iter().enumerate() {
            let x = &numbers[row * image..][..image];
            let g = &arrived[pair * out_image..][..out_image];
            let passed = &mut passed[pair * image..][..image];
            let mut winners: Vec<(T, usize)> = vec![(T::neg_infinity(), 0); channels];
            self.window.for_each_output(&one.0, &one.1, |pixel, _, under| {
                winners.fill((T::neg_infinity(), under.first().copied().unwrap_or(0)));
                for &place in under {
                    for (winner, &number) in winners.iter_mut().zip(&x[place * channels..][..channels]) {
                        if number > winner.0 {
                            *winner = (number, place);
                        }
                    }
                }
                for (channel, (_, place)) in winners.iter().enumerate() {
                    passed[place * channels + channel] += g[pixel * channels + channel];
                }
            });
        }
        Value::from_vec(passed, &shape, Layout::ChannelsLast)
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
        with_element!(backward.inputs[0].dtype(), T => Backward::only(self.input_gradient_as::<T>(backward)?))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

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
        let backward =
            Backward { inputs: &[input], outputs: &outputs, gradients: &gradients, rows: &[0], wanted: &[true] };
        let passed = pool.input_gradients(&backward).unwrap().remove(0).unwrap();
        assert_eq!(passed.to_f32_vec().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_ceiled_window_that_begins_in_the_padding_is_none() {
        // PyTorch: MaxPool1d(2, stride=2, padding=1, ceil_mode=True) on 5 steps gives 3, not 4.
        let pool = pool(&[2], &[2], &[(1, 1)], true);
        assert_eq!(pool.output_shapes(&[&[1, 1, 5]]).unwrap()[0], [1, 1, 3]);
        assert_eq!(pool.output_shapes(&[&[1, 1, 6]]).unwrap()[0], [1, 1, 4]);
    }
}
