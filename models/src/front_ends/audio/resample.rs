//! From one sample rate to another, block by block.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// Samples that are transformed at a time, at least; a long filter keeps what lies close below half the rate.
const BLOCK: usize = 2048;

/// Samples of a block at the first of two rates: whole steps of both, and an even number of them, since the middle of a
/// filter of odd length lies between two samples, by which all would come late.
fn block(from: usize, to: usize) -> usize {
    let pair = 2 * from / greatest_common_divisor(from, to);
    BLOCK.next_multiple_of(pair)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Brings samples from one rate to another; passes them on where the two are equal.
pub(super) struct Resampler {
    filter: Option<Filter>,
}

struct Filter {
    fft: Fft<f32>,
    /// Samples that wait for a whole block.
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// The filter's delay, as far as it is still to be left out.
    to_skip: usize,
    n_taken: u64,
    n_given: u64,
    rates: (u64, u64),
}

impl Resampler {
    /// From and to these rates (Hz), neither 0.
    pub(super) fn new(from: u32, to: u32) -> Self {
        if from == to {
            return Resampler { filter: None };
        }
        let fft = Fft::<f32>::new_custom(
            from as usize,
            to as usize,
            block(from as usize, to as usize),
            1,
            1,
            rubato::WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        );
        let fft = fft.expect("rates and block are not 0");
        let (to_skip, block) = (fft.output_delay(), vec![0.0; fft.output_frames_max()]);
        let rates = (u64::from(from), u64::from(to));
        Resampler { filter: Some(Filter { fft, waiting: vec![], block, to_skip, n_taken: 0, n_given: 0, rates }) }
    }

    /// Takes samples and appends what is ready.
    pub(super) fn push(&mut self, samples: &[f32], into: &mut Vec<f32>) {
        match &mut self.filter {
            None => into.extend_from_slice(samples),
            Some(filter) => filter.push(samples, into),
        }
    }

    /// Appends the rest.
    pub(super) fn finish(&mut self, into: &mut Vec<f32>) {
        if let Some(filter) = &mut self.filter {
            filter.finish(into);
        }
    }
}

impl Filter {
    fn push(&mut self, samples: &[f32], into: &mut Vec<f32>) {
        self.n_taken += samples.len() as u64;
        self.waiting.extend_from_slice(samples);
        self.process_whole_blocks(into);
    }

    fn process_whole_blocks(&mut self, into: &mut Vec<f32>) {
        let length = self.fft.input_frames_next();
        let mut start = 0;
        while self.waiting.len() - start >= length {
            let input = InterleavedSlice::new(&self.waiting[start..start + length], 1, length);
            let block_length = self.block.len();
            let output = InterleavedSlice::new_mut(&mut self.block[..], 1, block_length);
            let (input, mut output) = (input.expect("as long as it says"), output.expect("as long as it says"));
            let (_, n_made) =
                self.fft.process_into_buffer(&input, &mut output, None).expect("blocks are as long as asked");
            let n_skipped = self.to_skip.min(n_made);
            self.to_skip -= n_skipped;
            self.n_given += (n_made - n_skipped) as u64;
            into.extend_from_slice(&self.block[n_skipped..n_made]);
            start += length;
        }
        self.waiting.drain(..start);
    }

    /// Silence pushes out what is still in the filter; the whole is as long as what came in, rounded up.
    fn finish(&mut self, into: &mut Vec<f32>) {
        let expected = (self.n_taken * self.rates.1).div_ceil(self.rates.0);
        while self.n_given < expected {
            let length = self.fft.input_frames_next();
            self.waiting.resize(length, 0.0);
            self.process_whole_blocks(into);
        }
        into.truncate(into.len() - (self.n_given - expected) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn resampled(samples: &[f32], from: u32, to: u32, block: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to);
        let mut all = Vec::new();
        samples.chunks(block).for_each(|samples| resampler.push(samples, &mut all));
        resampler.finish(&mut all);
        all
    }

    fn tone(hertz: f64, rate: u32, n_samples: usize) -> Vec<f32> {
        (0..n_samples).map(|nth| (TAU * hertz * nth as f64 / f64::from(rate)).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_where_it_was() {
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (96_000, 16_000), (22_050, 16_000), (11_024, 16_000)] {
            let n_samples = from as usize / 2 + 7;
            let found = resampled(&tone(1000.0, from, n_samples), from, to, 700);
            let expected = tone(1000.0, to, (n_samples * to as usize).div_ceil(from as usize));
            assert_eq!(found.len(), expected.len(), "{from}");
            // Away from the ends, where silence begins.
            let middle = 1000..expected.len() - 1000;
            let furthest = middle.map(|nth| (found[nth] - expected[nth]).abs()).fold(0.0, f32::max);
            assert!(furthest < 1e-3, "{from}: {furthest}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let found = resampled(&tone(9000.0, 48_000, 24_000), 48_000, 16_000, 4096);
        let loudest = found[1000..7000].iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }

    #[test]
    fn one_sample_gives_one() {
        assert_eq!(resampled(&[1.0], 48_000, 16_000, 1).len(), 1);
        assert_eq!(resampled(&[1.0, 0.5], 16_000, 16_000, 1), [1.0, 0.5]);
    }
}
