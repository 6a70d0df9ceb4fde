//! Planes read at other places, with the gradient back: moved by whole places, or linear between places.

/// Rows and columns.
pub(super) type Size = (usize, usize);

/// Where each new place reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sampling {
    /// New place `(row, column)` is old place `(row + offset.0, column + offset.1)`.
    Moved { from: Size, to: Size, offset: (isize, isize) },
    /// New place `(row, column)` lies at an old one between four: `matrix` times its distance from the middle.
    Turned { from: Size, to: Size, matrix: [[f64; 2]; 2] },
}

impl Sampling {
    /// The size of what it makes.
    pub(super) fn to(&self) -> Size {
        match self {
            Sampling::Moved { to, .. } | Sampling::Turned { to, .. } => *to,
        }
    }

    fn from(&self) -> Size {
        match self {
            Sampling::Moved { from, .. } | Sampling::Turned { from, .. } => *from,
        }
    }

    /// Planes at the new places, `fill` beyond the old ones; any number of planes.
    pub(super) fn forward(&self, numbers: &[f64], fill: f64) -> Vec<f64> {
        let ((rows, columns), (new_rows, new_columns)) = (self.from(), self.to());
        let mut sampled = vec![fill; numbers.len() / (rows * columns).max(1) * new_rows * new_columns];
        let planes = numbers.chunks_exact(rows * columns).zip(sampled.chunks_exact_mut(new_rows * new_columns));
        for (plane, sampled) in planes {
            self.each_read(|new, old, weight| sampled[new] += weight * (plane[old] - fill));
        }
        sampled
    }

    /// The gradient at the planes, from that at the new places.
    pub(super) fn adjoint(&self, gradient: &[f64]) -> Vec<f64> {
        let ((rows, columns), (new_rows, new_columns)) = (self.from(), self.to());
        let mut passed = vec![0.0; gradient.len() / (new_rows * new_columns).max(1) * rows * columns];
        let planes = gradient.chunks_exact(new_rows * new_columns).zip(passed.chunks_exact_mut(rows * columns));
        for (gradient, passed) in planes {
            self.each_read(|new, old, weight| passed[old] += weight * gradient[new]);
        }
        passed
    }

    /// Calls with each new place, an old one that it reads, and how much of it.
    fn each_read(&self, mut read: impl FnMut(usize, usize, f64)) {
        match *self {
            Sampling::Moved { from, to, offset } => {
                let inside = |length: usize, offset: isize, new_length: usize| {
                    let first = (-offset).clamp(0, new_length as isize);
                    first..(length as isize - offset).clamp(first, new_length as isize)
                };
                for row in inside(from.0, offset.0, to.0) {
                    for column in inside(from.1, offset.1, to.1) {
                        let old = (row + offset.0) as usize * from.1 + (column + offset.1) as usize;
                        read(row as usize * to.1 + column as usize, old, 1.0);
                    }
                }
            }
            Sampling::Turned { from, to, matrix } => {
                let middle = |length: usize| (length as f64 - 1.0) / 2.0;
                for new in 0..to.0 * to.1 {
                    let (down, across) = ((new / to.1) as f64 - middle(to.0), (new % to.1) as f64 - middle(to.1));
                    let row = middle(from.0) + matrix[0][0] * down + matrix[0][1] * across;
                    let column = middle(from.1) + matrix[1][0] * down + matrix[1][1] * across;
                    each_neighbour(from, row, column, |old, weight| read(new, old, weight));
                }
            }
        }
    }
}

/// Calls with each of the four places around one, as far as they are inside, and how near it is.
fn each_neighbour(size: Size, row: f64, column: f64, mut neighbour: impl FnMut(usize, f64)) {
    let (top, left) = (row.floor(), column.floor());
    for (row, of_row) in [(top, 1.0 - (row - top)), (top + 1.0, row - top)] {
        for (column, of_column) in [(left, 1.0 - (column - left)), (left + 1.0, column - left)] {
            let is_inside = row >= 0.0 && column >= 0.0 && row < size.0 as f64 && column < size.1 as f64;
            if is_inside && of_row * of_column > 0.0 {
                neighbour(row as usize * size.1 + column as usize, of_row * of_column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let turn = [[0.9, -0.3], [0.4, 1.1]];
        let all = [
            Sampling::Moved { from: (3, 4), to: (7, 6), offset: (-2, -1) },
            Sampling::Moved { from: (5, 4), to: (2, 3), offset: (2, 1) },
            Sampling::Moved { from: (2, 2), to: (2, 2), offset: (-5, 1) },
            Sampling::Turned { from: (4, 5), to: (5, 3), matrix: turn },
        ];
        for sampling in all {
            let n_in = 2 * sampling.from().0 * sampling.from().1;
            let filled = |at: &[f64]| sampling.forward(at, 0.5);
            check_gradient(n_in, filled, |_, arriving| sampling.adjoint(arriving));
        }
    }

    #[test]
    fn beyond_the_edge_lies_the_fill() {
        let moved = Sampling::Moved { from: (1, 2), to: (1, 4), offset: (0, -1) };
        assert_eq!(moved.forward(&[1.0, 2.0], 0.5), [0.5, 1.0, 2.0, 0.5]);
        let gone = Sampling::Moved { from: (1, 2), to: (1, 2), offset: (0, 9) };
        assert_eq!(gone.forward(&[1.0, 2.0], 0.5), [0.5, 0.5]);
    }

    #[test]
    fn a_quarter_turn_swaps_rows_and_columns() {
        let turned = Sampling::Turned { from: (2, 2), to: (2, 2), matrix: [[0.0, 1.0], [-1.0, 0.0]] };
        assert_eq!(turned.forward(&[1.0, 2.0, 3.0, 4.0], 0.0), [2.0, 4.0, 1.0, 3.0]);
    }
}
