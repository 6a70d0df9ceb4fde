//! Batches of utterances of like length, in another order every time all were heard.

use super::Utterance;
use crate::error::{Result, TrainingError};
use crate::random::Random;

/// How many utterances next to each other in length are dealt out by chance, so that batches differ.
const DEALT: usize = 64;

#[derive(Debug)]
pub(super) struct Batches {
    /// By length.
    sorted: Vec<(usize, usize)>,
    frames_in_batch: usize,
    /// Batches in which all are heard once; the last of an epoch may be small.
    n_batches: usize,
    seed: u64,
}

impl Batches {
    pub(super) fn new(utterances: &[Utterance], batch_seconds: f64, seed: u64) -> Result<Batches> {
        const FRAMES_PER_SECOND: f64 = 100.0;
        let mut sorted: Vec<(usize, usize)> =
            utterances.iter().enumerate().map(|(nth, utterance)| (utterance.n_frames, nth)).collect();
        sorted.sort_unstable();
        let frames_in_batch = (batch_seconds * FRAMES_PER_SECOND) as usize;
        if sorted.is_empty() || frames_in_batch == 0 {
            return Err(TrainingError::Corpus("there is nothing to make a batch of".to_owned()));
        }
        let mut batches = Batches { sorted, frames_in_batch, n_batches: 0, seed };
        batches.n_batches = (0..8).map(|epoch| batches.of_epoch(epoch).len()).min().unwrap_or(1);
        Ok(batches)
    }

    /// How many there are until all were heard.
    pub(super) fn len(&self) -> usize {
        self.n_batches
    }

    /// The utterances of a step.
    pub(super) fn of_step(&self, step: usize) -> Vec<usize> {
        self.of_epoch(step / self.n_batches).swap_remove(step % self.n_batches)
    }

    fn of_epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut random = Random::of(self.seed ^ 0xba7c4, epoch);
        let mut order = self.sorted.clone();
        order.chunks_mut(DEALT).for_each(|near| random.shuffle(near));
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let (mut batch, mut longest) = (Vec::new(), 0);
        for (n_frames, nth) in order {
            if !batch.is_empty() && longest.max(n_frames) * (batch.len() + 1) > self.frames_in_batch {
                batches.push(std::mem::take(&mut batch));
                longest = 0;
            }
            longest = longest.max(n_frames);
            batch.push(nth);
        }
        batches.push(batch);
        random.shuffle(&mut batches);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utterances(n: usize) -> Vec<Utterance> {
        let one = |nth: usize| Utterance {
            id: nth.to_string(),
            speaker: String::new(),
            numbers: Vec::new(),
            n_frames: 100 + nth * 37 % 900,
            letters: vec![0],
            phones: Vec::new(),
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn all_are_heard_once_in_batches_of_like_length_and_another_order() {
        let all = utterances(500);
        let batches = Batches::new(&all, 60.0, 3).unwrap();
        let epoch = batches.of_epoch(0);
        let mut heard = epoch.concat();
        heard.sort_unstable();
        assert!(heard.into_iter().eq(0..500));
        for batch in &epoch {
            let lengths = || batch.iter().map(|nth| all[*nth].n_frames);
            let (longest, sum) = (lengths().max().unwrap(), lengths().sum::<usize>());
            assert!(longest * batch.len() <= 6000, "{batch:?}");
            assert!(10 * sum > 7 * longest * batch.len(), "little padding: {sum} of {longest} × {}", batch.len());
        }
        assert_ne!(batches.of_step(0), batches.of_step(batches.len()));
        assert_eq!(batches.of_step(5), Batches::new(&all, 60.0, 3).unwrap().of_step(5), "a seed repeats");
    }
}
