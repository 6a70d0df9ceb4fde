//! Handwritten digits (Alpaydin and Kaynak 1998, as scikit-learn ships them): a small network that is trained in seconds,
//! on true labels or on permuted ones. A network that fits permuted labels has learned each picture by heart, which is
//! what the data randomisation test of Adebayo et al. 2018 compares maps with.

use std::path::Path;

use models::loaders::Weights;
use models::{Graph, Layout, Trace, Uninterrupted, Value, zoo};

use crate::error::{Result, TrainingError};
use crate::losses::cross_entropy;
use crate::network::Network;
use crate::optimiser::Schedule;
use crate::random::Random;
use crate::trainer::{Loss, Trainer};

/// The network's name in the zoo.
pub const ARCHITECTURE: &str = "digits-cnn";

/// Pixels of a picture.
const PIXELS: usize = 64;

/// Every so many pictures one is held out.
const HELD_OUT: usize = 6;

/// Pictures with what they show.
#[derive(Clone, Debug, Default)]
pub struct Digits {
    /// `[picture][row · column]`, from 0 to 1.
    pub pictures: Vec<[f32; PIXELS]>,
    pub labels: Vec<usize>,
}

impl Digits {
    /// Reads lines of 64 numbers from 0 to 16 and a label, as in scikit-learn's `digits.csv`.
    pub fn read(path: &Path) -> Result<Digits> {
        let text = std::fs::read_to_string(path).map_err(TrainingError::file(path))?;
        let mut digits = Digits::default();
        for (nth, line) in text.lines().enumerate() {
            let refuse = || {
                let wanted = "64 pixels from 0 to 16 and a digit, all behind commas, are needed";
                TrainingError::content(path, format!("line {}: {wanted}", nth + 1))
            };
            let numbers: Vec<f32> =
                line.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>().map_err(|_| refuse())?;
            let is_whole = numbers.len() == PIXELS + 1
                && numbers[..PIXELS].iter().all(|pixel| (0.0..=16.0).contains(pixel))
                && (0..10).any(|digit| numbers[PIXELS] == digit as f32);
            if !is_whole {
                return Err(refuse());
            }
            digits.pictures.push(std::array::from_fn(|pixel| numbers[pixel] / 16.0));
            digits.labels.push(numbers[PIXELS] as usize);
        }
        if digits.pictures.is_empty() {
            return Err(TrainingError::content(path, "it has no pictures"));
        }
        Ok(digits)
    }

    /// Those to learn from, and those held out.
    pub fn split(&self) -> (Digits, Digits) {
        let (mut learned, mut held_out) = (Digits::default(), Digits::default());
        for (nth, (picture, label)) in self.pictures.iter().zip(&self.labels).enumerate() {
            let part = if nth % HELD_OUT == HELD_OUT - 1 { &mut held_out } else { &mut learned };
            part.pictures.push(*picture);
            part.labels.push(*label);
        }
        (learned, held_out)
    }

    /// Some of the pictures, as the network's input.
    ///
    /// # Shapes
    /// - returns `[batch, 1, row, column]`
    pub fn input(&self, which: &[usize]) -> Result<Value> {
        let numbers: Vec<f32> = which.iter().flat_map(|nth| self.pictures[*nth]).collect();
        Ok(Value::from_vec(numbers, &[which.len(), 1, 8, 8], Layout::Logical)?)
    }

    /// The share whose label a network finds.
    pub fn accuracy(&self, graph: &Graph) -> Result<f64> {
        let all: Vec<usize> = (0..self.pictures.len()).collect();
        let trace = Trace::record(graph, &[self.input(&all)?], &Uninterrupted)?;
        let logits = trace.value(graph.output())?.to_f32_vec()?;
        let best = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
        let n_right = logits.chunks(10).zip(&self.labels).filter(|(row, label)| best(row) == Some(**label)).count();
        Ok(n_right as f64 / all.len().max(1) as f64)
    }
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub n_epochs: usize,
    /// Whether the labels that are learned are dealt out anew by chance.
    pub permute_labels: bool,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Trained {
    pub graph: Graph,
    /// On what was learned, with the labels that were learned.
    pub accuracy: f64,
    /// On what was held out, with the true labels.
    pub held_out_accuracy: f64,
}

const BATCH: usize = 50;

/// Trains; `told` hears of each epoch's mean loss.
pub fn train(digits: &Digits, settings: &Settings, mut told: impl FnMut(usize, f64)) -> Result<Trained> {
    let (mut learned, held_out) = digits.split();
    if settings.permute_labels {
        Random::of(settings.seed, usize::MAX - 1).shuffle(&mut learned.labels);
    }
    let entry = zoo::find(ARCHITECTURE).expect("the zoo has it");
    let network = Network::as_it_is(zoo::build(entry, Weights::random(settings.seed))?);
    let per_epoch = learned.labels.len().div_ceil(BATCH);
    let n_steps = settings.n_epochs * per_epoch;
    let schedule = Schedule { peak: 2e-3, warm_up: per_epoch, n_steps };
    let mut trainer = Trainer::new(network, 0.0, schedule, settings.seed);
    for epoch in 0..settings.n_epochs {
        let mut order: Vec<usize> = (0..learned.labels.len()).collect();
        trainer.random().shuffle(&mut order);
        let mut sum = 0.0;
        for which in order.chunks(BATCH) {
            let labels: Vec<usize> = which.iter().map(|nth| learned.labels[*nth]).collect();
            let mut random = trainer.random();
            sum += trainer.step(&[learned.input(which)?], &mut random, |network, trace| {
                let output = network.graph().output();
                let (value, derivative) = cross_entropy(&trace.value(output)?, &labels)?;
                Ok(Loss { value, derivatives: vec![(output, derivative)] })
            })?;
        }
        told(epoch, sum / per_epoch as f64);
    }
    let graph = trainer.network.plain()?;
    let (accuracy, held_out_accuracy) = (learned.accuracy(&graph)?, held_out.accuracy(&graph)?);
    Ok(Trained { graph, accuracy, held_out_accuracy })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures that anybody could tell apart: digit `d` has a bright row and column.
    fn simple(n: usize) -> Digits {
        let mut random = Random::new(1);
        let mut digits = Digits::default();
        for nth in 0..n {
            let label = nth % 10;
            let mut picture = [0.0; PIXELS];
            for (pixel, brightness) in picture.iter_mut().enumerate() {
                let is_bright = pixel / 8 == label % 8 || (label >= 8 && pixel % 8 == label - 8);
                *brightness = if is_bright { 0.8 } else { 0.1 } + 0.1 * random.uniform() as f32;
            }
            digits.pictures.push(picture);
            digits.labels.push(label);
        }
        digits
    }

    #[test]
    fn what_is_easy_is_learned_and_held() {
        let settings = Settings { n_epochs: 20, permute_labels: false, seed: 3 };
        let mut losses = Vec::new();
        let trained = train(&simple(360), &settings, |_, loss| losses.push(loss)).unwrap();
        assert!(losses[19] < 0.1 * losses[0], "{losses:?}");
        assert!(trained.held_out_accuracy > 0.95, "{}", trained.held_out_accuracy);
        let again = train(&simple(360), &settings, |_, _| {}).unwrap();
        let weights = |trained: &Trained| {
            let parameters = crate::network::parameters_of(&trained.graph);
            parameters[0].1.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(weights(&trained), weights(&again), "a seed repeats a run to the bit");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("digits.csv");
        std::fs::write(&path, format!("{}3\n{}x\n", "0,".repeat(64), "0,".repeat(64))).unwrap();
        let error = Digits::read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("line 2: 64 pixels from 0 to 16 and a digit, all behind commas, are needed"),
            "{error}"
        );
    }
}
