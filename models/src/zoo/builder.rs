//! What builders of the zoo share: layers whose weights are taken by name.

use crate::error::Result as ModelResult;
use crate::graph::{Dim, Graph, GraphBuilder, Outlet};
use crate::loaders::{Initial, LoadError, Weights};
use crate::operators::{
    BatchNorm, Convolution, ConvolutionParams, Dense, Direction, Lstm, Operator, RecurrentParams, Reshape,
};

/// A network being built.
pub(super) struct Builder<'a> {
    graph: GraphBuilder,
    weights: &'a mut Weights,
}

/// A convolution's numbers; `n_in` and `n_out` are channels, vectors have an entry for each spatial axis.
pub(super) struct Conv {
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    pub(super) kernel: Vec<usize>,
    pub(super) stride: usize,
    pub(super) padding: Vec<(usize, usize)>,
    pub(super) dilation: usize,
    pub(super) groups: usize,
    pub(super) bias: bool,
}

impl Conv {
    /// A square kernel, padded the same on all sides.
    pub(super) fn square(n_in: usize, n_out: usize, kernel: usize, stride: usize, padding: usize) -> Conv {
        Conv {
            n_in,
            n_out,
            kernel: vec![kernel; 2],
            stride,
            padding: vec![(padding, padding); 2],
            dilation: 1,
            groups: 1,
            bias: false,
        }
    }

    /// Along time.
    pub(super) fn temporal(n_in: usize, n_out: usize, kernel: usize, stride: usize, padding: (usize, usize)) -> Conv {
        Conv { n_in, n_out, kernel: vec![kernel], stride, padding: vec![padding], dilation: 1, groups: 1, bias: true }
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(weights: &'a mut Weights) -> Self {
        Builder { graph: GraphBuilder::new(), weights }
    }

    pub(super) fn input(&mut self, shape: &[Dim]) -> Result<Outlet, LoadError> {
        self.named_input("input", shape)
    }

    /// One of several inputs.
    pub(super) fn named_input(&mut self, name: &str, shape: &[Dim]) -> Result<Outlet, LoadError> {
        Ok(self.graph.input(name, shape)?)
    }

    /// An LSTM layer and, behind it, `layer.states`: its hidden states, directions side by side, `[time, direction · unit]`.
    pub(super) fn lstm(
        &mut self,
        layer: &str,
        n_in: usize,
        n_units: usize,
        direction: Direction,
        input: Outlet,
    ) -> Result<Outlet, LoadError> {
        let (n_directions, n_rows, initial) =
            (direction.n_directions(), 4 * n_units, Initial::Uniform { fan_in: n_units });
        let mut take = |part: &str, shape: &[usize]| self.weights.take(&format!("{layer}.{part}"), shape, initial);
        let params = RecurrentParams {
            direction,
            input_weight: take("input_weight", &[n_directions, n_rows, n_in])?,
            recurrent_weight: take("recurrent_weight", &[n_directions, n_rows, n_units])?,
            bias: Some(take("bias", &[n_directions, 2 * n_rows])?),
            initial_hidden: None,
        };
        let states = self.add(layer, Lstm::new(params, None)?, &[input])?;
        self.add(&format!("{layer}.states"), Reshape { shape: vec![0, 0, -1] }, &[states])
    }

    /// A node without weights.
    pub(super) fn add(
        &mut self,
        layer: &str,
        operator: impl Operator + 'static,
        inputs: &[Outlet],
    ) -> Result<Outlet, LoadError> {
        Ok(self.graph.add(layer, operator, inputs)?)
    }

    /// A container's name for its last node.
    pub(super) fn alias(&mut self, outlet: Outlet, name: &str) {
        self.graph.alias(outlet, name);
    }

    /// A convolution whose weights are called `parameters.weight` and `parameters.bias`.
    pub(super) fn conv(
        &mut self,
        layer: &str,
        parameters: &str,
        conv: Conv,
        input: Outlet,
    ) -> Result<Outlet, LoadError> {
        let n_in = conv.n_in / conv.groups;
        let shape: Vec<usize> = [conv.n_out, n_in].into_iter().chain(conv.kernel.iter().copied()).collect();
        let initial = Initial::Uniform { fan_in: shape[1..].iter().product() };
        let weight = self.weights.take(&format!("{parameters}.weight"), &shape, initial)?;
        let bias =
            conv.bias.then(|| self.weights.take(&format!("{parameters}.bias"), &[conv.n_out], initial)).transpose()?;
        let n_spatial = conv.kernel.len();
        let params = ConvolutionParams {
            weight,
            bias,
            stride: vec![conv.stride; n_spatial],
            padding: conv.padding,
            dilation: vec![conv.dilation; n_spatial],
            groups: conv.groups,
        };
        self.add(layer, Convolution::new(params)?, &[input])
    }

    /// A batch norm.
    pub(super) fn batch_norm(
        &mut self,
        layer: &str,
        parameters: &str,
        n: usize,
        epsilon: f64,
        input: Outlet,
    ) -> Result<Outlet, LoadError> {
        let mut take = |part: &str, number: f32| {
            self.weights.take(&format!("{parameters}.{part}"), &[n], Initial::Constant(number))
        };
        let (scale, shift) = (take("weight", 1.0)?, take("bias", 0.0)?);
        let (mean, variance) = (take("running_mean", 0.0)?, take("running_var", 1.0)?);
        self.add(layer, BatchNorm::new(scale, shift, mean, variance, epsilon)?, &[input])
    }

    /// A dense layer.
    pub(super) fn dense(
        &mut self,
        layer: &str,
        parameters: &str,
        n_in: usize,
        n_out: usize,
        input: Outlet,
    ) -> Result<Outlet, LoadError> {
        let initial = Initial::Uniform { fan_in: n_in };
        let weight = self.weights.take(&format!("{parameters}.weight"), &[n_out, n_in], initial)?;
        let bias = self.weights.take(&format!("{parameters}.bias"), &[n_out], initial)?;
        self.add(layer, Dense::new(weight, Some(bias))?, &[input])
    }

    pub(super) fn finish(self, output: Outlet) -> ModelResult<Graph> {
        self.graph.finish(&[("output", output)])
    }
}
