//! The ascent: pictures, moved and turned at random, as the network sees them, and back along the gradient.

use models::{Graph, Interrupt, Layout, ModelError, Trace, Value, pause};

use super::adam::Adam;
use super::objective::{Objective, evaluate, gradient_by};
use super::parameterization::Parameters;
use super::random::Random;
use super::regularizers::Regularizers;
use super::transforms::{Drawn, Transform};
use crate::backward_walk::Composite;
use crate::error::{IntrospectionError, Result};
use crate::rules::{AtRectifiers, PlainGradient, RedirectedRectifier};

/// For so many first steps a rectifier that would let nothing pass is redirected, as in lucid.
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
    /// How many pictures are made at once.
    pub n_pictures: usize,
    /// How many steps are taken.
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

/// Climbs from noise.
///
/// Stops where a number is not finite, and then answers with the pictures before; that is an error at the first step.
pub fn maximize(question: &Maximization<'_>, interrupt: &dyn Interrupt) -> Result<Maximized> {
    question.check()?;
    let mut random = Random::new(question.seed);
    let mut free = question.parameters.start(question.n_pictures, &mut random);
    let mut adam = Adam::new(free.len(), question.learning_rate);
    let mut found = Maximized {
        pictures: Vec::new(),
        value: 0.0,
        values: Vec::new(),
        snapshots: Vec::new(),
        n_without_gradient: 0,
        stopped: None,
    };
    let mut before = free.clone();
    for step in 1..=question.steps {
        interrupt.check()?;
        pause::point();
        match question.gradient(step, &free, &mut random, interrupt)? {
            Finite::Yes(ascent) => {
                found.values.push(ascent.value);
                found.n_without_gradient += usize::from(!ascent.is_moved);
                before.copy_from_slice(&free);
                adam.ascend(&mut free, &ascent.gradient);
            }
            Finite::No(reason) => {
                found.stopped = Some(Stopped { step, reason });
                break;
            }
        }
        if question.snapshots.contains(&step) {
            found.snapshots.push(Snapshot { step, pictures: question.parameters.pictures(&free) });
        }
    }
    question.finish(found, &free, &before, interrupt)
}

/// What one step found out.
struct Ascent {
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
    fn check(&self) -> Result<()> {
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
        self.transforms.iter().try_for_each(Transform::check)
    }

    fn gradient(
        &self,
        step: usize,
        free: &[f64],
        random: &mut Random,
        interrupt: &dyn Interrupt,
    ) -> Result<Finite<Ascent>> {
        let (canvas, range) = (self.parameters.canvas(), self.parameters.range());
        let pictures = self.parameters.pictures(free);
        let drawn = Drawn::draw(self.transforms, (canvas.rows, canvas.columns), range.middle(), random)?;
        let trace = match self.trace(&drawn.forward(&pictures), interrupt)? {
            Finite::Yes(trace) => trace,
            Finite::No(reason) => return Ok(Finite::No(reason)),
        };
        let redirected = AtRectifiers(RedirectedRectifier);
        let composite: &dyn Composite = if step <= N_REDIRECTED { &redirected } else { &PlainGradient };
        let (value, at_input) = gradient_by(self.graph, &trace, self.objective, composite, interrupt)?;
        let at_input = at_input.to_f64_vec()?;
        let is_moved = at_input.iter().any(|number| *number != 0.0);
        let mut at_pictures = drawn.adjoint(range.input_gradient(canvas, &at_input));
        let (penalty, of_penalty) = self.regularizers.penalty(canvas, range.middle(), &pictures);
        at_pictures.iter_mut().zip(of_penalty).for_each(|(gradient, penalty)| *gradient -= penalty);
        let gradient = self.parameters.free_gradient(&pictures, at_pictures);
        if !(value - penalty).is_finite() {
            return Ok(Finite::No(format!("the objective is {}", value - penalty)));
        }
        if gradient.iter().any(|number| !number.is_finite()) {
            return Ok(Finite::No("the gradient is not finite".to_owned()));
        }
        Ok(Finite::Yes(Ascent { value, gradient, is_moved }))
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
        mut found: Maximized,
        free: &[f64],
        before: &[f64],
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
        if found.stopped.is_none() {
            match value_of(free)? {
                Finite::Yes((pictures, value)) => return Ok(Maximized { pictures, value, ..found }),
                Finite::No(reason) => found.stopped = Some(Stopped { step: self.steps + 1, reason }),
            }
        }
        let reason = found.stopped.as_ref().map(|stopped| stopped.reason.clone()).unwrap_or_default();
        if found.values.is_empty() {
            return Err(IntrospectionError::NoPicture(reason));
        }
        found.snapshots.retain(|snapshot| snapshot.step < found.values.len());
        match value_of(before)? {
            Finite::Yes((pictures, value)) => Ok(Maximized { pictures, value, ..found }),
            Finite::No(reason) => Err(IntrospectionError::NoPicture(reason)),
        }
    }
}
