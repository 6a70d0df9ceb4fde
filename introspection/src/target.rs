//! What is explained: a class, the letter of a frame, a unit inside the network; and the gradient that a walk starts
//! with for it.
//!
//! A score is a function of the logits (or of a layer); [`resolve`] answers its value and its derivative with respect
//! to them, so that a probability is explained by the same walk as a logit.

use models::operators::AxisKind;
use models::{Graph, Outlet, Trace, Value};

use crate::error::{IntrospectionError, Result};

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A class of the output, at one frame or summed over all places.
    Class { class: ClassChoice, frame: Option<usize> },
    /// Units of a layer, summed over the channels and positions that are not named.
    Unit { layer: Outlet, channel: Option<usize>, position: Option<Vec<usize>> },
}

/// Which class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassChoice {
    /// The best one of each place.
    Best,
    /// This one.
    Index(usize),
}

/// Which number of a class is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreOf {
    /// What stands before the final softmax, log-softmax or sigmoid.
    Logit,
    /// The logarithm of the probability.
    LogProbability,
    /// The probability.
    Probability,
    /// The output as the network computes it.
    Output,
}

/// An output of a network, and which of its axes holds the classes; all others but the batch are places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputAxes {
    /// Which of the network's outputs.
    pub output: usize,
    /// The class axis, counted with the batch axis.
    pub class: usize,
    /// The time axis, where there is exactly one axis of places.
    pub time: Option<usize>,
}

impl OutputAxes {
    /// Of the first output, as the operators say: the channel axis, else the last axis of features.
    pub fn of(axes: &[AxisKind]) -> OutputAxes {
        let channel = axes.iter().position(|kind| *kind == AxisKind::Channel);
        let feature = axes.iter().rposition(|kind| *kind == AxisKind::Feature);
        let class = channel.or(feature).unwrap_or(axes.len().min(2).saturating_sub(1));
        OutputAxes::with_class(class, axes.len())
    }

    /// The class axis given, of a value with so many axes.
    pub fn with_class(class: usize, rank: usize) -> OutputAxes {
        OutputAxes { output: 0, class, time: (rank == 3).then_some(3 - class) }
    }

    /// The same of another output.
    pub fn of_output(self, output: usize) -> OutputAxes {
        OutputAxes { output, ..self }
    }
}

/// A target with its score and the derivative of that score.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedTarget {
    /// The row of the trace.
    pub row: usize,
    /// Where the walk starts.
    pub outlet: Outlet,
    /// The score's derivative there: flat logical index within the row, and weight.
    pub gradient: Vec<(usize, f64)>,
    /// The score.
    pub score: f64,
    /// The class, where one was meant or was the best everywhere.
    pub class: Option<usize>,
    /// The frame.
    pub frame: Option<usize>,
    /// The class's probability, where there is one place.
    pub probability: Option<f64>,
    /// What is scored, so that the same can be scored on another trace.
    scored: Scored,
}

/// What a target's score is made of.
#[derive(Clone, Debug, PartialEq)]
enum Scored {
    /// Units, summed.
    Units,
    /// A class at each place, and which number of it.
    Classes { axes: OutputAxes, of: ScoreOf, chosen: Vec<(usize, usize)> },
}

impl ResolvedTarget {
    /// The frame that alone is scored, where the output is a sequence.
    pub(crate) fn only_frame(&self) -> Option<usize> {
        match &self.scored {
            Scored::Classes { axes, chosen, .. } if axes.time.is_some() => match chosen[..] {
                [(frame, _)] => Some(frame),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same class so many frames earlier, on a trace of a part of the input that begins so much later.
    pub(crate) fn earlier(&self, frames: usize, graph: &Graph, trace: &Trace) -> Result<ResolvedTarget> {
        let mut moved = self.clone();
        if let Scored::Classes { chosen, .. } = &mut moved.scored {
            chosen.iter_mut().for_each(|(frame, _)| *frame -= frames);
        }
        moved.on(graph, trace, 0)
    }

    /// The same units, or the same classes at the same places, of a row of another trace of one shape.
    pub fn on(&self, graph: &Graph, trace: &Trace, row: usize) -> Result<ResolvedTarget> {
        match &self.scored {
            Scored::Classes { axes, of, chosen } => {
                let scores = Scores::read(&trace.value(self.outlet)?, *axes, row)?;
                let (score, gradient) = score_of(graph, axes.output, &scores, chosen, *of);
                let probability = match chosen[..] {
                    [(place, class)] if *of != ScoreOf::Output => {
                        Some(log_probabilities(graph, axes.output, scores.at(place))[class].exp())
                    }
                    _ => None,
                };
                Ok(ResolvedTarget { row, score, gradient, probability, ..self.clone() })
            }
            Scored::Units => {
                let numbers = trace.value(self.outlet)?.row(row)?.to_f64_vec()?;
                let score = self.gradient.iter().map(|&(index, weight)| weight * numbers[index]).sum();
                Ok(ResolvedTarget { row, score, ..self.clone() })
            }
        }
    }
}

/// The target's score on one row of a trace, with its derivative; a class is one of the output that `axes` are of.
pub fn resolve(
    graph: &Graph,
    trace: &Trace,
    axes: OutputAxes,
    row: usize,
    target: &Target,
    of: ScoreOf,
) -> Result<ResolvedTarget> {
    match target {
        Target::Class { class, frame } => resolve_class(graph, trace, axes, row, *class, *frame, of),
        Target::Unit { layer, channel, position } => {
            resolve_unit(graph, trace, row, *layer, *channel, position.as_deref())
        }
    }
}

/// One row of an output, by place and class.
#[derive(Clone, Debug)]
pub struct Scores {
    /// `[place, class]`, row-major.
    pub numbers: Vec<f64>,
    /// How many classes.
    pub n_classes: usize,
    /// From one class to the next in the row's own order.
    class_step: usize,
    /// From one place to the next in the row's own order, for one axis of places in front of the classes or behind.
    flat: Vec<usize>,
}

impl Scores {
    /// Reads a row of the logits (or of any value whose class axis is known).
    pub fn read(value: &Value, axes: OutputAxes, row: usize) -> Result<Scores> {
        let shape = value.shape();
        if axes.class == 0 || axes.class >= shape.len() {
            let message = format!("the output has shape {:?} and no axis {} of classes", &shape[1..], axes.class);
            return Err(IntrospectionError::Unfit(message));
        }
        let logical = value.row(row)?.to_f64_vec()?;
        let n_classes = shape[axes.class];
        let class_step: usize = shape[axes.class + 1..].iter().product();
        let n_before: usize = shape[1..axes.class].iter().product();
        let first_of = |before: usize| (0..class_step).map(move |behind| before * n_classes * class_step + behind);
        let flat: Vec<usize> = (0..n_before).flat_map(first_of).collect();
        let numbers = flat
            .iter()
            .flat_map(|&start| (0..n_classes).map(move |class| start + class * class_step))
            .map(|index| logical[index])
            .collect();
        Ok(Scores { numbers, n_classes, class_step, flat })
    }

    /// How many places.
    pub fn n_places(&self) -> usize {
        self.flat.len()
    }

    /// The classes' scores at a place.
    pub fn at(&self, place: usize) -> &[f64] {
        &self.numbers[place * self.n_classes..][..self.n_classes]
    }

    /// The best class of a place, the first of equals.
    pub fn best(&self, place: usize) -> usize {
        let scores = self.at(place);
        (0..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
    }

    fn index(&self, place: usize, class: usize) -> usize {
        self.flat[place] + class * self.class_step
    }
}

/// The logarithms of the probabilities that an output's logits stand for.
///
/// An output that ends in a sigmoid means each class by itself; any other a softmax over the classes.
///
/// # Shapes
/// - `logits`: `[class]`, returns `[class]`
pub fn log_probabilities(graph: &Graph, output: usize, logits: &[f64]) -> Vec<f64> {
    if ends_in_sigmoid(graph, output) {
        return logits
            .iter()
            .map(|z| -(-z).exp().ln_1p())
            .map(|log| if log.is_finite() { log } else { f64::MIN })
            .collect();
    }
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let normalizer = highest + logits.iter().map(|z| (z - highest).exp()).sum::<f64>().ln();
    logits.iter().map(|z| z - normalizer).collect()
}

fn ends_in_sigmoid(graph: &Graph, output: usize) -> bool {
    let end = graph.outputs()[output].1;
    graph.logits_of(output) != end && graph.node(end.node).operator.kind() == "Sigmoid"
}

fn resolve_class(
    graph: &Graph,
    trace: &Trace,
    axes: OutputAxes,
    row: usize,
    choice: ClassChoice,
    frame: Option<usize>,
    of: ScoreOf,
) -> Result<ResolvedTarget> {
    let outlet = if of == ScoreOf::Output { graph.outputs()[axes.output].1 } else { graph.logits_of(axes.output) };
    let scores = Scores::read(&trace.value(outlet)?, axes, row)?;
    let places = places_of(&scores, frame)?;
    if let ClassChoice::Index(class) = choice {
        let expected = format!("the network has classes 0 to {}", scores.n_classes.saturating_sub(1));
        within("class", class, scores.n_classes, expected)?;
    }
    let class_at = |place: usize| match choice {
        ClassChoice::Best => scores.best(place),
        ClassChoice::Index(class) => class,
    };
    let chosen: Vec<(usize, usize)> = places.map(|place| (place, class_at(place))).collect();
    let mut classes: Vec<usize> = chosen.iter().map(|(_, class)| *class).collect();
    classes.dedup();
    let class = if let [class] = classes[..] { Some(class) } else { None };
    let scored = Scored::Classes { axes, of, chosen };
    let target = ResolvedTarget { row, outlet, gradient: vec![], score: 0.0, class, frame, probability: None, scored };
    target.on(graph, trace, row)
}

/// The score of classes at places, with its derivative.
fn score_of(
    graph: &Graph,
    output: usize,
    scores: &Scores,
    chosen: &[(usize, usize)],
    of: ScoreOf,
) -> (f64, Vec<(usize, f64)>) {
    let (mut score, mut gradient) = (0.0, Vec::new());
    for &(place, class) in chosen {
        let logits = scores.at(place);
        match of {
            ScoreOf::Logit | ScoreOf::Output => {
                score += logits[class];
                gradient.push((scores.index(place, class), 1.0));
            }
            ScoreOf::LogProbability => {
                let log = log_probabilities(graph, output, logits);
                score += log[class];
                add_log_probability(graph, output, &mut gradient, scores, place, class, &log, 1.0);
            }
            ScoreOf::Probability => {
                let log = log_probabilities(graph, output, logits);
                score += log[class].exp();
                add_log_probability(graph, output, &mut gradient, scores, place, class, &log, log[class].exp());
            }
        }
    }
    (score, gradient)
}

/// `∂ log p_c / ∂z_k = δ_ck − p_k` (softmax) or `δ_ck (1 − p_c)` (sigmoid), times a factor.
fn add_log_probability(
    graph: &Graph,
    output: usize,
    gradient: &mut Vec<(usize, f64)>,
    scores: &Scores,
    place: usize,
    class: usize,
    log: &[f64],
    factor: f64,
) {
    if ends_in_sigmoid(graph, output) {
        gradient.push((scores.index(place, class), factor * (1.0 - log[class].exp())));
        return;
    }
    for (other, log) in log.iter().enumerate() {
        let own = if other == class { 1.0 } else { 0.0 };
        gradient.push((scores.index(place, other), factor * (own - log.exp())));
    }
}

fn places_of(scores: &Scores, frame: Option<usize>) -> Result<std::ops::Range<usize>> {
    match frame {
        None => Ok(0..scores.n_places()),
        Some(frame) => {
            let expected = match scores.n_places() {
                1 => "the output is no sequence; leave `frame` out".to_owned(),
                n => format!("this input gives frames 0 to {}", n - 1),
            };
            within("frame", frame, scores.n_places(), expected)?;
            Ok(frame..frame + 1)
        }
    }
}

fn within(what: &'static str, asked: usize, length: usize, expected: String) -> Result<()> {
    if asked < length {
        return Ok(());
    }
    Err(IntrospectionError::OutOfRange { what, asked: asked.to_string(), expected })
}

fn resolve_unit(
    graph: &Graph,
    trace: &Trace,
    row: usize,
    layer: Outlet,
    channel: Option<usize>,
    position: Option<&[usize]>,
) -> Result<ResolvedTarget> {
    let value = &trace.value(layer)?;
    let axes = OutputAxes::of(&graph.axes()?[layer.node.0]);
    let units = Scores::read(value, axes, row)?;
    let name = &graph.node(layer.node).name;
    if let Some(channel) = channel {
        let expected = format!("`{name}` has channels 0 to {}", units.n_classes.saturating_sub(1));
        within("channel", channel, units.n_classes, expected)?;
    }
    let spatial: Vec<usize> =
        (1..value.shape().len()).filter(|axis| *axis != axes.class).map(|axis| value.shape()[axis]).collect();
    let places = match position {
        None => 0..units.n_places(),
        Some(position) => {
            let place = place_index(name, position, &spatial)?;
            place..place + 1
        }
    };
    let channels = channel.map_or(0..units.n_classes, |channel| channel..channel + 1);
    let mut resolved = ResolvedTarget {
        row,
        outlet: layer,
        gradient: vec![],
        score: 0.0,
        class: None,
        frame: None,
        probability: None,
        scored: Scored::Units,
    };
    for place in places {
        for channel in channels.clone() {
            resolved.score += units.at(place)[channel];
            resolved.gradient.push((units.index(place, channel), 1.0));
        }
    }
    Ok(resolved)
}

/// The flat place of a position along spatial axes.
pub(crate) fn place_index(layer: &str, position: &[usize], spatial: &[usize]) -> Result<usize> {
    let is_inside = position.len() == spatial.len() && position.iter().zip(spatial).all(|(at, length)| at < length);
    if !is_inside {
        let expected = format!("`{layer}` has places of shape {spatial:?}");
        return Err(IntrospectionError::OutOfRange { what: "position", asked: format!("{position:?}"), expected });
    }
    Ok(position.iter().zip(spatial).fold(0, |place, (at, length)| place * length + at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::operators::{Identity, Softmax};
    use models::{Dim, GraphBuilder, Layout, Uninterrupted};

    /// Three classes at two frames, behind a softmax.
    fn sequence() -> (Graph, Trace) {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(3), Dim::Any(2)]).unwrap();
        let logits = builder.add("logits", Identity { kind: "Identity" }, &[input]).unwrap();
        let softmax = builder.add("softmax", Softmax { axis: 1 }, &[logits]).unwrap();
        let graph = builder.finish(&[("output", softmax)]).unwrap();
        let input = Value::from_vec(vec![1.0f64, 4.0, 2.0, 0.0, 0.0, 5.0], &[1, 3, 2], Layout::Logical).unwrap();
        let trace = Trace::record(&graph, &[input], &Uninterrupted).unwrap();
        (graph, trace)
    }

    fn resolved(class: ClassChoice, frame: Option<usize>, of: ScoreOf) -> ResolvedTarget {
        let (graph, trace) = sequence();
        let axes = OutputAxes::of(&graph.axes().unwrap()[graph.logits().node.0]);
        resolve(&graph, &trace, axes, 0, &Target::Class { class, frame }, of).unwrap()
    }

    #[test]
    fn predicted_is_the_sum_of_each_frames_best() {
        let target = resolved(ClassChoice::Best, None, ScoreOf::Logit);
        assert_eq!((target.score, target.gradient), (7.0, vec![(2, 1.0), (5, 1.0)]));
    }

    #[test]
    fn a_frame_alone_means_its_best_class() {
        let target = resolved(ClassChoice::Best, Some(1), ScoreOf::Logit);
        assert_eq!((target.class, target.score, target.gradient), (Some(2), 5.0, vec![(5, 1.0)]));
    }

    #[test]
    fn a_log_probability_pulls_the_others_down() {
        let target = resolved(ClassChoice::Index(1), Some(0), ScoreOf::LogProbability);
        let normalizer = (1f64.exp() + 2f64.exp() + 1.0).ln();
        assert!((target.score - (2.0 - normalizer)).abs() < 1e-12);
        let sum: f64 = target.gradient.iter().map(|(_, weight)| weight).sum();
        assert!(sum.abs() < 1e-12 && target.gradient[1].1 > 0.0 && target.gradient[0].1 < 0.0);
    }

    #[test]
    fn a_probability_equals_the_softmax_output() {
        let (probability, output) = (
            resolved(ClassChoice::Index(0), Some(1), ScoreOf::Probability),
            resolved(ClassChoice::Index(0), Some(1), ScoreOf::Output),
        );
        assert!((probability.score - output.score).abs() < 1e-12);
        assert_ne!(probability.outlet, output.outlet);
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        let (graph, trace) = sequence();
        let axes = OutputAxes::with_class(1, 3);
        let refused = |class, frame| {
            let target = Target::Class { class: ClassChoice::Index(class), frame };
            resolve(&graph, &trace, axes, 0, &target, ScoreOf::Logit).unwrap_err().to_string()
        };
        assert_eq!(refused(3, None), "class 3 is out of range; the network has classes 0 to 2");
        assert_eq!(refused(0, Some(9)), "frame 9 is out of range; this input gives frames 0 to 1");
    }
}
