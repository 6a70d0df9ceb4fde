//! A network while it is trained: the graph that is used in the end, and the same in training form.
//!
//! In training form a batch norm may stand behind each convolution that a rectifier follows, dropout behind the
//! rectifier, and further outputs (heads) on inner layers for auxiliary losses. None of it is left in the end: norms
//! become part of their convolutions ([`Network::plain`]), which gives the graph that was begun with.
//!
//! A step replaces operators, not numbers in them: an operator with new parameters is a new one, and what the kernels
//! prepare of weights is made once a step, at first use.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::operators::{
    BatchNorm, Convolution, ConvolutionParams, Dropout, Moments, NormByMoments, Operator, ParameterGradients,
};
use models::passes::with_batch_norm;
use models::{Graph, GraphBuilder, NodeIdx, Outlet, Trace, Uninterrupted, Value};

use crate::backward::Gradients;
use crate::error::{Result, TrainingError};
use crate::optimiser::AdamW;
use crate::random::Random;

/// What training adds to a network.
#[derive(Clone, Debug, Default)]
pub struct TrainingForm {
    /// Whether batch norms stand behind convolutions that a rectifier follows.
    pub has_norms: bool,
    /// The share of numbers left out behind those rectifiers.
    pub dropout: f64,
    /// Further outputs.
    pub heads: Vec<Head>,
}

/// A pixelwise convolution of an inner layer, for an auxiliary loss.
#[derive(Clone, Debug)]
pub struct Head {
    /// What the output is called.
    pub name: String,
    /// The layer that it reads.
    pub layer: String,
    /// Its channels.
    pub n_out: usize,
}

/// What a batch norm has seen on average, by PyTorch's way of counting (momentum 0.1).
#[derive(Clone, Debug)]
struct Running {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

const MOMENTUM: f32 = 0.1;
const EPSILON: f64 = 1e-5;

/// A network in training.
#[derive(Clone, Debug)]
pub struct Network {
    /// As it is built, without what training adds; its weights are those of the beginning.
    skeleton: Graph,
    /// In training form, with the weights of now.
    graph: Graph,
    /// By the norm's name.
    running: BTreeMap<String, Running>,
    /// Where a step computes.
    device: Device,
}

/// The norm behind a convolution of this name, with the running means and variances that it starts with.
type NormOf<'a> = dyn Fn(&Convolution, &str) -> Result<(NormByMoments, Vec<f32>, Vec<f32>)> + 'a;

impl Network {
    /// As it is: no norms, no dropout.
    pub fn as_it_is(graph: Graph) -> Network {
        Network { skeleton: graph.clone(), graph, running: BTreeMap::new(), device: Device::Cpu }
    }

    /// In training form, from a network whose weights are worth nothing yet.
    pub fn new(skeleton: Graph, form: &TrainingForm, seed: u64) -> Result<Network> {
        let norm = |convolution: &Convolution, _: &str| {
            let n = convolution.params().weight.dims()[0];
            let constant = |number: f32| Tensor::from_vec(vec![number; n], n, &Device::Cpu);
            Ok((NormByMoments::new(constant(1.0)?, constant(0.0)?, EPSILON)?, vec![0.0; n], vec![1.0; n]))
        };
        Network::build(skeleton, form, seed, &norm)
    }

    /// In training form, from trained weights: norms are set so that nothing changes for a batch like the given one, which
    /// is what a run on another machine continues from.
    pub fn from_trained(skeleton: Graph, form: &TrainingForm, seed: u64, batch: &[Value]) -> Result<Network> {
        let convolutions = normed_convolutions(&skeleton);
        let keep: Vec<Outlet> = convolutions.iter().map(|idx| Outlet { node: *idx, port: 0 }).collect();
        let trace = Trace::record_keeping(&skeleton, batch, &keep, &Uninterrupted)?;
        let mut moments: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
        for idx in &convolutions {
            let value = trace.value(Outlet { node: *idx, port: 0 })?;
            moments.insert(&skeleton.node(*idx).name, Moments.forward(&[&value])?[0].to_f32_vec()?);
        }
        let norm = |convolution: &Convolution, name: &str| {
            let mut mean = moments[name].clone();
            let variance = mean.split_off(mean.len() / 2);
            let n = mean.len();
            let deviation: Vec<f32> = variance.iter().map(|variance| (variance + EPSILON as f32).sqrt()).collect();
            let scale = Tensor::from_vec(deviation, n, &Device::Cpu)?;
            let shift = Tensor::from_vec(mean.clone(), n, &Device::Cpu)?;
            if let Some(bias) = &convolution.params().bias {
                let bias = bias.to_vec1::<f32>()?;
                mean.iter_mut().zip(bias).for_each(|(mean, bias)| *mean -= bias);
            }
            Ok((NormByMoments::new(scale, shift, EPSILON)?, mean, variance))
        };
        Network::build(skeleton.clone(), form, seed, &norm)
    }

    fn build(skeleton: Graph, form: &TrainingForm, seed: u64, norm: &NormOf<'_>) -> Result<Network> {
        let normed = if form.has_norms { normed_convolutions(&skeleton) } else { Vec::new() };
        let mut builder = GraphBuilder::new();
        let mut place: Vec<Outlet> = Vec::with_capacity(skeleton.nodes().len());
        let mut running = BTreeMap::new();
        let mut rectifies_normed = vec![false; skeleton.nodes().len()];
        for (idx, node) in skeleton.nodes().iter().enumerate() {
            let inputs: Vec<Outlet> =
                node.inputs.iter().map(|input| Outlet { port: input.port, ..place[input.node.0] }).collect();
            let mut outlet = match node.operator.as_convolution().filter(|_| normed.contains(&NodeIdx(idx))) {
                Some(convolution) => {
                    let without_bias = ConvolutionParams { bias: None, ..convolution.params().clone() };
                    let of_weights = builder.add(&node.name, Convolution::new(without_bias)?, &inputs)?;
                    let moments = builder.add(&moments_name(&node.name), Moments, &[of_weights])?;
                    let name = norm_name(&node.name);
                    let (norm, mean, variance) = norm(convolution, &node.name)?;
                    running.insert(name.clone(), Running { mean, variance });
                    builder.add(&name, norm, &[of_weights, moments])?
                }
                None => builder.add_shared(&node.name, node.operator.clone(), &inputs)?,
            };
            rectifies_normed[idx] = node.operator.as_activation().is_some()
                && node.inputs.iter().all(|input| is_followed_by_rectifier(&skeleton, input.node));
            if form.dropout > 0.0 && rectifies_normed[idx] {
                outlet = builder.add(&format!("{}.dropout", node.name), Dropout::new(form.dropout, 0)?, &[outlet])?;
            }
            place.push(outlet);
        }
        let mut outputs: Vec<(String, Outlet)> = skeleton
            .outputs()
            .iter()
            .map(|(name, outlet)| (name.clone(), Outlet { port: outlet.port, ..place[outlet.node.0] }))
            .collect();
        let shapes = skeleton.hinted_shapes()?;
        for head in &form.heads {
            let layer = skeleton.layer(&head.layer)?;
            let read = &shapes[layer.node.0][layer.port];
            let shape: Vec<usize> = [head.n_out, read[1]].into_iter().chain(read[2..].iter().map(|_| 1)).collect();
            let bound = 1.0 / (read[1] as f64).sqrt();
            let mut random = Random::new(seed);
            let weight: Vec<f32> = (0..head.n_out * read[1]).map(|_| random.between(-bound, bound) as f32).collect();
            let weight = Tensor::from_vec(weight, shape, &Device::Cpu)?;
            let bias = Tensor::zeros(head.n_out, DType::F32, &Device::Cpu)?;
            let convolution = Convolution::new(ConvolutionParams::plain(weight, Some(bias)))?;
            outputs.push((head.name.clone(), builder.add(&head.name, convolution, &[place[layer.node.0]])?));
        }
        let outputs: Vec<(&str, Outlet)> = outputs.iter().map(|(name, outlet)| (name.as_str(), *outlet)).collect();
        Ok(Network { graph: builder.finish(&outputs)?, skeleton, running, device: Device::Cpu })
    }

    /// The same with its steps on a device.
    pub fn on_device(self, device: &Device) -> Result<Network> {
        Ok(Network { graph: self.graph.on_device(device)?, device: device.clone(), ..self })
    }

    /// In training form.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The outlet of an output.
    pub fn output(&self, name: &str) -> Option<Outlet> {
        self.graph.outputs().iter().find(|(known, _)| known == name).map(|(_, outlet)| *outlet)
    }

    /// One forward pass in training form, with numbers left out by this chance.
    pub fn record(&mut self, inputs: &[Value], random: &mut Random) -> Result<Trace> {
        self.graph = self.graph.with_operators(|_, node| {
            let Some(dropout) = node.operator.as_dropout() else { return Ok(None) };
            let dropout: Arc<dyn Operator> = Arc::new(dropout.with_seed(random.seed()));
            self.placed(dropout).map(Some)
        })?;
        let inputs = inputs.iter().map(|input| input.to_device(&self.device)).collect::<models::Result<Vec<_>>>()?;
        Ok(Trace::record(&self.graph, &inputs, &Uninterrupted)?)
    }

    /// Moves the parameters against their gradients, and the running averages to what the trace has seen.
    pub fn step(&mut self, trace: &Trace, gradients: Gradients, optimiser: &mut AdamW, rate: f64) -> Result<()> {
        self.follow_moments(trace)?;
        optimiser.begin_step();
        let mut of_nodes: BTreeMap<NodeIdx, ParameterGradients> = gradients.into_iter().collect();
        self.graph = self.graph.with_operators(|idx, node| {
            let Some(gradients) = of_nodes.remove(&idx) else { return Ok(None) };
            let mut parameters = Vec::new();
            for (name, tensor) in node.operator.parameters() {
                let Some((_, gradient)) = gradients.iter().find(|(known, _)| *known == name) else {
                    parameters.push(tensor.clone());
                    continue;
                };
                let (name, decays) = (parameter_name(&node.name, name), tensor.rank() > 1);
                let moved = optimiser.moved(&name, tensor, gradient, rate, decays);
                parameters.push(moved.map_err(|error| models::ModelError::operator("AdamW", error.to_string()))?);
            }
            node.operator.with_parameters(&parameters).map(Some)
        })?;
        Ok(())
    }

    fn placed(&self, operator: Arc<dyn Operator>) -> models::Result<Arc<dyn Operator>> {
        match &self.device {
            Device::Cpu => Ok(operator),
            device => models::device::on_device(&operator, device),
        }
    }

    fn follow_moments(&mut self, trace: &Trace) -> Result<()> {
        for (name, running) in &mut self.running {
            let norm = self.graph.layer(name)?;
            let [of_norm, moments] = self.graph.node(norm.node).inputs[..] else { continue };
            let shape = trace.shape(of_norm);
            let n_places: usize = shape.iter().product::<usize>() / shape[1];
            // The running variance is the unbiased one.
            let unbiased = n_places as f32 / n_places.saturating_sub(1).max(1) as f32;
            let seen = trace.value(moments)?.to_f32_vec()?;
            let (mean, variance) = seen.split_at(seen.len() / 2);
            running.mean.iter_mut().zip(mean).for_each(|(running, seen)| *running += MOMENTUM * (seen - *running));
            let variances = running.variance.iter_mut().zip(variance);
            variances.for_each(|(running, seen)| *running += MOMENTUM * (seen * unbiased - *running));
        }
        Ok(())
    }

    /// The network to use: nothing left of training, norms part of their convolutions.
    pub fn plain(&self) -> Result<Graph> {
        let graph = self.graph.on_processor()?;
        Ok(self.skeleton.with_operators(|_, node| {
            let trained = &graph.node(graph.layer(&node.name)?.node).operator;
            let Some(running) = self.running.get(&norm_name(&node.name)) else { return Ok(Some(trained.clone())) };
            let norm = &graph.node(graph.layer(&norm_name(&node.name))?.node).operator;
            let (scale, shift, epsilon) = norm.as_norm_by_moments().expect("it was put there as one").parts();
            let list = |numbers: &[f32]| Tensor::from_vec(numbers.to_vec(), numbers.len(), &Device::Cpu);
            let (mean, variance) = (list(&running.mean)?, list(&running.variance)?);
            let norm = BatchNorm::new(scale.clone(), shift.clone(), mean, variance, epsilon)?;
            with_batch_norm(&**trained, &norm).map(Some)
        })?)
    }

    /// All that was learned so far, by name: parameters in training form, and running averages.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = parameters_of(&self.graph.on_processor()?);
        for (name, running) in &self.running {
            for (part, numbers) in [("mean", &running.mean), ("variance", &running.variance)] {
                let tensor = Tensor::from_vec(numbers.clone(), numbers.len(), &Device::Cpu)?;
                state.push((parameter_name(name, part), tensor));
            }
        }
        Ok(state)
    }

    /// Puts back what [`Network::state`] gave; the error names what is missing or of another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let find = |name: String, shape: &[usize]| match state.get(&name) {
            Some(tensor) if tensor.dims() == shape => Ok(tensor.clone()),
            Some(tensor) => Err(format!("`{name}` is {:?} and not {shape:?}", tensor.dims())),
            None => Err(format!("`{name}` is missing")),
        };
        let refuse = |reason: String| {
            models::ModelError::operator("checkpoint", format!("it is of another architecture: {reason}"))
        };
        self.graph = self.graph.with_operators(|_, node| {
            let own = node.operator.parameters();
            if own.is_empty() {
                return Ok(None);
            }
            let tensors = own
                .into_iter()
                .map(|(name, tensor)| find(parameter_name(&node.name, name), tensor.dims()).map_err(refuse))
                .collect::<models::Result<Vec<_>>>()?;
            node.operator.with_parameters(&tensors).map(Some)
        })?;
        for (name, running) in &mut self.running {
            for (part, numbers) in [("mean", &mut running.mean), ("variance", &mut running.variance)] {
                let found = find(parameter_name(name, part), &[numbers.len()]).map_err(refuse)?;
                *numbers = found.to_vec1::<f32>().map_err(TrainingError::from)?;
            }
        }
        Ok(())
    }
}

/// The parameters of a graph as builders of the zoo name them where layers are called as their parameters are.
pub fn parameters_of(graph: &Graph) -> Vec<(String, Tensor)> {
    let of_node = |node: &models::Node| {
        let parameters = node.operator.parameters().into_iter();
        parameters.map(|(name, tensor)| (parameter_name(&node.name, name), tensor.clone())).collect::<Vec<_>>()
    };
    graph.nodes().iter().flat_map(of_node).collect()
}

fn parameter_name(node: &str, parameter: &str) -> String {
    format!("{node}.{parameter}")
}

fn norm_name(convolution: &str) -> String {
    format!("{convolution}.norm")
}

fn moments_name(convolution: &str) -> String {
    format!("{convolution}.moments")
}

fn normed_convolutions(graph: &Graph) -> Vec<NodeIdx> {
    (0..graph.nodes().len()).map(NodeIdx).filter(|idx| is_followed_by_rectifier(graph, *idx)).collect()
}

/// Whether a node is a convolution that only a rectifier reads.
fn is_followed_by_rectifier(graph: &Graph, idx: NodeIdx) -> bool {
    let is_output = graph.outputs().iter().any(|(_, outlet)| outlet.node == idx);
    let mut readers = graph.nodes().iter().filter(|node| node.inputs.iter().any(|input| input.node == idx));
    let is_rectifier = |node: &models::Node| {
        node.operator.as_activation().is_some_and(|activation| activation.function().bounds().is_some())
    };
    let (first, second) = (readers.next(), readers.next());
    !is_output
        && graph.node(idx).operator.as_convolution().is_some()
        && first.is_some_and(is_rectifier)
        && second.is_none()
}

#[cfg(test)]
mod tests {
    use models::loaders::Weights;
    use models::{Layout, zoo};

    use super::*;

    fn graph() -> Graph {
        zoo::build(zoo::find("digits-cnn").unwrap(), Weights::random(1)).unwrap()
    }

    fn batch(seed: u64, n: usize) -> Value {
        let mut random = Random::new(seed);
        let numbers = (0..n * 64).map(|_| random.uniform() as f32).collect();
        Value::from_vec(numbers, &[n, 1, 8, 8], Layout::Logical).unwrap()
    }

    fn output(graph: &Graph, input: &Value) -> Vec<f32> {
        let trace = Trace::record(graph, std::slice::from_ref(input), &Uninterrupted).unwrap();
        trace.value(graph.output()).unwrap().to_f32_vec().unwrap()
    }

    #[track_caller]
    fn are_close(left: &[f32], right: &[f32], tolerance: f32) {
        let largest = left.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let distance = left.iter().zip(right).fold(0f32, |most, (left, right)| most.max((left - right).abs()));
        assert!(distance <= tolerance * largest, "{distance} beside {largest}");
    }

    #[test]
    fn trained_weights_compute_the_same_once_norms_are_put_in_and_merged() {
        let (graph, batch) = (graph(), batch(2, 8));
        let form = TrainingForm { has_norms: true, ..TrainingForm::default() };
        let mut network = Network::from_trained(graph.clone(), &form, 1, std::slice::from_ref(&batch)).unwrap();
        let before = output(&graph, &batch);
        are_close(&before, &output(&network.plain().unwrap(), &batch), 1e-4);
        let trace = network.record(std::slice::from_ref(&batch), &mut Random::new(1)).unwrap();
        are_close(&before, &trace.value(network.graph().output()).unwrap().to_f32_vec().unwrap(), 1e-4);
    }

    #[test]
    fn a_step_in_tensors_of_a_device_is_the_same() {
        let head = Head { name: "extra".to_owned(), layer: "relu2".to_owned(), n_out: 7 };
        let form = TrainingForm { has_norms: true, dropout: 0.0, heads: vec![head] };
        let stepped = |mut network: Network| {
            let trace = network.record(&[batch(5, 6)], &mut Random::new(1)).unwrap();
            let start = |outlet: Outlet| {
                let shape = trace.shape(outlet);
                let numbers = (0..shape.iter().product()).map(|nth: usize| (nth as f32 * 1.3).sin()).collect();
                (outlet, Value::from_vec(numbers, shape, Layout::Logical).unwrap())
            };
            let starts = vec![start(network.graph().output()), start(network.output("extra").unwrap())];
            let gradients = crate::backward::gradients(network.graph(), &trace, starts).unwrap();
            network.step(&trace, gradients, &mut AdamW::new(0.01), 1e-3).unwrap();
            network
        };
        let network = Network::new(graph(), &form, 1).unwrap();
        let (here, there) = (stepped(network.clone()), stepped(network.on_device(&Device::Cpu).unwrap()));
        for ((name, here), (_, there)) in here.state().unwrap().iter().zip(there.state().unwrap()) {
            let list = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (here, there) = (list(here), list(&there));
            // A first step is as long as the learning rate wherever the gradient has a sign.
            let n_apart = here.iter().zip(&there).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
            assert!(n_apart * 1000 <= here.len(), "{name}: {n_apart} of {} differ", here.len());
        }
        let input = batch(3, 2);
        are_close(&output(&here.plain().unwrap(), &input), &output(&there.plain().unwrap(), &input), 1e-2);
    }

    #[test]
    fn a_state_is_put_back_whole_and_one_of_another_network_is_refused() {
        let form = TrainingForm { has_norms: true, dropout: 0.1, heads: vec![] };
        let network = Network::new(graph(), &form, 1).unwrap();
        let state: BTreeMap<String, Tensor> = network.state().unwrap().into_iter().collect();
        let other = zoo::build(zoo::find("digits-cnn").unwrap(), Weights::random(2)).unwrap();
        let mut other = Network::new(other, &form, 1).unwrap();
        other.restore(&state).unwrap();
        let input = batch(3, 2);
        assert_eq!(output(&network.plain().unwrap(), &input), output(&other.plain().unwrap(), &input));
        let mut without_norms = Network::as_it_is(graph());
        let error = without_norms.restore(&state).unwrap_err().to_string();
        assert!(error.contains("another architecture") && error.contains("conv1.bias"), "{error}");
    }

    #[test]
    fn heads_are_further_outputs() {
        let head = Head { name: "extra".to_owned(), layer: "relu2".to_owned(), n_out: 7 };
        let form = TrainingForm { has_norms: true, dropout: 0.5, heads: vec![head] };
        let mut network = Network::new(graph(), &form, 1).unwrap();
        let trace = network.record(&[batch(1, 3)], &mut Random::new(1)).unwrap();
        assert_eq!(trace.shape(network.output("extra").unwrap()), [3, 7, 8, 8]);
        assert_eq!(network.plain().unwrap().outputs().len(), 1);
    }
}
