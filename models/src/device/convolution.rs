//! Convolutions as products of flat rows; depthwise ones tap by tap.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::rows::{Rows, Window, outer_products, products};
use super::{OnTensors, add_to, column_sums, of_plane, plane, pointwise, with_zeros};
use crate::error::Result;
use crate::operators::{Backward, Convolution, Operator, ParameterGradients};
use crate::value::Value;

/// A convolution with one group, or with as many as there are channels.
#[derive(Clone, Debug)]
pub(crate) struct ConvolutionOnDevice {
    /// Says shapes; its weights are not read.
    shapes: Arc<Convolution>,
    window: Window,
    is_depthwise: bool,
    /// `[out, in / groups, kernel…]`
    weight: Tensor,
    bias: Option<Tensor>,
    device: Device,
}

/// Which rows the products read, and where each tap of the kernel went.
struct Blocks {
    offsets: Vec<usize>,
    /// For each block and phase its tap; the number of taps where there is none.
    taps: Vec<u32>,
    /// For each tap its block and phase.
    places: Vec<u32>,
}

impl Blocks {
    fn of(rows: &Rows) -> Blocks {
        let mut offsets: Vec<usize> = rows.taps.iter().map(|tap| tap.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let mut taps = vec![rows.taps.len() as u32; offsets.len() * rows.n_phases];
        let mut places = Vec::with_capacity(rows.taps.len());
        for (nth, tap) in rows.taps.iter().enumerate() {
            let block = offsets.binary_search(&tap.offset).expect("it is one of them");
            let place = block * rows.n_phases + tap.phase;
            taps[place] = nth as u32;
            places.push(place as u32);
        }
        Blocks { offsets, taps, places }
    }

    /// Whether each tap has the place of its number, and all places are taken.
    fn are_taps(&self) -> bool {
        self.taps.len() == self.places.len() && self.taps.iter().enumerate().all(|(nth, tap)| nth == *tap as usize)
    }
}

impl ConvolutionOnDevice {
    /// `None` for groups of several channels.
    pub(crate) fn of(convolution: &Convolution, device: &Device) -> Option<Result<Self>> {
        let params = convolution.params();
        let dims = params.weight.dims();
        let is_depthwise = params.groups > 1 && dims[1] == 1 && dims[0] == params.groups;
        if params.groups > 1 && !is_depthwise {
            return None;
        }
        let made = || {
            let shapes = Arc::new(convolution.with_weights(params.weight.clone(), params.bias.clone())?);
            let weight = params.weight.to_device(device)?;
            let bias = params.bias.as_ref().map(|bias| bias.to_device(device)).transpose()?;
            let window = Window::new(&dims[2..], &params.stride, &params.dilation, &params.padding);
            Ok(ConvolutionOnDevice { shapes, window, is_depthwise, weight, bias, device: device.clone() })
        };
        Some(made())
    }

    /// The rows of an input, and the shape of the output.
    fn rows(&self, input: &[usize]) -> Result<(Rows, Vec<usize>)> {
        let output = self.shapes.output_shapes(&[input])?.remove(0);
        Ok((Rows::new(&self.window, input, &output), output))
    }

    /// Weights by tap.
    ///
    /// # Shapes
    /// - returns `[tap, in / groups, out]`
    fn by_tap(&self) -> Result<Tensor> {
        let dims = self.weight.dims();
        let n_taps = dims[2..].iter().product::<usize>();
        Ok(self.weight.reshape((dims[0], dims[1], n_taps))?.permute([2, 1, 0])?.contiguous()?)
    }

    /// Weights by block.
    ///
    /// # Shapes
    /// - returns `[block, phase · in, out]`
    fn by_block(&self, rows: &Rows, blocks: &Blocks) -> Result<Tensor> {
        let by_tap = self.by_tap()?;
        let (_, n_in, n_out) = by_tap.dims3()?;
        let in_blocks = if blocks.are_taps() {
            by_tap
        } else {
            let taps = Tensor::from_slice(&blocks.taps, blocks.taps.len(), &self.device)?;
            with_zeros(&by_tap, 0, 0, 1)?.index_select(&taps, 0)?
        };
        Ok(in_blocks.reshape((blocks.offsets.len(), rows.n_phases * n_in, n_out))?)
    }

    /// From the gradient to weights by block to that of the weights.
    fn of_blocks(&self, gradient: &Tensor, blocks: &Blocks) -> Result<Tensor> {
        let dims = self.weight.dims();
        let by_place = gradient.reshape((blocks.taps.len(), dims[1], dims[0]))?;
        let by_tap = if blocks.are_taps() {
            by_place
        } else {
            let places = Tensor::from_slice(&blocks.places, blocks.places.len(), &self.device)?;
            by_place.index_select(&places, 0)?
        };
        Ok(by_tap.permute([2, 1, 0])?.contiguous()?.reshape(dims)?)
    }

    fn forward_as(&self, input: &Value, low: f64, high: f64) -> Result<Value> {
        let (rows, output) = self.rows(input.shape())?;
        let x = rows.of_input(&plane(input, &self.device)?, 0.0)?;
        let mut computed = if self.is_depthwise {
            self.depthwise(&rows, &x)?
        } else {
            let blocks = Blocks::of(&rows);
            products(&x, &blocks.offsets, rows.n_outputs(), &self.by_block(&rows, &blocks)?)?
        };
        if let Some(bias) = &self.bias {
            computed = computed.broadcast_add(bias)?;
        }
        of_plane(&rows.to_output(&pointwise::clamped(&computed, low, high)?)?, &output)
    }

    fn depthwise(&self, rows: &Rows, x: &Tensor) -> Result<Tensor> {
        let (weights, channels) = (self.by_tap()?.squeeze(1)?, self.weight.dims()[0]);
        let mut sum: Option<Tensor> = None;
        for (nth, tap) in rows.taps.iter().enumerate() {
            let read = x.narrow(0, tap.offset, rows.n_outputs())?.narrow(1, tap.phase * channels, channels)?;
            let product = read.broadcast_mul(&weights.get(nth)?)?;
            add_to(&mut sum, product)?;
        }
        Ok(sum.expect("a kernel has a tap"))
    }

    /// What arrived, as rows, and behind as many zeros as the last tap is far, so that a tap reads backwards.
    fn input_gradient(&self, input: &[usize], gradient: &Value) -> Result<Value> {
        let (rows, _) = self.rows(input)?;
        let arrived = rows.of_output(&plane(gradient, &self.device)?)?;
        let reach = rows.reach();
        let arrived = with_zeros(&arrived, 0, reach, 0)?;
        let passed = if self.is_depthwise {
            self.depthwise_gradient(&rows, &arrived)?
        } else {
            let blocks = Blocks::of(&rows);
            let offsets: Vec<usize> = blocks.offsets.iter().map(|offset| reach - offset).collect();
            let weights = self.by_block(&rows, &blocks)?.transpose(1, 2)?.contiguous()?;
            products(&arrived, &offsets, rows.len(), &weights)?
        };
        of_plane(&rows.to_input(&passed)?, input)
    }

    fn depthwise_gradient(&self, rows: &Rows, arrived: &Tensor) -> Result<Tensor> {
        let weights = self.by_tap()?.squeeze(1)?;
        let mut phases: Vec<Option<Tensor>> = vec![None; rows.n_phases];
        for (nth, tap) in rows.taps.iter().enumerate() {
            let read = arrived.narrow(0, rows.reach() - tap.offset, rows.len())?;
            let product = read.broadcast_mul(&weights.get(nth)?)?;
            add_to(&mut phases[tap.phase], product)?;
        }
        side_by_side(phases, arrived, rows.len())
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        let (input, gradient) = (backward.input_of_pairs(0)?, backward.gradient()?);
        let (rows, _) = self.rows(input.shape())?;
        let x = rows.of_input(&plane(&input, &self.device)?, 0.0)?;
        let arrived = rows.of_output(&plane(gradient, &self.device)?)?.narrow(0, 0, rows.n_outputs())?;
        let weight = if self.is_depthwise {
            let channels = self.weight.dims()[0];
            let of_tap = |tap: &super::rows::Tap| {
                let read = x.narrow(0, tap.offset, rows.n_outputs())?.narrow(1, tap.phase * channels, channels)?;
                column_sums(&(read * &arrived)?)
            };
            let of_taps = rows.taps.iter().map(of_tap).collect::<Result<Vec<_>>>()?;
            Tensor::stack(&of_taps, 1)?.reshape(self.weight.dims())?
        } else {
            let blocks = Blocks::of(&rows);
            self.of_blocks(&outer_products(&x, &blocks.offsets, &arrived)?, &blocks)?
        };
        let mut gradients = vec![("weight", weight)];
        if self.bias.is_some() {
            gradients.push(("bias", column_sums(&arrived)?));
        }
        Ok(gradients)
    }
}

/// `[row, phase · channel]` from what each phase holds; zeros where that is nothing.
pub(super) fn side_by_side(phases: Vec<Option<Tensor>>, like: &Tensor, n_rows: usize) -> Result<Tensor> {
    let nothing = || Tensor::zeros((n_rows, like.dims()[1]), like.dtype(), like.device());
    let phases = phases.into_iter().map(|phase| phase.map_or_else(nothing, Ok));
    Ok(Tensor::cat(&phases.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
}

impl OnTensors for ConvolutionOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        self.forward_as(inputs[0], f64::NEG_INFINITY, f64::INFINITY)
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Value>> {
        Some(self.forward_as(inputs[0], low, high))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Backward::only(self.input_gradient(&backward.gradient_shape(0), backward.gradient()?)?)
    }

    fn both_gradients(&self, backward: &Backward<'_>) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let to_input = match backward.wanted {
            [true] => self.input_gradients(backward)?,
            _ => vec![None],
        };
        Ok((to_input, self.parameter_gradients(backward)?))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("weight", &self.weight)].into_iter().chain(self.bias.iter().map(|bias| ("bias", bias))).collect()
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn OnTensors>> {
        let (weight, bias) = (parameters[0].contiguous()?, parameters.get(1).cloned());
        Ok(Arc::new(ConvolutionOnDevice { weight, bias, ..self.clone() }))
    }
}
