//! Frames of a spectrogram: windowed, transformed, weighed into bands, as logarithms.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};

use super::AudioError;
use super::mel::{MelBank, MelSettings};
use super::window::Window;

/// How samples become frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrogramSettings {
    /// Samples under the window.
    pub window_length: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Samples that are transformed, with zeros on both sides of the window; the window's length where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_fft: Option<usize>,
    /// The window's kind.
    #[serde(default)]
    pub window: Window,
    /// Whether frame 0 lies around the first sample rather than behind it.
    #[serde(default = "yes")]
    pub centered: bool,
    /// What lies beyond both ends where frames are centred.
    #[serde(default)]
    pub padding: Padding,
    /// The exponent of the magnitude: 2 for power.
    #[serde(default = "two")]
    pub power: f32,
    /// Bands; each bin is one where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mel: Option<MelSettings>,
    /// Logarithms; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logarithm: Option<Logarithm>,
}

fn yes() -> bool {
    true
}

fn two() -> f32 {
    2.0
}

/// What lies beyond both ends of a sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The sound itself, backwards.
    #[default]
    Reflect,
    /// Silence.
    Zeros,
}

/// How levels become logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logarithm {
    /// Its unit.
    pub unit: LogUnit,
    /// What keeps the logarithm of silence finite, as a level.
    #[serde(default = "smallest_level")]
    pub floor: f32,
    /// How it does so.
    #[serde(default)]
    pub floor_is: Floor,
    /// How far below the loudest number of the sound the lowest may lie, in the logarithm's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<f32>,
}

fn smallest_level() -> f32 {
    1e-10
}

/// The unit of a logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogUnit {
    /// The natural logarithm of the level.
    Natural,
    /// The logarithm to base 10 of the level.
    Log10,
    /// Ten times that of the power, whatever power of the magnitude the level is.
    Decibel,
}

/// How a floor keeps the logarithm of silence finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// The larger of level and floor is taken.
    #[default]
    Least,
    /// It is added to the level.
    Added,
}

impl SpectrogramSettings {
    /// Fails where the numbers make no sense at this sample rate (Hz).
    pub(super) fn check(&self, sample_rate: u32) -> Result<(), String> {
        let n_fft = self.n_fft();
        if self.window_length == 0 || self.window_length > n_fft || !(2..=1 << 16).contains(&n_fft) {
            return Err(format!(
                "window_length {} of n_fft {n_fft}; n_fft from 2 to 65536 and a window not longer are needed",
                self.window_length
            ));
        }
        if self.hop_length == 0 || self.hop_length > 1 << 16 {
            return Err(format!("hop_length {}; from 1 to 65536 samples is needed", self.hop_length));
        }
        if !(self.power > 0.0 && self.power <= 4.0) {
            return Err(format!("power {}; 1 (magnitude) and 2 (power) are usual, above 0 to 4 is needed", self.power));
        }
        if let Some(logarithm) = &self.logarithm {
            logarithm.check()?;
        }
        self.mel.as_ref().map_or(Ok(()), |mel| mel.check(sample_rate))
    }

    /// Samples that are transformed.
    pub fn n_fft(&self) -> usize {
        self.n_fft.unwrap_or(self.window_length)
    }

    /// Bins of a frame before they are weighed into bands.
    pub(super) fn n_bins(&self) -> usize {
        self.n_fft() / 2 + 1
    }

    /// Numbers of a frame.
    pub(super) fn n_bands(&self) -> usize {
        self.mel.as_ref().map_or(self.n_bins(), |mel| mel.n_bands)
    }

    /// The centre of each band (Hz).
    pub(super) fn bands_hz(&self, sample_rate: u32) -> Vec<f64> {
        match &self.mel {
            Some(mel) => mel.centers(sample_rate),
            None => (0..self.n_bins()).map(|bin| bin as f64 * f64::from(sample_rate) / self.n_fft() as f64).collect(),
        }
    }
}

impl Logarithm {
    fn check(&self) -> Result<(), String> {
        if !(self.floor > 0.0 && self.floor.is_finite()) {
            return Err(format!("logarithm.floor {}; a level above 0 is needed", self.floor));
        }
        match self.range {
            Some(range) if !(range > 0.0 && range.is_finite()) => {
                Err(format!("logarithm.range {range}; a number above 0 is needed"))
            }
            _ => Ok(()),
        }
    }

    /// What the natural logarithm of a level is multiplied by.
    fn factor(&self, power: f32) -> f32 {
        match self.unit {
            LogUnit::Natural => 1.0,
            LogUnit::Log10 => std::f32::consts::LOG10_E,
            LogUnit::Decibel => 20.0 / power * std::f32::consts::LOG10_E,
        }
    }

    fn of(&self, level: f32, power: f32) -> f32 {
        let kept = match self.floor_is {
            Floor::Least => level.max(self.floor),
            Floor::Added => level + self.floor,
        };
        self.factor(power) * kept.ln()
    }

    /// The level that a logarithm is of.
    pub(super) fn level(&self, logarithm: f32, power: f32) -> f32 {
        let level = (logarithm / self.factor(power)).exp();
        match self.floor_is {
            Floor::Least => level,
            Floor::Added => (level - self.floor).max(0.0),
        }
    }

    /// What an utterance's own mean and deviation are taken for where they are not known: loud speech whose levels
    /// spread over some 17 dB.
    pub(super) fn typical_moments(&self, power: f32) -> (f32, f32) {
        // One natural unit of a level is 20 / power · log10(e) dB.
        let decibels_per_unit = 20.0 / power * std::f32::consts::LOG10_E / self.factor(power);
        (-30.0 / decibels_per_unit, 17.0 / decibels_per_unit)
    }
}

/// Where sample `index` of an infinitely mirrored sound of `length` samples lies, ends not doubled.
pub(super) fn reflected(index: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let within = index.rem_euclid(period);
    (if within < length as isize { within } else { period - within }) as usize
}

/// A windowed transform of one frame after another.
#[derive(Clone)]
pub(super) struct Transform {
    plan: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    windowed: Vec<f32>,
    pub(super) spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Transform {
    pub(super) fn new(settings: &SpectrogramSettings) -> Self {
        let n_fft = settings.n_fft();
        let plan = RealFftPlanner::new().plan_fft_forward(n_fft);
        Transform {
            window: settings.window.weights(settings.window_length, n_fft),
            windowed: vec![0.0; n_fft],
            spectrum: plan.make_output_vec(),
            scratch: plan.make_scratch_vec(),
            plan,
        }
    }

    /// Fills `spectrum` with the transform of one frame's samples.
    pub(super) fn of(&mut self, samples: &[f32]) {
        for ((windowed, sample), weight) in self.windowed.iter_mut().zip(samples).zip(&self.window) {
            *windowed = sample * weight;
        }
        self.plan
            .process_with_scratch(&mut self.windowed, &mut self.spectrum, &mut self.scratch)
            .expect("the plan made these buffers");
    }
}

/// Frames that grow as samples come.
pub(super) struct SpectrogramStream {
    settings: SpectrogramSettings,
    sample_rate: u32,
    transform: Transform,
    mel: Option<MelBank>,
    levels: Vec<f32>,
    /// Samples from the next frame's first on; before the first frame all of them.
    waiting: Vec<f32>,
    /// Samples that lie between the end of one frame and the start of the next.
    to_skip: usize,
    has_started: bool,
    /// The last samples, as many as are mirrored behind the end.
    tail: Vec<f32>,
    n_samples: usize,
    /// `[frame, band]`
    frames: Vec<f32>,
}

impl SpectrogramStream {
    pub(super) fn new(settings: SpectrogramSettings, sample_rate: u32) -> Self {
        let mel = settings.mel.as_ref().map(|mel| MelBank::new(mel, sample_rate, settings.n_bins()));
        SpectrogramStream {
            transform: Transform::new(&settings),
            levels: vec![0.0; settings.n_bins()],
            mel,
            waiting: Vec::new(),
            to_skip: 0,
            has_started: !settings.centered,
            tail: Vec::new(),
            n_samples: 0,
            frames: Vec::new(),
            settings,
            sample_rate,
        }
    }

    fn n_beyond(&self) -> usize {
        if self.settings.centered { self.settings.n_fft() / 2 } else { 0 }
    }

    /// Takes samples and makes the frames that they complete.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.n_samples += samples.len();
        self.append(samples);
        let n_mirrored = self.n_beyond() + 1;
        self.tail.extend_from_slice(&samples[samples.len().saturating_sub(n_mirrored)..]);
        self.tail.drain(..self.tail.len().saturating_sub(n_mirrored));
        if !self.has_started && self.waiting.len() > self.n_beyond() {
            self.start();
        }
        if self.has_started {
            self.make_frames();
        }
    }

    /// Makes the last frames, and takes logarithms' range from the loudest number.
    ///
    /// Returns `[frame, band]`.
    pub(super) fn finish(mut self) -> Result<Vec<f32>, AudioError> {
        if self.n_samples == 0 {
            return Err(AudioError::Empty);
        }
        if !self.has_started {
            self.start();
        }
        let behind: Vec<f32> = match self.settings.padding {
            Padding::Zeros => vec![0.0; self.n_beyond()],
            Padding::Reflect => {
                let length = self.tail.len();
                (0..self.n_beyond()).map(|nth| self.tail[reflected((length + nth) as isize, length)]).collect()
            }
        };
        self.append(&behind);
        self.make_frames();
        if self.frames.is_empty() {
            let needed = self.settings.n_fft();
            return Err(AudioError::TooShort { found: self.n_samples, rate: self.sample_rate, needed });
        }
        if let Some(range) = self.settings.logarithm.as_ref().and_then(|logarithm| logarithm.range) {
            let lowest = self.frames.iter().copied().fold(f32::NEG_INFINITY, f32::max) - range;
            self.frames.iter_mut().for_each(|number| *number = number.max(lowest));
        }
        Ok(self.frames)
    }

    /// Puts what lies before the first sample in front.
    fn start(&mut self) {
        self.has_started = true;
        let n_beyond = self.n_beyond() as isize;
        let before = |index: isize| match self.settings.padding {
            Padding::Zeros => 0.0,
            Padding::Reflect => self.waiting[reflected(index, self.waiting.len())],
        };
        let mut padded: Vec<f32> = (-n_beyond..0).map(before).collect();
        padded.append(&mut self.waiting);
        self.waiting = padded;
    }

    fn append(&mut self, samples: &[f32]) {
        let skipped = self.to_skip.min(samples.len());
        self.to_skip -= skipped;
        self.waiting.extend_from_slice(&samples[skipped..]);
    }

    fn make_frames(&mut self) {
        let (n_fft, hop) = (self.settings.n_fft(), self.settings.hop_length);
        let mut start = 0;
        while start + n_fft <= self.waiting.len() {
            self.transform.of(&self.waiting[start..start + n_fft]);
            self.make_frame();
            start += hop;
        }
        let gone = start.min(self.waiting.len());
        self.to_skip += start - gone;
        self.waiting.drain(..gone);
    }

    fn make_frame(&mut self) {
        let power = self.settings.power;
        for (level, bin) in self.levels.iter_mut().zip(&self.transform.spectrum) {
            *level = match power {
                2.0 => bin.norm_sqr(),
                1.0 => bin.norm(),
                power => bin.norm().powf(power),
            };
        }
        let first = self.frames.len();
        match &self.mel {
            Some(mel) => mel.bands_of(&self.levels, &mut self.frames),
            None => self.frames.extend_from_slice(&self.levels),
        }
        if let Some(logarithm) = &self.settings.logarithm {
            self.frames[first..].iter_mut().for_each(|level| *level = logarithm.of(*level, power));
        }
    }
}
