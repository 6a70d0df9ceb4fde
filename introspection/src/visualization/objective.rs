//! What feature visualisation makes large, and its gradient at an input (Olah et al. 2017).
//!
//! An objective of several pictures is the mean over them; only [`Objective::Diversity`] compares them.

use std::ops::Range;

use models::{Graph, Interrupt, Layout, Outlet, Trace, Value};

use crate::backward_walk::{Composite, Start, Walk};
use crate::error::{IntrospectionError, Result};
use crate::rules::PlainGradient;
use crate::target::{ClassChoice, OutputAxes, ScoreOf, Target, place_index, resolve};

/// What is made large.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// One neuron; without a position the centre of the channel's map (`length // 2`).
    Neuron { layer: Outlet, channel: usize, position: Option<Vec<usize>> },
    /// The mean over a channel's map.
    Channel { layer: Outlet, channel: usize },
    /// The mean of the layer's squares (DeepDream, Mordvintsev et al. 2015).
    Layer { layer: Outlet },
    /// A class's logit or probability, summed over the places of a sequence.
    Score { class: usize, of: ScoreOf, axes: OutputAxes },
    /// The mean over places of `a · v max(0.1, cos(a, v))^power`, with `a` a place's channels and `v` the vector; with a
    /// power of 0 of `a · v`.
    Direction { layer: Outlet, vector: Vec<f64>, cosine_power: f64 },
    /// How alike the textures of several pictures are: the sum over ordered pairs of the products of their normalised
    /// Gram matrices, divided by the number of pictures (Olah et al. 2017, "diversity"). It grows as pictures become
    /// alike, so that a negative weight keeps them apart.
    Diversity { layer: Outlet },
    /// Several, each times a weight.
    Sum(Vec<(f64, Objective)>),
}

impl Objective {
    /// The values that it is a function of.
    pub fn ends(&self, graph: &Graph) -> Vec<Outlet> {
        match self {
            Objective::Neuron { layer, .. }
            | Objective::Channel { layer, .. }
            | Objective::Layer { layer }
            | Objective::Direction { layer, .. }
            | Objective::Diversity { layer } => vec![*layer],
            Objective::Score { of: ScoreOf::Output, .. } => vec![graph.output()],
            Objective::Score { .. } => vec![graph.logits()],
            Objective::Sum(terms) => terms.iter().flat_map(|(_, term)| term.ends(graph)).collect(),
        }
    }
}

/// The objective on a trace, and its gradient at the inputs.
///
/// # Shapes
/// - returns the value and `[input, …]`, the input's shape
pub fn objective_gradient(
    graph: &Graph,
    trace: &Trace,
    objective: &Objective,
    interrupt: &dyn Interrupt,
) -> Result<(f64, Value)> {
    gradient_by(graph, trace, objective, &PlainGradient, interrupt)
}

/// The same with the rules of a composite.
pub(super) fn gradient_by(
    graph: &Graph,
    trace: &Trace,
    objective: &Objective,
    composite: &dyn Composite,
    interrupt: &dyn Interrupt,
) -> Result<(f64, Value)> {
    let (value, starts) = parts(graph, trace, objective)?;
    let rows: Vec<usize> = (0..trace.batch()).collect();
    let walk = Walk { graph, trace, rows: &rows, composite, interrupt, observer: None };
    let input = Outlet { node: graph.inputs()[0], port: 0 };
    Ok((value, walk.run(&starts, &[input])?.remove(0).into_whole(trace.shape(input))?))
}

/// The objective on a trace.
pub fn evaluate(graph: &Graph, trace: &Trace, objective: &Objective) -> Result<f64> {
    parts(graph, trace, objective).map(|(value, _)| value)
}

fn parts(graph: &Graph, trace: &Trace, objective: &Objective) -> Result<(f64, Vec<Start>)> {
    let mut sum = Parts { graph, trace, value: 0.0, starts: Vec::new() };
    sum.add(objective, 1.0)?;
    if sum.starts.is_empty() {
        return Err(IntrospectionError::Unfit("an objective needs at least one term".to_owned()));
    }
    Ok((sum.value, sum.starts))
}

/// A sum of objectives on its way, with the gradient that starts at each layer.
struct Parts<'a> {
    graph: &'a Graph,
    trace: &'a Trace,
    value: f64,
    starts: Vec<Start>,
}

impl Parts<'_> {
    fn add(&mut self, objective: &Objective, weight: f64) -> Result<()> {
        match objective {
            Objective::Neuron { layer, channel, position } => {
                let shape = self.trace.shape(*layer).to_vec();
                let map = channel_map(self.graph, *layer, &shape, *channel)?;
                let centre: Vec<usize> = shape[2..].iter().map(|length| length / 2).collect();
                let position = position.as_deref().unwrap_or(&centre);
                let index = map.start + place_index(self.name(*layer), position, &shape[2..])?;
                let numbers = self.trace.value(*layer)?.to_f64_vec()?;
                let of_row = |row: &[f64]| row[index];
                let mean = mean(numbers.chunks_exact(row_length(&shape)).map(of_row));
                let place = [(index, weight / shape[0] as f64)];
                self.value += weight * mean;
                self.starts.push(Start::of_places(self.trace, *layer, &vec![&place[..]; shape[0]])?);
                Ok(())
            }
            Objective::Channel { layer, channel } => {
                let map = channel_map(self.graph, *layer, self.trace.shape(*layer), *channel)?;
                self.add_by_row(*layer, weight, |_, numbers, gradient| {
                    gradient[map.clone()].fill(1.0 / map.len() as f64);
                    mean(numbers[map.clone()].iter().copied())
                })
            }
            Objective::Layer { layer } => self.add_by_row(*layer, weight, |_, numbers, gradient| {
                let n = numbers.len() as f64;
                gradient.iter_mut().zip(numbers).for_each(|(gradient, number)| *gradient = 2.0 * number / n);
                mean(numbers.iter().map(|number| number * number))
            }),
            Objective::Score { class, of, axes } => self.add_score(*class, *of, *axes, weight),
            Objective::Direction { layer, vector, cosine_power } => {
                let n_channels = self.trace.shape(*layer).get(1).copied().unwrap_or(0);
                if vector.len() != n_channels {
                    let name = self.name(*layer);
                    let message =
                        format!("`{name}` has {n_channels} channels but `vector` has {} numbers", vector.len());
                    return Err(IntrospectionError::Unfit(message));
                }
                self.add_by_row(*layer, weight, |_, numbers, gradient| along(vector, *cosine_power, numbers, gradient))
            }
            Objective::Diversity { layer } => self.add_diversity(*layer, weight),
            Objective::Sum(terms) => terms.iter().try_for_each(|(factor, term)| self.add(term, weight * factor)),
        }
    }

    fn name(&self, layer: Outlet) -> &str {
        &self.graph.node(layer.node).name
    }

    /// Adds the mean over rows of what `of_row` answers for a row's numbers, whose gradient it writes.
    fn add_by_row(
        &mut self,
        layer: Outlet,
        weight: f64,
        mut of_row: impl FnMut(usize, &[f64], &mut [f64]) -> f64,
    ) -> Result<()> {
        let activation = self.trace.value(layer)?;
        let (shape, numbers) = (activation.shape().to_vec(), activation.to_f64_vec()?);
        let mut gradient = vec![0.0; numbers.len()];
        let of_rows = numbers.chunks_exact(row_length(&shape)).zip(gradient.chunks_exact_mut(row_length(&shape)));
        let values = of_rows.enumerate().map(|(row, (numbers, gradient))| of_row(row, numbers, gradient));
        self.value += weight * mean(values);
        let factor = weight / shape[0] as f64;
        gradient.iter_mut().for_each(|gradient| *gradient *= factor);
        let gradient = Value::from_vec(gradient, &shape, Layout::Logical)?.to_dtype(activation.dtype())?;
        self.starts.push(Start::whole(layer, gradient));
        Ok(())
    }

    fn add_score(&mut self, class: usize, of: ScoreOf, axes: OutputAxes, weight: f64) -> Result<()> {
        let target = Target::Class { class: ClassChoice::Index(class), frame: None };
        let of_row = |row| resolve(self.graph, self.trace, axes, row, &target, of);
        let mut resolved = (0..self.trace.batch()).map(of_row).collect::<Result<Vec<_>>>()?;
        self.value += weight * mean(resolved.iter().map(|resolved| resolved.score));
        let factor = weight / resolved.len() as f64;
        let places = resolved.iter_mut().flat_map(|resolved| &mut resolved.gradient);
        places.for_each(|(_, gradient)| *gradient *= factor);
        let places: Vec<&[(usize, f64)]> = resolved.iter().map(|resolved| &resolved.gradient[..]).collect();
        self.starts.push(Start::of_places(self.trace, resolved[0].outlet, &places)?);
        Ok(())
    }

    fn add_diversity(&mut self, layer: Outlet, weight: f64) -> Result<()> {
        let shape = self.trace.shape(layer).to_vec();
        let n_channels = shape.get(1).copied().unwrap_or(0);
        if shape[0] < 2 {
            let message = "the diversity of one picture is none; ask for a `batch` of several";
            return Err(IntrospectionError::Unfit(message.to_owned()));
        }
        if n_channels > MOST_CHANNELS {
            let message =
                format!("diversity compares at most {MOST_CHANNELS} channels, and this layer has {n_channels}");
            return Err(IntrospectionError::Unfit(message));
        }
        let numbers = self.trace.value(layer)?.to_f64_vec()?;
        let textures: Vec<Texture> =
            numbers.chunks_exact(row_length(&shape)).map(|row| Texture::of(row, n_channels)).collect();
        let alike = |one: &Texture, other: &Texture| one.gram.iter().zip(&other.gram).map(|(a, b)| a * b).sum::<f64>();
        self.add_by_row(layer, weight, |row, numbers, gradient| {
            let others = || (0..textures.len()).filter(|other| *other != row).map(|other| &textures[other]);
            // Each pair stands for two ordered ones, so that its gradient arrives twice at either of them.
            let arriving = |place: usize| 2.0 * others().map(|other| other.gram[place]).sum::<f64>();
            let arriving: Vec<f64> = (0..n_channels * n_channels).map(arriving).collect();
            textures[row].pass(&arriving, numbers, gradient);
            others().map(|other| alike(&textures[row], other)).sum()
        })
    }
}

/// Beyond, a Gram matrix takes longer than the network.
const MOST_CHANNELS: usize = 2048;

/// A row's Gram matrix `A Aᵀ` over places, divided by its length.
struct Texture {
    /// `[channel, channel]`
    gram: Vec<f64>,
    length: f64,
}

impl Texture {
    /// # Shapes
    /// - `numbers`: `[channel, place]`
    fn of(numbers: &[f64], n_channels: usize) -> Texture {
        let channels: Vec<&[f64]> = numbers.chunks_exact(numbers.len() / n_channels.max(1)).collect();
        let product = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        let mut gram = vec![0.0; n_channels * n_channels];
        for one in 0..n_channels {
            for other in 0..=one {
                let product = product(channels[one], channels[other]);
                (gram[one * n_channels + other], gram[other * n_channels + one]) = (product, product);
            }
        }
        let length = gram.iter().map(|number| number * number).sum::<f64>().max(1e-10).sqrt();
        gram.iter_mut().for_each(|number| *number /= length);
        Texture { gram, length }
    }

    /// The gradient at the numbers, from that at the normalised matrix, which is symmetric.
    fn pass(&self, arriving: &[f64], numbers: &[f64], gradient: &mut [f64]) {
        let n_channels = (arriving.len() as f64).sqrt() as usize;
        let n_places = numbers.len() / n_channels.max(1);
        let outwards: f64 = arriving.iter().zip(&self.gram).map(|(arriving, gram)| arriving * gram).sum();
        for (one, gradient) in gradient.chunks_exact_mut(n_places).enumerate() {
            for (other, numbers) in numbers.chunks_exact(n_places).enumerate() {
                let index = one * n_channels + other;
                let factor = 2.0 * (arriving[index] - outwards * self.gram[index]) / self.length;
                gradient.iter_mut().zip(numbers).for_each(|(gradient, number)| *gradient += factor * number);
            }
        }
    }
}

/// [`Objective::Direction`] on one row, `[channel, place]`; writes its gradient.
fn along(vector: &[f64], power: f64, numbers: &[f64], gradient: &mut [f64]) -> f64 {
    const EPSILON: f64 = 1e-6;
    const LEAST_COSINE: f64 = 0.1;
    let n_places = numbers.len() / vector.len().max(1);
    let length_of_vector = vector.iter().map(|number| number * number).sum::<f64>().sqrt() + EPSILON;
    let mut sum = 0.0;
    for place in 0..n_places {
        let at = |channel: usize| numbers[channel * n_places + place];
        let dot: f64 = vector.iter().enumerate().map(|(channel, number)| number * at(channel)).sum();
        let length = (0..vector.len()).map(|channel| at(channel) * at(channel)).sum::<f64>().sqrt();
        let lengths = (length + EPSILON) * length_of_vector;
        let cosine = dot / lengths;
        let share = cosine.max(LEAST_COSINE).powf(power);
        // What a change of the cosine adds; none where it is held at the least one.
        let of_cosine = if cosine > LEAST_COSINE { dot * power * cosine.powf(power - 1.0) } else { 0.0 };
        let shrinks = if length > 0.0 { cosine / ((length + EPSILON) * length) } else { 0.0 };
        for (channel, number) in vector.iter().enumerate() {
            let change = of_cosine * (number / lengths - shrinks * at(channel));
            gradient[channel * n_places + place] = (number * share + change) / n_places as f64;
        }
        sum += dot * share;
    }
    sum / n_places as f64
}

fn row_length(shape: &[usize]) -> usize {
    shape[1..].iter().product::<usize>().max(1)
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.fold((0.0, 0.0), |(sum, n), number| (sum + number, n + 1.0));
    sum / n
}

/// Where a channel's map lies in a row-major `[1, channel, spatial…]`.
fn channel_map(graph: &Graph, outlet: Outlet, shape: &[usize], channel: usize) -> Result<Range<usize>> {
    let n_channels = shape.get(1).copied().unwrap_or(0);
    if channel >= n_channels {
        let name = &graph.node(outlet.node).name;
        let expected = format!("`{name}` has channels 0 to {}", n_channels.saturating_sub(1));
        return Err(IntrospectionError::OutOfRange { what: "channel", asked: channel.to_string(), expected });
    }
    let n_places: usize = shape[2..].iter().product();
    Ok(channel * n_places..(channel + 1) * n_places)
}
