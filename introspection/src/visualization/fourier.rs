//! Pictures as spectra whose low frequencies weigh more, as they do in photos (Olah et al. 2017, "preconditioning").
//!
//! The same spectrum of noise then becomes a picture whose power falls with the square of the frequency, and a step of
//! the ascent changes all scales alike instead of the finest alone.

use rayon::prelude::*;
use rustfft::num_complex::Complex;

use super::canvas::Canvas;
use super::spectrum::Spectrum;

/// How fast amplitudes fall with frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// As `f^-exponent` with `f` the length of the frequency along rows and columns, for photos.
    Radial(f64),
    /// As a power of each axis' own frequency, for sound.
    Separate {
        /// The exponent along bands of frequency.
        rows: f64,
        /// The exponent along time.
        columns: f64,
    },
}

/// What pictures are divided by, in lucid and here.
const ATTENUATION: f64 = 4.0;

/// Spectra of one size as pictures.
///
/// `x = irfft2(scale · spectrum) / 4` with `scale = √(rows · columns) / max(f, 1 / max(rows, columns))^decay` (lucid's
/// `fft_image`). Differs from it for an odd number of columns, whose spectrum is not cut from a larger one.
#[derive(Clone, Debug)]
pub(super) struct Fourier {
    spectrum: Spectrum,
    /// One for each number of a plane's spectrum.
    scale: Vec<f64>,
}

impl Fourier {
    /// For planes of a canvas that is not empty.
    pub(super) fn new(canvas: Canvas, decay: Decay) -> Fourier {
        let spectrum = Spectrum::new(canvas.rows, canvas.columns);
        let (rows, columns) = (canvas.rows as f64, canvas.columns as f64);
        let attenuation = |(of_rows, of_columns): (f64, f64)| match decay {
            Decay::Radial(exponent) => of_rows.hypot(of_columns).max(1.0 / rows.max(columns)).powf(exponent),
            Decay::Separate { rows: exponent, columns: other } => {
                of_rows.max(1.0 / rows).powf(exponent) * of_columns.max(1.0 / columns).powf(other)
            }
        };
        let factor = (rows * columns).sqrt() / ATTENUATION;
        let scale = spectrum.frequencies().map(|frequency| factor / attenuation(frequency)).collect();
        Fourier { spectrum, scale }
    }

    /// Free numbers of a plane: a real and an imaginary part each.
    pub(super) fn n_free(&self) -> usize {
        2 * self.spectrum.len()
    }

    /// Pictures of spectra.
    ///
    /// # Shapes
    /// - `free`: `[plane, row, bin, part]`, returns `[plane, row, column]`, with any number of planes
    pub(super) fn forward(&self, free: &[f64]) -> Vec<f64> {
        let plane = |free: &[f64]| {
            let parts = free.chunks_exact(2).zip(&self.scale);
            self.spectrum.inverse(parts.map(|(part, scale)| Complex::new(part[0], part[1]) * scale).collect())
        };
        free.par_chunks_exact(self.n_free()).map(plane).collect::<Vec<_>>().concat()
    }

    /// The gradient at spectra, from that at their pictures.
    pub(super) fn adjoint(&self, canvas: Canvas, gradient: &[f64]) -> Vec<f64> {
        let plane = |gradient: &[f64]| -> Vec<f64> {
            let parts = self.spectrum.inverse_adjoint(gradient);
            parts.into_iter().zip(&self.scale).flat_map(|(part, scale)| [part.re * scale, part.im * scale]).collect()
        };
        gradient.par_chunks_exact(canvas.n_places()).map(plane).collect::<Vec<_>>().concat()
    }

    /// The spectra of pictures, as far as a picture says what its spectrum is.
    pub(super) fn of_picture(&self, canvas: Canvas, picture: &[f64]) -> Vec<f64> {
        let plane = |plane: &[f64]| -> Vec<f64> {
            let parts = self.spectrum.forward(plane).into_iter().zip(&self.scale);
            parts.flat_map(|(part, scale)| [part.re / scale, part.im / scale]).collect()
        };
        picture.par_chunks_exact(canvas.n_places()).map(plane).collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        for decay in [Decay::Radial(1.0), Decay::Separate { rows: 0.5, columns: 1.5 }] {
            for (rows, columns) in [(4, 5), (3, 6), (1, 7)] {
                let canvas = Canvas { planes: 2, rows, columns };
                let fourier = Fourier::new(canvas, decay);
                let backward = |_: &[f64], arriving: &[f64]| fourier.adjoint(canvas, arriving);
                check_gradient(2 * fourier.n_free(), |at| fourier.forward(at), backward);
            }
        }
    }

    /// `np.fft.irfft2(scale * spectrum) / 4` with lucid's scale, for `spectrum = arange(12) + 1j * arange(12)[::-1]`.
    #[test]
    fn pictures_are_those_of_numpy() {
        let canvas = Canvas { planes: 1, rows: 4, columns: 4 };
        let free: Vec<f64> = (0..12).flat_map(|index| [f64::from(index), f64::from(11 - index)]).collect();
        let found = Fourier::new(canvas, Decay::Radial(1.0)).forward(&free);
        let expected: [f64; 16] = [
            13.510956215742,
            -7.718815478932,
            -0.519033889369,
            9.726893152560,
            -6.564495102246,
            -3.106325291004,
            -0.191359246627,
            0.862179639877,
            -5.966247484869,
            -4.484252465440,
            -0.197247716757,
            1.647747667067,
            2.019786371373,
            -5.690606764623,
            -0.092359147246,
            6.763179540496,
        ];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn noise_becomes_a_picture_of_low_frequencies() {
        let canvas = Canvas { planes: 1, rows: 32, columns: 32 };
        let fourier = Fourier::new(canvas, Decay::Radial(1.0));
        let picture = fourier.forward(&Random::new(1).normal(fourier.n_free(), 0.01));
        let step = |pair: (&f64, &f64)| (pair.0 - pair.1).powi(2);
        let steps: f64 = picture.iter().zip(&picture[1..]).map(step).sum();
        let variance: f64 = picture.iter().map(|number| number * number).sum();
        assert!(steps < variance, "white noise has twice its variance as steps, here {}", steps / variance);
    }
}
