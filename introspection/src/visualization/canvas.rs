//! A network's input seen as planes of rows and columns, and the numbers that it may hold.

use rayon::prelude::*;

use super::GRAIN;

/// The planes of an input without its batch axis.
///
/// A photo `[3, row, column]` has three planes; a spectrogram `[mel, time]` has one, whose rows are mel bands; a list of
/// features is one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Colours or channels.
    pub planes: usize,
    /// Rows, or bands of frequency.
    pub rows: usize,
    /// Columns, or steps of time.
    pub columns: usize,
}

impl Canvas {
    /// The planes of an input's shape without batch, of one axis to three; none for others.
    pub fn of(shape: &[usize]) -> Option<Canvas> {
        match *shape {
            [columns] => Some(Canvas { planes: 1, rows: 1, columns }),
            [rows, columns] => Some(Canvas { planes: 1, rows, columns }),
            [planes, rows, columns] => Some(Canvas { planes, rows, columns }),
            _ => None,
        }
    }

    /// Numbers of one plane.
    pub fn n_places(&self) -> usize {
        self.rows * self.columns
    }

    /// Numbers of all planes.
    pub fn len(&self) -> usize {
        self.planes * self.n_places()
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which numbers an input may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum InputRange {
    /// Each plane between two numbers, or all planes between the same two; reached through a sigmoid.
    Bounded(Vec<[f64; 2]>),
    /// Any.
    Unbounded,
}

impl InputRange {
    /// What is neither high nor low, in a picture from 0 to 1 or, where there are no bounds, in the input itself.
    pub fn middle(&self) -> f64 {
        match self {
            InputRange::Bounded(_) => 0.5,
            InputRange::Unbounded => 0.0,
        }
    }

    /// Free numbers as a picture: through a sigmoid where there are bounds.
    pub(super) fn picture(&self, mut free: Vec<f64>) -> Vec<f64> {
        if let InputRange::Bounded(_) = self {
            free.par_iter_mut().with_min_len(GRAIN).for_each(|number| *number = sigmoid(*number));
        }
        free
    }

    /// The gradient at the free numbers, from that at the picture that they became.
    pub(super) fn picture_gradient(&self, picture: &[f64], mut gradient: Vec<f64>) -> Vec<f64> {
        if let InputRange::Bounded(_) = self {
            let pairs = gradient.par_iter_mut().zip(picture).with_min_len(GRAIN);
            pairs.for_each(|(gradient, p)| *gradient *= p * (1.0 - p));
        }
        gradient
    }

    /// The free numbers of a picture; where there are bounds, those of one that keeps a little away from them.
    pub(super) fn free(&self, mut picture: Vec<f64>) -> Vec<f64> {
        const FROM_BOUND: f64 = 1.0 / 512.0;
        if let InputRange::Bounded(_) = self {
            let logit = |p: f64| (p / (1.0 - p)).ln();
            picture.iter_mut().for_each(|number| *number = logit(number.clamp(FROM_BOUND, 1.0 - FROM_BOUND)));
        }
        picture
    }

    /// A picture as the network's input: 0 becomes the lower bound, 1 the upper one.
    ///
    /// # Shapes
    /// - `picture`: `[input, plane, row, column]`, returns the same
    pub fn input(&self, canvas: Canvas, picture: &[f64]) -> Vec<f64> {
        self.by_plane(canvas, picture, |[low, high], number| low + (high - low) * number)
    }

    /// An input as a picture.
    pub fn picture_of_input(&self, canvas: Canvas, input: &[f64]) -> Vec<f64> {
        self.by_plane(canvas, input, |[low, high], number| (number - low) / (high - low))
    }

    /// The gradient at the picture, from that at the input.
    pub(super) fn input_gradient(&self, canvas: Canvas, gradient: &[f64]) -> Vec<f64> {
        self.by_plane(canvas, gradient, |[low, high], number| (high - low) * number)
    }

    /// A change of an input as one of the picture.
    pub(super) fn share(&self, canvas: Canvas, change: &[f64]) -> Vec<f64> {
        self.by_plane(canvas, change, |[low, high], number| number / (high - low))
    }

    fn by_plane(&self, canvas: Canvas, numbers: &[f64], change: impl Fn([f64; 2], f64) -> f64 + Sync) -> Vec<f64> {
        let InputRange::Bounded(bounds) = self else { return numbers.to_vec() };
        let n_places = canvas.n_places().max(1);
        let mut changed = vec![0.0; numbers.len()];
        let planes = changed.par_chunks_mut(n_places).zip(numbers.par_chunks(n_places));
        planes.enumerate().for_each(|(nth, (changed, plane))| {
            let bounds = bounds[(nth % canvas.planes) % bounds.len()];
            let numbers = changed.par_iter_mut().zip(plane).with_min_len(GRAIN);
            numbers.for_each(|(changed, number)| *changed = change(bounds, *number));
        });
        changed
    }
}

fn sigmoid(x: f64) -> f64 {
    // Of the two forms the one whose exponential cannot overflow.
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    const CANVAS: Canvas = Canvas { planes: 2, rows: 1, columns: 2 };

    fn bounded() -> InputRange {
        InputRange::Bounded(vec![[-2.0, 2.0], [0.0, 10.0]])
    }

    #[test]
    fn a_picture_ends_at_each_planes_bounds() {
        assert_eq!(bounded().input(CANVAS, &[0.0, 1.0, 0.0, 1.0]), [-2.0, 2.0, 0.0, 10.0]);
        assert_eq!(InputRange::Bounded(vec![[-1.0, 1.0]]).input(CANVAS, &[0.0, 1.0, 0.5, 1.0]), [-1.0, 1.0, 0.0, 1.0]);
        assert_eq!(InputRange::Unbounded.input(CANVAS, &[7.0; 4]), [7.0; 4]);
        assert_eq!(bounded().picture(vec![0.0, -800.0, 800.0, 0.0]), [0.5, 0.0, 1.0, 0.5]);
    }

    #[test]
    fn gradients_match_finite_differences() {
        for range in [bounded(), InputRange::Unbounded] {
            let forward = |free: &[f64]| range.input(CANVAS, &range.picture(free.to_vec()));
            let backward = |free: &[f64], arriving: &[f64]| {
                range.picture_gradient(&range.picture(free.to_vec()), range.input_gradient(CANVAS, arriving))
            };
            check_gradient(4, forward, backward);
        }
    }
}
