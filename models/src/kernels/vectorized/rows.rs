//! Products of a few rows with a matrix that is read once, from where it lies: dense layers of single inputs.
//!
//! With few rows a product is bound by reading the matrix, so that it is not worth a packed copy.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::run::Loop;
use crate::element::Element;

/// Up to so many rows a product is bound by reading the matrix.
pub(crate) const FEW_ROWS: usize = 8;

/// Rows of the matrix that are worked on together.
const TOGETHER: usize = 4;

/// Columns of a sum that stay in a core's cache.
const COLUMNS: usize = 2048;

/// `output[row, n] = Σ_k left[row, k] · matrix[n, k]`
///
/// # Shapes
/// - `left`: `[row, k]`, `matrix`: `[n, k]`, both row-major; returns `[row, n]`
pub(crate) fn times_transposed<T: Element>(left: &[T], matrix: &[T], k: usize) -> Vec<T> {
    let (n_rows, n) = (left.len() / k, matrix.len() / k);
    let part = n.div_ceil(8 * rayon::current_num_threads()).next_multiple_of(TOGETHER);
    let mut transposed = vec![T::zero(); n * n_rows];
    transposed.par_chunks_mut(part * n_rows).zip(matrix.par_chunks(part * k)).for_each(|(output, matrix)| {
        // SAFETY: the slices hold whole rows of `k` numbers, and the output one for each pair of rows.
        unsafe { T::vectorized(Dots { left, matrix, k, output }) };
    });
    if n_rows == 1 {
        return transposed;
    }
    (0..n_rows * n).map(|index| transposed[index % n * n_rows + index / n]).collect()
}

struct Dots<'a, T> {
    left: &'a [T],
    matrix: &'a [T],
    k: usize,
    /// `[n, row]`
    output: &'a mut [T],
}

impl<T: Element> Loop<T> for Dots<'_, T> {
    /// # Safety
    /// The slices must hold whole rows, the output a number for each pair of them.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let (k, n_rows) = (self.k, self.left.len() / self.k);
        let groups = self.matrix.chunks(TOGETHER * k).zip(self.output.chunks_mut(TOGETHER * n_rows));
        for (matrix, output) in groups {
            for (row, left) in self.left.chunks_exact(k).enumerate() {
                // SAFETY: both hold rows of `k` numbers.
                let dots = unsafe {
                    match matrix.len() / k {
                        TOGETHER => dots::<L, TOGETHER>(left, matrix),
                        _ => {
                            let mut some = [T::zero(); TOGETHER];
                            for (dot, matrix) in some.iter_mut().zip(matrix.chunks_exact(k)) {
                                [*dot] = dots::<L, 1>(left, matrix);
                            }
                            some
                        }
                    }
                };
                output.chunks_exact_mut(n_rows).zip(dots).for_each(|(output, dot)| output[row] = dot);
            }
        }
    }
}

/// The products of one row with `N` rows, each as long.
///
/// # Safety
/// `matrix` must be `N` times as long as `left`.
#[inline(always)]
unsafe fn dots<L: Lanes, const N: usize>(left: &[L::Number], matrix: &[L::Number]) -> [L::Number; N] {
    let k = left.len();
    let in_registers = k - k % (2 * L::WIDTH);
    // SAFETY: registers end before `k` in every row.
    let mut dots: [L::Number; N] = unsafe {
        let zero = L::splat(<L::Number as num_traits::Zero>::zero());
        let mut sums = [[zero; 2]; N];
        for step in (0..in_registers).step_by(2 * L::WIDTH) {
            for half in 0..2 {
                let at = step + half * L::WIDTH;
                let number = L::load(left.as_ptr().add(at));
                for row in 0..N {
                    sums[row][half] =
                        L::multiply_add(number, L::load(matrix.as_ptr().add(row * k + at)), sums[row][half]);
                }
            }
        }
        std::array::from_fn(|row| L::sum(sums[row][0]) + L::sum(sums[row][1]))
    };
    for step in in_registers..k {
        for row in 0..N {
            dots[row] += left[step] * matrix[row * k + step];
        }
    }
    dots
}

/// `output[row, k] = Σ_n left[row, n] · matrix[n, k]`; rows of the matrix that only zeros meet are not read.
///
/// # Shapes
/// - `left`: `[row, n]`, `matrix`: `[n, k]`, both row-major; returns `[row, k]`
pub(crate) fn times<T: Element>(left: &[T], matrix: &[T], k: usize) -> Vec<T> {
    let n = matrix.len() / k;
    let n_rows = left.len() / n;
    let met: Vec<usize> =
        (0..n).filter(|&at| left.iter().skip(at).step_by(n).any(|number| !number.is_zero())).collect();
    let part = k.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(T::width()).min(COLUMNS);
    let sums_of_part = |nth: usize| {
        let columns = nth * part..k.min((nth + 1) * part);
        let mut output = vec![T::zero(); n_rows * columns.len()];
        let job = Sums { left, n, matrix, k, met: &met, first: columns.start, output: &mut output };
        // SAFETY: every row of the matrix that is met has the part's columns.
        unsafe { T::vectorized(job) };
        output
    };
    let parts: Vec<Vec<T>> = (0..k.div_ceil(part)).into_par_iter().map(sums_of_part).collect();
    let mut output = Vec::with_capacity(n_rows * k);
    for row in 0..n_rows {
        for of_part in &parts {
            let n_columns = of_part.len() / n_rows;
            output.extend_from_slice(&of_part[row * n_columns..][..n_columns]);
        }
    }
    output
}

struct Sums<'a, T> {
    left: &'a [T],
    n: usize,
    matrix: &'a [T],
    k: usize,
    /// Rows of the matrix that count.
    met: &'a [usize],
    /// The first column.
    first: usize,
    /// `[row, column of the part]`
    output: &'a mut [T],
}

impl<T: Element> Loop<T> for Sums<'_, T> {
    /// # Safety
    /// The rows that are met must be rows of the matrix, and have as many columns behind `first` as the output.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let n_rows = self.left.len() / self.n;
        let n_columns = self.output.len() / n_rows;
        for met in self.met.chunks(TOGETHER) {
            for (row, sums) in self.output.chunks_exact_mut(n_columns).enumerate() {
                let factor = |nth: usize| self.left[row * self.n + met[nth]];
                let line = |nth: usize| &self.matrix[met[nth] * self.k + self.first..][..n_columns];
                // SAFETY: each line is as long as the sums.
                unsafe {
                    if met.len() == TOGETHER {
                        let factors: [T; TOGETHER] = std::array::from_fn(factor);
                        add_lines::<L, TOGETHER>(sums, factors, std::array::from_fn(line));
                    } else {
                        for nth in 0..met.len() {
                            add_lines::<L, 1>(sums, [factor(nth)], [line(nth)]);
                        }
                    }
                }
            }
        }
    }
}

/// `sums += Σ_i factors[i] · lines[i]`
///
/// # Safety
/// All lines must be as long as the sums.
#[inline(always)]
unsafe fn add_lines<L: Lanes, const N: usize>(
    sums: &mut [L::Number],
    factors: [L::Number; N],
    lines: [&[L::Number]; N],
) {
    let in_registers = sums.len() - sums.len() % L::WIDTH;
    // SAFETY: registers end before the end of every line.
    unsafe {
        let splat = factors.map(|factor| L::splat(factor));
        for at in (0..in_registers).step_by(L::WIDTH) {
            let into = sums.as_mut_ptr().add(at);
            let mut sum = L::load(into);
            for line in 0..N {
                sum = L::multiply_add(splat[line], L::load(lines[line].as_ptr().add(at)), sum);
            }
            L::store(into, sum);
        }
    }
    for at in in_registers..sums.len() {
        for line in 0..N {
            sums[at] += factors[line] * lines[line][at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 31 + seed * 7) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn both_products_equal_the_definition() {
        for (n_rows, n, k) in [(1, 1, 1), (1, 5, 33), (2, 9, 40), (3, 4, 71), (8, 70, 5000)] {
            let (left, wide, matrix) = (numbers(n_rows * k, 1), numbers(n_rows * n, 2), numbers(n * k, 3));
            let transposed = times_transposed(&left, &matrix, k);
            let product = times(&wide, &matrix, k);
            for row in 0..n_rows {
                for at in 0..n {
                    let expected: f32 = (0..k).map(|step| left[row * k + step] * matrix[at * k + step]).sum();
                    assert_eq!(transposed[row * n + at], expected);
                }
                for step in 0..k {
                    let expected: f32 = (0..n).map(|at| wide[row * n + at] * matrix[at * k + step]).sum();
                    assert_eq!(product[row * k + step], expected);
                }
            }
        }
    }

    #[test]
    fn rows_that_meet_only_zeros_are_not_read() {
        let matrix = [f32::NAN, f32::NAN, 3.0, 4.0];
        assert_eq!(times(&[0.0, 2.0], &matrix, 2), [6.0, 8.0]);
    }
}
