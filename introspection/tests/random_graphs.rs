//! What must hold on any network, tried on random ones: convolutions of awkward sizes, pools, batch norms, rectifiers,
//! branches that meet again, along one axis and two, in f64.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use introspection::backward_walk::{Start, Walk};
use introspection::rules::PlainGradient;
use introspection::{
    Arrived, ClassChoice, GradientMethod, LayerRule, MaxPoolRule, OutputAxes, Preset, Quadrature, Question, Relevance,
    RelevanceStart, ResolvedTarget, RuleTable, ScoreOf, Target, cone, deep_lift, guided_backprop, input_x_gradient,
    integrated_gradients, lrp, resolve, saliency,
};
use models::graph::Rewrite;
use models::operators::{
    Activation, Arithmetic, AveragePool, BatchNorm, Concat, Convolution, ConvolutionParams, Dense, Family, Flatten,
    MaxPool, Mean, Operand, Operator, PointwiseFunction, PoolWindow, Reweighting, Softmax,
};
use models::passes::merge_batch_norms;
use models::{Dim, Graph, GraphBuilder, Layout, NodeIdx, Outlet, Trace, Uninterrupted, Value};
use proptest::prelude::*;

/// One more step of a network; what does not fit the shape that is there is passed over.
#[derive(Clone, Debug)]
enum Step {
    Conv {
        n_out: usize,
        kernel: usize,
        stride: usize,
        padding: (usize, usize),
        dilation: usize,
        is_depthwise: bool,
    },
    BatchNorm,
    Activation(usize),
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
    },
    AveragePool {
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
        count_include_pad: bool,
    },
    /// A convolution beside, added or multiplied.
    Branch {
        kernel: usize,
        function: usize,
    },
    /// The value beside itself, rectified.
    Concat,
}

#[derive(Clone, Debug)]
struct Recipe {
    n_channels: usize,
    lengths: Vec<usize>,
    steps: Vec<Step>,
    /// Logits at each place, or one prediction for all.
    is_sequence: bool,
    ends_in_softmax: bool,
    seed: u64,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..4usize, 1..5usize, 1..4usize, (0..3usize, 0..3usize), 1..3usize, any::<bool>()).prop_map(
            |(n_out, kernel, stride, padding, dilation, is_depthwise)| Step::Conv {
                n_out,
                kernel,
                stride,
                padding,
                dilation,
                is_depthwise
            }
        ),
        Just(Step::BatchNorm),
        (0..6usize).prop_map(Step::Activation),
        (1..4usize, 1..4usize, 0..2usize, any::<bool>())
            .prop_map(|(kernel, stride, padding, ceil_mode)| Step::MaxPool { kernel, stride, padding, ceil_mode }),
        (1..4usize, 1..4usize, 0..2usize, any::<bool>(), any::<bool>()).prop_map(
            |(kernel, stride, padding, ceil_mode, count_include_pad)| Step::AveragePool {
                kernel,
                stride,
                padding,
                ceil_mode,
                count_include_pad
            }
        ),
        (0..2usize, 0..3usize).prop_map(|(half, function)| Step::Branch { kernel: 2 * half + 1, function }),
        Just(Step::Concat),
    ]
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let lengths = prop_oneof![prop::collection::vec(1..14usize, 1), prop::collection::vec(1..9usize, 2)];
    (1..4usize, lengths, prop::collection::vec(step(), 1..7), any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(n_channels, lengths, steps, is_sequence, ends_in_softmax, seed)| Recipe {
            is_sequence: is_sequence && lengths.len() == 1,
            n_channels,
            lengths,
            steps,
            ends_in_softmax,
            seed,
        },
    )
}

/// Numbers between -1 and 1 that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| self.next()).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    fn value(&mut self, shape: &[usize]) -> Value {
        Value::from_tensor(&self.tensor(shape)).unwrap()
    }
}

struct Build {
    builder: GraphBuilder,
    numbers: Numbers,
    n_nodes: usize,
}

impl Build {
    /// Adds a node where it fits; what it then gives.
    fn add<O: Operator + 'static>(
        &mut self,
        operator: models::Result<O>,
        inputs: &[(Outlet, Vec<usize>)],
    ) -> Option<(Outlet, Vec<usize>)> {
        let operator = operator.ok()?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|(_, shape)| shape.as_slice()).collect();
        let shape = operator.output_shapes(&shapes).ok()?.remove(0);
        if shape.contains(&0) || shape.iter().product::<usize>() > 4000 {
            return None;
        }
        self.n_nodes += 1;
        let outlets: Vec<Outlet> = inputs.iter().map(|(outlet, _)| *outlet).collect();
        Some((self.builder.add(&format!("node{}", self.n_nodes), operator, &outlets).unwrap(), shape))
    }

    fn convolution(
        &mut self,
        shape: &[usize],
        n_out: usize,
        kernel: usize,
        stride: usize,
        padding: (usize, usize),
        dilation: usize,
        groups: usize,
    ) -> models::Result<Convolution> {
        let n_spatial = shape.len() - 2;
        let weight: Vec<usize> = [n_out, shape[1] / groups].into_iter().chain(vec![kernel; n_spatial]).collect();
        Convolution::new(ConvolutionParams {
            weight: self.numbers.tensor(&weight),
            bias: Some(self.numbers.tensor(&[n_out])),
            stride: vec![stride; n_spatial],
            padding: vec![padding; n_spatial],
            dilation: vec![dilation; n_spatial],
            groups,
        })
    }

    fn step(&mut self, step: &Step, at: (Outlet, Vec<usize>)) -> Option<(Outlet, Vec<usize>)> {
        let (n_channels, n_spatial) = (at.1[1], at.1.len() - 2);
        match step {
            Step::Conv { n_out, kernel, stride, padding, dilation, is_depthwise } => {
                let (n_out, groups) = if *is_depthwise { (n_channels, n_channels) } else { (*n_out, 1) };
                let conv = self.convolution(&at.1, n_out, *kernel, *stride, *padding, *dilation, groups);
                self.add(conv, &[at])
            }
            Step::BatchNorm => {
                let of = |numbers: &mut Numbers| numbers.tensor(&[n_channels]);
                let (scale, shift, mean) = (of(&mut self.numbers), of(&mut self.numbers), of(&mut self.numbers));
                let variance = (of(&mut self.numbers).abs().unwrap() + 0.5).unwrap();
                self.add(BatchNorm::new(scale, shift, mean, variance, 1e-3), &[at])
            }
            Step::Activation(which) => {
                let functions = [
                    PointwiseFunction::Relu,
                    PointwiseFunction::Clip { low: 0.0, high: 0.7 },
                    PointwiseFunction::LeakyRelu { alpha: 0.2 },
                    PointwiseFunction::Tanh,
                    PointwiseFunction::Silu,
                    PointwiseFunction::Sigmoid,
                ];
                self.add(Ok(Activation::new(functions[*which])), &[at])
            }
            Step::MaxPool { kernel, stride, padding, ceil_mode } => {
                self.add(MaxPool::new(window(n_spatial, *kernel, *stride, *padding, *ceil_mode)), &[at])
            }
            Step::AveragePool { kernel, stride, padding, ceil_mode, count_include_pad } => self.add(
                AveragePool::new(window(n_spatial, *kernel, *stride, *padding, *ceil_mode), *count_include_pad),
                &[at],
            ),
            Step::Branch { kernel, function } => {
                let padding = (kernel / 2, kernel / 2);
                let conv = self.convolution(&at.1, n_channels, *kernel, 1, padding, 1, 1);
                let beside = self.add(conv, std::slice::from_ref(&at))?;
                let join = match function {
                    0 | 1 => Arithmetic::add(Operand::Graph),
                    _ => Arithmetic::multiply(Operand::Graph),
                };
                self.add(Ok(join), &[at, beside])
            }
            Step::Concat => {
                let beside = self.add(Ok(Activation::new(PointwiseFunction::Relu)), std::slice::from_ref(&at))?;
                self.add(Ok(Concat { axis: 1 }), &[at, beside])
            }
        }
    }
}

fn window(n_spatial: usize, kernel: usize, stride: usize, padding: usize, ceil_mode: bool) -> PoolWindow {
    PoolWindow {
        padding: vec![(padding, padding); n_spatial],
        ceil_mode,
        ..PoolWindow::plain(&vec![kernel; n_spatial], &vec![stride; n_spatial])
    }
}

/// The network with inputs for a batch of two.
fn built(recipe: &Recipe) -> (Graph, Value) {
    let mut build = Build { builder: GraphBuilder::new(), numbers: Numbers(recipe.seed | 1), n_nodes: 0 };
    let shape: Vec<usize> = std::iter::once(recipe.n_channels).chain(recipe.lengths.iter().copied()).collect();
    let dims: Vec<Dim> = shape.iter().map(|length| Dim::Known(*length)).collect();
    let input = build.builder.input("input", &dims).unwrap();
    let mut at = (input, [&[1], &shape[..]].concat());
    for step in &recipe.steps {
        at = build.step(step, at.clone()).unwrap_or(at);
    }
    if recipe.is_sequence {
        let conv = build.convolution(&at.1, 3, 1, 1, (0, 0), 1, 1);
        at = build.add(conv, &[at]).unwrap();
    } else {
        at = build.add(Ok(Mean::global_average_pool()), &[at]).unwrap();
        at = build.add(Ok(Flatten { axis: 1 }), &[at]).unwrap();
        let (weight, bias) = (build.numbers.tensor(&[3, at.1[1]]), build.numbers.tensor(&[3]));
        at = build.add(Dense::new(weight, Some(bias)), &[at]).unwrap();
    }
    if recipe.ends_in_softmax {
        at = build.add(Ok(Softmax { axis: 1 }), &[at]).unwrap();
    }
    let graph = build.builder.finish(&[("output", at.0)]).unwrap();
    let inputs = build.numbers.value(&[&[2], &shape[..]].concat());
    (graph, inputs)
}

/// All of what arrived where the map is read.
fn whole(question: &Question<'_>, arrived: introspection::Result<Arrived>) -> Vec<f64> {
    arrived.unwrap().into_whole(question.trace.shape(question.at)).unwrap().to_f64_vec().unwrap()
}

fn trace(graph: &Graph, input: &Value) -> Trace {
    Trace::record(graph, std::slice::from_ref(input), &Uninterrupted).unwrap()
}

fn input_of(graph: &Graph) -> Outlet {
    Outlet { node: graph.inputs()[0], port: 0 }
}

fn outlet(node: usize) -> Outlet {
    Outlet { node: models::NodeIdx(node), port: 0 }
}

/// The gradient at the input for a start at the logits.
fn walked(graph: &Graph, trace: &Trace, rows: &[usize], gradient: &Value) -> Vec<f64> {
    let walk = Walk { graph, trace, rows, composite: &PlainGradient, interrupt: &Uninterrupted, observer: None };
    let start = Start::whole(graph.logits(), gradient.clone());
    walk.run(&[start], &[input_of(graph)]).unwrap().remove(0).value.to_f64_vec().unwrap()
}

/// A random number for every logit of so many pairs.
fn random_start(graph: &Graph, trace: &Trace, n_pairs: usize, seed: u64) -> Value {
    let mut shape = trace.shape(graph.logits()).to_vec();
    shape[0] = n_pairs;
    Numbers(seed | 1).value(&shape)
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().chain(b).fold(0.0f64, |largest, number| largest.max(number.abs()));
    for (index, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * (largest + 1e-9), "number {index}: {x} and {y} of {largest}");
    }
}

fn second_class(graph: &Graph, trace: &Trace) -> ResolvedTarget {
    let target = Target::Class { class: ClassChoice::Index(1), frame: None };
    resolve(graph, trace, axes_of(graph), 0, &target, ScoreOf::Logit).unwrap()
}

fn relevance_of_second_class(graph: &Graph, trace: &Trace, rules: &RuleTable) -> Relevance {
    let targets = [second_class(graph, trace)];
    let question = Question { graph, trace, targets: &targets, at: input_of(graph), interrupt: &Uninterrupted };
    lrp(&question, rules, RelevanceStart::Score).unwrap()
}

/// The recipe with rectifiers for all activations, sums for all joins and no batch norms: twice the input gives twice the
/// output, but for biases.
fn homogeneous(recipe: &Recipe) -> Recipe {
    let step = |step: &Step| match step {
        Step::BatchNorm => None,
        Step::Activation(_) => Some(Step::Activation(0)),
        Step::Branch { kernel, .. } => Some(Step::Branch { kernel: *kernel, function: 0 }),
        other => Some(other.clone()),
    };
    Recipe { steps: recipe.steps.iter().filter_map(step).collect(), ..recipe.clone() }
}

fn without_biases(graph: &Graph) -> Graph {
    let without_bias = |_: NodeIdx, node: &models::Node| match node.operator.reweighted(Reweighting::ORIGINAL, None) {
        Some(operator) => Ok(Rewrite::With(operator?)),
        None => Ok(Rewrite::Keep),
    };
    graph.rewritten(without_bias).unwrap()
}

/// The layers up to the logits that all ways from the input lead through.
fn narrow_layers(graph: &Graph) -> Vec<NodeIdx> {
    let end = graph.logits().node.0;
    let is_passed_by = |idx: usize| {
        let later = graph.nodes()[idx + 1..=end].iter();
        later.flat_map(|node| &node.inputs).any(|input| input.node.0 < idx)
    };
    (0..=end).filter(|idx| !is_passed_by(*idx)).map(NodeIdx).collect()
}

fn axes_of(graph: &Graph) -> OutputAxes {
    OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_of_two_equals_two_batches_of_one(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let both = trace(&graph, &inputs);
        let start = random_start(&graph, &both, 2, recipe.seed ^ 5);
        let together = walked(&graph, &both, &[0, 1], &start);
        for row in 0..2 {
            let alone = trace(&graph, &inputs.row(row).unwrap());
            let of_both = both.value(graph.output()).unwrap().row(row).unwrap().to_f64_vec().unwrap();
            close(&of_both, &alone.value(graph.output()).unwrap().to_f64_vec().unwrap(), 1e-12);
            let gradient = walked(&graph, &alone, &[0], &start.row(row).unwrap());
            close(&together[row * gradient.len()..][..gradient.len()], &gradient, 1e-12);
        }
    }

    #[test]
    fn evaluating_again_gives_the_same_to_the_bit(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let (first, second) = (trace(&graph, &inputs), trace(&graph, &inputs));
        prop_assert_eq!(first.value(graph.output()).unwrap().to_f64_vec().unwrap(), second.value(graph.output()).unwrap().to_f64_vec().unwrap());
        let start = random_start(&graph, &first, 2, recipe.seed);
        prop_assert_eq!(walked(&graph, &first, &[0, 1], &start), walked(&graph, &second, &[0, 1], &start));
    }

    #[test]
    fn merging_batch_norms_changes_no_output_and_no_gradient(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let merged = merge_batch_norms(&graph).unwrap();
        let (before, after) = (trace(&graph, &inputs), trace(&merged, &inputs));
        close(&before.value(graph.output()).unwrap().to_f64_vec().unwrap(), &after.value(merged.output()).unwrap().to_f64_vec().unwrap(), 1e-9);
        let start = random_start(&graph, &before, 2, recipe.seed ^ 9);
        close(&walked(&graph, &before, &[0, 1], &start), &walked(&merged, &after, &[0, 1], &start), 1e-9);
    }

    #[test]
    fn tensors_of_a_device_answer_as_the_kernels_do(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let on_device = graph.on_device(&Device::Cpu).unwrap();
        let (here, there) = (trace(&graph, &inputs), trace(&on_device, &inputs));
        close(&here.value(graph.output()).unwrap().to_f64_vec().unwrap(), &there.value(on_device.output()).unwrap().to_f64_vec().unwrap(), 1e-9);
        let start = random_start(&graph, &here, 3, recipe.seed ^ 7);
        close(&walked(&graph, &here, &[1, 0, 1], &start), &walked(&on_device, &there, &[1, 0, 1], &start), 1e-9);
        let maps = |graph: &Graph, trace: &Trace| {
            let targets = [second_class(graph, trace)];
            let question = Question { graph, trace, targets: &targets, at: input_of(graph), interrupt: &Uninterrupted };
            let rules = RuleTable::new(graph, &Preset::EpsilonPlusFlat, &BTreeMap::new(), false).unwrap();
            let relevance = lrp(&question, &rules, RelevanceStart::Score).unwrap().arrived;
            [whole(&question, guided_backprop(&question)), whole(&question, Ok(relevance))]
        };
        for (here, there) in maps(&graph, &here).iter().zip(&maps(&on_device, &there)) {
            close(here, there, 1e-9);
        }
    }

    #[test]
    fn gradients_are_linear_in_their_start(recipe in recipe(), factor in -3.0..3.0f64) {
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let (a, b) = (random_start(&graph, &trace, 2, recipe.seed ^ 1), random_start(&graph, &trace, 2, recipe.seed ^ 2));
        let mixed = a.map(|number| number * factor).unwrap().add(&b).unwrap();
        let (of_a, of_b) = (walked(&graph, &trace, &[0, 1], &a), walked(&graph, &trace, &[0, 1], &b));
        let expected: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| a * factor + b).collect();
        close(&walked(&graph, &trace, &[0, 1], &mixed), &expected, 1e-10);
    }

    #[test]
    fn gradients_are_finite_differences(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let input = inputs.row(0).unwrap();
        let trace_here = trace(&graph, &input);
        let start = random_start(&graph, &trace_here, 1, recipe.seed ^ 3);
        let weights = start.to_f64_vec().unwrap();
        let direction = Numbers(recipe.seed ^ 77).value(input.shape());
        let score_at = |step: f64| -> f64 {
            let moved = input.add(&direction.map(|number| number * step).unwrap()).unwrap();
            let logits = trace(&graph, &moved).value(graph.logits()).unwrap().to_f64_vec().unwrap();
            logits.iter().zip(&weights).map(|(logit, weight)| logit * weight).sum()
        };
        let slope = |step: f64| (score_at(step) - score_at(-step)) / (2.0 * step);
        let (near, nearer) = (slope(2e-6), slope(1e-6));
        // Between the two a kink of a rectifier or pool may lie, where there is no one derivative.
        prop_assume!((near - nearer).abs() <= 1e-5 * (near.abs() + 1e-3));
        let gradient = walked(&graph, &trace_here, &[0], &start);
        let along: f64 = gradient.iter().zip(&direction.to_f64_vec().unwrap()).map(|(g, d)| g * d).sum();
        prop_assert!((along - nearer).abs() <= 1e-4 * (nearer.abs() + 1e-3), "{} and {}", along, nearer);
    }

    #[test]
    fn many_targets_in_one_walk_are_each_as_if_alone(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let axes = axes_of(&graph);
        let of = |row, class, of| resolve(&graph, &trace, axes, row, &Target::Class { class, frame: None }, of).unwrap();
        let targets = [
            of(0, ClassChoice::Index(0), ScoreOf::Logit),
            of(1, ClassChoice::Index(2), ScoreOf::LogProbability),
            of(0, ClassChoice::Best, ScoreOf::Probability),
            of(1, ClassChoice::Index(1), ScoreOf::Output),
        ];
        let ask = |targets| Question { graph: &graph, trace: &trace, targets, at: input_of(&graph), interrupt: &Uninterrupted };
        let together = whole(&ask(&targets), saliency(&ask(&targets)));
        let guided = whole(&ask(&targets), guided_backprop(&ask(&targets)));
        for (nth, target) in targets.iter().enumerate() {
            let target = std::slice::from_ref(target);
            let alone = whole(&ask(target), saliency(&ask(target)));
            close(&together[nth * alone.len()..][..alone.len()], &alone, 1e-12);
            close(&guided[nth * alone.len()..][..alone.len()], &whole(&ask(target), guided_backprop(&ask(target))), 1e-12);
        }
    }

    #[test]
    fn a_score_changes_as_its_own_derivative_says(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let axes = axes_of(&graph);
        let target = Target::Class { class: ClassChoice::Index(1), frame: None };
        let probability = resolve(&graph, &trace, axes, 0, &target, ScoreOf::Probability).unwrap();
        let log = resolve(&graph, &trace, axes, 0, &target, ScoreOf::LogProbability).unwrap();
        let n_places = if recipe.is_sequence { trace.shape(graph.logits())[2] } else { 1 };
        prop_assert!(probability.score <= n_places as f64 + 1e-9 && log.score <= 1e-9);
        // Adding the same number to all logits of a place changes no probability.
        let sum: f64 = log.gradient.iter().map(|(_, weight)| weight).sum();
        prop_assert!(sum.abs() < 1e-9, "{}", sum);
    }

    #[test]
    fn nothing_outside_its_cone_matters_to_a_target(recipe in recipe(), frame in 0..20usize) {
        let recipe = Recipe { is_sequence: recipe.lengths.len() == 1, ..recipe };
        prop_assume!(recipe.is_sequence);
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let n_frames = trace.shape(graph.logits())[2];
        let target = Target::Class { class: ClassChoice::Index(1), frame: Some(frame % n_frames) };
        let target = resolve(&graph, &trace, axes_of(&graph), 0, &target, ScoreOf::Logit).unwrap();
        let places = cone(&graph, &trace, &target, input_of(&graph)).unwrap().remove(0);
        let targets = [target];
        let question = Question { graph: &graph, trace: &trace, targets: &targets, at: input_of(&graph), interrupt: &Uninterrupted };
        let gradient = whole(&question, saliency(&question));
        let length = trace.shape(input_of(&graph))[2];
        let outside = gradient.into_iter().enumerate().filter(|(index, _)| !places.contains(&(index % length)));
        prop_assert!(outside.map(|(_, number)| number).all(|number| number == 0.0));
    }

    #[test]
    fn windows_of_neurons_at_different_places_walk_as_whole_values_do(
        recipe in recipe(),
        at in any::<prop::sample::Index>(),
        places in prop::collection::vec(any::<u64>(), 3),
    ) {
        let lengths = if recipe.lengths.len() == 1 { vec![61] } else { vec![14, 17] };
        let (graph, inputs) = built(&Recipe { lengths, ..recipe });
        let trace = trace(&graph, &inputs);
        let layers: Vec<usize> =
            (0..graph.nodes().len()).filter(|idx| trace.shape(outlet(*idx)).len() == inputs.shape().len()).collect();
        let layer = outlet(layers[at.index(layers.len())]);
        let shape = trace.shape(layer).to_vec();
        let neuron = |nth: usize, place: &u64| {
            let position = shape[2..].iter().map(|length| (*place as usize >> nth) % length).collect();
            let target = Target::Unit { layer, channel: Some(0), position: Some(position) };
            resolve(&graph, &trace, axes_of(&graph), nth % 2, &target, ScoreOf::Logit).unwrap()
        };
        let targets: Vec<_> = places.iter().enumerate().map(|(nth, place)| neuron(nth, place)).collect();
        let question = Question { graph: &graph, trace: &trace, targets: &targets, at: input_of(&graph), interrupt: &Uninterrupted };
        let in_windows = whole(&question, saliency(&question));

        let per_row: usize = shape[1..].iter().product();
        let mut start = vec![0.0; targets.len() * per_row];
        for (pair, target) in targets.iter().enumerate() {
            target.gradient.iter().for_each(|(index, weight)| start[pair * per_row + index] += weight);
        }
        let start_shape: Vec<usize> = [targets.len()].into_iter().chain(shape[1..].iter().copied()).collect();
        let start = Value::from_vec(start, &start_shape, Layout::Logical).unwrap();
        let rows: Vec<usize> = targets.iter().map(|target| target.row).collect();
        let walk = Walk { graph: &graph, trace: &trace, rows: &rows, composite: &PlainGradient, interrupt: &Uninterrupted, observer: None };
        let found = walk.run(&[Start::whole(layer, start)], &[input_of(&graph)]).unwrap().remove(0);
        close(&in_windows, &found.value.to_f64_vec().unwrap(), 1e-12);

        // One walk that is read at every layer that it passes, at the first of them twice.
        let read_at = |at| Question { at, ..question };
        let passed = |at: &Outlet| saliency(&read_at(*at)).is_ok();
        let mut passed: Vec<Outlet> = layers.iter().map(|idx| outlet(*idx)).filter(passed).collect();
        passed.push(passed[0]);
        for (arrived, at) in GradientMethod::Saliency.at(&question, &passed).unwrap().into_iter().zip(passed) {
            close(&whole(&read_at(at), Ok(arrived)), &whole(&read_at(at), saliency(&read_at(at))), 1e-12);
        }
    }

    #[test]
    fn single_precision_agrees_with_double(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let single = graph.to_dtype(DType::F32).unwrap();
        let trace_single = trace(&single, &inputs.to_dtype(DType::F32).unwrap());
        let output = |graph: &Graph, trace: &Trace| trace.value(graph.logits()).unwrap().to_f64_vec().unwrap();
        close(&output(&single, &trace_single), &output(&graph, &trace(&graph, &inputs)), 1e-4);
        prop_assert_eq!(trace_single.value(single.logits()).unwrap().layout() == Layout::Logical, trace(&graph, &inputs).value(graph.logits()).unwrap().layout() == Layout::Logical);
    }

    #[test]
    fn relevance_is_conserved_without_biases(recipe in recipe()) {
        let (graph, inputs) = built(&homogeneous(&recipe));
        let graph = without_biases(&graph);
        // So large that what is added to denominators is nothing.
        let trace = trace(&graph, &inputs.map(|number| 1e6 * number).unwrap());
        let weighted = |idx: &usize| graph.nodes()[*idx].operator.reweighted(Reweighting::ORIGINAL, None).is_some();
        let gamma = |idx| (NodeIdx(idx), LayerRule::Gamma { gamma: 0.25 });
        let gammas: BTreeMap<_, _> = (0..graph.nodes().len()).filter(weighted).map(gamma).collect();
        for rules in [BTreeMap::new(), gammas] {
            let rules = RuleTable::new(&graph, &Preset::Epsilon, &rules, false).unwrap();
            let Relevance { arrived, sums } = relevance_of_second_class(&graph, &trace, &rules);
            let at_input = arrived.into_whole(trace.shape(input_of(&graph))).unwrap().to_f64_vec().unwrap();
            let size: f64 = at_input.iter().map(|number| number.abs()).sum();
            let (read, started) = (at_input.iter().sum::<f64>(), second_class(&graph, &trace).score);
            prop_assert!((read - started).abs() <= 1e-3 * size.max(started.abs()), "{} of {}", read, started);
            prop_assert!((sums[0].1[0] - read).abs() <= 1e-9 * size.max(1e-9));
            // Where everything passes one layer, behind a sum of branches or before them, all of it is there.
            let narrow = narrow_layers(&graph);
            prop_assert!(narrow.len() >= 2, "input and logits are such layers");
            for (idx, of_targets) in sums.iter().filter(|(idx, _)| narrow.contains(idx)) {
                let lost = (of_targets[0] - started).abs();
                prop_assert!(lost <= 1e-3 * size.max(started.abs()), "{:?}: {} of {}", idx, of_targets[0], started);
            }
        }
    }

    #[test]
    fn without_biases_epsilon_is_gradient_times_input_on_rectifier_networks(recipe in recipe()) {
        let recipe = homogeneous(&recipe);
        let (graph, inputs) = built(&recipe);
        let graph = without_biases(&graph);
        // So large that what is added to denominators is nothing.
        let trace = trace(&graph, &inputs.map(|number| 1e9 * number).unwrap());
        let rules = RuleTable::new(&graph, &Preset::Epsilon, &BTreeMap::new(), false).unwrap();
        let relevance = relevance_of_second_class(&graph, &trace, &rules);
        let target = [second_class(&graph, &trace)];
        let question = Question { graph: &graph, trace: &trace, targets: &target, at: input_of(&graph), interrupt: &Uninterrupted };
        let expected = whole(&question, input_x_gradient(&question));
        close(&whole(&question, Ok(relevance.arrived)), &expected, 1e-6);
        // And then nothing is lost on the way either.
        let sum: f64 = expected.iter().sum();
        prop_assert!((sum - target[0].score).abs() <= 1e-6 * (1.0 + expected.iter().map(|number| number.abs()).sum::<f64>()));
    }

    #[test]
    fn z_plus_is_alpha_one_beta_zero(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let with = |rule: LayerRule| {
            let weighted = |idx: &usize| matches!(graph.nodes()[*idx].operator.family(), Family::Convolution | Family::Dense);
            let rules = (0..graph.nodes().len()).filter(weighted).map(|idx| (NodeIdx(idx), rule.clone())).collect();
            let rules = RuleTable::new(&graph, &Preset::Epsilon, &rules, false).unwrap();
            relevance_of_second_class(&graph, &trace, &rules).arrived.into_whole(trace.shape(input_of(&graph))).unwrap().to_f64_vec().unwrap()
        };
        close(&with(LayerRule::ZPlus), &with(LayerRule::AlphaBeta { alpha: 1.0, beta: 0.0 }), 1e-12);
    }

    #[test]
    fn relevance_of_many_targets_is_each_as_if_alone(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let trace = trace(&graph, &inputs);
        let axes = axes_of(&graph);
        let of = |row, class| {
            let target = Target::Class { class: ClassChoice::Index(class), frame: None };
            resolve(&graph, &trace, axes, row, &target, ScoreOf::Logit).unwrap()
        };
        let targets = [of(0, 0), of(1, 2), of(0, 1)];
        let rules = RuleTable::new(&graph, &Preset::EpsilonAlpha2Beta1, &BTreeMap::new(), false).unwrap();
        let ask = |targets| {
            let question = Question { graph: &graph, trace: &trace, targets, at: input_of(&graph), interrupt: &Uninterrupted };
            let Relevance { arrived, sums } = lrp(&question, &rules, RelevanceStart::Score).unwrap();
            (whole(&question, Ok(arrived)), sums)
        };
        let (together, sums) = ask(&targets);
        for (nth, target) in targets.iter().enumerate() {
            let (alone, sums_alone) = ask(std::slice::from_ref(target));
            close(&together[nth * alone.len()..][..alone.len()], &alone, 1e-9);
            for ((idx, of_all), (idx_alone, of_one)) in sums.iter().zip(&sums_alone) {
                prop_assert_eq!(idx, idx_alone);
                prop_assert!((of_all[nth] - of_one[0]).abs() <= 1e-9 * (1.0 + of_one[0].abs()));
            }
        }
    }

    #[test]
    fn integrated_gradients_of_smooth_networks_are_complete(recipe in recipe()) {
        let smooth = |step: &Step| match step {
            Step::Activation(which) => Some(Step::Activation(3 + which % 3)),
            Step::MaxPool { .. } | Step::Concat => None,
            other => Some(other.clone()),
        };
        let (graph, inputs) = built(&Recipe { steps: recipe.steps.iter().filter_map(smooth).collect(), ..recipe });
        let inputs = inputs.row(0).unwrap();
        let trace = trace(&graph, &inputs);
        let target = [second_class(&graph, &trace)];
        let question = Question { graph: &graph, trace: &trace, targets: &target, at: input_of(&graph), interrupt: &Uninterrupted };
        let baseline = introspection::baseline::constant(&inputs, 0.3).unwrap();
        let complete = integrated_gradients(&question, &baseline, 50, Quadrature::GaussLegendre).unwrap();
        let size: f64 = complete.maps.to_f64_vec().unwrap().iter().map(|number| number.abs()).sum();
        prop_assert!(complete.gaps[0].abs() <= 1e-6 * (size + 1.0), "{} of {}", complete.gaps[0], size);
    }

    #[test]
    fn deep_lift_is_complete_where_max_pools_share(recipe in recipe()) {
        let (graph, inputs) = built(&recipe);
        let inputs = inputs.row(0).unwrap();
        let trace = trace(&graph, &inputs);
        let target = [second_class(&graph, &trace)];
        let question = Question { graph: &graph, trace: &trace, targets: &target, at: input_of(&graph), interrupt: &Uninterrupted };
        let baseline = introspection::baseline::constant(&inputs, 0.3).unwrap();
        let complete = deep_lift(&question, &baseline, MaxPoolRule::CrossMax).unwrap();
        let size: f64 = complete.maps.to_f64_vec().unwrap().iter().map(|number| number.abs()).sum();
        prop_assert!(complete.gaps[0].abs() <= 1e-6 * (size + 1.0), "{} of {}", complete.gaps[0], size);
    }
}
