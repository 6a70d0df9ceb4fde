//! `visualization.maximize`.

mod going_on;
mod prior;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::job::Partial;
use client_protocol::visualization::{
    MaximizeParams, Maximized, Objective, Parameterization, Snapshot, Stopped, Transform,
};
use client_protocol::{Axis, ErrorKind, ErrorObject, InputRef, OneOrMany, Picture, Settings};
use introspection::visualization::{
    Ascent, Canvas, Decay, InputRange, Maximization, Parameters, Regularizers, Transform as LibraryTransform,
};
use models::description::FrontEnd;
use models::front_ends::audio::{self, GriffinLim};
use models::operators::AxisKind;
use models::{Layout, Value};
use serde_json::json;

use self::prior::HeldPrior;
use crate::ascents::Kept;
use crate::draw;
use crate::errors;
use crate::held_input::PreparedInput;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::model::settings;
use crate::requests::visualization::objective;
use crate::sound_input::Arrangement;
use crate::state::State;
use crate::to_protocol::{Array, axes_of};

/// Between two pictures that show whoever watches how an ascent is.
const BETWEEN_PICTURES: Duration = Duration::from_secs(1);

/// What kind of thing an input is, as far as defaults go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Photo,
    /// Bands of frequency, or channels, over time.
    Sound,
    /// Features without places.
    Features,
}

pub(crate) fn maximize(state: &Arc<State>, params: MaximizeParams, token: &Token) -> Result<Maximized, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let going_on = params.continue_from.as_deref().map(|from| state.ascents.get(from)).transpose()?;
    let params = match &going_on {
        Some(kept) => going_on::params(kept, &model, params)?,
        None => params,
    };
    let asked_objective = params.objective.clone().ok_or_else(no_objective)?;
    let objective = objective(&model, &asked_objective)?;
    let shape = shape(&model, params.shape.as_deref())?;
    refuse_too_much(state, &model, &objective, &shape, params.batch)?;
    let plan = Plan::of(&model, &params, &shape)?;
    let start = params.start.as_ref().map(|start| start_of(state, &model, &plan, &shape, start)).transpose()?;
    let prior = params.prior.clone().map(|prior| prior::held(state, prior, token)).transpose()?;
    let of_error = |error| errors::of_introspection(error, &model.graph);
    let parameters = Parameters::new(plan.canvas, plan.range.clone(), plan.parameterization, plan.decorrelate);
    let parameters = parameters.map_err(of_error)?;
    let question = Maximization {
        graph: &model.graph,
        objective: &objective,
        input_shape: &shape,
        parameters: &parameters,
        transforms: &plan.transforms,
        regularizers: plan.regularizers,
        prior: prior.as_ref().map(HeldPrior::of_library),
        n_pictures: params.batch,
        steps: params.steps,
        learning_rate: params.learning_rate,
        seed: params.seed,
        snapshots: &params.snapshots,
    };
    let mut ascent = match (&going_on, &start) {
        (Some(kept), _) => kept.ascent.clone(),
        (None, Some(pictures)) => Ascent::begin_at(&question, pictures),
        (None, None) => Ascent::begin(&question),
    };
    let answer =
        Answer { state, model: &model, params: &params, title: &title(&asked_objective), plan: &plan, shape: &shape };
    let n_before = ascent.steps();
    let mut shown = Instant::now();
    let mut watch = |ascent: &Ascent, pictures: &dyn Fn() -> Vec<f64>| {
        let is_time = params.snapshots.contains(&ascent.steps()) || shown.elapsed() > BETWEEN_PICTURES;
        let Some(standing) = token.standing.as_ref().filter(|_| is_time && params.answer.picture.is_some()) else {
            return;
        };
        // What cannot be drawn is told with the result.
        if let Ok(Some(picture)) = answer.picture(&pictures(), ascent.steps()) {
            standing.show(Partial { step: ascent.steps(), value: ascent.last_value(), picture });
        }
        shown = Instant::now();
    };
    let found = introspection::visualization::maximize(&question, &mut ascent, &mut watch, token);
    let n_steps = (ascent.steps() - n_before) as u64;
    state.counters.forward_passes.fetch_add(n_steps + 1, Ordering::Relaxed);
    state.counters.backward_walks.fetch_add(n_steps, Ordering::Relaxed);
    let asked_before = going_on.map(|kept| kept.question.clone());
    let question_hash =
        asked_before.unwrap_or_else(|| going_on::hash(&model, &params, prior.as_ref(), start.as_deref()));
    let id = going_on::ascent_id(&question_hash, ascent.steps());
    if ascent.steps() > 0 {
        let job = token.standing.as_ref().map(|standing| standing.id.clone());
        let kept_params = MaximizeParams { start: None, continue_from: None, ..params.clone() };
        let (model, question) = (model.id.clone(), question_hash);
        state.ascents.keep(Kept { id: id.clone(), job, question, model, params: kept_params, ascent });
    }
    let found = found.map_err(|error| {
        let error = of_error(error);
        let may_go_on = error.kind() == Some(ErrorKind::Cancelled) && n_before as u64 + n_steps > 0;
        if may_go_on { error.hint(format!("continue_from={id} goes on")) } else { error }
    })?;
    let snapshots = found.snapshots.iter().map(|snapshot| {
        let (tensor, picture) = answer.of(&snapshot.pictures, snapshot.step)?;
        Ok(Snapshot { step: snapshot.step, tensor, picture })
    });
    let snapshots = snapshots.collect::<Result<_, ErrorObject>>()?;
    let (tensor, picture) = answer.of(&found.pictures, found.values.len())?;
    let mut notes = Vec::new();
    if found.n_without_gradient == found.values.len() {
        notes.push(
            "nothing in the input changed the objective at any step; the picture is the noise it began with".to_owned(),
        );
    }
    Ok(Maximized {
        tensor,
        value: found.value,
        snapshots,
        wav: answer.wav(&found.pictures)?,
        ascent: id,
        stopped: found.stopped.map(|stopped| Stopped { step: stopped.step, reason: stopped.reason }),
        values: found.values,
        settings: answer.settings(),
        notes,
        picture,
    })
}

fn no_objective() -> ErrorObject {
    let message = "`visualization.maximize` needs `objective`: what is made large";
    ErrorObject::invalid("objective", message)
        .expected("such as {\"kind\": \"channel\", \"layer\": …, \"channel\": 12}, or `continue_from`")
}

/// An input to start from, as pictures: the same for each of the batch.
fn start_of(
    state: &State,
    model: &HeldModel,
    plan: &Plan,
    shape: &[usize],
    asked: &InputRef,
) -> Result<Vec<f64>, ErrorObject> {
    let prepared = asked::held(state, asked)?.prepared_as(model, model.graph.inputs()[0])?;
    if prepared.value.shape()[1..] != *shape {
        let message = format!("`start` has shape {:?} but the input found has {shape:?}", &prepared.value.shape()[1..]);
        return Err(ErrorObject::invalid("start", message).expected(format!("an input of shape {shape:?}")));
    }
    let numbers = prepared.value.to_f64_vec().map_err(|error| errors::of_model(error, None))?;
    Ok(plan.range.picture_of_input(plan.canvas, &numbers).repeat(plan.batch))
}

/// The input's shape without its batch axis: as asked, else as the network declares it.
fn shape(model: &HeldModel, asked: Option<&[usize]>) -> Result<Vec<usize>, ErrorObject> {
    if model.graph.inputs().len() > 1 {
        let message = format!("this network has {} inputs; only one can be found", model.graph.inputs().len());
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("model"));
    }
    let declared: Vec<usize> = model.input_dims().iter().map(|dim| dim.hint()).collect();
    let Some(asked) = asked else { return Ok(declared) };
    let with_batch: Vec<usize> = std::iter::once(1).chain(asked.iter().copied()).collect();
    let fits = model.graph.shapes(&[with_batch]);
    fits.map_err(|error| {
        ErrorObject::invalid("shape", error.to_string()).value(json!(asked)).expected(json_of(&declared))
    })?;
    Ok(asked.to_vec())
}

fn json_of(shape: &[usize]) -> String {
    format!("such as {shape:?}")
}

/// Refuses what would not fit, before it is allocated.
fn refuse_too_much(
    state: &State,
    model: &HeldModel,
    objective: &introspection::Objective,
    shape: &[usize],
    batch: usize,
) -> Result<(), ErrorObject> {
    // What the ascent holds in f64: free numbers, their two means, gradients and pictures on the way.
    const COPIES: usize = 12;
    let one: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    let shapes = model.graph.shapes(&[one]).map_err(|error| errors::of_model(error, Some(&model.graph)))?;
    let ends: Vec<_> = objective.ends(&model.graph).iter().map(|end| end.node).collect();
    let is_needed = model.graph.ancestors(&ends);
    let needed = shapes.iter().zip(is_needed).filter(|(_, is_needed)| *is_needed).flat_map(|(shapes, _)| shapes);
    let activations: usize = needed.map(|shape| shape.iter().product::<usize>()).sum();
    let numbers = activations * size_of::<f32>() + shape.iter().product::<usize>() * COPIES * size_of::<f64>();
    asked::refuse_beyond(numbers.saturating_mul(batch), state.config.limits.query_bytes, "these pictures together")
}

/// A question with its defaults filled in.
struct Plan {
    canvas: Canvas,
    range: InputRange,
    parameterization: introspection::visualization::Parameterization,
    /// The exponents of a spectrum, over frequency and over time.
    decay: (f64, Option<f64>),
    decorrelate: bool,
    transforms: Vec<LibraryTransform>,
    regularizers: Regularizers,
    batch: usize,
}

impl Plan {
    fn of(model: &HeldModel, params: &MaximizeParams, shape: &[usize]) -> Result<Plan, ErrorObject> {
        let canvas = Canvas::of(shape).ok_or_else(|| {
            let message =
                format!("an input of shape {shape:?} is neither a picture nor a sound nor a list of features");
            ErrorObject::new(ErrorKind::Unfit, message).field("model")
        })?;
        let kind = kind(model, canvas);
        let decay = match kind {
            Kind::Sound => (params.decay.unwrap_or(0.5), Some(params.decay_time.unwrap_or(0.5))),
            Kind::Photo | Kind::Features => (params.decay.unwrap_or(1.0), None),
        };
        check_decay(params, kind)?;
        let parameterization = match (params.parameterization, decay) {
            (Parameterization::Pixels, _) => introspection::visualization::Parameterization::Pixels,
            (Parameterization::LaplacianPyramid, _) => introspection::visualization::Parameterization::LaplacianPyramid,
            (Parameterization::Fourier, (decay, None)) => {
                introspection::visualization::Parameterization::Fourier(Decay::Radial(decay))
            }
            (Parameterization::Fourier, (rows, Some(columns))) => {
                introspection::visualization::Parameterization::Fourier(Decay::Separate { rows, columns })
            }
        };
        let has_colors = kind == Kind::Photo && canvas.planes == 3;
        let is_by_default = has_colors && params.parameterization != Parameterization::Pixels;
        let of_asked = &params.regularizers;
        Ok(Plan {
            canvas,
            range: range(model, canvas),
            parameterization,
            decay,
            decorrelate: params.decorrelate.unwrap_or(is_by_default),
            transforms: transforms(params.transforms.as_deref(), kind),
            regularizers: Regularizers {
                l1: of_asked.l1,
                l2: of_asked.l2,
                total_variation: of_asked.total_variation,
                blur: of_asked.blur,
                frequency: of_asked.frequency,
            },
            batch: params.batch,
        })
    }
}

fn check_decay(params: &MaximizeParams, kind: Kind) -> Result<(), ErrorObject> {
    for (name, decay) in [("decay", params.decay), ("decay_time", params.decay_time)] {
        if let Some(decay) = decay.filter(|decay| !(0.0..=4.0).contains(decay)) {
            let message = format!("{name} {decay} is out of range; from 0 to 4 is needed");
            return Err(ErrorObject::invalid(name, message).value(decay).expected("a number from 0 to 4"));
        }
    }
    if params.decay_time.is_some() && kind != Kind::Sound {
        return Err(ErrorObject::invalid("decay_time", "the input has no time axis; leave `decay_time` out"));
    }
    Ok(())
}

fn kind(model: &HeldModel, canvas: Canvas) -> Kind {
    let axes = &model.axes[model.input().node.0];
    let has_time = axes.contains(&AxisKind::Time) || model.sound_scale.is_some();
    match canvas {
        Canvas { planes: 3, .. } => Kind::Photo,
        _ if has_time => Kind::Sound,
        Canvas { rows: 1, .. } => Kind::Features,
        _ => Kind::Photo,
    }
}

/// What the front end can give, else what the description says, else anything.
fn range(model: &HeldModel, canvas: Canvas) -> InputRange {
    match (model.front_end.as_ref().and_then(FrontEnd::for_images), model.value_range) {
        (Some(front_end), _) if canvas.planes == 3 => {
            let bounds = |channel: usize| {
                let normalised = |level: f32| f64::from((level - front_end.mean[channel]) / front_end.std[channel]);
                [normalised(0.0), normalised(255.0)]
            };
            InputRange::Bounded((0..3).map(bounds).collect())
        }
        (_, Some([low, high])) => InputRange::Bounded(vec![[f64::from(low), f64::from(high)]]),
        _ => InputRange::Unbounded,
    }
}

fn transforms(asked: Option<&[Transform]>, kind: Kind) -> Vec<LibraryTransform> {
    let standard = || match kind {
        Kind::Photo => LibraryTransform::standard_for_photos(),
        Kind::Sound => LibraryTransform::standard_for_sound(),
        Kind::Features => vec![],
    };
    let Some(asked) = asked else { return standard() };
    let of_library = |transform: &Transform| match transform {
        Transform::None => vec![],
        Transform::Standard => standard(),
        Transform::Pad(places) => vec![LibraryTransform::Pad(*places)],
        Transform::Jitter(places) => vec![LibraryTransform::Jitter(*places)],
        Transform::Scale(factors) => vec![LibraryTransform::Scale(factors.clone())],
        Transform::Rotate(angles) => vec![LibraryTransform::Rotate(angles.clone())],
        Transform::Shift { time, frequency } => vec![LibraryTransform::Shift { rows: *frequency, columns: *time }],
    };
    asked.iter().flat_map(of_library).collect()
}

/// A transform as it is written in an answer.
fn written(transform: &LibraryTransform) -> Transform {
    match transform {
        LibraryTransform::Pad(places) => Transform::Pad(*places),
        LibraryTransform::Jitter(places) => Transform::Jitter(*places),
        LibraryTransform::Scale(factors) => Transform::Scale(factors.clone()),
        LibraryTransform::Rotate(angles) => Transform::Rotate(angles.clone()),
        LibraryTransform::Shift { rows, columns } => Transform::Shift { time: *columns, frequency: *rows },
    }
}

/// What an answer is made of.
struct Answer<'a> {
    state: &'a State,
    model: &'a HeldModel,
    params: &'a MaximizeParams,
    /// The objective in words.
    title: &'a str,
    plan: &'a Plan,
    shape: &'a [usize],
}

impl Answer<'_> {
    /// Pictures as the network's input, and as a picture where one is asked.
    fn of(&self, pictures: &[f64], step: usize) -> Result<(client_protocol::Tensor, Option<Picture>), ErrorObject> {
        let mut input = self.array(self.plan.range.input(self.plan.canvas, pictures))?;
        if self.params.batch == 1 {
            input.shape.remove(0);
            input.axes.remove(0);
        }
        Ok((input.encode(self.state, self.params.answer.encoding)?, self.picture(pictures, step)?))
    }

    fn picture(&self, pictures: &[f64], step: usize) -> Result<Option<Picture>, ErrorObject> {
        let has_bounds = self.plan.range != InputRange::Unbounded;
        let title = format!("{} after {step} steps", self.title);
        draw::of_found(self.params.answer.picture.as_ref(), &self.array(pictures.to_vec())?, has_bounds, &title)
    }

    /// What each input sounds like, where inputs are sound.
    fn wav(&self, pictures: &[f64]) -> Result<Option<OneOrMany<String>>, ErrorObject> {
        let Some(front_end) = self.model.front_end.as_ref().and_then(FrontEnd::for_audio).filter(|_| self.params.wav)
        else {
            return Ok(None);
        };
        let array = self.array(self.plan.range.input(self.plan.canvas, pictures))?;
        let of_input = array.numbers.len() / self.params.batch.max(1);
        let Some(arrangement) = self.model.sound_scale.as_ref().and_then(|scale| Arrangement::of(self.model, scale))
        else {
            return Ok(None);
        };
        let wav = |numbers: &[f32]| {
            let frames = arrangement.frames(numbers, front_end.n_bands());
            let samples = GriffinLim { seed: self.params.seed, ..GriffinLim::default() }.samples(front_end, &frames);
            let samples = samples.map_err(|error| ErrorObject::new(ErrorKind::Unfit, error.to_string()))?;
            Ok(BASE64.encode(audio::wav(&samples, front_end.sample_rate)))
        };
        let mut wavs = array.numbers.chunks_exact(of_input.max(1)).map(wav).collect::<Result<Vec<_>, ErrorObject>>()?;
        Ok(Some(if self.params.batch == 1 { OneOrMany::One(wavs.remove(0)) } else { OneOrMany::Many(wavs) }))
    }

    fn array(&self, numbers: Vec<f64>) -> Result<Array, ErrorObject> {
        let shape: Vec<usize> = std::iter::once(self.params.batch).chain(self.shape.iter().copied()).collect();
        let value = Value::from_vec(numbers, &shape, Layout::Logical).map_err(|error| errors::of_model(error, None))?;
        let prepared = PreparedInput { value: value.clone(), photo: None, sound_scale: None };
        Array::of(&value, Some(Axis::named("input")), axes_of(self.model, &prepared, self.model.input()))
    }

    fn settings(&self) -> Settings {
        let (params, plan) = (self.params, self.plan);
        let is_spectrum = params.parameterization == Parameterization::Fourier;
        let transforms: Vec<Transform> = plan.transforms.iter().map(written).collect();
        let range = match &plan.range {
            InputRange::Bounded(bounds) => json!(bounds),
            InputRange::Unbounded => serde_json::Value::Null,
        };
        settings([
            ("objective", json!(params.objective)),
            ("parameterization", json!(params.parameterization)),
            ("decorrelate", json!(plan.decorrelate)),
            ("decay", json!(is_spectrum.then_some(plan.decay.0))),
            ("decay_time", json!(plan.decay.1.filter(|_| is_spectrum))),
            ("transforms", json!(transforms)),
            ("regularizers", json!(params.regularizers)),
            ("prior", json!(params.prior.clone().map(client_protocol::visualization::Prior::from))),
            ("steps", json!(params.steps)),
            ("learning_rate", json!(params.learning_rate)),
            ("seed", json!(params.seed)),
            ("batch", json!(params.batch)),
            ("shape", json!(self.shape)),
            ("value_range", range),
        ])
    }
}

/// An objective in words.
fn title(objective: &Objective) -> String {
    match objective {
        Objective::Neuron { layer, channel, .. } => format!("a neuron of channel {channel} of {layer}"),
        Objective::Channel { layer, channel } => format!("channel {channel} of {layer}"),
        Objective::Layer { layer } => format!("all of {layer}"),
        Objective::Logit { class } => format!("logit of {}", name(class)),
        Objective::Probability { class } => format!("probability of {}", name(class)),
        Objective::Direction { layer, .. } => format!("a direction of {layer}"),
        Objective::Diversity { layer } => format!("diversity of {layer}"),
        Objective::Sum { terms } => terms.iter().map(|term| title(&term.objective)).collect::<Vec<_>>().join(" and "),
    }
}

fn name(class: &client_protocol::ClassName) -> String {
    match class {
        client_protocol::ClassName::Index(index) => format!("class {index}"),
        client_protocol::ClassName::Name(name) => name.clone(),
    }
}
