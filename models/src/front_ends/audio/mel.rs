//! Mel scales and the triangular bands on them.

use serde::{Deserialize, Serialize};

/// Triangles over the bins of a power spectrum, evenly spaced on a mel scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MelSettings {
    /// How many bands.
    pub n_bands: usize,
    /// Where the lowest begins (Hz).
    #[serde(default)]
    pub low: f64,
    /// Where the highest ends (Hz); half the sample rate where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Which scale.
    #[serde(default)]
    pub scale: MelScale,
    /// How a triangle is scaled.
    #[serde(default)]
    pub norm: MelNorm,
}

/// What a mel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// `2595 · log10(1 + f / 700)`, as HTK and torchaudio have it.
    #[default]
    Htk,
    /// Linear below 1 kHz and logarithmic above, as Slaney's Auditory Toolbox and librosa have it.
    Slaney,
}

/// How a triangle is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelNorm {
    /// Its tip is at 1.
    #[default]
    None,
    /// Its area is 1 (Hz), as librosa has it.
    Slaney,
}

impl MelScale {
    // Slaney's scale: 3 mels for 200 Hz up to 1 kHz, from there 27 mels for a factor of 6.4.
    const HERTZ_PER_MEL: f64 = 200.0 / 3.0;
    const BREAK_HERTZ: f64 = 1000.0;
    const BREAK_MEL: f64 = Self::BREAK_HERTZ / Self::HERTZ_PER_MEL;

    fn log_step() -> f64 {
        6.4f64.ln() / 27.0
    }

    /// Hz to mel.
    pub(super) fn mel(self, hertz: f64) -> f64 {
        match self {
            MelScale::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            MelScale::Slaney if hertz < Self::BREAK_HERTZ => hertz / Self::HERTZ_PER_MEL,
            MelScale::Slaney => Self::BREAK_MEL + (hertz / Self::BREAK_HERTZ).ln() / Self::log_step(),
        }
    }

    /// Mel to Hz.
    pub(super) fn hertz(self, mel: f64) -> f64 {
        match self {
            MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            MelScale::Slaney if mel < Self::BREAK_MEL => mel * Self::HERTZ_PER_MEL,
            MelScale::Slaney => Self::BREAK_HERTZ * ((mel - Self::BREAK_MEL) * Self::log_step()).exp(),
        }
    }
}

impl MelSettings {
    /// Fails where the numbers make no sense at this sample rate (Hz).
    pub(super) fn check(&self, sample_rate: u32) -> Result<(), String> {
        let (nyquist, high) = (f64::from(sample_rate) / 2.0, self.high(sample_rate));
        if !(1..=4096).contains(&self.n_bands) {
            return Err(format!("mel.n_bands {}; from 1 to 4096 is needed", self.n_bands));
        }
        if !(self.low >= 0.0 && self.low < high && high <= nyquist) {
            let low = self.low;
            return Err(format!("mel bands from {low} to {high} Hz; from 0 up to {nyquist} Hz is needed"));
        }
        Ok(())
    }

    fn high(&self, sample_rate: u32) -> f64 {
        self.high.unwrap_or(f64::from(sample_rate) / 2.0)
    }

    /// Edge, tips and edge of all triangles (Hz), evenly spaced in mel.
    fn corners(&self, sample_rate: u32) -> Vec<f64> {
        let (low, high) = (self.scale.mel(self.low), self.scale.mel(self.high(sample_rate)));
        let step = (high - low) / (self.n_bands + 1) as f64;
        (0..self.n_bands + 2).map(|nth| self.scale.hertz(low + step * nth as f64)).collect()
    }

    /// Where each triangle has its tip (Hz).
    pub(super) fn centers(&self, sample_rate: u32) -> Vec<f64> {
        let corners = self.corners(sample_rate);
        corners[1..=self.n_bands].to_vec()
    }
}

/// The triangles of all bands, each only where it is not 0.
#[derive(Clone, Debug)]
pub(super) struct MelBank {
    bands: Vec<Band>,
}

#[derive(Clone, Debug)]
struct Band {
    first_bin: usize,
    weights: Vec<f32>,
}

impl MelBank {
    /// Over `n_bins` bins from 0 Hz to half the sample rate.
    pub(super) fn new(settings: &MelSettings, sample_rate: u32, n_bins: usize) -> MelBank {
        let corners = settings.corners(sample_rate);
        let bin_hertz = f64::from(sample_rate) / 2.0 / (n_bins - 1) as f64;
        let band = |corners: &[f64]| {
            let (low, tip, high) = (corners[0], corners[1], corners[2]);
            let scale = match settings.norm {
                MelNorm::None => 1.0,
                MelNorm::Slaney => 2.0 / (high - low),
            };
            let weight = |bin: usize| {
                let hertz = bin as f64 * bin_hertz;
                let (up, down) = ((hertz - low) / (tip - low), (high - hertz) / (high - tip));
                scale * up.min(down).max(0.0)
            };
            let inside: Vec<usize> = (0..n_bins).filter(|bin| weight(*bin) > 0.0).collect();
            let first_bin = inside.first().copied().unwrap_or(0);
            Band { first_bin, weights: inside.iter().map(|bin| weight(*bin) as f32).collect() }
        };
        MelBank { bands: corners.windows(3).map(band).collect() }
    }

    /// Bands of a spectrum.
    pub(super) fn bands_of(&self, spectrum: &[f32], into: &mut Vec<f32>) {
        into.extend(self.bands.iter().map(|band| {
            let bins = &spectrum[band.first_bin..];
            band.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum::<f32>()
        }));
    }

    /// How many there are.
    pub(super) fn n_bands(&self) -> usize {
        self.bands.len()
    }

    /// Bands of the spectra of some frames, a frame in each lane.
    pub(super) fn bands_of_frames<const N: usize>(&self, spectra: &[[f32; N]], into: &mut [[f32; N]]) {
        for (band, level) in self.bands.iter().zip(into) {
            *level = [0.0; N];
            for (weight, bin) in band.weights.iter().zip(&spectra[band.first_bin..]) {
                level.iter_mut().zip(bin).for_each(|(level, bin)| *level += weight * bin);
            }
        }
    }

    /// The transposed product: what each bin gets from the bands that it lies in, a frame in each lane.
    pub(super) fn spread<const N: usize>(&self, bands: &[[f32; N]], into: &mut [[f32; N]]) {
        into.fill([0.0; N]);
        for (band, level) in self.bands.iter().zip(bands) {
            for (weight, bin) in band.weights.iter().zip(&mut into[band.first_bin..]) {
                bin.iter_mut().zip(level).for_each(|(bin, level)| *bin += weight * level);
            }
        }
    }
}
