//! A recogniser of letters: Wav2Letter's plain shape, trained with CTC, and with the phones' true times where they are
//! known as an auxiliary loss at an inner layer.
//!
//! Read `corpus.rs` (what is said, and how it looks as a spectrogram), `augmentation.rs` (what is made of it anew every
//! time it is heard), `batches.rs`, then the steps here; `letter_error.rs` is what it is measured by.

pub mod augmentation;
mod batches;
pub mod corpus;
pub mod letter_error;

use candle_core::Device;
use models::loaders::Weights;
use models::speech::Alphabet;
use models::{Graph, Layout, Value, zoo};
use rayon::prelude::*;

use crate::error::{Result, TrainingError};
use crate::losses::{cross_entropy_of_frames, ctc_of_batch};
use crate::network::{Head, Network, TrainingForm};
use crate::optimiser::Schedule;
use crate::trainer::{Loss, Trainer};
use augmentation::Augmentation;
use batches::Batches;
pub use corpus::{Recogniser, Utterance};

/// How to train.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network's name in the zoo.
    pub architecture: String,
    pub n_steps: usize,
    /// Seconds of speech in a batch, before it is changed.
    pub batch_seconds: f64,
    pub peak_rate: f64,
    pub dropout: f64,
    /// How much the phones count beside the letters.
    pub phone_weight: f64,
    pub augmentation: Augmentation,
    pub seed: u64,
    /// Where steps compute.
    pub device: Device,
}

impl Settings {
    /// What is right for a processor, for a run of so many steps; the cards say what the committed weights were trained with.
    pub fn new(architecture: &str, n_steps: usize) -> Settings {
        Settings {
            architecture: architecture.to_owned(),
            n_steps,
            batch_seconds: 64.0,
            peak_rate: 3e-3,
            dropout: 0.0,
            phone_weight: 0.5,
            augmentation: Augmentation::default(),
            seed: 1,
            device: Device::Cpu,
        }
    }
}

/// The output for phones, while training.
const PHONES: &str = "phones";

/// The layer that it reads: with the sixth of eleven convolutions letters are yet to be spelled.
const LAYER_OF_PHONES: &str = "relu6";

/// A run: the trainer with what it draws batches from.
#[derive(Debug)]
pub struct Run {
    pub trainer: Trainer,
    pub recogniser: Recogniser,
    settings: Settings,
    batches: Batches,
    /// The batch of a step to come, made while a device worked.
    ready: Option<(usize, Heard)>,
}

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub loss: f64,
    /// Of speech, as it was heard.
    pub seconds: f64,
}

impl Run {
    /// Before its first step; from trained weights where there are some.
    pub fn new(settings: Settings, utterances: &[Utterance], trained: Option<Graph>) -> Result<Run> {
        let recogniser = Recogniser::of(&settings.architecture)?;
        let entry = recogniser.entry;
        let head = Head { name: PHONES.to_owned(), layer: LAYER_OF_PHONES.to_owned(), n_out: corpus::PHONES.len() };
        let has_phones = settings.phone_weight > 0.0 && utterances.iter().any(|of| !of.phones.is_empty());
        let heads = if has_phones { vec![head] } else { Vec::new() };
        let form = TrainingForm { has_norms: true, dropout: settings.dropout, heads };
        let batches = Batches::new(utterances, settings.batch_seconds, settings.seed)?;
        let network = match trained {
            None => Network::new(zoo::build(entry, Weights::random(settings.seed))?, &form, settings.seed)?,
            Some(graph) => {
                let heard = Heard::of_batch(&recogniser, utterances, batches.of_step(0), &settings, 0);
                Network::from_trained(graph, &form, settings.seed, &[heard.input(&recogniser)?])?
            }
        };
        let warm_up = 500.min(settings.n_steps.div_ceil(10));
        let schedule = Schedule { peak: settings.peak_rate, warm_up, n_steps: settings.n_steps };
        let network = if settings.device.is_cpu() { network } else { network.on_device(&settings.device)? };
        let mut trainer = Trainer::new(network, 0.01, schedule, settings.seed);
        trainer.longest_gradient = Some(5.0);
        Ok(Run { trainer, recogniser, settings, batches, ready: None })
    }

    /// Steps in which every utterance is heard once.
    pub fn steps_per_epoch(&self) -> usize {
        self.batches.len()
    }

    /// Another length of the run, where that is found out as it goes; the warm-up stays.
    pub fn set_n_steps(&mut self, n_steps: usize) {
        self.settings.n_steps = n_steps;
        self.trainer.schedule.n_steps = n_steps;
    }

    /// One step.
    pub fn step(&mut self, utterances: &[Utterance]) -> Result<Step> {
        let Run { trainer, recogniser, settings, batches, ready } = self;
        let step = trainer.n_steps;
        let hear = |step| Heard::of_batch(recogniser, utterances, batches.of_step(step), settings, step);
        let heard = match ready.take() {
            Some((made_for, heard)) if made_for == step => heard,
            _ => hear(step),
        };
        // While a device works, the processor makes the next batch.
        let makes_next = !settings.device.is_cpu() && step + 1 < settings.n_steps;
        let loss = std::thread::scope(|scope| {
            let next = makes_next.then(|| scope.spawn(|| hear(step + 1)));
            let loss = Self::loss_of_step(trainer, recogniser, settings.phone_weight, &heard);
            *ready = next.map(|next| (step + 1, next.join().expect("a batch is made without a panic")));
            loss
        })?;
        let seconds = heard.all.iter().map(|one| one.n_frames as f64).sum::<f64>() * recogniser.seconds_per_frame;
        Ok(Step { loss, seconds })
    }

    fn loss_of_step(trainer: &mut Trainer, recogniser: &Recogniser, phone_weight: f64, heard: &Heard) -> Result<f64> {
        let input = heard.input(recogniser)?;
        let blank = recogniser.alphabet.blank();
        let mut random = trainer.random();
        trainer.step(&[input], &mut random, |network, trace| {
            let output = network.graph().output();
            let logits = trace.value(output)?;
            let n_out = logits.shape()[2];
            let n_frames: Vec<usize> = heard.all.iter().map(|one| output_frames(one.n_frames).min(n_out)).collect();
            let letters: Vec<Vec<usize>> = heard.all.iter().map(|one| one.letters.clone()).collect();
            let (mut value, derivative) = ctc_of_batch(&logits, &n_frames, &letters, blank)?;
            let mut derivatives = vec![(output, derivative)];
            if let Some(head) = network.output(PHONES) {
                let labels: Vec<Vec<Option<usize>>> = heard.all.iter().map(|one| one.phones_of(n_out)).collect();
                let (of_phones, derivative) = cross_entropy_of_frames(&trace.value(head)?, &labels)?;
                value += phone_weight * of_phones;
                derivatives.push((head, derivative.map(|number| number * phone_weight)?));
            }
            Ok(Loss { value, derivatives })
        })
    }
}

/// Frames of the output for so many of the input: the first convolution steps over two.
fn output_frames(n_frames: usize) -> usize {
    n_frames / 2
}

/// An utterance as it is heard once.
#[derive(Debug)]
struct HeardOnce {
    /// `[frame, band]`
    numbers: Vec<f32>,
    n_frames: usize,
    letters: Vec<usize>,
    /// First frame, the frame behind the last, and class.
    phones: Vec<(f64, f64, usize)>,
}

impl HeardOnce {
    /// The phone of each of so many output frames.
    fn phones_of(&self, n_out: usize) -> Vec<Option<usize>> {
        let mut labels = vec![None; n_out];
        for &(first, end, class) in &self.phones {
            let until = ((end / 2.0).round() as usize).min(n_out);
            labels[((first / 2.0).round() as usize).min(until)..until].fill(Some(class));
        }
        labels
    }
}

/// A batch as it is heard once.
#[derive(Debug)]
struct Heard {
    all: Vec<HeardOnce>,
}

impl Heard {
    fn of_batch(
        recogniser: &Recogniser,
        utterances: &[Utterance],
        batch: Vec<usize>,
        settings: &Settings,
        step: usize,
    ) -> Heard {
        let hear = |(place, nth): (usize, &usize)| {
            let utterance = &utterances[*nth];
            let least = 2 * (utterance.letters.len() + utterance.n_repeats()) + 2;
            let seed = settings.seed.wrapping_add(0x5eed);
            let mut random = crate::random::Random::of(seed, step * 4096 + place);
            let changed = settings.augmentation.apply(&mut random, &utterance.numbers, recogniser, least);
            let phones = utterance.phones.iter().map(|(start, end, class)| {
                let frame = |seconds: f32| f64::from(seconds) / recogniser.seconds_per_frame / changed.tempo;
                (frame(*start), frame(*end), usize::from(*class))
            });
            HeardOnce {
                n_frames: changed.numbers.len() / recogniser.n_bands,
                phones: phones.collect(),
                letters: utterance.letters.clone(),
                numbers: changed.numbers,
            }
        };
        Heard { all: batch.par_iter().enumerate().map(hear).collect() }
    }

    /// All, with zeros behind the shorter ones.
    fn input(&self, recogniser: &Recogniser) -> Result<Value> {
        let longest = self.all.iter().map(|one| one.n_frames).max().unwrap_or(0).next_multiple_of(2);
        let row = longest * recogniser.n_bands;
        let mut numbers = vec![0.0; self.all.len() * row];
        for (row, one) in numbers.chunks_exact_mut(row).zip(&self.all) {
            row[..one.numbers.len()].copy_from_slice(&one.numbers);
        }
        Ok(Value::from_vec(numbers, &[self.all.len(), recogniser.n_bands, longest], Layout::ChannelsLast)?)
    }
}

/// The alphabet of a description; the error says what it lacks.
fn alphabet_of(
    architecture: &str,
) -> Result<(&'static zoo::Entry, models::front_ends::audio::AudioFrontEnd, Alphabet)> {
    let refuse = |what: &str| TrainingError::Corpus(format!("`{architecture}` {what}"));
    let entry = zoo::find(architecture).ok_or_else(|| {
        let names: Vec<&str> = zoo::entries().iter().map(|entry| entry.name).collect();
        refuse(&format!("is no network of the zoo; there are {}", names.join(", ")))
    })?;
    let description = (entry.description)();
    let front_end = description.front_end.as_ref().and_then(|front_end| front_end.for_audio()).cloned();
    let front_end = front_end.ok_or_else(|| refuse("takes no sound"))?;
    let (Some(models::description::Labels::List(labels)), Some(ctc)) = (description.labels, description.ctc) else {
        return Err(refuse("writes no letters"));
    };
    Ok((entry, front_end, Alphabet::new(&labels, ctc).map_err(TrainingError::Corpus)?))
}
