//! `input.*`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::input::{Dropped, InputParams, Inputs, LoadParams, Loaded};
use client_protocol::{ErrorKind, ErrorObject, NoParams, Tensor};
use models::description::FrontEnd;
use models::front_ends::{audio, image};
use models::speech::phonemizer;

use crate::files;
use crate::held_input::{Content, HeldInput, check_finite, of_image, of_sound};
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::npy;
use crate::state::State;

/// No word of English is as long.
const LONGEST_WORD: usize = 64;

pub(crate) fn load(state: &Arc<State>, params: LoadParams, _: &Token) -> Result<Loaded, ErrorObject> {
    let front_end = params.frontend.as_ref().map(crate::requests::model::front_end).transpose()?;
    let input = match (params.path, params.data, params.tensor, params.text) {
        (Some(path), None, None, None) => from_path(state, &path, front_end)?,
        (None, Some(data), None, None) => {
            let bytes = BASE64
                .decode(data)
                .map_err(|error| ErrorObject::invalid("data", format!("`data` is no base64: {error}")))?;
            from_bytes(state, bytes, params.format.as_deref(), None, front_end)?
        }
        (None, None, Some(tensor), None) => from_tensor(&tensor)?,
        (None, None, None, Some(text)) => from_word(&text)?,
        _ => {
            let message = "an input is given by exactly one of `path`, `data`, `tensor` and `text`";
            return Err(ErrorObject::new(ErrorKind::InvalidParams, message).field("path"));
        }
    };
    if let Some(model) = &params.model {
        let model = state.models().get(model)?;
        check_fits(&input, &model)?;
    }
    let held = state.inputs().hold(input, state.config.input_bytes)?;
    Ok(describe(&held))
}

/// Fails where a model cannot take an input, as any of its inputs.
fn check_fits(input: &HeldInput, model: &HeldModel) -> Result<(), ErrorObject> {
    let mut fits = model.graph.inputs().iter().map(|node| input.prepared_as(model, *node).map(drop));
    let first = fits.next().unwrap_or(Ok(()));
    first.or_else(|error| if fits.any(|fits| fits.is_ok()) { Ok(()) } else { Err(error) })
}

/// Reads a photo, a sound or an array from a file.
pub(crate) fn from_path(state: &State, path: &str, front_end: Option<FrontEnd>) -> Result<HeldInput, ErrorObject> {
    let bytes = files::read_limited(path, "path", state.config.limits.file_bytes)?;
    from_bytes(state, bytes, None, Some(path), front_end)
}

fn from_bytes(
    state: &State,
    bytes: Vec<u8>,
    format: Option<&str>,
    path: Option<&str>,
    front_end: Option<FrontEnd>,
) -> Result<HeldInput, ErrorObject> {
    let name = path.unwrap_or("the data");
    let kind = kind_of(&bytes, format, name)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes).update(format!("{front_end:?}").as_bytes());
    let id = hasher.finalize().to_hex()[..16].to_owned();
    let content = match kind {
        Kind::Npy => {
            let corrupt = |reason: String| {
                ErrorObject::new(ErrorKind::CorruptFile, format!("`{name}`: {reason}")).field("path").value(name)
            };
            let array = npy::read(&bytes).map_err(corrupt)?;
            check_finite(&array, &format!("`{name}`"))?;
            Content::Array(array)
        }
        Kind::Image => {
            let of_image = |error| of_image(&error, path);
            let size = image::checked_size(&bytes, state.config.limits.image_pixels).map_err(of_image)?;
            // A torn file shows here and not at the first question; one that is held was whole.
            if state.inputs().get(&id).is_err() {
                image::decode(&bytes).map_err(of_image)?;
            }
            Content::Image { bytes, size }
        }
        Kind::Sound => {
            // One that is held was whole; of all others this shows it, and how long they are.
            let known = state.inputs().get(&id).ok().and_then(|held| match &held.content {
                Content::Sound { info, .. } => Some(info.clone()),
                _ => None,
            });
            let inspected = || audio::inspect(&bytes).map_err(|error| of_sound(&error, path));
            let info = known.map_or_else(inspected, Ok)?;
            Content::Sound { bytes, info }
        }
    };
    Ok(HeldInput::new(id, path.map(str::to_owned), content, front_end))
}

enum Kind {
    Npy,
    Sound,
    Image,
}

fn kind_of(bytes: &[u8], format: Option<&str>, name: &str) -> Result<Kind, ErrorObject> {
    const PNG: &[u8] = b"\x89PNG";
    const JPEG: &[u8] = b"\xff\xd8\xff";
    const NPY: &[u8] = b"\x93NUMPY";
    const FORMATS: [&str; 8] = ["png", "jpeg", "jpg", "npy", "wav", "flac", "ogg", "mp3"];
    if let Some(format) = format.filter(|format| !FORMATS.contains(format)) {
        let message = format!("`format` {format} is not understood; png, jpeg, npy, wav, flac, ogg and mp3 are");
        return Err(ErrorObject::invalid("format", message).value(format).expected(FORMATS.join(", ")));
    }
    if bytes.starts_with(NPY) {
        return Ok(Kind::Npy);
    }
    if bytes.starts_with(PNG) || bytes.starts_with(JPEG) {
        return Ok(Kind::Image);
    }
    if is_sound(bytes) {
        return Ok(Kind::Sound);
    }
    let found = if bytes.is_empty() {
        "it is empty".to_owned()
    } else {
        let first: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("it begins with {}", first.join(" "))
    };
    let message = format!("`{name}` is no PNG, JPEG, WAV, FLAC, Ogg, MP3 or NumPy file: {found}");
    Err(ErrorObject::new(ErrorKind::CorruptFile, message)
        .field("path")
        .value(name)
        .expected("a PNG, JPEG, WAV, FLAC, Ogg, MP3 or .npy file"))
}

fn is_sound(bytes: &[u8]) -> bool {
    let is_wav = bytes.starts_with(b"RIFF") && bytes.get(8..12).is_none_or(|form| form == b"WAVE");
    // Eleven bits of an MP3 frame are set, and its layer is the third.
    let is_mp3 = bytes.starts_with(b"ID3") || matches!(bytes, [0xff, second, ..] if second & 0xe6 == 0xe2);
    is_wav || is_mp3 || bytes.starts_with(b"fLaC") || bytes.starts_with(b"OggS")
}

/// A word by its letters.
fn from_word(text: &str) -> Result<HeldInput, ErrorObject> {
    let word = text.trim().to_lowercase();
    let refuse = |message: String| {
        let shown: String = text.chars().take(40).collect();
        ErrorObject::invalid("text", message).value(shown).expected("one word of the letters a to z and apostrophes")
    };
    let n_letters = word.chars().count();
    if n_letters > LONGEST_WORD {
        return Err(refuse(format!("`text` has {n_letters} letters; at most {LONGEST_WORD} are read")));
    }
    let letters = phonemizer::spelled(&word).ok_or_else(|| refuse("`text` is no word".to_owned()))?;
    let id = blake3::hash(format!("word {word}").as_bytes()).to_hex()[..16].to_owned();
    Ok(HeldInput::new(id, None, Content::Word { letters }, None))
}

/// An input of numbers that came with the request.
pub(crate) fn from_tensor(tensor: &Tensor) -> Result<HeldInput, ErrorObject> {
    let numbers = tensor.numbers().map_err(|message| ErrorObject::invalid("tensor", message))?;
    let array = npy::Array { shape: tensor.shape.clone(), numbers };
    check_finite(&array, "`tensor`")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", array.shape).as_bytes());
    array.numbers.iter().for_each(|number| {
        hasher.update(&number.to_le_bytes());
    });
    let id = hasher.finalize().to_hex()[..16].to_owned();
    Ok(HeldInput::new(id, None, Content::Array(array), None))
}

fn describe(input: &HeldInput) -> Loaded {
    let (kind, shape) = match &input.content {
        Content::Image { size: (columns, rows), .. } => ("image", vec![*rows as usize, *columns as usize, 3]),
        Content::Sound { info, .. } => ("audio", vec![info.n_channels, info.n_samples as usize]),
        Content::Array(array) => ("tensor", array.shape.clone()),
        Content::Word { letters } => ("text", vec![letters.len()]),
    };
    let info = match &input.content {
        Content::Sound { info, .. } => Some(info),
        _ => None,
    };
    Loaded {
        input: input.id.clone(),
        kind: kind.to_owned(),
        shape,
        duration: info.map(audio::SoundInfo::duration),
        sample_rate: info.map(|info| info.sample_rate),
        path: input.path.clone(),
    }
}

pub(crate) fn list(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Inputs, ErrorObject> {
    Ok(Inputs { inputs: state.inputs().all().iter().map(|input| describe(input)).collect() })
}

pub(crate) fn drop_input(state: &Arc<State>, params: InputParams, _: &Token) -> Result<Dropped, ErrorObject> {
    let held = state.inputs().get(&params.input)?;
    state.inputs().drop_input(&held.id);
    state.traces.drop_where(|key| key.is_of_input(&held.id));
    Ok(Dropped { input: held.id.clone() })
}
