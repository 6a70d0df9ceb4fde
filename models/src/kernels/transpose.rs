//! Matrices turned on their side, a block at a time so that both sides stay in the cache.

use rayon::prelude::*;

use super::zeros;
use crate::element::Element;

const BLOCK: usize = 32;

/// `[n, rows, columns]` → `[n, columns, rows]`
pub(crate) fn transpose<T: Element>(numbers: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut turned = zeros(numbers.len());
    if numbers.is_empty() {
        return turned;
    }
    let bands = columns.div_ceil(BLOCK);
    turned.par_chunks_mut(rows * columns).zip(numbers.par_chunks(rows * columns)).for_each(|(turned, numbers)| {
        turned.par_chunks_mut(BLOCK * rows).enumerate().with_min_len(bands.div_ceil(64)).for_each(|(band, turned)| {
            for first in (0..rows).step_by(BLOCK) {
                for (within, line) in turned.chunks_exact_mut(rows).enumerate() {
                    let column = band * BLOCK + within;
                    let end = rows.min(first + BLOCK);
                    for (row, into) in (first..end).zip(&mut line[first..end]) {
                        *into = numbers[row * columns + column];
                    }
                }
            }
        });
    });
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (rows, columns) in [(1, 1), (3, 5), (40, 33), (64, 100)] {
            let numbers: Vec<f32> = (0..2 * rows * columns).map(|i| i as f32).collect();
            let turned = transpose(&numbers, rows, columns);
            for (index, number) in numbers.iter().enumerate() {
                let (n, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
                assert_eq!(turned[(n * columns + column) * rows + row], *number);
            }
        }
    }
}
