//! A phonemizer: from a word's letters to its phonemes, learned from a pronouncing dictionary.
//!
//! Words of a batch have as many letters and as many phonemes as each other, so that nothing is padded. Every tenth word
//! is held out. The first way to say a word is learned; a word counts as right if it is said in any way of the dictionary, and its
//! phonemes are compared with the way that is nearest.

use std::collections::BTreeMap;

use models::loaders::Weights;
use models::speech::Dictionary;
use models::speech::phonemizer::{END, PHONEMES, letters_input, phonemes_input, spelled, spoken};
use models::{Graph, zoo};
use rayon::prelude::*;

use crate::error::{Result, TrainingError};
use crate::losses::cross_entropy_of_steps;
use crate::network::Network;
use crate::optimiser::Schedule;
use crate::random::Random;
use crate::speech::letter_error::{Errors, distance};
use crate::trainer::{Loss, Trainer};

/// The network's name in the zoo.
pub const ARCHITECTURE: &str = "phonemizer";

/// The network in the zoo.
pub fn entry() -> &'static zoo::Entry {
    zoo::find(ARCHITECTURE).expect("the zoo has it")
}

/// Words of a batch.
const BATCH: usize = 128;

/// Longer words are left out; there are few.
const MOST_LETTERS: usize = 20;

/// A word with how it is spoken, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pronunciation {
    pub letters: Vec<usize>,
    /// What is learned.
    pub phonemes: Vec<usize>,
    /// What is right as well.
    pub others: Vec<Vec<usize>>,
}

/// The words of a dictionary that can be learned: those to learn from, and those held out.
pub fn split(dictionary: &Dictionary) -> (Vec<Pronunciation>, Vec<Pronunciation>) {
    let number = |phoneme: &&str| PHONEMES.iter().position(|known| known == phoneme);
    let of_word = |(word, ways): (&str, Vec<Vec<&str>>)| {
        let letters = spelled(word).filter(|letters| letters.len() <= MOST_LETTERS)?;
        let mut ways = ways.iter().filter_map(|phonemes| phonemes.iter().map(number).collect::<Option<Vec<usize>>>());
        Some(Pronunciation { letters, phonemes: ways.next()?, others: ways.collect() })
    };
    let (mut learned, mut held_out) = (Vec::new(), Vec::new());
    for (nth, word) in dictionary.words().filter_map(of_word).enumerate() {
        if nth % 10 == 9 { held_out.push(word) } else { learned.push(word) }
    }
    (learned, held_out)
}

/// How many of the words, and of their phonemes, are wrong.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    pub words: Errors,
    pub phonemes: Errors,
}

/// Says all words, step by step, and compares.
pub fn wrong(graph: &Graph, words: &[Pronunciation]) -> Result<Wrong> {
    let mut by_length: BTreeMap<usize, Vec<&Pronunciation>> = BTreeMap::new();
    for word in words {
        by_length.entry(word.letters.len()).or_default().push(word);
    }
    let chunks: Vec<&[&Pronunciation]> = by_length.values().flat_map(|words| words.chunks(BATCH)).collect();
    let of_chunk = |chunk: &&[&Pronunciation]| -> Result<Wrong> {
        let letters: Vec<Vec<usize>> = chunk.iter().map(|word| word.letters.clone()).collect();
        let mut sum = Wrong { words: Errors::default(), phonemes: Errors::default() };
        for (word, said) in chunk.iter().zip(spoken(graph, &letters)?) {
            let ways = std::iter::once(&word.phonemes).chain(&word.others);
            let nearest = ways.map(|way| (distance(&said, way), way.len())).min();
            let (n_errors, n_phonemes) = nearest.unwrap_or((said.len(), 0));
            sum.words.n_errors += usize::from(n_errors > 0);
            sum.words.n_letters += 1;
            sum.phonemes.n_errors += n_errors;
            sum.phonemes.n_letters += n_phonemes;
        }
        Ok(sum)
    };
    let parts = chunks.par_iter().map(of_chunk).collect::<Result<Vec<Wrong>>>()?;
    let sum = |part: fn(&Wrong) -> Errors| parts.iter().map(part).fold(Errors::default(), Errors::plus);
    Ok(Wrong { words: sum(|wrong| wrong.words), phonemes: sum(|wrong| wrong.phonemes) })
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub n_epochs: usize,
    pub peak_rate: f64,
    pub seed: u64,
}

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub loss: f64,
    pub n_words: usize,
}

/// A run: the trainer with the words that it learns from.
#[derive(Debug)]
pub struct Run {
    pub trainer: Trainer,
    words: Vec<Pronunciation>,
    /// The batches of an epoch, and which.
    epoch: (usize, Vec<Vec<usize>>),
    seed: u64,
}

impl Run {
    /// Before its first step; from trained weights where there are some.
    pub fn new(words: Vec<Pronunciation>, settings: Settings, trained: Option<Graph>) -> Result<Run> {
        if words.is_empty() {
            return Err(TrainingError::Corpus("the dictionary has no word to learn from".to_owned()));
        }
        let graph = trained.map_or_else(|| zoo::build(entry(), Weights::random(settings.seed)), Ok)?;
        let network = Network::as_it_is(graph);
        let epoch = (0, batches(&words, settings.seed, 0));
        let n_steps = settings.n_epochs * epoch.1.len();
        let schedule = Schedule { peak: settings.peak_rate, warm_up: (n_steps / 10).min(500), n_steps };
        let mut trainer = Trainer::new(network, 0.01, schedule, settings.seed);
        trainer.longest_gradient = Some(1.0);
        Ok(Run { trainer, words, epoch, seed: settings.seed })
    }

    /// Steps in which every word is read once.
    pub fn steps_per_epoch(&self) -> usize {
        self.epoch.1.len()
    }

    /// One step.
    pub fn step(&mut self) -> Result<Step> {
        let (epoch, nth) =
            (self.trainer.n_steps / self.steps_per_epoch(), self.trainer.n_steps % self.steps_per_epoch());
        if self.epoch.0 != epoch {
            self.epoch = (epoch, batches(&self.words, self.seed, epoch));
        }
        let words: Vec<&Pronunciation> = self.epoch.1[nth].iter().map(|nth| &self.words[*nth]).collect();
        let letters: Vec<&[usize]> = words.iter().map(|word| &word.letters[..]).collect();
        let phonemes: Vec<&[usize]> = words.iter().map(|word| &word.phonemes[..]).collect();
        let inputs = [letters_input(&letters)?, phonemes_input(&phonemes)?];
        let labels: Vec<usize> = phonemes.iter().flat_map(|phonemes| phonemes.iter().copied().chain([END])).collect();
        let mut random = self.trainer.random();
        let loss = self.trainer.step(&inputs, &mut random, |network, trace| {
            let output = network.graph().output();
            let (value, derivative) = cross_entropy_of_steps(&trace.value(output)?, &labels)?;
            Ok(Loss { value, derivatives: vec![(output, derivative)] })
        })?;
        Ok(Step { loss, n_words: words.len() })
    }
}

/// Batches of words with as many letters and phonemes, all words once, in an order of chance.
fn batches(words: &[Pronunciation], seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut random = Random::of(seed ^ 0x9406, epoch);
    let mut alike: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (nth, word) in words.iter().enumerate() {
        alike.entry((word.letters.len(), word.phonemes.len())).or_default().push(nth);
    }
    let mut batches = Vec::new();
    for mut alike in alike.into_values() {
        random.shuffle(&mut alike);
        batches.extend(alike.chunks(BATCH).map(<[usize]>::to_vec));
    }
    random.shuffle(&mut batches);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A language that is spoken as it is spelled, letter by letter, but for a silent last `e`.
    fn dictionary(n: usize) -> Dictionary {
        let mut random = Random::new(5);
        let sounds = [("a", "AA"), ("b", "B"), ("d", "D"), ("i", "IY"), ("k", "K"), ("m", "M")];
        let mut text = String::new();
        for _ in 0..n {
            let word: Vec<usize> = (0..2 + random.below(3)).map(|_| random.below(sounds.len())).collect();
            let spelled: String = word.iter().map(|nth| sounds[*nth].0).collect();
            let said: Vec<&str> = word.iter().map(|nth| sounds[*nth].1).collect();
            let silent = if random.below(2) == 0 { "e" } else { "" };
            text += &format!("{spelled}{silent} {}\n", said.join(" "));
        }
        Dictionary::read(&text).unwrap()
    }

    #[test]
    fn steps_learn_which_sounds_there_are_and_words_are_counted() {
        let (learned, held_out) = split(&dictionary(700));
        assert!(held_out.len() > 20 && learned.len() > 8 * held_out.len());
        let mut run = Run::new(learned, Settings { n_epochs: 2, peak_rate: 4e-3, seed: 1 }, None).unwrap();
        let n_steps = 2 * run.steps_per_epoch();
        let losses: Vec<f64> = (0..n_steps).map(|_| run.step().unwrap().loss).collect();
        // Six of forty sounds are used: to know as much is worth half of the loss, long before letters are looked at.
        assert!(losses[n_steps - 1] < 0.6 * losses[0], "{losses:?}");
        let wrong = wrong(&run.trainer.network.plain().unwrap(), &held_out).unwrap();
        let n_phonemes: usize = held_out.iter().map(|word| word.phonemes.len()).sum();
        assert_eq!((wrong.words.n_letters, wrong.phonemes.n_letters), (held_out.len(), n_phonemes));
        assert!(wrong.phonemes.n_errors >= wrong.words.n_errors, "{wrong:?}");
    }

    #[test]
    fn batches_hold_every_word_once() {
        let (learned, _) = split(&dictionary(600));
        let mut all = batches(&learned, 1, 3).concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..learned.len()));
        for batch in batches(&learned, 1, 3) {
            let shapes = batch.iter().map(|nth| (learned[*nth].letters.len(), learned[*nth].phonemes.len()));
            assert!(shapes.clone().all(|shape| shape == shapes.clone().next().unwrap()));
        }
    }
}
