//! The ascent: pictures, moved and turned at random, as the network sees them, and back along the gradient.

use models::{Graph, Interrupt, Layout, ModelError, Trace, Value, pause};

use super::adam::Adam;
use super::objective::{Objective, evaluate, gradient_by};
use super::parameterization::Parameters;
use super::prior::Prior;
use super::random::Random;
use super::regularizers::Regularizers;
use super::transforms::{Drawn, Transform};
use crate::backward_walk::Composite;
use crate::error::{IntrospectionError, Result};
use crate::rules::{AtRectifiers, PlainGradient, RedirectedRectifier};

/// For so many first steps, where nothing reaches a picture, rectifiers that would let nothing pass are redirected.
/// Lucid redirects them also where something arrives past them.
const N_REDIRECTED: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Maximization<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// What is made large.
    pub objective: &'a Objective,
    /// The input's shape without its batch axis, as many numbers as the parameters' canvas has.
    pub input_shape: &'a [usize],
    /// How pictures are made.
    pub parameters: &'a Parameters,
    /// What is done to them at each step.
    pub transforms: &'a [Transform],
    /// What is subtracted from the objective.
    pub regularizers: Regularizers,
    /// What pulls pictures towards likely ones.
    pub prior: Option<Prior<'a>>,
    /// How many pictures are made at once.
    pub n_pictures: usize,
    /// How many steps are taken, beyond those that the ascent has taken already.
    pub steps: usize,
    /// Adam's.
    pub learning_rate: f64,
    /// Of noise and transforms.
    pub seed: u64,
    /// After how many steps the pictures are kept beside the last ones.
    pub snapshots: &'a [usize],
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Maximized {
    /// `[input, plane, row, column]`, from 0 to 1 where the input has bounds.
    pub pictures: Vec<f64>,
    /// The objective of the pictures as they are, not transformed, without penalties.
    pub value: f64,
    /// The objective before each step, of the pictures as they were transformed then, without penalties.
    pub values: Vec<f64>,
    /// Pictures on the way.
    pub snapshots: Vec<Snapshot>,
    /// At how many steps nothing changed the objective.
    pub n_without_gradient: usize,
    /// Why it ended early, where it did.
    pub stopped: Option<Stopped>,
}

/// Pictures on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// How many steps had been taken.
    pub step: usize,
    /// `[input, plane, row, column]`
    pub pictures: Vec<f64>,
}

/// The end of an ascent that left the finite numbers; its pictures are those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The step, counted from 1.
    pub step: usize,
    /// What was not finite.
    pub reason: String,
}

/// Where an ascent stands after whole steps; going on from there finds to the bit what one go would have found.
#[derive(Clone, Debug)]
pub struct Ascent {
    free: Vec<f64>,
    /// The free numbers before the last step.
    before: Vec<f64>,
    adam: Adam,
    random: Random,
    values: Vec<f64>,
    n_without_gradient: usize,
    stopped: Option<Stopped>,
}

impl Ascent {
    /// Before its first step, at the noise of the question's seed.
    pub fn begin(question: &Maximization<'_>) -> Ascent {
        let mut random = Random::new(question.seed);
        let free = question.parameters.start(question.n_pictures, &mut random);
        Ascent::at(free, random, question.learning_rate)
    }

    /// Before its first step, at pictures.
    ///
    /// # Shapes
    /// - `pictures`: `[input, plane, row, column]`, from 0 to 1 where the input has bounds
    pub fn begin_at(question: &Maximization<'_>, pictures: &[f64]) -> Ascent {
        let free = question.parameters.of_pictures(pictures);
        Ascent::at(free, Random::new(question.seed), question.learning_rate)
    }

    fn at(free: Vec<f64>, random: Random, learning_rate: f64) -> Ascent {
        Ascent {
            before: free.clone(),
            adam: Adam::new(free.len(), learning_rate),
            free,
            random,
            values: Vec::new(),
            n_without_gradient: 0,
            stopped: None,
        }
    }

    /// How many steps it has taken.
    pub fn steps(&self) -> usize {
        self.values.len()
    }

    /// The objective before its last step.
    pub fn last_value(&self) -> Option<f64> {
        self.values.last().copied()
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.adam.bytes() + (self.free.len() + self.before.len() + self.values.len()) * size_of::<f64>()
    }
}

/// Is told after each step how far an ascent is, and can have its pictures.
pub type Watch<'a> = dyn FnMut(&Ascent, &dyn Fn() -> Vec<f64>) + 'a;

/// Climbs on.
///
/// Stops where a number is not finite, and then answers with the pictures before; that is an error at the first step. An
/// error leaves the ascent after its last whole step.
pub fn maximize(
    question: &Maximization<'_>,
    ascent: &mut Ascent,
    watch: &mut Watch<'_>,
    interrupt: &dyn Interrupt,
) -> Result<Maximized> {
    question.check(ascent)?;
    let mut snapshots = Vec::new();
    let n_before = ascent.steps();
    for done in 0..question.steps {
        interrupt.progress(done, question.steps);
        interrupt.check()?;
        pause::point();
        if !question.step(ascent, interrupt)? {
            break;
        }
        let step = n_before + done + 1;
        if question.snapshots.contains(&step) {
            snapshots.push(Snapshot { step, pictures: question.parameters.pictures(&ascent.free) });
        }
        watch(ascent, &|| question.parameters.pictures(&ascent.free));
    }
    question.finish(ascent, snapshots, interrupt)
}

/// What one step found out.
struct StepFound {
    /// The objective without penalties.
    value: f64,
    /// At the free numbers, with penalties.
    gradient: Vec<f64>,
    /// Whether any number of the input changes the objective.
    is_moved: bool,
}

/// Something, unless a number of it was not finite.
enum Finite<T> {
    Yes(T),
    No(String),
}

impl Maximization<'_> {
    fn check(&self, ascent: &Ascent) -> Result<()> {
        let refused = |what: &'static str, asked: String, expected: &str| {
            Err(IntrospectionError::OutOfRange { what, asked, expected: expected.to_owned() })
        };
        if self.steps == 0 {
            return refused("steps", "0".to_owned(), "at least one step is needed");
        }
        if self.n_pictures == 0 {
            return refused("batch", "0".to_owned(), "at least one picture is made");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refused("learning_rate", self.learning_rate.to_string(), "a positive number is needed");
        }
        if let Some((name, weight)) = self.regularizers.weights().into_iter().find(|(_, weight)| !weight.is_finite()) {
            return refused(name, weight.to_string(), "a finite number is needed");
        }
        if self.input_shape.iter().product::<usize>() != self.parameters.canvas().len() {
            let message = format!("{:?} is no input of shape {:?}", self.parameters.canvas(), self.input_shape);
            return Err(IntrospectionError::Unfit(message));
        }
        if ascent.free.len() != self.n_pictures * self.parameters.n_free() {
            let message = "an ascent goes on with as many pictures of the same kind as it began with";
            return Err(IntrospectionError::Unfit(message.to_owned()));
        }
        if let Some(Stopped { step, reason }) = &ascent.stopped {
            let message = format!("this ascent ended at step {step} since {reason}; it cannot go on");
            return Err(IntrospectionError::Unfit(message));
        }
        self.prior.map_or(Ok(()), |prior| prior.check(self.input_shape))?;
        self.transforms.iter().try_for_each(Transform::check)
    }

    /// Takes a step, unless numbers leave the finite ones; whether it was taken.
    fn step(&self, ascent: &mut Ascent, interrupt: &dyn Interrupt) -> Result<bool> {
        let step = ascent.steps() + 1;
        // Only a whole step changes the ascent, so that one that is interrupted can be taken again.
        let mut random = ascent.random.clone();
        match self.gradient(step, &ascent.free, &mut random, interrupt)? {
            Finite::Yes(found) => {
                ascent.random = random;
                ascent.values.push(found.value);
                ascent.n_without_gradient += usize::from(!found.is_moved);
                ascent.before.copy_from_slice(&ascent.free);
                ascent.adam.ascend(&mut ascent.free, &found.gradient);
                Ok(true)
            }
            Finite::No(reason) => {
                ascent.stopped = Some(Stopped { step, reason });
                Ok(false)
            }
        }
    }

    fn gradient(
        &self,
        step: usize,
        free: &[f64],
        random: &mut Random,
        interrupt: &dyn Interrupt,
    ) -> Result<Finite<StepFound>> {
        let (canvas, range) = (self.parameters.canvas(), self.parameters.range());
        let pictures = self.parameters.pictures(free);
        let drawn = Drawn::draw(self.transforms, (canvas.rows, canvas.columns), range.middle(), random)?;
        let trace = match self.trace(&drawn.forward(&pictures), interrupt)? {
            Finite::Yes(trace) => trace,
            Finite::No(reason) => return Ok(Finite::No(reason)),
        };
        let walked = |composite: &dyn Composite| -> Result<(f64, Vec<f64>)> {
            let (value, at_input) = gradient_by(self.graph, &trace, self.objective, composite, interrupt)?;
            Ok((value, at_input.to_f64_vec()?))
        };
        let (value, mut at_input) = walked(&PlainGradient)?;
        let is_still = |gradient: &[f64]| gradient.iter().all(|number| *number == 0.0);
        let is_any_still = |at_input: &[f64]| at_input.chunks_exact(canvas.len()).any(is_still);
        if step <= N_REDIRECTED && is_any_still(&at_input) {
            (_, at_input) = walked(&AtRectifiers(RedirectedRectifier))?;
        }
        let is_moved = !is_still(&at_input);
        let mut at_pictures = drawn.adjoint(&range.input_gradient(canvas, &at_input));
        if let Some(prior) = &self.prior {
            let at = (canvas, self.input_shape);
            let pull = prior.pull(step, at, range, (&pictures, &at_pictures), interrupt)?;
            at_pictures.iter_mut().zip(pull).for_each(|(gradient, pull)| *gradient += pull);
        }
        let penalty = if self.regularizers == Regularizers::default() {
            0.0
        } else {
            let (penalty, of_penalty) = self.regularizers.penalty(canvas, range.middle(), &pictures);
            at_pictures.iter_mut().zip(of_penalty).for_each(|(gradient, penalty)| *gradient -= penalty);
            penalty
        };
        let gradient = self.parameters.free_gradient(&pictures, at_pictures);
        if !(value - penalty).is_finite() {
            return Ok(Finite::No(format!("the objective is {}", value - penalty)));
        }
        if gradient.iter().any(|number| !number.is_finite()) {
            return Ok(Finite::No("the gradient is not finite".to_owned()));
        }
        Ok(Finite::Yes(StepFound { value, gradient, is_moved }))
    }

    /// What the network computes of pictures, as far as the objective depends on it.
    fn trace(&self, pictures: &[f64], interrupt: &dyn Interrupt) -> Result<Finite<Trace>> {
        let shape: Vec<usize> = std::iter::once(self.n_pictures).chain(self.input_shape.iter().copied()).collect();
        let numbers = self.parameters.range().input(self.parameters.canvas(), pictures);
        let input = Value::from_vec(numbers, &shape, Layout::Logical)?.to_dtype(self.graph.dtype())?;
        if let Some((position, number)) = input.first_not_finite()? {
            return Ok(Finite::No(format!("the picture holds {number} at {position:?}")));
        }
        match Trace::record_up_to(self.graph, &[input], &self.objective.ends(self.graph), interrupt) {
            Ok(trace) => Ok(Finite::Yes(trace)),
            Err(error @ ModelError::NotFinite { .. }) => Ok(Finite::No(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer: the last pictures, or those before where the last ones are not finite.
    fn finish(
        &self,
        ascent: &mut Ascent,
        mut snapshots: Vec<Snapshot>,
        interrupt: &dyn Interrupt,
    ) -> Result<Maximized> {
        let value_of = |free: &[f64]| -> Result<Finite<(Vec<f64>, f64)>> {
            let pictures = self.parameters.pictures(free);
            Ok(match self.trace(&pictures, interrupt)? {
                Finite::No(reason) => Finite::No(reason),
                Finite::Yes(trace) => match evaluate(self.graph, &trace, self.objective)? {
                    value if value.is_finite() => Finite::Yes((pictures, value)),
                    value => Finite::No(format!("the objective is {value}")),
                },
            })
        };
        let mut last = Finite::No(String::new());
        if ascent.stopped.is_none() {
            last = value_of(&ascent.free)?;
            if let Finite::No(reason) = &last {
                ascent.stopped = Some(Stopped { step: ascent.steps() + 1, reason: reason.clone() });
            }
        }
        if let Some(Stopped { reason, .. }) = &ascent.stopped {
            if ascent.values.is_empty() {
                return Err(IntrospectionError::NoPicture(reason.clone()));
            }
            snapshots.retain(|snapshot| snapshot.step < ascent.steps());
            last = value_of(&ascent.before)?;
        }
        match last {
            Finite::No(reason) => Err(IntrospectionError::NoPicture(reason)),
            Finite::Yes((pictures, value)) => Ok(Maximized {
                pictures,
                value,
                values: ascent.values.clone(),
                snapshots,
                n_without_gradient: ascent.n_without_gradient,
                stopped: ascent.stopped.clone(),
            }),
        }
    }
}
