//! Networks of which some layers have forgotten what they learned: their weights are drawn anew, each by the initialiser
//! that PyTorch gives a layer of its kind; all else is shared with the network as it was.
//!
//! A batch norm's statistics are no weights: they say what a layer computed of the data, and say nothing once its weights
//! are others. The trained ones would be wrong, and PyTorch's at the start (mean 0, variance 1) let activations shrink to
//! a third of their mean square or less from layer to layer, until what skips a branch is all that is left of the sum. So
//! a norm that is drawn anew has scale 1 and shift 0, and the means and variances of what it reads of some inputs, as if
//! they had been its first batch. The same holds for norms that became part of their convolution.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::error::{Interrupt, Result};
use crate::graph::{Graph, Node, NodeIdx, Rewrite};
use crate::loaders::{Initial, drawn};
use crate::operators::{BatchNorm, Family, Operator};
use crate::passes::with_batch_norm;
use crate::value::Value;

/// Fewer numbers of a channel than this have no variance to speak of; then all channels have one in common.
const FEW_NUMBERS: usize = 8;

/// PyTorch's default of what a norm adds to variances.
const USUAL_EPSILON: f64 = 1e-5;

/// How PyTorch initialises each parameter of an operator; `None` where there is nothing that was learned.
///
/// Convolutions and dense layers: uniform between ±1/√n, n being the inputs of one output (He et al. 2015 with a = √5, as
/// `reset_parameters` has it), biases too; LSTM and GRU: uniform between ±1/√h, h being the units; norms: scale 1, shift 0.
pub fn initializers(operator: &dyn Operator) -> Option<Vec<Initial>> {
    let parameters = operator.parameters();
    let uniform = |fan_in: usize| vec![Initial::Uniform { fan_in }; parameters.len()];
    let dims = |nth: usize| parameters.get(nth).map_or(&[][..], |(_, tensor)| tensor.dims());
    match (operator.family(), operator.kind()) {
        (Family::Convolution | Family::Dense, _) => Some(uniform(dims(0)[1..].iter().product())),
        (Family::Recurrent, _) => Some(uniform(dims(1).last().copied().unwrap_or(1))),
        (Family::BatchNorm, _) => Some([1.0, 0.0, 0.0, 1.0].map(Initial::Constant).to_vec()),
        (_, "LayerNormalization") => {
            Some([1.0, 0.0].map(Initial::Constant).into_iter().take(parameters.len()).collect())
        }
        _ => None,
    }
}

/// Which layers' outputs are brought to mean 0 and variance 1 after their weights were drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreshNorms {
    /// Those of batch norms, merged ones among them.
    #[default]
    Own,
    /// Those of every convolution and dense layer below the logits too, for networks whose file does not tell any more
    /// where norms were.
    Everywhere,
}

/// Draws layers of one network anew, any set of them at a time; what it makes depends on the set alone.
#[derive(Debug)]
pub struct Reinitializer<'a> {
    graph: &'a Graph,
    seed: u64,
    norms: FreshNorms,
    /// What norms take their statistics of: one value for each of the graph's inputs.
    inputs: Vec<Value>,
    drawn: HashMap<NodeIdx, Arc<dyn Operator>>,
}

impl<'a> Reinitializer<'a> {
    /// Of a network, by a seed; `inputs` are what batch norms see first.
    ///
    /// # Shapes
    /// - `inputs`: as [`Trace::record`](crate::Trace::record) takes them, any number of rows
    pub fn new(graph: &'a Graph, seed: u64, norms: FreshNorms, inputs: Vec<Value>) -> Self {
        Reinitializer { graph, seed, norms, inputs, drawn: HashMap::new() }
    }

    /// The network with these layers drawn anew; others share their weights with it as it was.
    pub fn randomized(&mut self, layers: &[NodeIdx], interrupt: &dyn Interrupt) -> Result<Graph> {
        self.drawn.retain(|idx, _| layers.contains(idx));
        for &idx in layers {
            if !self.drawn.contains_key(&idx) {
                interrupt.check()?;
                let node = self.graph.node(idx);
                let operator = self.draw(node).map_err(|error| error.at_node(&node.name))?;
                self.drawn.insert(idx, operator);
            }
        }
        let mut operators: HashMap<NodeIdx, Arc<dyn Operator>> = self.drawn.clone();
        self.normalize(&mut operators, interrupt)?;
        self.graph.rewritten(|idx, _| {
            Ok(operators.get(&idx).map_or(Rewrite::Keep, |operator| Rewrite::With(operator.clone())))
        })
    }

    /// An operator with every parameter as its initialiser gives it.
    fn draw(&self, node: &Node) -> Result<Arc<dyn Operator>> {
        let Some(initials) = initializers(&*node.operator) else { return Ok(node.operator.clone()) };
        let draw = |((name, tensor), initial): (&(&str, &Tensor), Initial)| -> Result<Tensor> {
            let numbers = drawn(self.seed, &format!("{}.{name}", node.name), tensor.elem_count(), initial);
            Ok(Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu)?.to_dtype(tensor.dtype())?)
        };
        let parameters: Vec<Tensor> =
            node.operator.parameters().iter().zip(initials).map(draw).collect::<Result<_>>()?;
        node.operator.with_parameters(&parameters)
    }

    /// Gives norms among the drawn layers the statistics of what they read: one pass over the inputs, from below, as far
    /// as the last of them.
    fn normalize(&self, operators: &mut HashMap<NodeIdx, Arc<dyn Operator>>, interrupt: &dyn Interrupt) -> Result<()> {
        let nodes = self.graph.nodes();
        let Some(last) = operators.keys().copied().filter(|&idx| self.has_norm(idx)).max() else { return Ok(()) };
        let needed = self.graph.ancestors(&[last]);
        let mut readers_left: Vec<usize> = self.graph.consumers().iter().map(Vec::len).collect();
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(last.0 + 1);
        let mut given = self.inputs.iter();
        for (idx, node) in nodes.iter().enumerate().take(last.0 + 1) {
            interrupt.check()?;
            crate::pause::point();
            if node.operator.as_input().is_some() {
                values.push(given.next().cloned().into_iter().collect());
                continue;
            }
            if !needed[idx] {
                values.push(vec![]);
                continue;
            }
            let outputs = {
                let inputs: Vec<&Value> = node.inputs.iter().map(|input| &values[input.node.0][input.port]).collect();
                self.computed(NodeIdx(idx), node, &inputs, operators).map_err(|error| error.at_node(&node.name))?
            };
            values.push(outputs);
            for input in &node.inputs {
                readers_left[input.node.0] -= 1;
                if readers_left[input.node.0] == 0 {
                    values[input.node.0].clear();
                }
            }
        }
        Ok(())
    }

    /// Whether a layer takes statistics once it is drawn.
    fn has_norm(&self, idx: NodeIdx) -> bool {
        let operator = &self.graph.node(idx).operator;
        let is_weighted = matches!(operator.family(), Family::Convolution | Family::Dense);
        let is_inner = idx != self.graph.logits().node;
        operator.as_batch_norm().is_some()
            || self.graph.merged_into(idx).is_some()
            || (self.norms == FreshNorms::Everywhere && is_weighted && is_inner)
    }

    /// A node's outputs, with its norm made for what it reads where it is a drawn layer that has one.
    fn computed(
        &self,
        idx: NodeIdx,
        node: &Node,
        inputs: &[&Value],
        operators: &mut HashMap<NodeIdx, Arc<dyn Operator>>,
    ) -> Result<Vec<Value>> {
        let Some(operator) = operators.get(&idx).cloned() else { return node.operator.forward(inputs) };
        if !self.has_norm(idx) {
            return operator.forward(inputs);
        }
        let dtype = operator.parameters()[0].1.dtype();
        let fresh: Arc<dyn Operator> = match operator.as_batch_norm() {
            Some(norm) => {
                let (mean, variance) = statistics(inputs[0], 1)?;
                Arc::new(BatchNorm::fresh(mean, variance, norm.epsilon(), dtype)?)
            }
            None => {
                let output = operator.forward(inputs)?.swap_remove(0);
                let channel_axis = if operator.family() == Family::Dense { output.shape().len() - 1 } else { 1 };
                let (mean, variance) = statistics(&output, channel_axis)?;
                let epsilon = self.graph.merged_into(idx).and_then(|norm| norm.as_batch_norm()).map(BatchNorm::epsilon);
                let norm = BatchNorm::fresh(mean, variance, epsilon.unwrap_or(USUAL_EPSILON), dtype)?;
                with_batch_norm(&*operator, &norm)?
            }
        };
        let outputs = fresh.forward(inputs)?;
        operators.insert(idx, fresh);
        Ok(outputs)
    }
}

/// The mean and the variance along an axis; where there are few numbers, of all of them.
fn statistics(value: &Value, axis: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let shape = value.shape();
    let (n_channels, step) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let numbers = value.to_f64_vec()?;
    let n_each = numbers.len() / n_channels;
    let (mut mean, mut variance) = (vec![0.0; n_channels], vec![0.0; n_channels]);
    if n_each < FEW_NUMBERS {
        let of_all = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let spread = numbers.iter().map(|number| (number - of_all).powi(2)).sum::<f64>() / numbers.len() as f64;
        mean.fill(of_all);
        variance.fill(spread);
        return Ok((mean, variance));
    }
    let lines = || numbers.chunks_exact(step).enumerate().map(|(nth, line)| (nth % n_channels, line));
    lines().for_each(|(channel, line)| mean[channel] += line.iter().sum::<f64>());
    mean.iter_mut().for_each(|sum| *sum /= n_each as f64);
    for (channel, line) in lines() {
        variance[channel] += line.iter().map(|number| (number - mean[channel]).powi(2)).sum::<f64>();
    }
    variance.iter_mut().for_each(|sum| *sum /= n_each as f64);
    Ok((mean, variance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Uninterrupted;
    use crate::graph::{Dim, GraphBuilder};
    use crate::operators::gradient_check::{random_tensor, random_value};
    use crate::operators::{
        Activation, Arithmetic, Convolution, ConvolutionParams, Dense, Direction, LayerNorm, Lstm, Operand,
        PointwiseFunction, RecurrentParams,
    };
    use crate::passes::merge_batch_norms;
    use crate::trace::Trace;

    fn norm(seed: u64) -> BatchNorm {
        let random = |offset| random_tensor(&[4], seed + offset);
        BatchNorm::new(random(0), random(1), random(2), random(3).sqr().unwrap(), 1e-3).unwrap()
    }

    /// Blocks of convolution, norm and rectifier, each added to what it reads.
    fn residual(n_blocks: usize) -> Graph {
        let mut builder = GraphBuilder::new();
        let mut x = builder.input("input", &[Dim::Known(4), Dim::Known(9), Dim::Known(9)]).unwrap();
        for block in 0..n_blocks {
            let name = |part: &str| format!("blocks.{block}.{part}");
            let weight = random_tensor(&[4, 4, 3, 3], block as u64);
            let params = ConvolutionParams { padding: vec![(1, 1); 2], ..ConvolutionParams::plain(weight, None) };
            let conv = builder.add(&name("conv"), Convolution::new(params).unwrap(), &[x]).unwrap();
            let normed = builder.add(&name("bn"), norm(100 + block as u64), &[conv]).unwrap();
            let relu = builder.add(&name("relu"), Activation::new(PointwiseFunction::Relu), &[normed]).unwrap();
            x = builder.add(&name("add"), Arithmetic::add(Operand::Graph), &[x, relu]).unwrap();
        }
        builder.finish(&[("output", x)]).unwrap()
    }

    fn learned(graph: &Graph) -> Vec<NodeIdx> {
        let is_learned = |idx: &usize| initializers(&*graph.nodes()[*idx].operator).is_some();
        (0..graph.nodes().len()).filter(is_learned).map(NodeIdx).collect()
    }

    fn value(graph: &Graph, input: &Value, layer: &str) -> Vec<f64> {
        let trace = Trace::record(graph, std::slice::from_ref(input), &Uninterrupted).unwrap();
        trace.value(graph.layer(layer).unwrap()).unwrap().to_f64_vec().unwrap()
    }

    fn randomized(graph: &Graph, layers: &[NodeIdx], input: &Value) -> Graph {
        let mut random = Reinitializer::new(graph, 7, FreshNorms::Own, vec![input.clone()]);
        random.randomized(layers, &Uninterrupted).unwrap()
    }

    #[test]
    fn no_layer_is_the_network_as_it_was_and_others_share_their_weights() {
        let (graph, input) = (residual(2), random_value(&[1, 4, 9, 9], 1));
        assert_eq!(
            value(&randomized(&graph, &[], &input), &input, "blocks.1.add"),
            value(&graph, &input, "blocks.1.add")
        );
        let layers = [graph.layer("blocks.1.conv").unwrap().node];
        let changed = randomized(&graph, &layers, &input);
        for (before, after) in graph.nodes().iter().zip(changed.nodes()) {
            assert_eq!(
                Arc::ptr_eq(&before.operator, &after.operator),
                before.name != "blocks.1.conv",
                "{}",
                before.name
            );
        }
        assert_eq!(value(&changed, &input, "blocks.0.add"), value(&graph, &input, "blocks.0.add"));
        assert_ne!(value(&changed, &input, "blocks.1.add"), value(&graph, &input, "blocks.1.add"));
    }

    #[test]
    fn what_is_made_depends_on_the_set_of_layers_alone() {
        let (graph, input) = (residual(3), random_value(&[2, 4, 9, 9], 1));
        let layers = learned(&graph);
        let at_once = value(&randomized(&graph, &layers, &input), &input, "blocks.2.add");
        let mut random = Reinitializer::new(&graph, 7, FreshNorms::Own, vec![input.clone()]);
        for n in (0..layers.len()).rev() {
            let step = random.randomized(&layers[n..], &Uninterrupted).unwrap();
            assert_eq!(value(&step, &input, "blocks.2.add") == at_once, n == 0);
        }
    }

    #[test]
    fn a_merged_network_becomes_what_the_other_does() {
        let (graph, input) = (residual(3), random_value(&[1, 4, 9, 9], 2));
        let merged = merge_batch_norms(&graph).unwrap();
        let of = |graph: &Graph| value(&randomized(graph, &learned(graph), &input), &input, "blocks.2.add");
        for (merged, plain) in of(&merged).iter().zip(of(&graph)) {
            assert!((merged - plain).abs() < 1e-9 * plain.abs().max(1.0), "{merged} is not {plain}");
        }
    }

    #[test]
    fn what_norms_give_has_mean_0_and_variance_1_however_deep() {
        let (graph, input) = (merge_batch_norms(&residual(12)).unwrap(), random_value(&[1, 4, 9, 9], 3));
        let changed = randomized(&graph, &learned(&graph), &input);
        for block in 0..12 {
            let numbers = value(&changed, &input, &format!("blocks.{block}.conv"));
            for channel in numbers.chunks_exact(81) {
                let mean = channel.iter().sum::<f64>() / 81.0;
                let variance = channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 81.0;
                assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 0.1, "block {block}: {mean}, {variance}");
            }
        }
    }

    /// Weights that are uniform between two bounds, and fill them.
    #[track_caller]
    fn is_uniform(tensor: &Tensor, bound: f64) {
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let largest = numbers.iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
        assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
    }

    #[test]
    fn each_kind_of_layer_has_its_initializer() {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(6), Dim::Known(5)]).unwrap();
        let params = RecurrentParams {
            direction: Direction::Forward,
            input_weight: random_tensor(&[1, 36, 5], 1),
            recurrent_weight: random_tensor(&[1, 36, 9], 2),
            bias: Some(random_tensor(&[1, 72], 3)),
            initial_hidden: None,
        };
        let rnn = builder.add("rnn", Lstm::new(params, None).unwrap(), &[input]).unwrap();
        let layer_norm = LayerNorm::new(random_tensor(&[9], 4), Some(random_tensor(&[9], 5)), 1e-5).unwrap();
        let normed = builder.add("ln", layer_norm, &[rnn]).unwrap();
        let dense = Dense::new(random_tensor(&[40, 9], 6), Some(random_tensor(&[40], 7))).unwrap();
        let logits = builder.add("fc", dense, &[normed]).unwrap();
        let graph = builder.finish(&[("output", logits)]).unwrap();
        let changed = randomized(&graph, &learned(&graph), &random_value(&[1, 6, 5], 8));
        let parameters = |layer: &str| {
            let operator = &changed.node(changed.layer(layer).unwrap().node).operator;
            operator.parameters().into_iter().map(|(_, tensor)| tensor.clone()).collect::<Vec<_>>()
        };
        parameters("rnn").iter().for_each(|tensor| is_uniform(tensor, 1.0 / 3.0));
        parameters("fc").iter().for_each(|tensor| is_uniform(tensor, 1.0 / 3.0));
        let [scale, shift] = [0, 1].map(|nth| parameters("ln")[nth].to_vec1::<f64>().unwrap());
        assert_eq!((scale, shift), (vec![1.0; 9], vec![0.0; 9]));
    }

    #[test]
    fn a_single_place_has_the_variance_of_all_its_channels() {
        let single = Value::from_vec(vec![1.0, 3.0, 5.0], &[1, 3, 1], crate::Layout::Logical).unwrap();
        let (mean, variance) = statistics(&single, 1).unwrap();
        assert_eq!(mean, [3.0; 3]);
        variance.iter().for_each(|variance| assert!((variance - 8.0 / 3.0).abs() < 1e-12));
    }
}
