//! Histograms of oriented gradients (Dalal and Triggs 2005), as `skimage.feature.hog` has them with
//! `pixels_per_cell=(16, 16)`: 9 directions, blocks of 3 × 3 cells, normalised twice with what is large cut in between.

const DIRECTIONS: usize = 9;
const CELL: usize = 16;
const BLOCK: usize = 3;
const EPSILON: f64 = 1e-5;
const LARGEST: f64 = 0.2;

/// The shortest side that holds a block.
pub(super) const SMALLEST: usize = CELL * BLOCK;

/// All blocks' histograms, one after the other.
///
/// # Shapes
/// - `numbers`: `[row, column]`, of this `shape`
pub(super) fn histograms(numbers: &[f64], shape: &[usize]) -> Vec<f64> {
    let (rows, columns) = (shape[0], shape[1]);
    let (cell_rows, cell_columns) = (rows / CELL, columns / CELL);
    let cells = cells(numbers, rows, columns);
    let mut histograms = Vec::with_capacity((cell_rows - 2) * (cell_columns - 2) * BLOCK * BLOCK * DIRECTIONS);
    for row in 0..=cell_rows - BLOCK {
        for column in 0..=cell_columns - BLOCK {
            let first = histograms.len();
            for down in 0..BLOCK {
                let start = ((row + down) * cell_columns + column) * DIRECTIONS;
                histograms.extend_from_slice(&cells[start..start + BLOCK * DIRECTIONS]);
            }
            let block = &mut histograms[first..];
            normalize(block);
            block.iter_mut().for_each(|number| *number = number.min(LARGEST));
            normalize(block);
        }
    }
    histograms
}

fn normalize(block: &mut [f64]) {
    let length = (block.iter().map(|number| number * number).sum::<f64>() + EPSILON * EPSILON).sqrt();
    block.iter_mut().for_each(|number| *number /= length);
}

/// For each cell the mean size of the gradients in each direction, those without a sign; what is no whole cell is left
/// out.
fn cells(numbers: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let (cell_rows, cell_columns) = (rows / CELL, columns / CELL);
    let mut cells = vec![0.0; cell_rows * cell_columns * DIRECTIONS];
    // There is no gradient at the edges.
    let across = |at: usize, place: usize, length: usize, step: usize| {
        if place == 0 || place + 1 == length { 0.0 } else { numbers[at + step] - numbers[at - step] }
    };
    for row in 0..cell_rows * CELL {
        for column in 0..cell_columns * CELL {
            let at = row * columns + column;
            let (down, right) = (across(at, row, rows, columns), across(at, column, columns, 1));
            let size = down.hypot(right);
            if size == 0.0 {
                continue;
            }
            let angle = down.atan2(right).to_degrees().rem_euclid(180.0);
            let direction = (angle / (180.0 / DIRECTIONS as f64)) as usize;
            // What rounding has brought to 180 degrees is in no direction there either.
            if direction < DIRECTIONS {
                let cell = (row / CELL) * cell_columns + column / CELL;
                cells[cell * DIRECTIONS + direction] += size;
            }
        }
    }
    cells.iter_mut().for_each(|sum| *sum /= (CELL * CELL) as f64);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_one_direction() {
        let (rows, columns) = (48, 64);
        let ramp: Vec<f64> = (0..rows * columns).map(|at| (at / columns) as f64 / 48.0).collect();
        let found = histograms(&ramp, &[rows, columns]);
        assert_eq!(found.len(), 2 * BLOCK * BLOCK * DIRECTIONS);
        // Downwards is 90 degrees, the fifth of nine directions of 20.
        assert!(found.iter().enumerate().all(|(at, number)| (at % DIRECTIONS == 4) == (*number > 0.0)));
    }
}
