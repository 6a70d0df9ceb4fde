//! From the frames of a spectrogram back to samples: phases are found by going back and forth between the two.
//!
//! Griffin and Lim 1984; with a step ahead at each turn as in Perraudin, Balazs and Søndergaard 2013 (fast Griffin-Lim),
//! which gets further in as many turns.

use std::f32::consts::TAU;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner};

use super::mel::MelBank;
use super::spectrogram::{SpectrogramSettings, Transform};
use super::{AudioError, AudioFrontEnd};

/// How far the search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GriffinLim {
    /// Turns.
    pub turns: usize,
    /// The step ahead, as a share of the last change; 0 is Griffin and Lim's own.
    pub momentum: f32,
    /// Of the phases in the beginning.
    pub seed: u64,
}

impl Default for GriffinLim {
    fn default() -> Self {
        GriffinLim { turns: 64, momentum: 0.99, seed: 0 }
    }
}

/// The loudest sample of what is made, since the level of an utterance that was normalised is not known.
const LOUDEST: f32 = 0.9;

/// Bins that a thread takes at once.
const GRAIN: usize = 1 << 13;

/// Frames that a thread takes at once.
const FRAMES: usize = 32;

/// Frames whose bins are fitted side by side.
const SIDE_BY_SIDE: usize = 16;

/// Turns in which powers of bins are fitted to bands.
const FITTING_TURNS: usize = 100;

impl GriffinLim {
    /// Samples whose features are near `numbers`, `[frame, band]`, at the front end's rate, loudest at 0.9.
    ///
    /// Normalisation by an utterance's own moments is undone with those of usual speech, which changes the contrast and
    /// not the pitch. Fails for a waveform, which is its own samples.
    pub fn samples(&self, front_end: &AudioFrontEnd, numbers: &[f32]) -> Result<Vec<f32>, AudioError> {
        let Some(settings) = &front_end.spectrogram else {
            return Ok(at_level(numbers.to_vec()));
        };
        let magnitudes = magnitudes(front_end, settings, numbers);
        let n_frames = numbers.len() / settings.n_bands();
        if n_frames == 0 {
            return Err(AudioError::Empty);
        }
        let mut turn = Turn::new(settings, n_frames);
        let mut spectrum = random_phases(&magnitudes, self.seed);
        let mut last: Vec<Complex<f32>> = vec![Complex::default(); spectrum.len()];
        for _ in 0..self.turns {
            turn.find_samples(&spectrum);
            turn.find_spectrum();
            let found = turn.spectrum.par_iter().zip(&mut last).zip(&magnitudes);
            spectrum.par_iter_mut().zip(found).with_min_len(GRAIN).for_each(
                |(spectrum, ((&consistent, last), &magnitude))| {
                    let ahead = consistent + (consistent - *last) * self.momentum;
                    *last = consistent;
                    // No spectrum is so loud that its square overflows; what is next to nothing has no phase to keep.
                    *spectrum = ahead * (magnitude / ahead.norm_sqr().max(f32::MIN_POSITIVE).sqrt());
                },
            );
        }
        turn.find_samples(&spectrum);
        Ok(at_level(turn.inner_samples().to_vec()))
    }
}

fn at_level(mut samples: Vec<f32>) -> Vec<f32> {
    let loudest = samples.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
    if loudest > 0.0 {
        samples.iter_mut().for_each(|sample| *sample *= LOUDEST / loudest);
    }
    samples
}

/// The magnitude of each bin, `[frame, bin]`: normalisation, logarithms and bands undone.
fn magnitudes(front_end: &AudioFrontEnd, settings: &SpectrogramSettings, numbers: &[f32]) -> Vec<f32> {
    let (n_bands, n_bins, power) = (settings.n_bands(), settings.n_bins(), settings.power);
    let mut levels = numbers.to_vec();
    let typical = settings.logarithm.as_ref().map_or((1.0, 1.0), |logarithm| logarithm.typical_moments(power));
    front_end.normalization.undo(&mut levels, n_bands, typical);
    match &settings.logarithm {
        Some(logarithm) => levels.iter_mut().for_each(|level| *level = logarithm.level(*level, power)),
        None => levels.iter_mut().for_each(|level| *level = level.max(0.0)),
    }
    let Some(mel) = &settings.mel else {
        return levels.into_iter().map(|level| level.powf(1.0 / power)).collect();
    };
    let bank = MelBank::new(mel, front_end.sample_rate, n_bins);
    let of_frames = |frames: &[f32]| -> Vec<f32> {
        fitted(&bank, frames, n_bins).into_iter().map(|level| level.powf(1.0 / power)).collect()
    };
    levels.par_chunks(SIDE_BY_SIDE * n_bands).map(of_frames).collect::<Vec<_>>().concat()
}

/// Levels of bins, none below 0, whose bands are near the given ones: multiplicative steps towards the least squares,
/// Lee and Seung 2001. At most [`SIDE_BY_SIDE`] frames, each in a lane of its own.
///
/// # Shapes
/// - `bands`: `[frame, band]`, returns `[frame, bin]`
fn fitted(bank: &MelBank, bands: &[f32], n_bins: usize) -> Vec<f32> {
    let n_bands = bank.n_bands();
    let mut found = vec![[0.0; SIDE_BY_SIDE]; n_bands];
    for (frame, bands) in bands.chunks_exact(n_bands).enumerate() {
        found.iter_mut().zip(bands).for_each(|(found, level)| found[frame] = *level);
    }
    let mut wanted = vec![[0.0; SIDE_BY_SIDE]; n_bins];
    bank.spread(&found, &mut wanted);
    let (mut levels, mut spread) = (wanted.clone(), wanted.clone());
    for _ in 0..FITTING_TURNS {
        bank.bands_of_frames(&levels, &mut found);
        bank.spread(&found, &mut spread);
        for ((level, wanted), spread) in levels.iter_mut().zip(&wanted).zip(&spread) {
            for ((level, wanted), spread) in level.iter_mut().zip(wanted).zip(spread) {
                *level *= wanted / spread.max(f32::MIN_POSITIVE);
            }
        }
    }
    (0..bands.len() / n_bands).flat_map(|frame| levels.iter().map(move |level| level[frame])).collect()
}

/// Magnitudes with random phases; the same seed gives the same.
fn random_phases(magnitudes: &[f32], seed: u64) -> Vec<Complex<f32>> {
    // SplitMix64 (Steele, Lea and Flood 2014) is enough for phases, and each number follows from its place.
    let phase = |nth: usize| {
        let mut bits = seed.wrapping_add((nth as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        TAU * (((bits ^ (bits >> 31)) >> 40) as f32 / (1u32 << 24) as f32)
    };
    let with_phase = |(nth, magnitude): (usize, &f32)| Complex::from_polar(*magnitude, phase(nth));
    magnitudes.par_iter().enumerate().with_min_len(GRAIN).map(with_phase).collect()
}

/// From a spectrum to samples and back.
struct Turn {
    forward: Transform,
    backward: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    hop: usize,
    n_fft: usize,
    n_beyond: usize,
    /// `[frame, sample]`, each frame's own samples through the window.
    frames: Vec<f32>,
    /// With what lies beyond both ends of the first and last frame's centre.
    samples: Vec<f32>,
    /// The sum of squared windows at each sample.
    weight: Vec<f32>,
    /// `[frame, bin]`
    spectrum: Vec<Complex<f32>>,
}

impl Turn {
    fn new(settings: &SpectrogramSettings, n_frames: usize) -> Turn {
        let (n_fft, hop) = (settings.n_fft(), settings.hop_length);
        let window = settings.window.weights(settings.window_length, n_fft);
        let n_samples = n_fft + (n_frames - 1) * hop;
        let mut weight = vec![0.0f32; n_samples];
        for frame in 0..n_frames {
            weight[frame * hop..].iter_mut().zip(&window).for_each(|(sum, weight)| *sum += weight * weight);
        }
        Turn {
            forward: Transform::new(settings),
            backward: RealFftPlanner::new().plan_fft_inverse(n_fft),
            window,
            hop,
            n_fft,
            n_beyond: if settings.centered { n_fft / 2 } else { 0 },
            frames: vec![0.0; n_frames * n_fft],
            samples: vec![0.0; n_samples],
            weight,
            spectrum: vec![Complex::default(); n_frames * settings.n_bins()],
        }
    }

    /// The samples whose spectrum is nearest in least squares (Griffin and Lim 1984, equation 6).
    fn find_samples(&mut self, spectrum: &[Complex<f32>]) {
        let &mut Turn { ref backward, ref window, hop, n_fft, .. } = self;
        let n_bins = n_fft / 2 + 1;
        let spectra = spectrum.par_chunks(FRAMES * n_bins);
        self.frames.par_chunks_mut(FRAMES * n_fft).zip(spectra).for_each(|(frames, spectra)| {
            let (mut bins, mut scratch) = (backward.make_input_vec(), backward.make_scratch_vec());
            for (frame, spectrum) in frames.chunks_exact_mut(n_fft).zip(spectra.chunks_exact(n_bins)) {
                bins.copy_from_slice(spectrum);
                // A real signal has no imaginary part at 0 Hz, nor at half the rate.
                bins[0].im = 0.0;
                if n_fft.is_multiple_of(2) {
                    bins[n_bins - 1].im = 0.0;
                }
                backward.process_with_scratch(&mut bins, frame, &mut scratch).expect("the plan's lengths");
                frame.iter_mut().zip(window).for_each(|(sample, weight)| *sample *= weight);
            }
        });
        let (frames, scale) = (&self.frames, 1.0 / n_fft as f32);
        let parts = self.samples.par_chunks_mut(FRAMES * hop).zip(self.weight.par_chunks(FRAMES * hop));
        parts.enumerate().for_each(|(nth, (samples, weight))| {
            samples.fill(0.0);
            let start = nth * FRAMES * hop;
            let first = (start + 1).saturating_sub(n_fft).div_ceil(hop);
            for (nth, frame) in frames.chunks_exact(n_fft).enumerate().skip(first) {
                // A part begins within a frame, or a frame within a part.
                let (before, behind) = (start.saturating_sub(nth * hop), (nth * hop).saturating_sub(start));
                if behind >= samples.len() {
                    break;
                }
                samples[behind..].iter_mut().zip(&frame[before..]).for_each(|(sum, sample)| *sum += sample);
            }
            for (sample, weight) in samples.iter_mut().zip(weight) {
                // Where hardly any window reaches there is nothing to know.
                *sample *= if *weight > 1e-6 { scale / weight } else { 0.0 };
            }
        });
    }

    fn find_spectrum(&mut self) {
        let (hop, n_fft, samples, forward) = (self.hop, self.n_fft, &self.samples, &self.forward);
        let n_bins = n_fft / 2 + 1;
        self.spectrum.par_chunks_mut(FRAMES * n_bins).enumerate().for_each(|(nth, spectra)| {
            let mut forward = forward.clone();
            for (within, spectrum) in spectra.chunks_exact_mut(n_bins).enumerate() {
                forward.of(&samples[(nth * FRAMES + within) * hop..][..n_fft]);
                spectrum.copy_from_slice(&forward.spectrum);
            }
        });
    }

    /// Without what lies beyond the centres of the first and last frame.
    fn inner_samples(&self) -> &[f32] {
        &self.samples[self.n_beyond..self.samples.len() - self.n_beyond]
    }
}
