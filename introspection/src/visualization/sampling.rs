//! Planes read at other places, linear between the old ones, with the gradient back.

use rayon::prelude::*;

use super::GRAIN;

/// Rows and columns.
pub(super) type Size = (usize, usize);

/// Where each new place reads: `old = matrix · new + offset`, rows and columns counted from the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    from: Size,
    to: Size,
    matrix: [[f64; 2]; 2],
    offset: [f64; 2],
}

/// The four old places around the one that a new place reads, each with its share; shares of places beyond the edge are
/// 0, and the fill takes what is missing to 1.
#[derive(Clone, Copy, Debug)]
struct Reading {
    places: [u32; 4],
    shares: [f64; 4],
    of_fill: f64,
}

impl Sampling {
    /// Planes as they are.
    pub(super) fn unchanged(size: Size) -> Sampling {
        Sampling::moved(size, size, (0, 0))
    }

    /// New place `(row, column)` is old place `(row + offset.0, column + offset.1)`.
    pub(super) fn moved(from: Size, to: Size, offset: (isize, isize)) -> Sampling {
        Sampling { from, to, matrix: [[1.0, 0.0], [0.0, 1.0]], offset: [offset.0 as f64, offset.1 as f64] }
    }

    /// The matrix turns and stretches around the middle.
    pub(super) fn turned(from: Size, to: Size, matrix: [[f64; 2]; 2]) -> Sampling {
        let middle = |size: Size| [(size.0 as f64 - 1.0) / 2.0, (size.1 as f64 - 1.0) / 2.0];
        let turned = times(matrix, middle(to));
        Sampling { from, to, matrix, offset: [middle(from)[0] - turned[0], middle(from)[1] - turned[1]] }
    }

    /// The size of what it makes.
    pub(super) fn to(&self) -> Size {
        self.to
    }

    /// This one, and another of what it makes, as one.
    pub(super) fn then(&self, next: &Sampling) -> Sampling {
        let columns = [0, 1].map(|column| times(self.matrix, [next.matrix[0][column], next.matrix[1][column]]));
        let matrix = [[columns[0][0], columns[1][0]], [columns[0][1], columns[1][1]]];
        let offset = times(self.matrix, next.offset);
        Sampling {
            from: self.from,
            to: next.to,
            matrix,
            offset: [offset[0] + self.offset[0], offset[1] + self.offset[1]],
        }
    }

    /// Works out what each new place reads.
    pub(super) fn readings(self) -> Readings {
        let nothing = Reading { places: [0; 4], shares: [0.0; 4], of_fill: 0.0 };
        let mut readings = vec![nothing; self.to.0 * self.to.1];
        readings.par_chunks_mut(self.to.1.max(1)).enumerate().for_each(|(row, readings)| {
            for (column, reading) in readings.iter_mut().enumerate() {
                let at = times(self.matrix, [row as f64, column as f64]);
                *reading = self.reading(at[0] + self.offset[0], at[1] + self.offset[1]);
            }
        });
        Readings { n_old: self.from.0 * self.from.1, readings }
    }

    fn reading(&self, row: f64, column: f64) -> Reading {
        let rows = around(row, self.from.0);
        let columns = around(column, self.from.1);
        let corner = |nth: usize| (rows[nth / 2], columns[nth % 2]);
        let places = [0, 1, 2, 3].map(|nth| (corner(nth).0.0 * self.from.1 + corner(nth).1.0) as u32);
        let shares = [0, 1, 2, 3].map(|nth| corner(nth).0.1 * corner(nth).1.1);
        Reading { places, shares, of_fill: 1.0 - shares.iter().sum::<f64>() }
    }
}

/// What each new place reads, row by row.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    /// Places of a plane that is read.
    n_old: usize,
    readings: Vec<Reading>,
}

impl Readings {
    /// Planes at the new places, `fill` beyond the old ones; any number of planes.
    pub(super) fn forward(&self, numbers: &[f64], fill: f64) -> Vec<f64> {
        let n_new = self.readings.len();
        let mut sampled = vec![0.0; numbers.len() / self.n_old.max(1) * n_new];
        let planes = sampled.par_chunks_exact_mut(n_new).zip(numbers.par_chunks_exact(self.n_old));
        planes.for_each(|(sampled, plane)| {
            let parts = sampled.par_chunks_mut(GRAIN).zip(self.readings.par_chunks(GRAIN));
            parts.for_each(|(sampled, readings)| {
                for (sampled, reading) in sampled.iter_mut().zip(readings) {
                    let read = |corner: usize| reading.shares[corner] * plane[reading.places[corner] as usize];
                    *sampled = read(0) + read(1) + read(2) + read(3) + reading.of_fill * fill;
                }
            });
        });
        sampled
    }

    /// The gradient at the planes, from that at the new places.
    pub(super) fn adjoint(&self, gradient: &[f64]) -> Vec<f64> {
        let n_new = self.readings.len();
        let mut passed = vec![0.0; gradient.len() / n_new.max(1) * self.n_old];
        let planes = passed.par_chunks_exact_mut(self.n_old).zip(gradient.par_chunks_exact(n_new));
        planes.for_each(|(passed, gradient)| {
            for (gradient, reading) in gradient.iter().zip(&self.readings) {
                for (place, share) in reading.places.iter().zip(reading.shares) {
                    passed[*place as usize] += share * gradient;
                }
            }
        });
        passed
    }
}

/// The two places around one along an axis, each with its share; a share of 0 where it is beyond the edge.
fn around(place: f64, length: usize) -> [(usize, f64); 2] {
    let low = place.floor();
    let share = place - low;
    let of = |place: f64, share: f64| {
        let is_inside = place >= 0.0 && place < length as f64;
        if is_inside { (place as usize, share) } else { (0, 0.0) }
    };
    [of(low, 1.0 - share), of(low + 1.0, share)]
}

fn times(matrix: [[f64; 2]; 2], vector: [f64; 2]) -> [f64; 2] {
    matrix.map(|row| row[0] * vector[0] + row[1] * vector[1])
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let turn = [[0.9, -0.3], [0.4, 1.1]];
        let turned = Sampling::turned((4, 5), (5, 3), turn);
        let all = [
            Sampling::moved((3, 4), (7, 6), (-2, -1)),
            Sampling::moved((5, 4), (2, 3), (2, 1)),
            Sampling::moved((2, 2), (2, 2), (-5, 1)),
            Sampling::moved((6, 5), (4, 5), (1, 0)).then(&turned),
            turned,
        ];
        for sampling in all {
            let n_in = 2 * sampling.from.0 * sampling.from.1;
            let filled = |at: &[f64]| sampling.readings().forward(at, 0.5);
            check_gradient(n_in, filled, |_, arriving| sampling.readings().adjoint(arriving));
        }
    }

    #[test]
    fn beyond_the_edge_lies_the_fill() {
        let moved = Sampling::moved((1, 2), (1, 4), (0, -1));
        assert_eq!(moved.readings().forward(&[1.0, 2.0], 0.5), [0.5, 1.0, 2.0, 0.5]);
        let gone = Sampling::moved((1, 2), (1, 2), (0, 9));
        assert_eq!(gone.readings().forward(&[1.0, 2.0], 0.5), [0.5, 0.5]);
    }

    #[test]
    fn a_quarter_turn_swaps_rows_and_columns() {
        let turned = Sampling::turned((2, 2), (2, 2), [[0.0, 1.0], [-1.0, 0.0]]);
        assert_eq!(turned.readings().forward(&[1.0, 2.0, 3.0, 4.0], 0.0), [2.0, 4.0, 1.0, 3.0]);
    }

    #[test]
    fn two_moves_are_one() {
        let (first, second) =
            (Sampling::moved((3, 3), (3, 3), (1, 0)), Sampling::turned((3, 3), (3, 3), [[0.0, 1.0], [-1.0, 0.0]]));
        let numbers: Vec<f64> = (1..10).map(f64::from).collect();
        let one_by_one = second.readings().forward(&first.readings().forward(&numbers, 0.0), 0.0);
        assert_eq!(first.then(&second).readings().forward(&numbers, 0.0), one_by_one);
    }
}
