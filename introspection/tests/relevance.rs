//! Relevance propagation against zennit's answers and against its rules' definitions, one weight at a time; all in f64.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use introspection::backward_walk::Rule;
use introspection::rules::WeightedSum;
use introspection::{
    ClassChoice, LayerRule, OutputAxes, Preset, Quadrature, Question, RelevanceStart, ResolvedTarget, RuleTable,
    ScoreOf, Target, deconvnet, guided_backprop, integrated_gradients, lrp, resolve, saliency,
};
use models::operators::{
    Activation, Backward, BatchNorm, Convolution, ConvolutionParams, Dense, Flatten, NodeValues, Operator,
    PointwiseFunction,
};
use models::passes::merge_batch_norms;
use models::{Dim, Graph, GraphBuilder, Layout, NodeIdx, Outlet, Trace, Uninterrupted, Value};
use serde_json::Value as Json;

fn numbers(json: &Json, into: &mut Vec<f64>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| numbers(item, into)),
        number => into.push(number.as_f64().unwrap()),
    }
}

fn shape(json: &Json) -> Vec<usize> {
    match json {
        Json::Array(items) => std::iter::once(items.len()).chain(shape(&items[0])).collect(),
        _ => vec![],
    }
}

fn tensor(json: &Json) -> Tensor {
    let mut flat = Vec::new();
    numbers(json, &mut flat);
    Tensor::from_vec(flat, shape(json), &Device::Cpu).unwrap()
}

/// Conv1d(2, 3, k3) [BatchNorm] ReLU Conv1d(3, 3, k3, stride 2) ReLU Flatten Linear(9, 4) ReLU Linear(4, 2).
fn network(weights: &Json, has_batch_norm: bool) -> Graph {
    let of = |layer: usize, name: &str| tensor(&weights[format!("{layer}.{name}")]);
    let convolution = |layer: usize, stride: usize| {
        let plain = ConvolutionParams::plain(of(layer, "weight"), Some(of(layer, "bias")));
        Convolution::new(ConvolutionParams { stride: vec![stride], ..plain }).unwrap()
    };
    let dense = |layer: usize| Dense::new(of(layer, "weight"), Some(of(layer, "bias"))).unwrap();
    let relu = || Activation::new(PointwiseFunction::Relu);
    let mut builder = GraphBuilder::new();
    let mut at = builder.input("input", &[Dim::Known(2), Dim::Known(9)]).unwrap();
    at = builder.add("conv1", convolution(0, 1), &[at]).unwrap();
    let shift = usize::from(has_batch_norm);
    if has_batch_norm {
        let norm = BatchNorm::new(of(1, "weight"), of(1, "bias"), of(1, "running_mean"), of(1, "running_var"), 1e-5);
        at = builder.add("norm", norm.unwrap(), &[at]).unwrap();
    }
    at = builder.add("relu1", relu(), &[at]).unwrap();
    at = builder.add("conv2", convolution(2 + shift, 2), &[at]).unwrap();
    at = builder.add("relu2", relu(), &[at]).unwrap();
    at = builder.add("flatten", Flatten { axis: 1 }, &[at]).unwrap();
    at = builder.add("dense1", dense(5 + shift), &[at]).unwrap();
    at = builder.add("relu3", relu(), &[at]).unwrap();
    at = builder.add("dense2", dense(7 + shift), &[at]).unwrap();
    let graph = builder.finish(&[("output", at)]).unwrap();
    merge_batch_norms(&graph).unwrap()
}

fn target_of(graph: &Graph, trace: &Trace, class: usize) -> ResolvedTarget {
    let axes = OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0]);
    let target = Target::Class { class: ClassChoice::Index(class), frame: None };
    resolve(graph, trace, axes, 0, &target, ScoreOf::Logit).unwrap()
}

#[test]
fn every_composite_answers_as_zennit_does() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/lrp-rules.json");
    let golden: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let input = Value::from_tensor(&tensor(&golden["input"])).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let has_batch_norm = case["batchnorm"].as_bool().unwrap();
        let graph = network(&golden["nets"][if has_batch_norm { "bn" } else { "plain" }], has_batch_norm);
        let trace = Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
        let targets = [target_of(&graph, &trace, case["target"].as_u64().unwrap() as usize)];
        let at = Outlet { node: graph.inputs()[0], port: 0 };
        let question = Question { graph: &graph, trace: &trace, targets: &targets, at, interrupt: &Uninterrupted };
        let name = case["composite"].as_str().unwrap();
        let preset = match name {
            "epsilon_plus" => Some(Preset::EpsilonPlus),
            "epsilon_plus_flat" => Some(Preset::EpsilonPlusFlat),
            "epsilon_alpha2_beta1" => Some(Preset::EpsilonAlpha2Beta1),
            "epsilon_alpha2_beta1_flat" => Some(Preset::EpsilonAlpha2Beta1Flat),
            "epsilon_gamma_box" => Some(Preset::EpsilonGammaBox { low: vec![-1.0], high: vec![1.0] }),
            "excitation_backprop" => Some(Preset::ExcitationBackprop),
            _ => None,
        };
        let arrived = match (name, preset) {
            (_, Some(preset)) => {
                let rules = RuleTable::new(&graph, &preset, &BTreeMap::new(), case["zero_params"] == "bias").unwrap();
                lrp(&question, &rules, RelevanceStart::One).unwrap().arrived
            }
            ("guided_backprop", _) => guided_backprop(&question).unwrap(),
            ("deconvnet", _) => deconvnet(&question).unwrap(),
            ("gradient", _) => saliency(&question).unwrap(),
            (other, _) => panic!("no composite {other}"),
        };
        let found = question.whole(arrived).unwrap().to_f64_vec().unwrap();
        let mut expected = Vec::new();
        numbers(&case["relevance"], &mut expected);
        let largest = expected.iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5 * largest, "{case}: {found} is not {expected}");
        }
    }
}

/// What a node read.
#[derive(Debug)]
struct Read(Value);

impl NodeValues for Read {
    fn input_shape(&self, _nth: usize) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    fn input(&self, _nth: usize) -> models::Result<Value> {
        Ok(self.0.clone())
    }

    fn output(&self, _nth: usize) -> models::Result<Value> {
        unreachable!("rules for weighted sums compute their own")
    }
}

fn random(shape: &[usize], seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    };
    (0..shape.iter().product()).map(|_| next()).collect()
}

fn stab(number: f64) -> f64 {
    if number < 0.0 { number - 1e-6 } else { number + 1e-6 }
}

/// The definitions of `algorithms.md`, 1, one weight at a time: contributions of `x` through `w` to each output, by rule.
fn by_definition(rule: &LayerRule, x: &[f64], w: &[Vec<f64>], b: &[f64], relevance: &[f64]) -> Vec<f64> {
    let mut passed = vec![0.0; x.len()];
    for (j, w) in w.iter().enumerate() {
        let z: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b[j];
        let (p, n) = (|v: f64| v.max(0.0), |v: f64| v.min(0.0));
        // Each share: its factor, the contribution of an input, and the bias in the denominator.
        type Contribution<'a> = Box<dyn Fn(f64, f64) -> f64 + 'a>;
        let shares: Vec<(f64, Contribution<'_>, f64)> = match rule {
            LayerRule::Epsilon { .. } => vec![(1.0, Box::new(|x, w| x * w), b[j])],
            LayerRule::ZPlus => vec![(1.0, Box::new(move |x, w| p(x) * p(w) + n(x) * n(w)), p(b[j]))],
            LayerRule::AlphaBeta { alpha, beta } => vec![
                (*alpha, Box::new(move |x, w| p(x) * p(w) + n(x) * n(w)), p(b[j])),
                (-beta, Box::new(move |x, w| p(x) * n(w) + n(x) * p(w)), n(b[j])),
            ],
            LayerRule::Gamma { gamma } if z > 0.0 => vec![(
                1.0,
                Box::new(move |x, w| p(x) * (w + gamma * p(w)) + n(x) * (w + gamma * n(w))),
                b[j] + gamma * p(b[j]),
            )],
            LayerRule::Gamma { gamma } => vec![(
                1.0,
                Box::new(move |x, w| p(x) * (w + gamma * n(w)) + n(x) * (w + gamma * p(w))),
                b[j] + gamma * n(b[j]),
            )],
            LayerRule::ZBox { low, high } => {
                let (low, high) = (low[0], high[0]);
                vec![(1.0, Box::new(move |x, w| x * w - low * p(w) - high * n(w)), 0.0)]
            }
            LayerRule::WSquare => vec![(1.0, Box::new(|_, w| w * w), b[j] * b[j])],
            LayerRule::Flat => vec![(1.0, Box::new(|_, _| 1.0), 0.0)],
            other => panic!("{other:?} is for no weighted sum"),
        };
        for (factor, contribution, bias) in shares {
            let total: f64 = x.iter().zip(w).map(|(&x, &w)| contribution(x, w)).sum::<f64>() + bias;
            for (passed, (&x, &w)) in passed.iter_mut().zip(x.iter().zip(w)) {
                *passed += factor * contribution(x, w) * relevance[j] / stab(total);
            }
        }
    }
    passed
}

fn rules() -> Vec<(LayerRule, WeightedSum)> {
    let (low, high) = (vec![-1.5], vec![1.25]);
    vec![
        (LayerRule::Epsilon { epsilon: 1e-6 }, WeightedSum::epsilon(1e-6)),
        (LayerRule::Gamma { gamma: 0.4 }, WeightedSum::gamma(0.4)),
        (LayerRule::ZPlus, WeightedSum::z_plus()),
        (LayerRule::AlphaBeta { alpha: 2.0, beta: 1.0 }, WeightedSum::alpha_beta(2.0, 1.0)),
        (LayerRule::ZBox { low: low.clone(), high: high.clone() }, WeightedSum::z_box(low, high)),
        (LayerRule::WSquare, WeightedSum::w_square()),
        (LayerRule::Flat, WeightedSum::flat()),
    ]
}

fn passed(rule: &WeightedSum, operator: impl Operator + 'static, x: Value, relevance: Value) -> Vec<f64> {
    let node = models::Node { name: "layer".to_owned(), operator: std::sync::Arc::new(operator), inputs: vec![] };
    let (values, gradients) = (Read(x), [Some(relevance)]);
    let backward = Backward { values: &values, gradients: &gradients, rows: &[0], wanted: &[true] };
    rule.pass(&node, &backward).unwrap().remove(0).unwrap().to_f64_vec().unwrap()
}

fn assert_close(name: &LayerRule, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{name:?}: {found} is not {expected}");
    }
}

#[test]
fn every_rule_equals_its_definition_at_dense_layers() {
    let (n_in, n_out) = (6, 4);
    for seed in 1..20 {
        let (x, w) = (random(&[n_in], seed), random(&[n_out, n_in], seed + 100));
        let (b, relevance) = (random(&[n_out], seed + 200), random(&[n_out], seed + 300));
        let rows: Vec<Vec<f64>> = w.chunks(n_in).map(<[f64]>::to_vec).collect();
        for (name, rule) in rules() {
            let weight = Tensor::from_vec(w.clone(), (n_out, n_in), &Device::Cpu).unwrap();
            let bias = Tensor::from_vec(b.clone(), n_out, &Device::Cpu).unwrap();
            let given = Value::from_vec(x.clone(), &[1, n_in], Layout::Logical).unwrap();
            let arrived = Value::from_vec(relevance.clone(), &[1, n_out], Layout::Logical).unwrap();
            let found = passed(&rule, Dense::new(weight, Some(bias)).unwrap(), given, arrived);
            assert_close(&name, &found, &by_definition(&name, &x, &rows, &b, &relevance));
        }
    }
}

#[test]
fn every_rule_equals_its_definition_at_strided_padded_convolutions() {
    // A convolution as the dense layer that it is, each output with the inputs that are really there.
    let (ins, outs, length, kernel, stride, padding) = (2usize, 3usize, 7usize, 3usize, 2usize, 1usize);
    let n_out = (length + 2 * padding - kernel) / stride + 1;
    for seed in 1..10 {
        let (x, w) = (random(&[ins, length], seed), random(&[outs, ins, kernel], seed + 100));
        let (b, relevance) = (random(&[outs], seed + 200), random(&[outs, n_out], seed + 300));
        for (name, rule) in rules() {
            let mut expected = vec![0.0; ins * length];
            for out in 0..outs {
                for place in 0..n_out {
                    let reads = |i: usize, tap: usize| {
                        (place * stride + tap).checked_sub(padding).filter(|at| *at < length).map(|at| i * length + at)
                    };
                    let taps = (0..ins).flat_map(|i| (0..kernel).map(move |tap| (i, tap)));
                    let there: Vec<(usize, f64)> =
                        taps.filter_map(|(i, tap)| Some((reads(i, tap)?, w[(out * ins + i) * kernel + tap]))).collect();
                    let read: Vec<f64> = there.iter().map(|(at, _)| x[*at]).collect();
                    let weights = vec![there.iter().map(|(_, w)| *w).collect()];
                    let share =
                        by_definition(&name, &read, &weights, &b[out..=out], &relevance[out * n_out + place..][..1]);
                    there.iter().zip(share).for_each(|((at, _), share)| expected[*at] += share);
                }
            }
            let weight = Tensor::from_vec(w.clone(), (outs, ins, kernel), &Device::Cpu).unwrap();
            let bias = Tensor::from_vec(b.clone(), outs, &Device::Cpu).unwrap();
            let plain = ConvolutionParams::plain(weight, Some(bias));
            let params = ConvolutionParams { stride: vec![stride], padding: vec![(padding, padding)], ..plain };
            let given = Value::from_vec(x.clone(), &[1, ins, length], Layout::Logical).unwrap();
            let arrived = Value::from_vec(relevance.clone(), &[1, outs, n_out], Layout::Logical).unwrap();
            let found = passed(&rule, Convolution::new(params).unwrap(), given, arrived);
            assert_close(&name, &found, &expected);
        }
    }
}

#[test]
fn what_fits_no_layer_is_refused_with_what_would() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/lrp-rules.json");
    let golden: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let graph = network(&golden["nets"]["plain"], false);
    let refused = |layer: &str, rule: LayerRule| {
        let rules = BTreeMap::from([(graph.layer(layer).unwrap().node, rule)]);
        RuleTable::new(&graph, &Preset::EpsilonPlus, &rules, false).unwrap_err().to_string()
    };
    assert_eq!(
        refused("relu1", LayerRule::ZPlus),
        "rule z_plus at `relu1`: Relu is no weighted sum; it takes norm, pass or gradient"
    );
    assert_eq!(
        refused("conv1", LayerRule::ZBox { low: vec![1.0], high: vec![0.0] }),
        "rule z_box at `conv1`: the low bound 1 is above the high bound 0"
    );
    assert_eq!(
        refused("conv1", LayerRule::AlphaBeta { alpha: 1.0, beta: 1.0 }),
        "rule alpha_beta at `conv1`: alpha 1 and beta 1 must be 0 or more, and alpha - beta must be 1"
    );
    let given = RuleTable::new(&graph, &Preset::EpsilonPlusFlat, &BTreeMap::new(), false).unwrap();
    let names: Vec<&str> = (0..graph.nodes().len()).map(|idx| given.name(NodeIdx(idx))).collect();
    assert_eq!(names, ["gradient", "flat", "pass", "z_plus", "pass", "gradient", "epsilon", "pass", "epsilon"]);
}

/// At a sum of branches each gets its share in proportion, and both together what arrived.
#[test]
fn relevance_of_branches_sums_up() {
    for seed in 1..20 {
        let shape = [1, 3, 4];
        let value = |seed: u64| Value::from_vec(random(&shape, seed), &shape, Layout::Logical).unwrap();
        let (a, b, relevance) = (value(seed), value(seed + 100), value(seed + 200));
        let sum = models::operators::Arithmetic::add(models::operators::Operand::Graph);
        let output = sum.forward(&[&a, &b]).unwrap().remove(0);
        let node = models::Node { name: "sum".to_owned(), operator: std::sync::Arc::new(sum), inputs: vec![] };
        let (values, gradients) = (Branches { inputs: [a, b], output }, [Some(relevance)]);
        let backward = Backward { values: &values, gradients: &gradients, rows: &[0], wanted: &[true, true] };
        let passed = introspection::rules::Proportional::SUM.pass(&node, &backward).unwrap();
        let list = |value: &Value| value.to_f64_vec().unwrap();
        let [to_a, to_b] = [0, 1].map(|nth| list(passed[nth].as_ref().unwrap()));
        let [a, b] = [0, 1].map(|nth| list(&values.inputs[nth]));
        for (place, arrived) in list(gradients[0].as_ref().unwrap()).into_iter().enumerate() {
            let total = a[place] + b[place];
            assert!((to_a[place] - a[place] * arrived / stab(total)).abs() < 1e-9);
            let lost = (to_a[place] + to_b[place] - arrived).abs();
            assert!(lost <= 1.1e-6 / total.abs() * arrived.abs(), "{lost} of {arrived} at {total}");
        }
    }
}

/// What a sum read and computed.
#[derive(Debug)]
struct Branches {
    inputs: [Value; 2],
    output: Value,
}

impl NodeValues for Branches {
    fn input_shape(&self, nth: usize) -> Vec<usize> {
        self.inputs[nth].shape().to_vec()
    }

    fn input(&self, nth: usize) -> models::Result<Value> {
        Ok(self.inputs[nth].clone())
    }

    fn output(&self, _nth: usize) -> models::Result<Value> {
        Ok(self.output.clone())
    }
}

/// A strided network along time whose input length is free or not.
fn sequence(length: fn(usize) -> Dim) -> Graph {
    let tensor = |shape: &[usize], seed: u64| Tensor::from_vec(random(shape, seed), shape, &Device::Cpu).unwrap();
    let convolution = |shape: &[usize], stride: usize, padding: (usize, usize), seed: u64| {
        let plain = ConvolutionParams::plain(tensor(shape, seed), Some(tensor(&shape[..1], seed + 1)));
        Convolution::new(ConvolutionParams { stride: vec![stride], padding: vec![padding], ..plain }).unwrap()
    };
    let mut builder = GraphBuilder::new();
    let mut at = builder.input("input", &[Dim::Known(3), length(90)]).unwrap();
    at = builder.add("conv1", convolution(&[4, 3, 6], 2, (2, 3), 1), &[at]).unwrap();
    at = builder.add("tanh", Activation::new(PointwiseFunction::Tanh), &[at]).unwrap();
    at = builder.add("conv2", convolution(&[4, 4, 3], 1, (1, 1), 3), &[at]).unwrap();
    at = builder.add("silu", Activation::new(PointwiseFunction::Silu), &[at]).unwrap();
    at = builder.add("conv3", convolution(&[5, 4, 4], 2, (1, 2), 5), &[at]).unwrap();
    builder.finish(&[("output", at)]).unwrap()
}

#[test]
fn a_frame_explained_by_its_own_part_of_the_input_is_as_by_the_whole() {
    let input = Value::from_vec(random(&[3, 90], 9), &[1, 3, 90], Layout::Logical).unwrap();
    let baseline = introspection::baseline::blur(&input).unwrap();
    for frame in [0, 1, 7, 11, 21, 22] {
        let maps = [Dim::Any as fn(usize) -> Dim, Dim::Known].map(|length| {
            let graph = sequence(length);
            let trace = Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
            let axes = OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0]);
            let target = Target::Class { class: ClassChoice::Index(2), frame: Some(frame) };
            let targets = [resolve(&graph, &trace, axes, 0, &target, ScoreOf::Probability).unwrap()];
            let at = Outlet { node: graph.inputs()[0], port: 0 };
            let question = Question { graph: &graph, trace: &trace, targets: &targets, at, interrupt: &Uninterrupted };
            let complete = integrated_gradients(&question, &baseline, 20, Quadrature::GaussLegendre).unwrap();
            assert!(complete.gaps[0].abs() < 1e-6, "frame {frame}: {}", complete.gaps[0]);
            complete.maps.to_f64_vec().unwrap()
        });
        let largest = maps[1].iter().fold(0.0f64, |largest, number| largest.max(number.abs()));
        assert!(largest > 0.0);
        for (own, whole) in maps[0].iter().zip(&maps[1]) {
            assert!((own - whole).abs() < 1e-12 * largest, "frame {frame}: {own} is not {whole}");
        }
    }
}
