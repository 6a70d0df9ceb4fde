//! Maximum over a sliding window. The gradient goes to the first place, in row-major order, that holds the maximum.

use candle_core::{Device, Tensor};

use super::convolution::side_by_side;
use super::rows::{Rows, Tap, Window};
use super::{OnTensors, add_to, of_plane, plane, with_zeros};
use crate::error::Result;
use crate::operators::{Backward, PoolWindow};
use crate::value::Value;

/// A max pool.
#[derive(Clone, Debug)]
pub(crate) struct MaxPoolOnDevice {
    pool: PoolWindow,
    window: Window,
    device: Device,
}

impl MaxPoolOnDevice {
    pub(crate) fn of(pool: &PoolWindow, device: &Device) -> Self {
        let window = Window::new(&pool.kernel, &pool.stride, &pool.dilation, &pool.padding);
        MaxPoolOnDevice { pool: pool.clone(), window, device: device.clone() }
    }

    fn rows(&self, input: &[usize]) -> Result<(Rows, Vec<usize>)> {
        let output = self.pool.output_shape("MaxPool", input)?;
        Ok((Rows::new(&self.window, input, &output), output))
    }

    /// What a tap reads for all outputs.
    fn read(rows: &Rows, x: &Tensor, tap: Tap, channels: usize) -> Result<Tensor> {
        let read = x.narrow(0, tap.offset, rows.n_outputs())?.narrow(1, tap.phase * channels, channels)?;
        Ok(read.contiguous()?)
    }

    fn largest(rows: &Rows, x: &Tensor, channels: usize) -> Result<Tensor> {
        let mut largest = Self::read(rows, x, rows.taps[0], channels)?;
        for tap in &rows.taps[1..] {
            largest = largest.maximum(&Self::read(rows, x, *tap, channels)?)?;
        }
        Ok(largest)
    }
}

impl OnTensors for MaxPoolOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let (rows, output) = self.rows(inputs[0].shape())?;
        let x = rows.of_input(&plane(inputs[0], &self.device)?, f64::NEG_INFINITY)?;
        of_plane(&rows.to_output(&Self::largest(&rows, &x, output[1])?)?, &output)
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let input = backward.input_of_pairs(0)?;
        let (rows, output) = self.rows(input.shape())?;
        let x = rows.of_input(&plane(&input, &self.device)?, f64::NEG_INFINITY)?;
        let largest = Self::largest(&rows, &x, output[1])?;
        let n_outputs = rows.n_outputs();
        let arrived = rows.of_output(&plane(backward.gradient()?, &self.device)?)?.narrow(0, 0, n_outputs)?;
        let mut is_open = largest.ones_like()?;
        let mut phases: Vec<Option<Tensor>> = vec![None; rows.n_phases];
        for &tap in &rows.taps {
            let holds = Self::read(&rows, &x, tap, output[1])?.eq(&largest)?.to_dtype(x.dtype())?;
            let wins = (holds * &is_open)?;
            is_open = (is_open - &wins)?;
            let behind = rows.len() - n_outputs - tap.offset;
            let passed = with_zeros(&(wins * &arrived)?, 0, tap.offset, behind)?;
            add_to(&mut phases[tap.phase], passed)?;
        }
        let passed = side_by_side(phases, &arrived, rows.len())?;
        Backward::only(of_plane(&rows.to_input(&passed)?, &backward.gradient_shape(0))?)
    }
}
