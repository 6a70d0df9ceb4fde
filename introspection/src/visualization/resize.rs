//! Planes of other sizes, linear between places, with the gradient back; places are areas, as for `upsample`.

/// One axis brought from one length to another.
#[derive(Clone, Debug)]
struct Axis {
    from: usize,
    /// For each new place the two old ones that it lies between, and how far from the first.
    places: Vec<(usize, usize, f64)>,
}

impl Axis {
    fn new(from: usize, to: usize) -> Axis {
        let place = |place: usize| {
            let center = ((place as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
            let low = center as usize;
            (low, (low + 1).min(from - 1), center - low as f64)
        };
        Axis { from, places: (0..to).map(place).collect() }
    }
}

/// Planes brought from one size to another.
#[derive(Clone, Debug)]
pub(super) struct Resize {
    rows: Axis,
    columns: Axis,
}

impl Resize {
    /// Sizes are rows and columns, none of them 0.
    pub(super) fn new(from: (usize, usize), to: (usize, usize)) -> Resize {
        Resize { rows: Axis::new(from.0, to.0), columns: Axis::new(from.1, to.1) }
    }

    /// Planes in their new size, any number of them.
    pub(super) fn forward(&self, numbers: &[f64]) -> Vec<f64> {
        let (rows, columns) = (&self.rows, &self.columns);
        let mut resized = Vec::new();
        for plane in numbers.chunks_exact(rows.from * columns.from) {
            for (above, below, share) in &rows.places {
                let (above, below) = (&plane[above * columns.from..], &plane[below * columns.from..]);
                let at = |column: usize| above[column] + (below[column] - above[column]) * share;
                resized.extend(columns.places.iter().map(|&(left, right, share)| {
                    let (left, right) = (at(left), at(right));
                    left + (right - left) * share
                }));
            }
        }
        resized
    }

    /// The gradient at the planes, from that at their new size.
    pub(super) fn adjoint(&self, gradient: &[f64]) -> Vec<f64> {
        let (rows, columns) = (&self.rows, &self.columns);
        let per_plane = rows.places.len() * columns.places.len();
        let mut passed = Vec::with_capacity(gradient.len() / per_plane.max(1) * rows.from * columns.from);
        for arriving in gradient.chunks_exact(per_plane) {
            let mut plane = vec![0.0; rows.from * columns.from];
            for ((above, below, down), arriving) in rows.places.iter().zip(arriving.chunks_exact(columns.places.len()))
            {
                for ((left, right, across), gradient) in columns.places.iter().zip(arriving) {
                    for (row, of_row) in [(above, 1.0 - down), (below, *down)] {
                        plane[row * columns.from + left] += gradient * of_row * (1.0 - across);
                        plane[row * columns.from + right] += gradient * of_row * across;
                    }
                }
            }
            passed.extend(plane);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn a_length_twice_as_long_lies_between() {
        let resize = Resize::new((1, 2), (1, 4));
        assert_eq!(resize.forward(&[0.0, 4.0]), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn gradients_match_finite_differences() {
        for (from, to) in [((2, 3), (5, 7)), ((5, 4), (3, 2)), ((1, 3), (1, 3))] {
            let resize = Resize::new(from, to);
            check_gradient(2 * from.0 * from.1, |at| resize.forward(at), |_, arriving| resize.adjoint(arriving));
        }
    }
}
