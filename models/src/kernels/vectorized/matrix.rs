//! Matrix products over strided views, by the `gemm` crate, which picks AVX-512, AVX2 or plain code at run time.

use super::taps::Threads;
use crate::element::Element;

/// A matrix within a slice: element `(i, j)` is at `i * row_stride + j * column_stride`. Rows may overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) numbers: &'a [T],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after the other.
    pub(crate) fn row_major(numbers: &'a [T], n_columns: usize) -> Self {
        Matrix { numbers, row_stride: n_columns, column_stride: 1 }
    }

    fn reaches(&self, n_rows: usize, n_columns: usize) -> usize {
        (n_rows - 1) * self.row_stride + (n_columns - 1) * self.column_stride + 1
    }
}

/// `into[i, j] += Σ_k left[i, k] * right[k, j]`, with the rows of `into` at `into_row_stride`.
///
/// # Shapes
/// - `left`: `[m, k]`, `right`: `[k, n]`, `into`: `[m, n]`
pub(crate) fn multiply_add<T: Element>(
    into: &mut [T],
    into_row_stride: usize,
    product: (usize, usize, usize),
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    threads: Threads,
) {
    multiply(into, into_row_stride, product, left, right, T::one(), threads);
}

/// The same with the product taken away: `into[i, j] -= Σ_k left[i, k] * right[k, j]`.
pub(crate) fn multiply_subtract<T: Element>(
    into: &mut [T],
    into_row_stride: usize,
    product: (usize, usize, usize),
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    threads: Threads,
) {
    multiply(into, into_row_stride, product, left, right, -T::one(), threads);
}

fn multiply<T: Element>(
    into: &mut [T],
    into_row_stride: usize,
    (m, k, n): (usize, usize, usize),
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    factor: T,
    threads: Threads,
) {
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    assert!(left.reaches(m, k) <= left.numbers.len(), "left matrix reaches beyond its numbers");
    assert!(right.reaches(k, n) <= right.numbers.len(), "right matrix reaches beyond its numbers");
    assert!((m - 1) * into_row_stride + n <= into.len() && (m == 1 || into_row_stride >= n), "result does not fit");
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: the three assertions above bound every element that the product reads or writes, for the strides given;
    // the rows of the result do not overlap; `into` is borrowed mutably, so nothing else reads it meanwhile; all
    // element types are plain numbers.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            into.as_mut_ptr(),
            1,
            into_row_stride as isize,
            true,
            left.numbers.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.numbers.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            T::one(),
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_rows_multiply_like_the_definition() {
        let signal: Vec<f64> = (0..11).map(|i| f64::from(i) * 0.5 - 2.0).collect();
        let weights: Vec<f64> = (0..8).map(|i| f64::from(i % 3) - 1.0).collect();
        let (m, k, n) = (4, 4, 2);
        let mut product = vec![1.0; m * n];
        let windows = Matrix { numbers: &signal, row_stride: 2, column_stride: 1 };
        multiply_add(&mut product, n, (m, k, n), windows, Matrix::row_major(&weights, n), Threads::One);
        for i in 0..m {
            for j in 0..n {
                let expected: f64 = 1.0 + (0..k).map(|l| signal[2 * i + l] * weights[l * n + j]).sum::<f64>();
                assert!((product[i * n + j] - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    #[should_panic(expected = "reaches beyond")]
    fn a_view_beyond_its_numbers_is_refused() {
        let numbers = [0.0f32; 5];
        let view = Matrix { numbers: &numbers, row_stride: 2, column_stride: 1 };
        multiply_add(&mut [0.0; 9], 3, (3, 2, 3), view, Matrix::row_major(&[0.0; 6], 3), Threads::One);
    }
}
