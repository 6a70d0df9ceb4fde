//! The discrete Fourier transform of real planes, over rows and columns, as NumPy's `rfft2` and `irfft2` define it.
//!
//! A spectrum has all `rows` frequencies along rows and the `columns / 2 + 1` that are not negative along columns.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// Lines that one thread transforms at least.
const LINES: usize = 8;

/// Both transforms for planes of one size.
#[derive(Clone)]
pub(super) struct Spectrum {
    rows: usize,
    columns: usize,
    along_rows: Arc<dyn Fft<f64>>,
    along_rows_inverse: Arc<dyn Fft<f64>>,
    along_columns: Arc<dyn RealToComplex<f64>>,
    along_columns_inverse: Arc<dyn ComplexToReal<f64>>,
}

impl std::fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spectrum of {} × {}", self.rows, self.columns)
    }
}

impl Spectrum {
    /// For planes of so many rows and columns, neither of which is 0.
    pub(super) fn new(rows: usize, columns: usize) -> Spectrum {
        let (mut complex, mut real) = (FftPlanner::new(), RealFftPlanner::new());
        Spectrum {
            rows,
            columns,
            along_rows: complex.plan_fft_forward(rows),
            along_rows_inverse: complex.plan_fft_inverse(rows),
            along_columns: real.plan_fft_forward(columns),
            along_columns_inverse: real.plan_fft_inverse(columns),
        }
    }

    /// Frequencies along a row that are not negative.
    pub(super) fn n_bins(&self) -> usize {
        self.columns / 2 + 1
    }

    /// Complex numbers of a plane's spectrum.
    pub(super) fn len(&self) -> usize {
        self.rows * self.n_bins()
    }

    /// Cycles a place along rows and along columns, for each number of a spectrum.
    pub(super) fn frequencies(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let along_rows = |row: usize| row.min(self.rows - row) as f64 / self.rows as f64;
        let along_columns = |bin: usize| bin as f64 / self.columns as f64;
        (0..self.rows).flat_map(move |row| (0..self.n_bins()).map(move |bin| (along_rows(row), along_columns(bin))))
    }

    /// How often a number of the spectrum stands for one of the whole: once at the ends of the columns, else twice,
    /// since those of negative frequencies are left out.
    pub(super) fn weight(&self, bin: usize) -> f64 {
        if bin == 0 || 2 * bin == self.columns { 1.0 } else { 2.0 }
    }

    /// `rfft2`: `F = Σ x exp(-2πi (row · y / rows + bin · x / columns))`.
    ///
    /// # Shapes
    /// - `plane`: `[row, column]`, returns `[row, bin]`
    pub(super) fn forward(&self, plane: &[f64]) -> Vec<Complex<f64>> {
        let mut spectrum = vec![Complex::default(); self.len()];
        let rows = plane.par_chunks_exact(self.columns).zip(spectrum.par_chunks_exact_mut(self.n_bins()));
        let room = || (vec![0.0; self.columns], self.along_columns.make_scratch_vec());
        rows.with_min_len(LINES).for_each_init(room, |(row_of_plane, scratch), (row, bins)| {
            row_of_plane.copy_from_slice(row);
            let transformed = self.along_columns.process_with_scratch(row_of_plane, bins, scratch);
            transformed.expect("both are as long as planned");
        });
        self.each_bin(&mut spectrum, &*self.along_rows);
        spectrum
    }

    /// `irfft2`, divided by the number of places.
    ///
    /// # Shapes
    /// - `spectrum`: `[row, bin]`, returns `[row, column]`
    pub(super) fn inverse(&self, mut spectrum: Vec<Complex<f64>>) -> Vec<f64> {
        self.each_bin(&mut spectrum, &*self.along_rows_inverse);
        let mut plane = vec![0.0; self.rows * self.columns];
        let (last, n_places) = (self.n_bins() - 1, plane.len() as f64);
        let rows = spectrum.par_chunks_exact_mut(self.n_bins()).zip(plane.par_chunks_exact_mut(self.columns));
        let room = || self.along_columns_inverse.make_scratch_vec();
        rows.with_min_len(LINES).for_each_init(room, |scratch, (bins, row)| {
            // A real row has no imaginary part there, so that NumPy leaves it out as well.
            bins[0].im = 0.0;
            if self.columns.is_multiple_of(2) {
                bins[last].im = 0.0;
            }
            let transformed = self.along_columns_inverse.process_with_scratch(bins, row, scratch);
            transformed.expect("both are as long as planned");
            row.iter_mut().for_each(|number| *number /= n_places);
        });
        plane
    }

    /// The gradient at a spectrum's real and imaginary parts, from that at the plane that [`Spectrum::inverse`] makes.
    ///
    /// # Shapes
    /// - `gradient`: `[row, column]`, returns `[row, bin]`
    pub(super) fn inverse_adjoint(&self, gradient: &[f64]) -> Vec<Complex<f64>> {
        let mut spectrum = self.forward(gradient);
        let n_places = gradient.len() as f64;
        for bins in spectrum.chunks_exact_mut(self.n_bins()) {
            bins.iter_mut().enumerate().for_each(|(bin, number)| *number *= self.weight(bin) / n_places);
        }
        spectrum
    }

    /// Transforms along the rows, for each bin.
    fn each_bin(&self, spectrum: &mut [Complex<f64>], transform: &dyn Fft<f64>) {
        let n_bins = self.n_bins();
        let mut lines = vec![Complex::default(); spectrum.len()];
        let parts = lines.par_chunks_mut(LINES * self.rows).enumerate();
        parts.for_each_init(
            || vec![Complex::default(); transform.get_inplace_scratch_len()],
            |scratch, (part, lines)| {
                for (nth, line) in lines.chunks_exact_mut(self.rows).enumerate() {
                    let bin = part * LINES + nth;
                    line.iter_mut().enumerate().for_each(|(row, number)| *number = spectrum[row * n_bins + bin]);
                }
                transform.process_with_scratch(lines, scratch);
            },
        );
        spectrum.par_chunks_exact_mut(n_bins).with_min_len(LINES).enumerate().for_each(|(row, bins)| {
            bins.iter_mut().enumerate().for_each(|(bin, number)| *number = lines[bin * self.rows + row]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::super::testing::check_gradient;
    use super::*;

    const SIZES: [(usize, usize); 5] = [(1, 1), (1, 6), (5, 1), (3, 4), (4, 7)];

    fn complex(numbers: &[f64]) -> Vec<Complex<f64>> {
        numbers.chunks_exact(2).map(|pair| Complex::new(pair[0], pair[1])).collect()
    }

    fn parts(numbers: &[Complex<f64>]) -> Vec<f64> {
        numbers.iter().flat_map(|number| [number.re, number.im]).collect()
    }

    /// From the definition, number by number.
    fn slow_forward(rows: usize, columns: usize, plane: &[f64]) -> Vec<Complex<f64>> {
        let at = |row: usize, bin: usize| -> Complex<f64> {
            let term = |(index, number): (usize, &f64)| {
                let turns =
                    (row * (index / columns)) as f64 / rows as f64 + (bin * (index % columns)) as f64 / columns as f64;
                Complex::from_polar(*number, -2.0 * std::f64::consts::PI * turns)
            };
            plane.iter().enumerate().map(term).sum()
        };
        (0..rows)
            .flat_map(|row| (0..columns / 2 + 1).map(move |bin| (row, bin)))
            .map(|(row, bin)| at(row, bin))
            .collect()
    }

    #[test]
    fn forward_is_the_definition_and_inverse_undoes_it() {
        for (rows, columns) in SIZES {
            let plane = Random::new(3).normal(rows * columns, 1.0);
            let spectrum = Spectrum::new(rows, columns);
            let found = spectrum.forward(&plane);
            let slow = slow_forward(rows, columns, &plane);
            assert!(found.iter().zip(&slow).all(|(a, b)| (a - b).norm() < 1e-12), "{rows} × {columns}");
            let back = spectrum.inverse(found);
            assert!(back.iter().zip(&plane).all(|(a, b)| (a - b).abs() < 1e-12), "{rows} × {columns}");
        }
    }

    #[test]
    fn the_inverses_gradient_matches_finite_differences() {
        for (rows, columns) in SIZES {
            let spectrum = Spectrum::new(rows, columns);
            let forward = |at: &[f64]| spectrum.inverse(complex(at));
            let backward = |_: &[f64], arriving: &[f64]| parts(&spectrum.inverse_adjoint(arriving));
            check_gradient(2 * spectrum.len(), forward, backward);
        }
    }
}
