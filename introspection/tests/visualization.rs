//! Feature visualisation on a small random network in f64: gradients against finite differences, ascents that rise,
//! seeds that repeat, numbers that leave the finite ones.

use candle_core::{Device, Tensor};
use introspection::visualization::{
    Ascent, Canvas, Decay, InputRange, Maximization, Maximized, Parameterization, Parameters, Prior, Regularizers,
    Transform, evaluate, maximize,
};
use introspection::{IntrospectionError, Objective, OutputAxes, ScoreOf, objective_gradient};
use models::operators::{
    Activation, Arithmetic, Convolution, ConvolutionParams, Dense, Mean, Operand, PointwiseFunction, Softmax,
};
use models::{
    Dim, Graph, GraphBuilder, Interrupt, Interrupted, Layout, ModelError, Outlet, Trace, Uninterrupted, Value,
};

const SHAPE: [usize; 3] = [3, 12, 10];

/// Numbers between -1 and 1 that follow from a seed.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

/// Two convolutions, a mean over places, three classes behind a softmax.
fn network() -> Graph {
    let mut builder = GraphBuilder::new();
    let shape = SHAPE.map(Dim::Known);
    let mut x = builder.input("input", &shape).unwrap();
    for (nth, (n_in, n_out)) in [(3, 4), (4, 5)].into_iter().enumerate() {
        let weight = tensor(&[n_out, n_in, 3, 3], nth as u64 + 1);
        let params = ConvolutionParams::plain(weight, Some(tensor(&[n_out], nth as u64 + 11)));
        x = builder.add(&format!("conv{nth}"), Convolution::new(params).unwrap(), &[x]).unwrap();
        x = builder.add(&format!("relu{nth}"), Activation::new(PointwiseFunction::Relu), &[x]).unwrap();
    }
    x = builder.add("mean", Mean::over(&[2, 3], false), &[x]).unwrap();
    let dense = Dense::new(tensor(&[3, 5], 5), Some(tensor(&[3], 6))).unwrap();
    x = builder.add("dense", dense, &[x]).unwrap();
    x = builder.add("softmax", Softmax { axis: 1 }, &[x]).unwrap();
    builder.finish(&[("output", x)]).unwrap()
}

fn layer(graph: &Graph, name: &str) -> Outlet {
    graph.layer(name).unwrap()
}

fn objectives(graph: &Graph) -> Vec<Objective> {
    let relu = layer(graph, "relu1");
    let conv = layer(graph, "conv1");
    let axes = OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0]);
    let score = |of| Objective::Score { class: 1, of, axes };
    let direction = |cosine_power| Objective::Direction { layer: conv, vector: numbers(5, 21), cosine_power };
    vec![
        Objective::Neuron { layer: conv, channel: 2, position: None },
        Objective::Neuron { layer: relu, channel: 1, position: Some(vec![0, 3]) },
        Objective::Channel { layer: conv, channel: 3 },
        Objective::Layer { layer: relu },
        score(ScoreOf::Logit),
        score(ScoreOf::Probability),
        direction(0.0),
        direction(2.0),
        Objective::Sum(vec![
            (0.5, Objective::Channel { layer: layer(graph, "conv0"), channel: 0 }),
            (-2.0, Objective::Layer { layer: conv }),
            (3.0, Objective::Neuron { layer: conv, channel: 0, position: None }),
        ]),
    ]
}

fn traced(graph: &Graph, input: &[f64], objective: &Objective) -> Trace {
    let shape: Vec<usize> = std::iter::once(input.len() / 360).chain(SHAPE).collect();
    let input = Value::from_vec(input.to_vec(), &shape, Layout::Logical).unwrap();
    Trace::record_up_to(graph, &[input], &objective.ends(graph), &Uninterrupted).unwrap()
}

#[test]
fn objectives_gradients_match_finite_differences() {
    let graph = network();
    let diversity = Objective::Diversity { layer: layer(&graph, "conv1") };
    let cases = objectives(&graph).into_iter().map(|objective| (1, objective));
    let of_two = objectives(&graph).into_iter().chain([diversity]).map(|objective| (2, objective));
    for (n_pictures, objective) in cases.chain(of_two) {
        let mut input = numbers(360 * n_pictures, 31);
        let trace = traced(&graph, &input, &objective);
        let (value, gradient) = objective_gradient(&graph, &trace, &objective, &Uninterrupted).unwrap();
        assert_eq!(gradient.shape()[0], n_pictures);
        assert_eq!(value, evaluate(&graph, &trace, &objective).unwrap());
        let gradient = gradient.to_f64_vec().unwrap();
        let value_at = |input: &[f64]| evaluate(&graph, &traced(&graph, input, &objective), &objective).unwrap();
        for index in (0..input.len()).step_by(17) {
            let original = input[index];
            input[index] = original + 1e-6;
            let above = value_at(&input);
            input[index] = original - 1e-6;
            let below = value_at(&input);
            input[index] = original;
            let expected = (above - below) / 2e-6;
            let is_close = (gradient[index] - expected).abs() < 1e-6 * (1.0 + expected.abs());
            assert!(is_close, "{objective:?} at {index}: {} but differences {expected}", gradient[index]);
        }
    }
}

/// The sums over pairs of pictures, written from the definition.
#[test]
fn diversity_is_its_definition() {
    let graph = network();
    let conv = layer(&graph, "conv1");
    let objective = Objective::Diversity { layer: conv };
    let trace = traced(&graph, &numbers(360 * 3, 8), &objective);
    let activation = trace.value(conv).unwrap().to_f64_vec().unwrap();
    let n_places = activation.len() / 15;
    let gram = |picture: usize| {
        let at = |channel: usize, place: usize| activation[(picture * 5 + channel) * n_places + place];
        let mut gram = [0.0; 25];
        for (index, number) in gram.iter_mut().enumerate() {
            *number = (0..n_places).map(|place| at(index / 5, place) * at(index % 5, place)).sum();
        }
        let length = gram.iter().map(|number| number * number).sum::<f64>().sqrt();
        gram.iter().map(|number| number / length).collect::<Vec<f64>>()
    };
    let mut expected = 0.0;
    for one in 0..3 {
        for other in (0..3).filter(|other| *other != one) {
            expected += gram(one).iter().zip(gram(other)).map(|(a, b)| a * b).sum::<f64>() / 3.0;
        }
    }
    assert!((evaluate(&graph, &trace, &objective).unwrap() - expected).abs() < 1e-9);
}

struct Asked {
    parameterization: Parameterization,
    range: InputRange,
    transforms: Vec<Transform>,
    regularizers: Regularizers,
    prior: Option<Graph>,
    n_pictures: usize,
    steps: usize,
    learning_rate: f64,
    seed: u64,
    snapshots: Vec<usize>,
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            parameterization: Parameterization::Fourier(Decay::Radial(1.0)),
            range: InputRange::Bounded(vec![[-1.0, 1.0]]),
            transforms: vec![Transform::Pad(2), Transform::Jitter(3), Transform::Scale(vec![0.9, 1.0, 1.1])],
            regularizers: Regularizers::default(),
            prior: None,
            n_pictures: 1,
            steps: 40,
            learning_rate: 0.05,
            seed: 1,
            snapshots: vec![],
        }
    }
}

impl Asked {
    fn maximize(&self, graph: &Graph, objective: &Objective) -> Result<Maximized, IntrospectionError> {
        self.interruptible(graph, objective, &Uninterrupted)
    }

    fn interruptible(
        &self,
        graph: &Graph,
        objective: &Objective,
        interrupt: &dyn Interrupt,
    ) -> Result<Maximized, IntrospectionError> {
        self.asking(graph, objective, |question| {
            maximize(question, &mut Ascent::begin(question), &mut |_, _| (), interrupt)
        })
    }

    /// Has a question about a graph.
    fn asking<R>(
        &self,
        graph: &Graph,
        objective: &Objective,
        ask: impl FnOnce(&Maximization<'_>) -> Result<R, IntrospectionError>,
    ) -> Result<R, IntrospectionError> {
        let shape: Vec<usize> = graph.hinted_input_shapes()[0][1..].to_vec();
        let canvas = Canvas::of(&shape).unwrap();
        let is_colored = canvas.planes == 3;
        let parameters = Parameters::new(canvas, self.range.clone(), self.parameterization, is_colored)?;
        ask(&Maximization {
            graph,
            objective,
            input_shape: &shape,
            parameters: &parameters,
            transforms: &self.transforms,
            regularizers: self.regularizers,
            prior: self.prior.as_ref().map(|denoiser| Prior {
                graph: denoiser,
                range: Some([0.0, 1.0]),
                noise: 0.1,
                weight: 1.0,
                last_weight: 1.0,
                over: 0,
            }),
            n_pictures: self.n_pictures,
            steps: self.steps,
            learning_rate: self.learning_rate,
            seed: self.seed,
            snapshots: &self.snapshots,
        })
    }
}

#[test]
fn every_objective_rises_however_pictures_are_made() {
    let graph = network();
    let all =
        [Parameterization::Pixels, Parameterization::Fourier(Decay::Radial(1.0)), Parameterization::LaplacianPyramid];
    for parameterization in all {
        for objective in objectives(&graph) {
            let asked = Asked { parameterization, transforms: vec![], ..Asked::default() };
            let found = asked.maximize(&graph, &objective).unwrap();
            assert_eq!(found.values.len(), 40);
            assert!(found.value > found.values[0], "{parameterization:?} {objective:?}: {:?}", found.values);
            assert!(found.pictures.iter().all(|number| (0.0..=1.0).contains(number)) && found.stopped.is_none());
        }
    }
}

#[test]
fn transformed_pictures_rise_as_well() {
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let found = Asked { steps: 100, ..Asked::default() }.maximize(&graph, &objective).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&found.values[90..]) > mean(&found.values[..10]) + 0.5, "{:?}", found.values);
}

#[test]
fn a_seed_repeats_to_the_bit() {
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let asked = |seed| Asked { seed, ..Asked::default() }.maximize(&graph, &objective).unwrap();
    assert_eq!(asked(1), asked(1));
    assert_ne!(asked(1).pictures, asked(2).pictures);
}

/// Steps 1 to 20 and then 21 to 50, with one that is interrupted between them.
#[test]
fn an_ascent_that_goes_on_finds_to_the_bit_what_one_go_finds() {
    struct After(std::cell::Cell<usize>);
    impl Interrupt for After {
        fn check(&self) -> Result<(), Interrupted> {
            self.0.set(self.0.get() + 1);
            if self.0.get() > 30 { Err(Interrupted::Cancelled) } else { Ok(()) }
        }
    }
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "relu1"), channel: 2 };
    let regularizers = Regularizers { total_variation: 1e-3, ..Regularizers::default() };
    let asked = |steps| Asked { steps, regularizers, prior: Some(greying()), n_pictures: 2, ..Asked::default() };
    let at_once = asked(50).maximize(&graph, &objective).unwrap();
    let in_parts = asked(50).asking(&graph, &objective, |question| {
        let mut ascent = Ascent::begin(question);
        let mut seen = Vec::new();
        maximize(
            &Maximization { steps: 20, ..*question },
            &mut ascent,
            &mut |at, _| seen.push(at.steps()),
            &Uninterrupted,
        )?;
        assert_eq!(seen, (1..=20).collect::<Vec<_>>());
        let cancelled = maximize(question, &mut ascent, &mut |_, _| (), &After(std::cell::Cell::new(0)));
        assert!(cancelled.is_err() && (20..50).contains(&ascent.steps()), "{}", ascent.steps());
        let rest = Maximization { steps: 50 - ascent.steps(), ..*question };
        maximize(&rest, &mut ascent, &mut |_, _| (), &Uninterrupted)
    });
    assert_eq!(in_parts.unwrap(), at_once);
}

#[test]
fn an_ascent_can_begin_at_a_picture() {
    let graph = network();
    let objective = Objective::Layer { layer: layer(&graph, "conv1") };
    let picture: Vec<f64> = numbers(360, 5).iter().map(|number| 0.5 + 0.3 * number).collect();
    let asked = Asked { transforms: vec![], steps: 1, learning_rate: 1e-9, ..Asked::default() };
    let found = asked.asking(&graph, &objective, |question| {
        maximize(question, &mut Ascent::begin_at(question, &picture), &mut |_, _| (), &Uninterrupted)
    });
    assert!(found.unwrap().pictures.iter().zip(&picture).all(|(a, b)| (a - b).abs() < 1e-6));
}

/// A "denoiser" for pictures from 0 to 1 to which all but grey is noise: `(x + ½) / 2`.
fn greying() -> Graph {
    let mut builder = GraphBuilder::new();
    let input = builder.input("input", &[Dim::Known(3), Dim::Any(8), Dim::Any(8)]).unwrap();
    let weight = Tensor::from_vec(vec![0.5f64; 3], (3, 1, 1, 1), &Device::Cpu).unwrap();
    let bias = Tensor::from_vec(vec![0.25f64; 3], 3, &Device::Cpu).unwrap();
    let params = ConvolutionParams { groups: 3, ..ConvolutionParams::plain(weight, Some(bias)) };
    let conv = builder.add("conv", Convolution::new(params).unwrap(), &[input]).unwrap();
    builder.finish(&[("output", conv)]).unwrap()
}

#[test]
fn a_prior_pulls_pictures_towards_what_it_would_make_of_them() {
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let distance_from_grey = |prior| {
        let asked = Asked { prior, parameterization: Parameterization::Pixels, steps: 80, ..Asked::default() };
        let found = asked.maximize(&graph, &objective).unwrap();
        assert!(found.value > found.values[0]);
        found.pictures.iter().map(|number| (number - 0.5).abs()).sum::<f64>()
    };
    let (with, without) = (distance_from_grey(Some(greying())), distance_from_grey(None));
    assert!(with < 0.7 * without, "{with} and {without}");
}

#[test]
fn a_snapshot_is_what_fewer_steps_find() {
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let all = Asked { snapshots: vec![7, 40, 99], ..Asked::default() }.maximize(&graph, &objective).unwrap();
    let few = Asked { steps: 7, ..Asked::default() }.maximize(&graph, &objective).unwrap();
    assert_eq!(all.snapshots.iter().map(|snapshot| snapshot.step).collect::<Vec<_>>(), [7, 40]);
    assert_eq!(all.snapshots[0].pictures, few.pictures);
    assert_eq!(all.snapshots[1].pictures, all.pictures);
}

#[test]
fn penalties_make_smoother_pictures() {
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let roughness = |found: Maximized| found.pictures.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>();
    let asked = |regularizers| {
        let asked = Asked { parameterization: Parameterization::Pixels, regularizers, steps: 80, ..Asked::default() };
        roughness(asked.maximize(&graph, &objective).unwrap())
    };
    let none = Regularizers::default();
    let free = asked(none);
    assert!(asked(Regularizers { total_variation: 0.1, ..none }) < 0.8 * free);
    assert!(asked(Regularizers { frequency: 20.0, ..none }) < 0.8 * free);
    assert!(asked(Regularizers { blur: 10.0, ..none }) < 0.8 * free);
    assert!(asked(Regularizers { l2: 10.0, ..none }) < 0.8 * free);
}

#[test]
fn a_negative_weight_on_diversity_keeps_pictures_apart() {
    let graph = network();
    let conv = layer(&graph, "conv1");
    let channel = Objective::Channel { layer: conv, channel: 2 };
    let apart = Objective::Sum(vec![(1.0, channel.clone()), (-10.0, Objective::Diversity { layer: conv })]);
    let asked = Asked { n_pictures: 2, transforms: vec![], steps: 60, ..Asked::default() };
    let alike = |found: &Maximized| {
        let input: Vec<f64> = found.pictures.iter().map(|number| 2.0 * number - 1.0).collect();
        let objective = Objective::Diversity { layer: conv };
        evaluate(&graph, &traced(&graph, &input, &objective), &objective).unwrap()
    };
    let together = alike(&asked.maximize(&graph, &channel).unwrap());
    let apart = alike(&asked.maximize(&graph, &apart).unwrap());
    assert!(apart < together, "{apart} and {together}");
    let refused = Asked::default().maximize(&graph, &Objective::Diversity { layer: conv }).unwrap_err();
    assert_eq!(refused.to_string(), "the diversity of one picture is none; ask for a `batch` of several");
}

/// A unit that is inactive whatever small noise it sees.
#[test]
fn an_inactive_unit_is_woken() {
    let mut builder = GraphBuilder::new();
    let input = builder.input("input", &[Dim::Known(1), Dim::Known(6)]).unwrap();
    let weight = Tensor::from_vec(vec![1.0f64; 3], (1, 1, 3), &Device::Cpu).unwrap();
    let bias = Tensor::from_vec(vec![-1.0f64], 1, &Device::Cpu).unwrap();
    let conv = Convolution::new(ConvolutionParams::plain(weight, Some(bias))).unwrap();
    let conv = builder.add("conv", conv, &[input]).unwrap();
    let relu = builder.add("relu", Activation::new(PointwiseFunction::Relu), &[conv]).unwrap();
    let graph = builder.finish(&[("output", relu)]).unwrap();
    let objective = Objective::Channel { layer: relu, channel: 0 };
    let asked = Asked { transforms: vec![], learning_rate: 0.2, ..Asked::default() };
    let found = asked.maximize(&graph, &objective).unwrap();
    assert_eq!((found.values[0], found.n_without_gradient), (0.0, 0));
    assert!(found.value > 0.5, "{:?}", found.values);
}

/// `x⁴` in f32, which it leaves once x is large enough.
fn explosive() -> Graph {
    let mut builder = GraphBuilder::new();
    let mut x = builder.input("input", &[Dim::Known(4)]).unwrap();
    for nth in 0..2 {
        x = builder.add(&format!("square{nth}"), Arithmetic::multiply(Operand::Graph), &[x, x]).unwrap();
    }
    builder.finish(&[("output", x)]).unwrap()
}

#[test]
fn numbers_that_leave_the_finite_ones_end_the_ascent_with_the_picture_before() {
    let graph = explosive();
    let objective = Objective::Layer { layer: graph.output() };
    let asked = |learning_rate| Asked {
        parameterization: Parameterization::Pixels,
        range: InputRange::Unbounded,
        transforms: vec![],
        learning_rate,
        snapshots: vec![1, 2],
        ..Asked::default()
    };
    // The gradient of noise is far below Adam's epsilon, so that the first step is short and only the second as long as
    // the learning rate; there `x⁴` is still finite, and the gradient, which grows as `x⁷`, is not.
    let found = asked(1e7).maximize(&graph, &objective).unwrap();
    let stopped = found.stopped.unwrap();
    assert_eq!(stopped.step, found.values.len() + 1);
    assert!(stopped.step >= 3, "{stopped:?}");
    assert!(found.value.is_finite() && found.pictures.iter().all(|number| number.is_finite()));
    assert!(found.value >= found.values[0] && found.snapshots.iter().all(|snapshot| snapshot.step < stopped.step));
    let at_once = asked(1e20).maximize(&graph, &objective).unwrap();
    let stopped = at_once.stopped.unwrap();
    assert_eq!((stopped.step, stopped.reason.starts_with("layer `square1` computed inf at [0, ")), (2, true));
    assert!(at_once.snapshots.is_empty());
}

#[test]
fn a_cancelled_ascent_ends_between_steps() {
    struct After(std::cell::Cell<usize>);
    impl Interrupt for After {
        fn check(&self) -> Result<(), Interrupted> {
            self.0.set(self.0.get() + 1);
            if self.0.get() > 100 { Err(Interrupted::Cancelled) } else { Ok(()) }
        }
    }
    let graph = network();
    let objective = Objective::Channel { layer: layer(&graph, "conv1"), channel: 2 };
    let asked = Asked { steps: 100_000, ..Asked::default() };
    let error = asked.interruptible(&graph, &objective, &After(std::cell::Cell::new(0))).unwrap_err();
    assert!(matches!(error, IntrospectionError::Model(ModelError::Interrupted(Interrupted::Cancelled))), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let graph = network();
    let conv = layer(&graph, "conv1");
    let channel = Objective::Channel { layer: conv, channel: 2 };
    let refused = |asked: Asked, objective: &Objective| asked.maximize(&graph, objective).unwrap_err().to_string();
    let none = Asked { steps: 0, ..Asked::default() };
    assert_eq!(refused(none, &channel), "steps 0 is out of range; at least one step is needed");
    let still = Asked { learning_rate: 0.0, ..Asked::default() };
    assert_eq!(refused(still, &channel), "learning_rate 0 is out of range; a positive number is needed");
    let far = Objective::Channel { layer: conv, channel: 5 };
    assert_eq!(refused(Asked::default(), &far), "channel 5 is out of range; `conv1` has channels 0 to 4");
    let short = Objective::Direction { layer: conv, vector: vec![1.0], cosine_power: 0.0 };
    assert_eq!(refused(Asked::default(), &short), "`conv1` has 5 channels but `vector` has 1 numbers");
    assert_eq!(refused(Asked::default(), &Objective::Sum(vec![])), "an objective needs at least one term");
}

/// A spectrogram `[mel, time]` through a convolution over time.
#[test]
fn a_spectrogram_is_one_plane() {
    let mut builder = GraphBuilder::new();
    let input = builder.input("input", &[Dim::Known(8), Dim::Any(20)]).unwrap();
    let conv = Convolution::new(ConvolutionParams::plain(tensor(&[3, 8, 5], 3), None)).unwrap();
    let conv = builder.add("conv", conv, &[input]).unwrap();
    let graph = builder.finish(&[("output", conv)]).unwrap();
    let asked = Asked {
        parameterization: Parameterization::Fourier(Decay::Separate { rows: 0.5, columns: 0.5 }),
        transforms: vec![Transform::Shift { rows: 1, columns: 3 }],
        ..Asked::default()
    };
    let found = asked.maximize(&graph, &Objective::Channel { layer: conv, channel: 1 }).unwrap();
    assert_eq!(found.pictures.len(), 8 * 20);
    assert!(found.value > found.values[0] + 0.5, "{:?}", found.values);
}
