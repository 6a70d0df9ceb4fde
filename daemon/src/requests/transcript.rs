//! Transcripts: what a recogniser wrote down, where its letters lie, and `transcript.align`.

use std::sync::{Arc, PoisonError};

use client_protocol::model::{Letter, PredictParams, Search};
use client_protocol::transcript::{AlignParams, Aligned};
use client_protocol::{ErrorKind, ErrorObject};
use models::description::FrontEnd;
use models::speech::{self, Alphabet, BeamSettings, Frames, Heard, LanguageModel, phonemizer};
use models::{Outlet, Trace};
use serde_json::{Value, json};

use crate::draw;
use crate::errors;
use crate::files;
use crate::held_input::PreparedInput;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::model::settings;
use crate::state::State;

/// Log probabilities of classes over time.
pub(crate) struct Classes {
    numbers: Vec<f32>,
    n_classes: usize,
}

impl Classes {
    pub(crate) fn of(model: &HeldModel, trace: &Trace) -> Result<Classes, ErrorObject> {
        let logits = asked::value(trace, model.graph.logits())?;
        let scores = introspection::Scores::read(&logits, model.output_axes, 0)
            .map_err(|error| errors::of_introspection(error, &model.graph))?;
        let log = |place| introspection::log_probabilities(&model.graph, 0, scores.at(place));
        let numbers: Vec<f32> = (0..scores.n_places()).flat_map(log).map(|log| log as f32).collect();
        Ok(Classes { n_classes: numbers.len() / scores.n_places().max(1), numbers })
    }

    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames::new(&self.numbers, self.n_classes)
    }
}

/// The letters that are best frame by frame; nothing where the model gives no transcript.
pub(crate) fn greedy(model: &HeldModel, trace: &Trace) -> Result<Option<Vec<Heard>>, ErrorObject> {
    let Some(alphabet) = &model.alphabet else { return Ok(None) };
    Ok(Some(speech::greedy(&Classes::of(model, trace)?.frames(), alphabet)))
}

/// A transcript as it was searched for, with what was done.
pub(crate) struct Transcript {
    pub(crate) text: String,
    pub(crate) letters: Vec<Letter>,
    /// For a picture.
    pub(crate) above: Vec<pictures::Letter>,
    pub(crate) settings: Vec<(&'static str, Value)>,
}

/// What was said, found as asked; nothing where the model gives no transcript.
pub(crate) fn transcript(
    state: &State,
    model: &HeldModel,
    prepared: &PreparedInput,
    trace: &Trace,
    params: &PredictParams,
) -> Result<Option<Transcript>, ErrorObject> {
    let search = params.search.unwrap_or(match params.language_model {
        Some(_) => Search::Beam,
        None => Search::Greedy,
    });
    check_search(params, search)?;
    if model.front_end == Some(FrontEnd::Spelling) && params.search.is_none() {
        return spoken(model, trace).map(Some);
    }
    let Some(alphabet) = &model.alphabet else {
        return match params.search.is_some() || params.language_model.is_some() {
            true => Err(unfit()),
            false => Ok(None),
        };
    };
    let classes = Classes::of(model, trace)?;
    let mut settings = vec![("search", json!(search))];
    let heard = match search {
        Search::Greedy => speech::greedy(&classes.frames(), alphabet),
        Search::Beam => {
            let language_model =
                params.language_model.as_deref().map(|path| language_model(state, path)).transpose()?;
            let beam = beam_settings(params);
            settings.push(("beam_width", json!(beam.width)));
            if let Some(path) = &params.language_model {
                settings.extend([
                    ("language_model", json!(path)),
                    ("language_weight", json!(beam.language_weight)),
                    ("word_bonus", json!(beam.word_bonus)),
                ]);
            }
            speech::beam_search(&classes.frames(), alphabet, language_model.as_deref(), &beam).letters
        }
    };
    Ok(Some(Transcript {
        text: text(alphabet, &heard),
        letters: letters(model, prepared, alphabet, &heard),
        above: written_above(model, prepared, &heard),
        settings,
    }))
}

/// The phonemes that stand beside a word, each with the probability of its step; they are the likeliest together, which
/// need not be the likeliest at every step.
fn spoken(model: &HeldModel, trace: &Trace) -> Result<Transcript, ErrorObject> {
    let classes = Classes::of(model, trace)?;
    let of_model = |error| errors::of_model(error, Some(&model.graph));
    let said = match model.graph.inputs()[..] {
        [_, said] => asked::value(trace, Outlet { node: said, port: 0 })?.to_f32_vec().map_err(of_model)?,
        _ => return Err(unfit()),
    };
    // A step is given what was said before it, and so says what the next one is given.
    let given = said.chunks_exact(phonemizer::END + 1).skip(1);
    let mut letters = Vec::new();
    for (frame, (of_step, given)) in classes.numbers.chunks_exact(classes.n_classes).zip(given).enumerate() {
        let class = given.iter().position(|number| *number == 1.0).unwrap_or(phonemizer::END);
        let Some(phoneme) = phonemizer::PHONEMES.get(class) else { break };
        let probability = of_step.get(class).map_or(0.0, |log| f64::from(*log).exp());
        letters.push(Letter { letter: (*phoneme).to_owned(), frame, start: None, end: None, probability });
    }
    let text = letters.iter().map(|letter| letter.letter.as_str()).collect::<Vec<_>>().join(" ");
    Ok(Transcript { text, letters, above: Vec::new(), settings: Vec::new() })
}

fn check_search(params: &PredictParams, search: Search) -> Result<(), ErrorObject> {
    let of_beam = [
        ("beam_width", params.beam_width.is_some()),
        ("language_model", params.language_model.is_some()),
        ("language_weight", params.language_weight.is_some()),
        ("word_bonus", params.word_bonus.is_some()),
    ];
    if let Some((name, _)) = of_beam.iter().find(|(_, is_given)| *is_given && search == Search::Greedy) {
        let message = format!("`{name}` is of a beam search; ask for `search=beam` too");
        return Err(ErrorObject::invalid(name, message).expected("search=beam"));
    }
    if params.beam_width.is_some_and(|width| !(1..=2000).contains(&width)) {
        let message = "`beam_width` says how many beginnings are kept, from 1 to 2000";
        return Err(ErrorObject::invalid("beam_width", message)
            .value(json!(params.beam_width))
            .expected("from 1 to 2000"));
    }
    for (name, number) in [("language_weight", params.language_weight), ("word_bonus", params.word_bonus)] {
        if number.is_some_and(|number| !number.is_finite() || number.abs() > 100.0) {
            let message = format!("`{name}` is from -100 to 100");
            return Err(ErrorObject::invalid(name, message).value(json!(number)).expected("a number from -100 to 100"));
        }
    }
    Ok(())
}

fn beam_settings(params: &PredictParams) -> BeamSettings {
    let usual = BeamSettings::default();
    BeamSettings {
        width: params.beam_width.unwrap_or(usual.width),
        language_weight: params.language_weight.map_or(usual.language_weight, |weight| weight as f32),
        word_bonus: params.word_bonus.map_or(usual.word_bonus, |bonus| bonus as f32),
    }
}

/// The language model of a file; the last one that was read is kept.
fn language_model(state: &State, path: &str) -> Result<Arc<LanguageModel>, ErrorObject> {
    let bytes = files::read_limited(path, "language_model", state.config.limits.file_bytes)?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let mut kept = state.language_model.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, model)) = &*kept
        && *of == hash
    {
        return Ok(model.clone());
    }
    let corrupt = |reason: String| {
        ErrorObject::new(ErrorKind::CorruptFile, format!("`{path}`: {reason}"))
            .field("language_model")
            .value(path)
            .expected("n-grams in the ARPA format")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| corrupt("it is no text in UTF-8".to_owned()))?;
    let model = Arc::new(LanguageModel::from_arpa(text).map_err(|error| corrupt(error.to_string()))?);
    *kept = Some((hash, model.clone()));
    Ok(model)
}

fn text(alphabet: &Alphabet, heard: &[Heard]) -> String {
    alphabet.text(&heard.iter().map(|heard| heard.class).collect::<Vec<_>>())
}

/// Letters with their times: from half a step before the first frame to half a step behind the last.
pub(crate) fn letters(
    model: &HeldModel,
    prepared: &PreparedInput,
    alphabet: &Alphabet,
    heard: &[Heard],
) -> Vec<Letter> {
    let field = model.receptive_fields[model.graph.logits().node.0].as_ref().and_then(|fields| fields.last());
    let scale = prepared.sound_scale.as_ref().or(model.sound_scale.as_ref());
    let seconds = |frame: f64| {
        let (field, scale) = (field?, scale?);
        Some((scale.start + (field.center + frame * field.stride as f64) * scale.step).max(0.0))
    };
    let letter = |heard: &Heard| Letter {
        letter: alphabet.letter(heard.class).to_owned(),
        frame: heard.frame,
        start: seconds(heard.first as f64 - 0.5),
        end: seconds(heard.end as f64 - 0.5),
        probability: f64::from(heard.log_probability).exp(),
    };
    heard.iter().map(letter).collect()
}

/// The letters above a spectrogram, each at its most probable frame.
pub(crate) fn written_above(model: &HeldModel, prepared: &PreparedInput, heard: &[Heard]) -> Vec<pictures::Letter> {
    let Some(alphabet) = &model.alphabet else { return vec![] };
    let middle = |letter: Letter| {
        let place = (letter.start? + letter.end?) / 2.0;
        Some(pictures::Letter { place, text: letter.letter })
    };
    letters(model, prepared, alphabet, heard).into_iter().filter_map(middle).collect()
}

pub(crate) fn unfit() -> ErrorObject {
    let message = "this model gives no transcript: its description has no `ctc` that says which class is blank";
    ErrorObject::new(ErrorKind::Unfit, message)
        .field("model")
        .expected("a model trained with CTC")
        .hint(r#"load it with a description such as {"labels": […], "ctc": {"blank": 28, "word_boundary": 27}}"#)
}

pub(crate) fn align(state: &Arc<State>, params: AlignParams, token: &Token) -> Result<Aligned, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let alphabet = model.alphabet.as_ref().ok_or_else(unfit)?;
    let classes = alphabet.classes(&params.transcript).map_err(|error| {
        ErrorObject::invalid("transcript", error.to_string())
            .value(params.transcript.as_str())
            .expected(format!("letters of {}", error.letters))
    })?;
    if classes.is_empty() {
        let message = "the transcript has no letters to look for";
        return Err(ErrorObject::invalid("transcript", message).value(params.transcript.as_str()).expected("a text"));
    }
    let asked = asked::input(state, &model, &params.input, token)?;
    let of_sound = Classes::of(&model, &asked.trace)?;
    let alignment = speech::forced_alignment(&of_sound.frames(), &classes, alphabet)
        .map_err(|error| ErrorObject::new(ErrorKind::Unfit, error.to_string()).field("transcript"))?;
    let transcript = alphabet.text(&classes);
    let above = written_above(&model, &asked.prepared, &alignment.letters);
    let title = format!("“{transcript}”{}", draw::in_file(asked.held.path.as_deref()));
    let picture = draw::of_transcript(&params.answer, &asked.prepared, &above, &title)?;
    Ok(Aligned {
        letters: letters(&model, &asked.prepared, alphabet, &alignment.letters),
        transcript,
        log_probability: alignment.log_probability.into(),
        total_log_probability: alignment.total_log_probability.into(),
        settings: settings([("transcript", json!(params.transcript))]),
        picture,
    })
}
