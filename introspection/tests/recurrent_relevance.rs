//! Relevance through LSTM and GRU layers against what its rules mean.
//!
//! With every gate and every slope of a tanh held at what it was, such a layer is linear in its input, and the rules of
//! Arras et al. 2017 with ε = 0 give each number of the input what the target is in response to that number alone. The
//! twin below computes these responses forward in time, one number of the input at a time.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use introspection::{
    LayerRule, OutputAxes, Preset, Question, RelevanceStart, RuleTable, ScoreOf, Target, deep_taylor, lrp, resolve,
};
use models::operators::{Direction, Gru, LastState, Lstm, Operator, RecurrentParams};
use models::{Dim, Graph, GraphBuilder, Layout, NodeIdx, Outlet, Trace, Uninterrupted, Value};

const STEPS: usize = 6;
const FEATURES: usize = 3;
const UNITS: usize = 4;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    };
    (0..n).map(next).collect()
}

fn params(direction: Direction, n_gates: usize, has_bias: bool) -> RecurrentParams {
    let n = direction.n_directions();
    let tensor =
        |shape: &[usize], seed| Tensor::from_vec(random(shape.iter().product(), seed), shape, &Device::Cpu).unwrap();
    RecurrentParams {
        direction,
        input_weight: tensor(&[n, n_gates * UNITS, FEATURES], 1),
        recurrent_weight: tensor(&[n, n_gates * UNITS, UNITS], 2),
        bias: has_bias.then(|| tensor(&[n, 2 * n_gates * UNITS], 3)),
        initial_hidden: None,
    }
}

/// One layer and the states that it ends with.
fn network(layer: impl Operator + 'static, direction: Direction) -> Graph {
    let mut builder = GraphBuilder::new();
    let input = builder.input("input", &[Dim::Any(STEPS), Dim::Known(FEATURES)]).unwrap();
    let states = builder.add("layer", layer, &[input]).unwrap();
    let last = builder.add("last", LastState { direction }, &[states]).unwrap();
    builder.finish(&[("output", last), ("states", states)]).unwrap()
}

struct Asked {
    graph: Graph,
    trace: Trace,
}

impl Asked {
    fn of(graph: Graph) -> Asked {
        let input = Value::from_vec(random(STEPS * FEATURES, 9), &[1, STEPS, FEATURES], Layout::Logical).unwrap();
        let trace = Trace::record(&graph, &[input], &Uninterrupted).unwrap();
        Asked { graph, trace }
    }

    fn numbers(&self, port: usize) -> Vec<f64> {
        let layer = self.graph.layer("layer").unwrap();
        self.trace.value(Outlet { port, ..layer }).unwrap().to_f64_vec().unwrap()
    }

    /// Relevance of the input for one unit of one step, which starts as what the unit computed.
    fn relevance(&self, target: &Target, preset: &Preset, rule: LayerRule, zero_bias: bool) -> (Vec<f64>, f64) {
        let layer = self.graph.layer("layer").unwrap();
        let axes = OutputAxes::with_class(2, 3);
        let targets = [resolve(&self.graph, &self.trace, axes, 0, target, ScoreOf::Logit).unwrap()];
        let at = Outlet { node: self.graph.inputs()[0], port: 0 };
        let (graph, trace) = (&self.graph, &self.trace);
        let question = Question { graph, trace, targets: &targets, at, interrupt: &Uninterrupted };
        let rules = RuleTable::new(graph, preset, &BTreeMap::from([(layer.node, rule)]), zero_bias).unwrap();
        let relevance = lrp(&question, &rules, RelevanceStart::Score).unwrap();
        (question.whole(relevance.arrived).unwrap().to_f64_vec().unwrap(), targets[0].score)
    }
}

/// What an LSTM direction's states are in response to one number of the input alone, `[step, unit]` in its own order.
fn lstm_response(asked: &Asked, params: &RecurrentParams, direction: usize, only: (usize, usize)) -> Vec<Vec<f64>> {
    let n_directions = params.direction.n_directions();
    let (cells, gates) = (asked.numbers(1), asked.numbers(2));
    let x = asked.trace.value(asked.graph.layer("input").unwrap()).unwrap().to_f64_vec().unwrap();
    let list = |tensor: &Tensor| tensor.get(direction).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (w, r) = (list(&params.input_weight), list(&params.recurrent_weight));
    let is_reversed = params.direction.is_reversed(direction);
    let (mut c, mut h) = (vec![0.0; UNITS], vec![0.0; UNITS]);
    let mut states = Vec::new();
    for nth in 0..STEPS {
        let step = if is_reversed { STEPS - 1 - nth } else { nth };
        let place = step * n_directions + direction;
        let gate = |which: usize, unit: usize| gates[place * 4 * UNITS + which * UNITS + unit];
        let before = h.clone();
        for unit in 0..UNITS {
            let row = 3 * UNITS + unit;
            let candidate = gate(3, unit);
            let slope = candidate / candidate.atanh();
            let of_input = if step == only.0 { w[row * FEATURES + only.1] * x[step * FEATURES + only.1] } else { 0.0 };
            let of_state: f64 = (0..UNITS).map(|from| r[row * UNITS + from] * before[from]).sum();
            c[unit] = gate(2, unit) * c[unit] + gate(0, unit) * slope * (of_input + of_state);
            let cell = cells[place * UNITS + unit];
            h[unit] = gate(1, unit) * cell.tanh() / cell * c[unit];
        }
        states.push(h.clone());
    }
    states
}

/// The same of a GRU.
fn gru_response(asked: &Asked, params: &RecurrentParams, direction: usize, only: (usize, usize)) -> Vec<Vec<f64>> {
    let n_directions = params.direction.n_directions();
    let gates = asked.numbers(1);
    let x = asked.trace.value(asked.graph.layer("input").unwrap()).unwrap().to_f64_vec().unwrap();
    let list = |tensor: &Tensor| tensor.get(direction).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (w, r) = (list(&params.input_weight), list(&params.recurrent_weight));
    let resets_product = asked.graph.node(NodeIdx(1)).operator.as_gru().unwrap().linear_before_reset();
    let is_reversed = params.direction.is_reversed(direction);
    let mut h = vec![0.0; UNITS];
    let mut states = Vec::new();
    for nth in 0..STEPS {
        let step = if is_reversed { STEPS - 1 - nth } else { nth };
        let place = step * n_directions + direction;
        let gate = |which: usize, unit: usize| gates[place * 3 * UNITS + which * UNITS + unit];
        let before = h.clone();
        for unit in 0..UNITS {
            let row = 2 * UNITS + unit;
            let (z, candidate) = (gate(0, unit), gate(2, unit));
            let slope = candidate / candidate.atanh();
            let of_input = if step == only.0 { w[row * FEATURES + only.1] * x[step * FEATURES + only.1] } else { 0.0 };
            let reset = |from: usize| gate(1, if resets_product { unit } else { from });
            let of_state: f64 = (0..UNITS).map(|from| reset(from) * r[row * UNITS + from] * before[from]).sum();
            h[unit] = (1.0 - z) * slope * (of_input + of_state) + z * before[unit];
        }
        states.push(h.clone());
    }
    states
}

type Response = fn(&Asked, &RecurrentParams, usize, (usize, usize)) -> Vec<Vec<f64>>;

fn check(layer: impl Operator + 'static, params: &RecurrentParams, response: Response) {
    let asked = Asked::of(network(layer, params.direction));
    let states = asked.graph.layer("layer").unwrap();
    for direction in 0..params.direction.n_directions() {
        for (step, unit) in [(0, 1), (2, 3), (STEPS - 1, 0)] {
            let target = Target::Unit { layer: states, channel: Some(unit), position: Some(vec![step, direction]) };
            let exact = LayerRule::Epsilon { epsilon: 1e-13 };
            let (relevance, _) = asked.relevance(&target, &Preset::EpsilonPlus, exact, false);
            let nth = if params.direction.is_reversed(direction) { STEPS - 1 - step } else { step };
            for (index, found) in relevance.iter().enumerate() {
                let only = (index / FEATURES, index % FEATURES);
                let expected = response(&asked, params, direction, only)[nth][unit];
                assert!((found - expected).abs() < 1e-9, "{only:?} for {unit} at {step}: {found} is not {expected}");
            }
        }
    }
}

const DIRECTIONS: [Direction; 3] = [Direction::Forward, Direction::Reverse, Direction::Bidirectional];

#[test]
fn an_lstm_gives_each_number_what_the_state_is_in_response_to_it() {
    for direction in DIRECTIONS {
        for has_bias in [true, false] {
            let params = params(direction, 4, has_bias);
            check(Lstm::new(params.clone(), None).unwrap(), &params, lstm_response);
        }
    }
}

#[test]
fn a_gru_gives_each_number_what_the_state_is_in_response_to_it() {
    for direction in DIRECTIONS {
        for (has_bias, linear_before_reset) in [(true, true), (true, false), (false, true), (false, false)] {
            let params = params(direction, 3, has_bias);
            check(Gru::new(params.clone(), linear_before_reset).unwrap(), &params, gru_response);
        }
    }
}

#[test]
fn nothing_is_lost_without_biases() {
    let direction = Direction::Bidirectional;
    let whole = Target::Unit { layer: Outlet { node: NodeIdx(2), port: 0 }, channel: Some(2), position: Some(vec![1]) };
    let epsilon = || LayerRule::Epsilon { epsilon: 1e-6 };
    let conserves = |graph: Graph, zero_bias: bool| {
        let (relevance, score) = Asked::of(graph).relevance(&whole, &Preset::EpsilonPlus, epsilon(), zero_bias);
        let size: f64 = relevance.iter().map(|number| number.abs()).sum();
        let sum: f64 = relevance.iter().sum();
        assert!(size > 1e-3 && score.abs() > 1e-3, "there is something to share out");
        ((sum - score) / score).abs()
    };
    for has_bias in [true, false] {
        let lstm = || network(Lstm::new(params(direction, 4, has_bias), None).unwrap(), direction);
        let gru = || network(Gru::new(params(direction, 3, has_bias), true).unwrap(), direction);
        for graph in [lstm(), gru()] {
            let lost = conserves(graph, false);
            assert_eq!(lost < 1e-3, !has_bias, "{lost}");
        }
    }
    // Left out of the denominators, biases take nothing of what passes weighted sums.
    let (with, without) = (params(direction, 4, true), params(direction, 4, false));
    let lost = |params: RecurrentParams| conserves(network(Lstm::new(params, None).unwrap(), direction), true);
    assert!(lost(with) < 1e-3 && lost(without) < 1e-3);
}

/// A cell or a gate can be asked about as well: a gate's relevance is that of the weighted sum before it.
#[test]
fn cells_and_gates_are_targets_too() {
    let direction = Direction::Forward;
    let asked = Asked::of(network(Lstm::new(params(direction, 4, false), None).unwrap(), direction));
    let states = asked.graph.layer("layer").unwrap();
    for (port, channel) in [(1, 2), (2, 5)] {
        let target =
            Target::Unit { layer: Outlet { port, ..states }, channel: Some(channel), position: Some(vec![3, 0]) };
        let epsilon = LayerRule::Epsilon { epsilon: 1e-9 };
        let (relevance, score) = asked.relevance(&target, &Preset::EpsilonPlus, epsilon, false);
        assert!((relevance.iter().sum::<f64>() - score).abs() < 1e-3 * score.abs(), "output {port}");
        assert!(relevance[4 * FEATURES..].iter().all(|number| *number == 0.0), "nothing comes from later steps");
    }
}

#[test]
fn what_does_not_fit_a_recurrent_layer_is_named() {
    let direction = Direction::Forward;
    let graph = network(Lstm::new(params(direction, 4, true), None).unwrap(), direction);
    let node = graph.layer("layer").unwrap().node;
    let refused =
        |rule| RuleTable::new(&graph, &Preset::EpsilonPlus, &BTreeMap::from([(node, rule)]), false).unwrap_err();
    assert_eq!(
        refused(LayerRule::ZPlus).to_string(),
        "rule z_plus at `layer`: LSTM is made of gates and sums; it takes epsilon or gradient"
    );
    let domain = introspection::InputDomain::Real;
    assert_eq!(
        deep_taylor(&graph, graph.logits(), &domain).unwrap_err().to_string(),
        "deep Taylor decomposition holds for ReLU networks alone, and `layer` (LSTM) has gates, which are no \
         rectifiers; use lrp instead"
    );
    let asked = Asked::of(graph);
    let rules = RuleTable::new(&asked.graph, &Preset::ExcitationBackprop, &BTreeMap::new(), false).unwrap();
    let target =
        Target::Unit { layer: Outlet { node: NodeIdx(2), port: 0 }, channel: Some(2), position: Some(vec![0]) };
    let axes = OutputAxes::with_class(2, 3);
    let targets = [resolve(&asked.graph, &asked.trace, axes, 0, &target, ScoreOf::Logit).unwrap()];
    let at = Outlet { node: asked.graph.inputs()[0], port: 0 };
    let (graph, trace) = (&asked.graph, &asked.trace);
    let question = Question { graph, trace, targets: &targets, at, interrupt: &Uninterrupted };
    assert_eq!(
        lrp(&question, &rules, RelevanceStart::Score).unwrap_err().to_string(),
        "layer `layer`: LSTM: this composite has no rule for it; give it `epsilon` or `gradient` by name with `rules`, \
         or take another composite"
    );
}
