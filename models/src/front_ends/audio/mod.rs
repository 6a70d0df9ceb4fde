//! Sound: decoded block by block, mixed to one channel, resampled, and turned into frames of a spectrogram or left as a
//! waveform.
//!
//! Samples are processed as they come, so that of an hour of sound only its frames are held. Every number that a frame
//! depends on is a field here, since a network is only as good as the match with the features it was trained on.

mod decode;
mod griffin_lim;
mod mel;
mod normalization;
mod resample;
mod spectrogram;
mod wav;
mod window;

use serde::{Deserialize, Serialize};

pub use decode::{SoundInfo, header, inspect};
pub use griffin_lim::GriffinLim;
pub use mel::{MelNorm, MelScale, MelSettings};
pub use normalization::Normalization;
pub use spectrogram::{Floor, LogUnit, Logarithm, Padding, SpectrogramSettings};
pub use wav::wav;
pub use window::Window;

use decode::Decoder;
use resample::Resampler;
use spectrogram::SpectrogramStream;

/// The longest sound that is read, in seconds.
pub const MOST_SECONDS: u64 = 4 * 3600;

/// How a sound becomes an input.
///
/// ```
/// use models::front_ends::audio::AudioFrontEnd;
/// let front_end: AudioFrontEnd = serde_json::from_str(
///     r#"{"sample_rate": 16000, "spectrogram": {"window_length": 400, "hop_length": 160, "n_fft": 512,
///         "mel": {"n_bands": 40}, "logarithm": {"unit": "natural", "floor": 1e-6}}, "normalization": "utterance"}"#,
/// ).unwrap();
/// assert_eq!((front_end.n_bands(), front_end.scale().step), (40, 0.01));
/// let features = front_end.features(&vec![0.1; 16_000]).unwrap();
/// assert_eq!((features.n_frames, features.numbers.len()), (101, 101 * 40));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioFrontEnd {
    /// The rate that every sound is brought to (Hz).
    pub sample_rate: u32,
    /// How samples become frames; a network that takes the waveform itself has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrogram: Option<SpectrogramSettings>,
    /// What is subtracted at the end, and what is divided by.
    #[serde(default)]
    pub normalization: Normalization,
}

/// Where the places of an input made from sound lie.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundScale {
    /// The centre of the first frame, or the first sample (s).
    pub start: f64,
    /// From one to the next (s).
    pub step: f64,
    /// The centre of each band (Hz), where there are bands.
    pub bands_hz: Option<Vec<f64>>,
}

/// A sound as a network takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Bands of a frame; 1 for a waveform.
    pub n_bands: usize,
    /// Frames, or samples.
    pub n_frames: usize,
    /// `[frame, band]`, row-major: the layout that convolutions along time want, channels last.
    pub numbers: Vec<f32>,
}

/// Why bytes are no sound, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// They cannot be decoded.
    #[error("the sound cannot be decoded: {0}")]
    Undecodable(String),
    /// The file is shorter than it says.
    #[error("the sound ends after {found:.2} s where its header says {promised:.2} s; the file was cut off")]
    CutOff { found: f64, promised: f64 },
    /// There is not one sample.
    #[error("the sound has no samples")]
    Empty,
    /// A sample that is no number.
    #[error("the sound holds {sample} at {seconds:.3} s; every sample must be finite")]
    NotFinite { sample: f32, seconds: f64 },
    /// Samples so large that their power is no f32.
    #[error("the samples are so large that frame {frame} of the spectrogram is {number}; samples lie within -1 to 1")]
    Overflow { frame: usize, number: f32 },
    /// Less than one window.
    #[error("the sound has {found} samples at {rate} Hz but one frame needs {needed}")]
    TooShort { found: usize, rate: u32, needed: usize },
    /// Longer than allowed.
    #[error("the sound is longer than {} hours; cut it first", MOST_SECONDS / 3600)]
    TooLong,
}

impl AudioError {
    /// Whether a limit was passed, rather than a file damaged.
    pub fn is_over_limit(&self) -> bool {
        matches!(self, AudioError::TooLong)
    }
}

impl AudioFrontEnd {
    /// As speech recognisers take it: 16 kHz, windows of 25 ms every 10 ms, so many mel bands up to 8 kHz, natural
    /// logarithms, each utterance brought to mean 0 and deviation 1.
    pub fn for_speech(n_bands: usize) -> Self {
        let mel = MelSettings { n_bands, low: 0.0, high: None, scale: MelScale::Slaney, norm: MelNorm::Slaney };
        AudioFrontEnd {
            sample_rate: 16_000,
            spectrogram: Some(SpectrogramSettings {
                window_length: 400,
                hop_length: 160,
                n_fft: Some(512),
                window: Window::Hann,
                centered: true,
                padding: Padding::Reflect,
                power: 2.0,
                mel: Some(mel),
                logarithm: Some(Logarithm { unit: LogUnit::Natural, floor: 1e-5, floor_is: Floor::Added, range: None }),
            }),
            normalization: Normalization::Utterance,
        }
    }

    /// Fails where the numbers make no sense.
    pub fn check(&self) -> Result<(), String> {
        if !(1000..=384_000).contains(&self.sample_rate) {
            return Err(format!("sample_rate {}; from 1000 to 384000 Hz is needed", self.sample_rate));
        }
        if let Some(spectrogram) = &self.spectrogram {
            spectrogram.check(self.sample_rate)?;
        }
        self.normalization.check(self.n_bands())
    }

    /// Numbers of a frame; 1 for a waveform.
    pub fn n_bands(&self) -> usize {
        self.spectrogram.as_ref().map_or(1, SpectrogramSettings::n_bands)
    }

    /// Where the places of an input lie.
    pub fn scale(&self) -> SoundScale {
        let rate = f64::from(self.sample_rate);
        match &self.spectrogram {
            None => SoundScale { start: 0.0, step: 1.0 / rate, bands_hz: None },
            Some(settings) => SoundScale {
                start: if settings.centered { 0.0 } else { settings.n_fft() as f64 / 2.0 / rate },
                step: settings.hop_length as f64 / rate,
                bands_hz: Some(settings.bands_hz(self.sample_rate)),
            },
        }
    }

    /// The input made of samples at this front end's rate.
    pub fn features(&self, samples: &[f32]) -> Result<Features, AudioError> {
        let mut stream = FeatureStream::new(self);
        stream.push(samples);
        stream.finish()
    }

    /// Seconds from one frame to the next.
    pub fn seconds_per_step(&self) -> f64 {
        self.scale().step
    }
}

/// Decodes and prepares a sound.
pub fn prepare(bytes: &[u8], front_end: &AudioFrontEnd) -> Result<Features, AudioError> {
    let mut stream = FeatureStream::new(front_end);
    for_each_block(bytes, front_end.sample_rate, |samples| stream.push(samples))?;
    stream.finish()
}

/// All samples of a sound, one channel at the asked rate (Hz).
pub fn samples(bytes: &[u8], sample_rate: u32) -> Result<Vec<f32>, AudioError> {
    let mut all = Vec::new();
    for_each_block(bytes, sample_rate, |samples| all.extend_from_slice(samples))?;
    if all.is_empty() { Err(AudioError::Empty) } else { Ok(all) }
}

/// Hands over one block of samples after another, one channel at the asked rate (Hz).
fn for_each_block(bytes: &[u8], sample_rate: u32, mut each: impl FnMut(&[f32])) -> Result<(), AudioError> {
    let mut decoder = Decoder::open(bytes)?;
    let mut resampler = Resampler::new(decoder.info().sample_rate, sample_rate);
    let mut resampled = Vec::new();
    while let Some(block) = decoder.next_block()? {
        resampled.clear();
        resampler.push(block, &mut resampled);
        each(&resampled);
    }
    resampled.clear();
    resampler.finish(&mut resampled);
    each(&resampled);
    Ok(())
}

/// Features that grow as samples come.
struct FeatureStream<'a> {
    front_end: &'a AudioFrontEnd,
    frames: Frames,
}

enum Frames {
    Waveform(Vec<f32>),
    Spectrogram(Box<SpectrogramStream>),
}

impl<'a> FeatureStream<'a> {
    fn new(front_end: &'a AudioFrontEnd) -> Self {
        let frames = match &front_end.spectrogram {
            None => Frames::Waveform(Vec::new()),
            Some(settings) => {
                Frames::Spectrogram(Box::new(SpectrogramStream::new(settings.clone(), front_end.sample_rate)))
            }
        };
        FeatureStream { front_end, frames }
    }

    fn push(&mut self, samples: &[f32]) {
        match &mut self.frames {
            Frames::Waveform(all) => all.extend_from_slice(samples),
            Frames::Spectrogram(stream) => stream.push(samples),
        }
    }

    fn finish(self) -> Result<Features, AudioError> {
        let n_bands = self.front_end.n_bands();
        let mut numbers = match self.frames {
            Frames::Waveform(samples) => samples,
            Frames::Spectrogram(stream) => stream.finish()?,
        };
        if numbers.is_empty() {
            return Err(AudioError::Empty);
        }
        if let Some(index) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(AudioError::Overflow { frame: index / n_bands, number: numbers[index] });
        }
        self.front_end.normalization.apply(&mut numbers, n_bands);
        Ok(Features { n_bands, n_frames: numbers.len() / n_bands, numbers })
    }
}

#[cfg(test)]
mod tests;
