//! What is made of an utterance every time it is heard: other voices, rooms and microphones, out of its spectrogram.
//!
//! Everything happens to levels in bands, as natural logarithms of power: the length of the vocal tract (Jaitly and
//! Hinton 2013) and the tempo are another way to read the spectrogram, a microphone is a curve added to it, noise and
//! the echo of a room are powers added; then the utterance is normalised, and parts are left out (SpecAugment, Park et
//! al. 2019), which are put at the mean. A voice that whispers is one whose harmonics became noise.

use super::Recogniser;
use crate::random::Random;

/// How strong each change may be.
#[derive(Clone, Debug)]
pub struct Augmentation {
    /// The largest factor of tempo, up and down.
    pub tempo: f64,
    /// The largest factor of all frequencies, up and down.
    pub warp: f64,
    /// The largest level of each wave of the microphone's curve (natural logarithm of power).
    pub tilt: f64,
    /// How often there is noise.
    pub noise_share: f64,
    /// The least and largest distance from the loudest level to the noise's (natural logarithm of power).
    pub noise_below: (f64, f64),
    /// How often there is a room.
    pub echo_share: f64,
    /// How often the voice whispers.
    pub whisper_share: f64,
    /// Parts that are left out in time, and the longest of them in frames.
    pub time_masks: (usize, usize),
    /// Parts that are left out in frequency, and the widest of them in bands.
    pub band_masks: (usize, usize),
}

impl Default for Augmentation {
    fn default() -> Self {
        Augmentation {
            tempo: 1.22,
            warp: 1.2,
            tilt: 1.0,
            noise_share: 0.6,
            noise_below: (3.0, 10.0),
            echo_share: 0.35,
            whisper_share: 0.15,
            time_masks: (2, 25),
            band_masks: (1, 6),
        }
    }
}

/// An utterance as it is heard once.
#[derive(Clone, Debug)]
pub struct Changed {
    /// `[frame, band]`, normalised.
    pub numbers: Vec<f32>,
    /// How much faster it is than it was.
    pub tempo: f64,
}

impl Augmentation {
    /// None.
    pub fn none() -> Self {
        Augmentation {
            tempo: 1.0,
            warp: 1.0,
            tilt: 0.0,
            noise_share: 0.0,
            noise_below: (10.0, 10.0),
            echo_share: 0.0,
            whisper_share: 0.0,
            time_masks: (0, 0),
            band_masks: (0, 0),
        }
    }

    /// Changes an utterance by chance; it keeps `least` frames at least, which its transcript needs.
    ///
    /// # Shapes
    /// - `numbers`: `[frame, band]`
    pub fn apply(&self, random: &mut Random, numbers: &[f32], recogniser: &Recogniser, least: usize) -> Changed {
        let n_bands = recogniser.n_bands;
        let n_frames = numbers.len() / n_bands;
        let factor = |random: &mut Random, most: f64| random.between(-1.0, 1.0) * most.ln();
        let tempo = factor(random, self.tempo).exp().min(n_frames as f64 / least.max(1) as f64).max(1e-3);
        let warp = factor(random, self.warp).exp();
        let places = warped_bands(&recogniser.bands_hz, warp);
        let mut changed = read_at(numbers, n_bands, tempo, &places);
        if random.uniform() < self.whisper_share {
            whisper(random, &mut changed, &recogniser.bands_hz);
        }
        let curve = self.curve(random, n_bands);
        for frame in changed.chunks_exact_mut(n_bands) {
            frame.iter_mut().zip(&curve).for_each(|(level, more)| *level += more);
        }
        if random.uniform() < self.echo_share {
            echo(random, &mut changed, n_bands, recogniser.seconds_per_frame);
        }
        if random.uniform() < self.noise_share {
            self.add_noise(random, &mut changed, n_bands);
        }
        recogniser.normalization.apply(&mut changed, n_bands);
        self.leave_out(random, &mut changed, n_bands);
        Changed { numbers: changed, tempo }
    }

    /// A microphone: half waves over the bands.
    fn curve(&self, random: &mut Random, n_bands: usize) -> Vec<f32> {
        let waves: [f64; 4] =
            std::array::from_fn(|nth| random.between(-1.0, 1.0) * self.tilt / (1.0 + 0.5 * nth as f64));
        let at = |band: usize| {
            let place = std::f64::consts::PI * (band as f64 + 0.5) / n_bands as f64;
            waves.iter().enumerate().map(|(nth, height)| height * ((nth + 1) as f64 * place).cos()).sum::<f64>() as f32
        };
        (0..n_bands).map(at).collect()
    }

    /// Power of a spectrum of its own, fluctuating as Gaussian noise does.
    fn add_noise(&self, random: &mut Random, numbers: &mut [f32], n_bands: usize) {
        let loudest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let level = f64::from(loudest) - random.between(self.noise_below.0, self.noise_below.1);
        let shape = Augmentation { tilt: 1.5, ..Augmentation::none() }.curve(random, n_bands);
        for frame in numbers.chunks_exact_mut(n_bands) {
            for (number, shape) in frame.iter_mut().zip(&shape) {
                let noise = (level + f64::from(*shape)).exp() * share_of_noise(random);
                *number = (f64::from(*number).exp() + noise).ln() as f32;
            }
        }
    }

    fn leave_out(&self, random: &mut Random, numbers: &mut [f32], n_bands: usize) {
        let n_frames = numbers.len() / n_bands;
        let part = |random: &mut Random, most: usize, of: usize| {
            let length = random.below(most + 1).min(of / 8);
            let first = random.below(of - length + 1);
            first..first + length
        };
        for _ in 0..self.time_masks.0 {
            let frames = part(random, self.time_masks.1, n_frames);
            numbers[frames.start * n_bands..frames.end * n_bands].fill(0.0);
        }
        for _ in 0..self.band_masks.0 {
            let bands = part(random, self.band_masks.1, n_bands);
            numbers.chunks_exact_mut(n_bands).for_each(|frame| frame[bands.clone()].fill(0.0));
        }
    }
}

/// What a band of Gaussian noise has of its mean power in one frame: that of a single bin is exponentially distributed,
/// a band is taken as a mean over two.
fn share_of_noise(random: &mut Random) -> f64 {
    -0.5 * ((1.0 - random.uniform()).ln() + (1.0 - random.uniform()).ln())
}

/// Breath in place of the voice: above a frequency the vocal tract shapes noise instead of harmonics, and the low
/// formants, which the glottis no longer feeds, are weaker (Tartter 1989, "What's in a whisper?").
fn whisper(random: &mut Random, numbers: &mut [f32], bands_hz: &[f64]) {
    let n_bands = bands_hz.len();
    // Some voices keep their lowest harmonics while they whisper.
    let voiced_below = random.between(-500.0, 1000.0);
    let fall = random.between(0.0, 3.0);
    // About the distance of harmonics: what is averaged twice over it shows none.
    let around: Vec<std::ops::Range<usize>> = bands_hz
        .iter()
        .map(|hertz| {
            let within = |limit: f64| bands_hz.partition_point(|other| *other < limit);
            within(hertz - 130.0)..within(hertz + 130.0).max(within(*hertz) + 1)
        })
        .collect();
    let averaged = |power: &[f64]| -> Vec<f64> {
        around.iter().map(|around| power[around.clone()].iter().sum::<f64>() / around.len() as f64).collect()
    };
    for frame in numbers.chunks_exact_mut(n_bands) {
        let power: Vec<f64> = frame.iter().map(|level| f64::from(*level).exp()).collect();
        let envelope = averaged(&averaged(&power));
        for ((level, hertz), mean) in frame.iter_mut().zip(bands_hz).zip(envelope) {
            if *hertz > voiced_below {
                let weaker = fall * (1.0 - hertz / 1500.0).max(0.0);
                *level = (mean.ln() - weaker + share_of_noise(random).max(1e-6).ln()) as f32;
            }
        }
    }
}

/// For each band the place among the bands whose frequency is as many times its own.
fn warped_bands(bands_hz: &[f64], warp: f64) -> Vec<f64> {
    let last = bands_hz.len() - 1;
    let place = |hertz: f64| {
        let above = bands_hz.partition_point(|band| *band <= hertz);
        match above {
            0 => 0.0,
            above if above > last => last as f64,
            above => above as f64 - 1.0 + (hertz - bands_hz[above - 1]) / (bands_hz[above] - bands_hz[above - 1]),
        }
    };
    bands_hz.iter().map(|hertz| place(hertz * warp)).collect()
}

/// Reads a spectrogram so many times faster, at these places among its bands; between two numbers lies a line.
fn read_at(numbers: &[f32], n_bands: usize, tempo: f64, places: &[f64]) -> Vec<f32> {
    let n_frames = numbers.len() / n_bands;
    let n_read = ((n_frames as f64 / tempo).round() as usize).max(1);
    let between = |place: f64, last: usize| {
        let below = (place.floor() as usize).min(last);
        (below, (below + 1).min(last), (place - below as f64).clamp(0.0, 1.0) as f32)
    };
    let bands: Vec<(usize, usize, f32)> = places.iter().map(|place| between(*place, n_bands - 1)).collect();
    let mut read = Vec::with_capacity(n_read * n_bands);
    for frame in 0..n_read {
        let (below, above, share) = between(frame as f64 * tempo, n_frames - 1);
        let (below, above) = (&numbers[below * n_bands..][..n_bands], &numbers[above * n_bands..][..n_bands]);
        for &(low, high, share_of_band) in &bands {
            let at = |frame: &[f32]| frame[low] + share_of_band * (frame[high] - frame[low]);
            let (from, to) = (at(below), at(above));
            read.push(from + share * (to - from));
        }
    }
    read
}

/// A room: what was heard before dies away exponentially, some of it under what is heard now.
fn echo(random: &mut Random, numbers: &mut [f32], n_bands: usize, seconds_per_frame: f64) {
    // From the time in which the power falls by 60 dB.
    let reverberation = random.between(0.15, 0.7);
    let kept = (-13.8 * seconds_per_frame / reverberation).exp() as f32;
    let share = random.between(0.02, 0.25) as f32;
    let mut left = vec![0f32; n_bands];
    for frame in numbers.chunks_exact_mut(n_bands) {
        for (number, left) in frame.iter_mut().zip(&mut left) {
            let power = number.exp();
            *number = (power + *left).ln();
            *left = kept * (*left + share * power);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recogniser() -> Recogniser {
        Recogniser::of("wav2letter-small").unwrap()
    }

    /// Each number tells its frame and band.
    fn numbered(n_frames: usize, n_bands: usize) -> Vec<f32> {
        (0..n_frames * n_bands).map(|i| (i / n_bands) as f32 + (i % n_bands) as f32 / 100.0).collect()
    }

    #[test]
    fn nothing_is_changed_where_nothing_is_asked() {
        let recogniser = recogniser();
        let numbers = numbered(50, 40);
        let changed = Augmentation::none().apply(&mut Random::new(1), &numbers, &recogniser, 1);
        let mut expected = numbers;
        recogniser.normalization.apply(&mut expected, 40);
        let apart = changed.numbers.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(changed.tempo == 1.0 && apart < 1e-5, "{apart}");
    }

    #[test]
    fn tempo_and_vocal_tract_read_the_spectrogram_elsewhere() {
        let places: Vec<f64> = (0..4).map(f64::from).collect();
        let faster = read_at(&numbered(9, 4), 4, 2.0, &places);
        assert_eq!(faster.len(), 5 * 4);
        assert!((faster[4] - 2.0).abs() < 1e-6 && (faster[9] - 4.01).abs() < 1e-6, "{faster:?}");
        let slower = read_at(&numbered(3, 4), 4, 0.5, &places);
        assert!((slower[4] - 0.5).abs() < 1e-6, "{slower:?}");
        let hertz = recogniser().bands_hz;
        let warped = warped_bands(&hertz, 1.1);
        let read = |place: f64| {
            let below = place.floor() as usize;
            hertz[below] + (place - below as f64) * (hertz[(below + 1).min(39)] - hertz[below])
        };
        for band in [0, 7, 20, 33] {
            assert!((read(warped[band]) - 1.1 * hertz[band]).abs() < 1e-6, "{band}");
        }
        assert_eq!(warped[39], 39.0);
    }

    #[test]
    fn powers_are_added_and_never_taken_away() {
        let mut random = Random::new(4);
        let before = numbered(30, 40);
        let mut with_echo = before.clone();
        echo(&mut random, &mut with_echo, 40, 0.01);
        let mut noisy = before.clone();
        Augmentation::default().add_noise(&mut random, &mut noisy, 40);
        for after in [&with_echo, &noisy] {
            assert!(before.iter().zip(after).all(|(before, after)| *after >= before - 1e-4));
            assert_ne!(&before, after);
        }
    }

    /// Harmonics 200 Hz apart become a spectrum without them, of as much power on the whole, but for the low bands.
    #[test]
    fn a_whisper_has_no_harmonics_and_keeps_the_formants() {
        let bands_hz: Vec<f64> = (0..100).map(|band| 40.0 * (band as f64 + 0.5)).collect();
        let formant = |band: usize| if (40..60).contains(&band) { 3.0 } else { 0.0 };
        let frame: Vec<f32> = (0..100).map(|band| formant(band) + if band % 5 == 0 { 4.0 } else { 0.0 }).collect();
        let mut numbers = frame.repeat(400);
        whisper(&mut Random::new(2), &mut numbers, &bands_hz);
        let mean: Vec<f64> = (0..100)
            .map(|band| numbers.chunks_exact(100).map(|frame| f64::from(frame[band]).exp()).sum::<f64>() / 400.0)
            .collect();
        let least_and_most = |bands: std::ops::Range<usize>| {
            let mean = &mean[bands];
            (mean.iter().copied().fold(f64::INFINITY, f64::min), mean.iter().copied().fold(0.0, f64::max))
        };
        let (between, within) = (least_and_most(66..97), least_and_most(44..56));
        assert!(between.1 < 2.0 * between.0, "harmonics are left: {between:?}");
        assert!(within.0 > 10.0 * between.1, "the formant was lost: {within:?} against {between:?}");
        let expected = (4f64.exp() + 4.0) / 5.0;
        let power = mean[66..97].iter().sum::<f64>() / 31.0;
        assert!((power / expected - 1.0).abs() < 0.15, "{power} instead of {expected}");
        let fluctuation = numbers.chunks_exact(100).filter(|frame| f64::from(frame[80]).exp() < 0.5 * power).count();
        assert!((60..140).contains(&fluctuation), "a quarter of the frames lies under half the mean: {fluctuation}");
    }

    #[test]
    fn a_transcript_keeps_the_frames_that_it_needs_and_a_seed_repeats() {
        let recogniser = recogniser();
        let numbers = numbered(40, 40);
        let hear = |seed| Augmentation::default().apply(&mut Random::new(seed), &numbers, &recogniser, 40);
        for seed in 0..20 {
            assert!(hear(seed).numbers.len() >= 40 * 40);
        }
        assert_eq!(hear(3).numbers, hear(3).numbers);
        assert_ne!(hear(3).numbers, hear(4).numbers);
    }
}
