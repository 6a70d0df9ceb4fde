//! Inputs that are held: the bytes of a photo or sound, or an array, and what each model's front end made of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client_protocol::{ErrorKind, ErrorObject, nearest};
use models::description::FrontEnd;
use models::front_ends::audio::{self, AudioError, SoundInfo, SoundScale};
use models::front_ends::image::{self, PreparedImage};
use models::speech::phonemizer;
use models::{Dim, Layout, NodeIdx, Value};

use crate::held_model::HeldModel;
use crate::npy::Array;
use crate::sound_input;

/// What a file or request held.
#[derive(Debug)]
pub(crate) enum Content {
    /// The bytes of a PNG or JPEG file, with its size (columns, rows).
    Image { bytes: Vec<u8>, size: (u32, u32) },
    /// The bytes of a WAV, FLAC, Ogg or MP3 file.
    Sound { bytes: Vec<u8>, info: SoundInfo },
    /// Numbers as they are.
    Array(Array),
    /// A word by its letters' numbers.
    Word { letters: Vec<usize> },
}

/// An input that is held.
#[derive(Debug)]
pub(crate) struct HeldInput {
    /// A hash of its content and options.
    pub(crate) id: String,
    pub(crate) path: Option<String>,
    pub(crate) content: Content,
    /// A front end that replaces the models' own.
    pub(crate) front_end: Option<FrontEnd>,
    prepared: Mutex<HashMap<String, Arc<PreparedInput>>>,
}

/// What a model's front end made of an input.
#[derive(Clone, Debug)]
pub(crate) struct PreparedInput {
    /// `[1, …]`.
    pub(crate) value: Value,
    /// The photo that the network sees, where it is one.
    pub(crate) photo: Option<PreparedImage>,
    /// Where it lies in time and frequency, where it is a sound.
    pub(crate) sound_scale: Option<SoundScale>,
}

impl HeldInput {
    /// An input that no model has seen yet.
    pub(crate) fn new(id: String, path: Option<String>, content: Content, front_end: Option<FrontEnd>) -> Self {
        HeldInput { id, path, content, front_end, prepared: Mutex::default() }
    }

    /// The value that one of a model's inputs takes, made at first use and kept.
    pub(crate) fn prepared_as(&self, model: &HeldModel, input: NodeIdx) -> Result<Arc<PreparedInput>, ErrorObject> {
        let dims = model.graph.input_shape(input);
        let front_end = self.front_end.as_ref().or(model.front_end.as_ref());
        let key = match &self.content {
            Content::Image { .. } => format!("{front_end:?}"),
            Content::Sound { .. } => format!("{front_end:?} {dims:?}"),
            Content::Array(_) => format!("{dims:?}"),
            // Which phonemes stand beside it is what the model itself says.
            Content::Word { .. } => format!("{} {dims:?}", model.id),
        };
        if let Some(prepared) = self.lock().get(&key) {
            return Ok(prepared.clone());
        }
        let prepared = Arc::new(match &self.content {
            Content::Image { bytes, .. } => self.prepare_image(bytes, front_end)?,
            Content::Sound { bytes, .. } => self.prepare_sound(bytes, front_end, model)?,
            Content::Array(array) => PreparedInput { value: fitted(array, dims)?, photo: None, sound_scale: None },
            Content::Word { letters } => self.prepare_word(letters, model, input)?,
        });
        self.lock().insert(key, prepared.clone());
        Ok(prepared)
    }

    /// A word as letters; beside them stand the phonemes that the network itself says, as it says them step by step.
    fn prepare_word(&self, letters: &[usize], model: &HeldModel, input: NodeIdx) -> Result<PreparedInput, ErrorObject> {
        if self.front_end.as_ref().or(model.front_end.as_ref()) != Some(&FrontEnd::Spelling) {
            let message = "this model reads no words";
            return Err(ErrorObject::new(ErrorKind::Unfit, message)
                .field("input")
                .expected("a photo, a sound or an array")
                .hint("model phonemizer reads words"));
        }
        let word = [letters.to_vec()];
        let of_model = |error| crate::errors::of_model(error, Some(&model.graph));
        let value = match model.graph.inputs().first() == Some(&input) {
            true => phonemizer::letters_input(&word).map_err(of_model)?,
            false => {
                let said = phonemizer::spoken(&model.graph, &word).map_err(of_model)?;
                phonemizer::phonemes_input(&said).map_err(of_model)?
            }
        };
        Ok(PreparedInput { value, photo: None, sound_scale: None })
    }

    fn prepare_image(&self, bytes: &[u8], front_end: Option<&FrontEnd>) -> Result<PreparedInput, ErrorObject> {
        let front_end = front_end.and_then(FrontEnd::for_images).ok_or_else(|| {
            let message = "this model does not say how a photo becomes its input";
            ErrorObject::new(ErrorKind::Unfit, message)
                .field("input")
                .expected("an array of the input's shape, or `frontend` options")
                .hint(r#"load the model with frontend={"image": {…}}, or load the input with one"#)
        })?;
        let photo = image::prepare(bytes, front_end).map_err(|error| of_image(&error, self.path.as_deref()))?;
        let shape: Vec<usize> = std::iter::once(1).chain(photo.shape).collect();
        let value = Value::from_vec(photo.numbers.clone(), &shape, Layout::Logical)
            .map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))?;
        Ok(PreparedInput { value, photo: Some(photo), sound_scale: None })
    }

    fn prepare_sound(
        &self,
        bytes: &[u8],
        front_end: Option<&FrontEnd>,
        model: &HeldModel,
    ) -> Result<PreparedInput, ErrorObject> {
        let front_end = front_end.and_then(FrontEnd::for_audio).ok_or_else(|| {
            let message = "this model does not say how a sound becomes its input";
            ErrorObject::new(ErrorKind::Unfit, message)
                .field("input")
                .expected("an array of the input's shape, or `frontend` options")
                .hint(r#"load the model with frontend={"audio": {…}}, or load the input with one"#)
        })?;
        let features = audio::prepare(bytes, front_end).map_err(|error| of_sound(&error, self.path.as_deref()))?;
        let scale = front_end.scale();
        let value = sound_input::fitted(features, &scale, model)?;
        Ok(PreparedInput { value, photo: None, sound_scale: Some(scale) })
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Image { bytes, .. } | Content::Sound { bytes, .. } => bytes.len(),
            Content::Array(array) => array.numbers.len() * 4,
            Content::Word { letters } => letters.len() * 8,
        };
        let photo_bytes = |prepared: &PreparedInput| {
            prepared.photo.as_ref().map_or(0, |photo| photo.numbers.len() * 4 + photo.crop.len())
        };
        content + self.lock().values().map(|prepared| prepared.value.bytes() + photo_bytes(prepared)).sum::<usize>()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<PreparedInput>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of the image front end.
pub(crate) fn of_image(error: &image::ImageError, path: Option<&str>) -> ErrorObject {
    let name = path.unwrap_or("the image");
    let kind = if error.is_over_limit() { ErrorKind::LimitExceeded } else { ErrorKind::CorruptFile };
    ErrorObject::new(kind, format!("`{name}`: {error}")).field("input").value(name)
}

/// An error of the front end for sound.
pub(crate) fn of_sound(error: &AudioError, path: Option<&str>) -> ErrorObject {
    let name = path.unwrap_or("the sound");
    let kind = if error.is_over_limit() { ErrorKind::LimitExceeded } else { ErrorKind::CorruptFile };
    ErrorObject::new(kind, format!("`{name}`: {error}")).field("input").value(name)
}

/// An array as a model's input of these lengths, `[1, …]`.
fn fitted(array: &Array, dims: &[Dim]) -> Result<Value, ErrorObject> {
    let has_batch = array.shape.len() == dims.len() + 1 && array.shape.first() == Some(&1);
    let shape = if has_batch { &array.shape[1..] } else { &array.shape[..] };
    let fits = shape.len() == dims.len()
        && shape.iter().zip(dims).all(|(&length, dim)| match dim {
            Dim::Known(known) => length == *known,
            Dim::Any(_) => length > 0,
        });
    if !fits {
        let lengths: Vec<String> = dims.iter().map(Dim::to_string).collect();
        let expected = format!("[{}]", lengths.join(", "));
        let message = format!("the input has shape {:?} but this model takes {expected}", array.shape);
        return Err(ErrorObject::invalid("input", message).value(serde_json::json!(array.shape)).expected(expected));
    }
    let shape: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    Value::from_vec(array.numbers.clone(), &shape, Layout::Logical)
        .map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))
}

/// Fails at the first number that is none.
pub(crate) fn check_finite(array: &Array, name: &str) -> Result<(), ErrorObject> {
    match array.numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let position = models::value::unravel(index, &array.shape);
            let message = format!("{name} holds {} at {position:?}; every number must be finite", array.numbers[index]);
            Err(ErrorObject::invalid("input", message).expected("finite numbers"))
        }
    }
}

/// The inputs held, by id.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    held: Vec<Arc<HeldInput>>,
}

impl Inputs {
    /// Holds an input unless an equal one is held; answers the one that is.
    pub(crate) fn hold(&mut self, input: HeldInput, budget_bytes: usize) -> Result<Arc<HeldInput>, ErrorObject> {
        if let Some(held) = self.held.iter().find(|held| held.id == input.id) {
            return Ok(held.clone());
        }
        let (held_bytes, bytes) = (self.bytes(), input.bytes());
        if held_bytes + bytes > budget_bytes {
            let message = format!(
                "this input needs {bytes} bytes beside {held_bytes} that are held, more than the {budget_bytes} allowed"
            );
            return Err(ErrorObject::new(ErrorKind::LimitExceeded, message).hint("let inputs go with `input.drop`"));
        }
        self.held.push(Arc::new(input));
        Ok(self.held[self.held.len() - 1].clone())
    }

    /// The input of an id.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<HeldInput>, ErrorObject> {
        self.held.iter().find(|input| input.id == id).cloned().ok_or_else(|| {
            ErrorObject::new(ErrorKind::NotFound, format!("no input `{id}`"))
                .field("input")
                .value(id)
                .expected("an id that `input.load` gave, or an absolute path")
                .nearest(nearest(id, self.held.iter().map(|input| input.id.as_str())))
        })
    }

    /// All inputs, in the order in which they came.
    pub(crate) fn all(&self) -> &[Arc<HeldInput>] {
        &self.held
    }

    /// Lets an input go; whether it was there.
    pub(crate) fn drop_input(&mut self, id: &str) {
        self.held.retain(|input| input.id != id);
    }

    /// Bytes that all hold.
    pub(crate) fn bytes(&self) -> usize {
        self.held.iter().map(|input| input.bytes()).sum()
    }
}
