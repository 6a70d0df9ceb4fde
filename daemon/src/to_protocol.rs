//! Library values as the wire has them: arrays with named axes in units, targets as they were understood.

use client_protocol::{Axis, Encoding, ErrorKind, ErrorObject, ResolvedTarget, Target, Tensor};
use models::front_ends::audio::SoundScale;
use models::operators::AxisKind;
use models::{Outlet, Value};

use crate::held_input::PreparedInput;
use crate::held_model::HeldModel;
use crate::npy;
use crate::sound_input::Arrangement;
use crate::state::State;

/// An array of f32 with its axes, on its way out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) axes: Vec<Axis>,
    pub(crate) numbers: Vec<f32>,
}

impl Array {
    /// A value whose first axis (rows or targets) is kept only as `leading`.
    pub(crate) fn of(value: &Value, leading: Option<Axis>, axes: Vec<Axis>) -> Result<Array, ErrorObject> {
        let numbers = value.to_logical().and_then(|value| value.to_f32_vec());
        let numbers = numbers.map_err(|error| crate::errors::of_model(error, None))?;
        let mut shape = value.shape().to_vec();
        let mut all_axes = axes;
        match leading {
            Some(axis) => all_axes.insert(0, axis),
            None => {
                shape.remove(0);
            }
        }
        Ok(Array { shape, axes: all_axes, numbers })
    }

    /// Arrays of one shape under a new first axis.
    pub(crate) fn stack(arrays: Vec<Array>, axis: Axis) -> Result<Array, ErrorObject> {
        let mut arrays = arrays.into_iter();
        let mut stacked = arrays.next().ok_or_else(|| ErrorObject::invalid("input", "the list of inputs is empty"))?;
        let shape = stacked.shape.clone();
        let mut n_arrays = 1;
        for array in arrays {
            if array.shape != shape {
                let message = format!(
                    "the inputs give arrays of different shapes, {shape:?} and {:?}; ask for them one by one",
                    array.shape
                );
                return Err(ErrorObject::invalid("input", message));
            }
            stacked.numbers.extend(array.numbers);
            n_arrays += 1;
        }
        stacked.shape.insert(0, n_arrays);
        stacked.axes.insert(0, axis);
        Ok(stacked)
    }

    /// As the wire has it; a number that is none is an error, since JSON would turn it into null.
    pub(crate) fn encode(&self, state: &State, encoding: Encoding) -> Result<Tensor, ErrorObject> {
        if let Some(index) = self.numbers.iter().position(|number| !number.is_finite()) {
            let position = models::value::unravel(index, &self.shape);
            let message = format!("the answer holds {} at {position:?}", self.numbers[index]);
            return Err(ErrorObject::new(ErrorKind::Unfit, message));
        }
        match encoding {
            Encoding::Base64 => Ok(Tensor::base64(self.shape.clone(), self.axes.clone(), &self.numbers)),
            Encoding::Json => Ok(Tensor::nested(self.shape.clone(), self.axes.clone(), &self.numbers)),
            Encoding::Npy => self.write_npy(state),
            Encoding::None => Ok(Tensor::without_numbers(self.shape.clone(), self.axes.clone())),
        }
    }

    fn write_npy(&self, state: &State) -> Result<Tensor, ErrorObject> {
        let mut bytes = Vec::with_capacity(self.numbers.len() * 4 + 128);
        npy::write(&mut bytes, &self.shape, &self.numbers)
            .map_err(|error| crate::errors::of_io(&error, "encoding", "a NumPy file"))?;
        let name = format!("{}.npy", &blake3::Hasher::new().update_rayon(&bytes).finalize().to_hex()[..16]);
        let path = state.config.arrays_dir.join(name);
        crate::storage::write_whole(&path, &bytes).map_err(|error| crate::storage::of_write(&error, &path))?;
        let data = client_protocol::TensorData::Text(path.display().to_string());
        Ok(Tensor { shape: self.shape.clone(), axes: self.axes.clone(), dtype: client_protocol::Dtype::F32, data })
    }
}

/// The name of what lies along an axis.
pub(crate) fn axis_name(kind: AxisKind) -> &'static str {
    match kind {
        AxisKind::Batch => "input",
        AxisKind::Channel => "channel",
        AxisKind::Time => "time",
        AxisKind::Row => "row",
        AxisKind::Column => "column",
        AxisKind::Feature => "feature",
        AxisKind::Other => "axis",
    }
}

/// The axes of a layer's value without the batch, places in the units of the input: pixels of the photo, seconds.
pub(crate) fn axes_of(model: &HeldModel, prepared: &PreparedInput, outlet: Outlet) -> Vec<Axis> {
    let kinds = &model.axes[outlet.node.0];
    let output = model.output_at(outlet);
    let fields = model.receptive_fields[outlet.node.0].as_deref();
    let n_fields = fields.map_or(0, <[_]>::len);
    let first_spatial = kinds.len() - n_fields;
    let sound = prepared.sound_scale.as_ref().or(model.sound_scale.as_ref());
    let sound_axes = sound.and_then(|scale| Some((scale, Arrangement::of(model, scale)?)));
    let axis = |(idx, kind): (usize, &AxisKind)| {
        let is_class = output.is_some_and(|output| idx == output.class);
        if let Some((scale, arrangement)) = sound_axes.filter(|_| outlet == model.input()) {
            return sound_axis(scale, arrangement, idx, *kind);
        }
        let mut axis = Axis::named(if is_class { "class" } else { axis_name(*kind) });
        if output.is_some_and(|output| output.output == 0) && is_class && !model.labels.is_empty() {
            axis.labels = Some((0..model.labels.len()).filter_map(|class| model.label(class)).collect());
        }
        let field = fields.filter(|_| idx >= first_spatial).map(|fields| fields[idx - first_spatial]);
        if let (Some(field), Some((unit, start, step))) = (field, input_scale(model, prepared, *kind)) {
            axis.unit = Some(unit.to_owned());
            if unit == "s" {
                axis.name = "time".to_owned();
            }
            axis.start = Some(start + field.center * step);
            axis.step = Some(field.stride as f64 * step);
        }
        axis
    };
    kinds.iter().enumerate().skip(1).map(axis).collect()
}

/// Unit, first place and step of the input along an axis.
fn input_scale(model: &HeldModel, prepared: &PreparedInput, kind: AxisKind) -> Option<(&'static str, f64, f64)> {
    let sound = prepared.sound_scale.as_ref().or(model.sound_scale.as_ref());
    match (kind, &prepared.photo) {
        (AxisKind::Row, Some(photo)) => Some(("px", photo.rows.start, photo.rows.step)),
        (AxisKind::Column, Some(photo)) => Some(("px", photo.columns.start, photo.columns.step)),
        (AxisKind::Time, _) => sound.map(|scale| ("s", scale.start, scale.step)),
        // A picture of sound has time along one of its sides.
        (AxisKind::Row | AxisKind::Column, None) => {
            let scale = sound.filter(|scale| {
                let time_axis = Arrangement::of(model, scale).map(Arrangement::time_axis);
                time_axis == Some(if kind == AxisKind::Row { 2 } else { 3 })
            });
            scale.map(|scale| ("s", scale.start, scale.step))
        }
        _ => None,
    }
}

/// An axis of an input made from sound.
fn sound_axis(scale: &SoundScale, arrangement: Arrangement, idx: usize, kind: AxisKind) -> Axis {
    if idx == arrangement.time_axis() {
        let (start, step) = (Some(scale.start), Some(scale.step));
        return Axis { unit: Some("s".to_owned()), start, step, ..Axis::named("time") };
    }
    if Some(idx) == arrangement.frequency_axis() {
        return Axis { unit: Some("Hz".to_owned()), values: scale.bands_hz.clone(), ..Axis::named("frequency") };
    }
    Axis::named(axis_name(kind))
}

/// A target as it was understood.
pub(crate) fn resolved_target(
    model: &HeldModel,
    asked: &Target,
    resolved: &introspection::ResolvedTarget,
) -> ResolvedTarget {
    let (output, asked) = match asked {
        Target::OfOutput { output, target } => (Some(output.clone()), &**target),
        _ => (None, asked),
    };
    let (layer, channel, position) = match asked {
        Target::Unit { layer, channel, position } => (Some(layer.clone()), *channel, position.clone()),
        _ => (None, None, None),
    };
    let field = model.receptive_fields[resolved.outlet.node.0].as_ref().and_then(|fields| fields.last());
    let time = match (resolved.frame, field, &model.sound_scale) {
        (Some(frame), Some(field), Some(scale)) => {
            Some(scale.start + (field.center + (frame * field.stride) as f64) * scale.step)
        }
        _ => None,
    };
    ResolvedTarget {
        index: resolved.class,
        label: resolved.class.filter(|_| output.is_none()).and_then(|class| model.label(class)),
        output,
        frame: resolved.frame,
        time,
        layer,
        channel,
        position,
        score: resolved.score,
        probability: resolved.probability,
    }
}
