//! What of a map is compared: one number a place, with its sign or without, as the sanity checks' authors draw maps.

/// A part of this size, the largest numbers, is cut at one height, so that few places do not set the scale.
const PERCENTILE: f64 = 99.0;

/// A map with one number a place.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    shape: Vec<usize>,
    absolute: Vec<f64>,
    signed: Vec<f64>,
}

impl View {
    /// Of a map. Axes of length 1 do not count; where three or more are left the first holds channels, whose sizes
    /// (absolute) or numbers (signed) are summed. Channels over time, as in a spectrogram, stay as they are.
    ///
    /// Absolute: `Σ_c |m_c|`, from its smallest number to its 99th percentile brought to 0 to 1. Signed: `Σ_c m_c`, in
    /// parts of the 99th percentile of its size, at most 1 (the authors' code cuts only above, against its description).
    ///
    /// # Shapes
    /// - `numbers`: `shape`, the last axis running fastest
    pub fn new(numbers: &[f64], shape: &[usize]) -> View {
        let mut shape: Vec<usize> = shape.iter().copied().filter(|length| *length != 1).collect();
        let (mut absolute, mut signed) = (sizes_of(numbers), numbers.to_vec());
        if shape.len() > 2 {
            let n_channels = shape.remove(0);
            absolute = sum_of_channels(&absolute, n_channels);
            signed = sum_of_channels(&signed, n_channels);
            // More than two axes of places are no picture; they are taken in order.
            if shape.len() > 2 {
                shape = vec![signed.len()];
            }
        }
        if shape.is_empty() {
            shape = vec![1];
        }
        View { shape, absolute: from_smallest(absolute), signed: in_parts_of_size(signed) }
    }

    /// One length or two.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// From 0 to 1.
    pub fn absolute(&self) -> &[f64] {
        &self.absolute
    }

    /// From -1 to 1.
    pub fn signed(&self) -> &[f64] {
        &self.signed
    }
}

fn sizes_of(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|number| number.abs()).collect()
}

fn sum_of_channels(numbers: &[f64], n_channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; numbers.len() / n_channels];
    for channel in numbers.chunks_exact(sums.len()) {
        sums.iter_mut().zip(channel).for_each(|(sum, number)| *sum += number);
    }
    sums
}

fn from_smallest(mut numbers: Vec<f64>) -> Vec<f64> {
    let (low, high) = (smallest(&numbers), percentile(&numbers));
    // Where nearly all is the smallest number, what is not still has a height.
    let high = if high > low { high } else { largest(&numbers) };
    let reach = high - low;
    numbers.iter_mut().for_each(|number| *number = if reach > 0.0 { ((*number - low) / reach).min(1.0) } else { 0.0 });
    numbers
}

fn in_parts_of_size(mut numbers: Vec<f64>) -> Vec<f64> {
    let sizes = sizes_of(&numbers);
    let high = percentile(&sizes);
    let reach = if high > 0.0 { high } else { largest(&sizes) };
    if reach > 0.0 {
        numbers.iter_mut().for_each(|number| *number = (*number / reach).clamp(-1.0, 1.0));
    }
    numbers
}

fn smallest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Linear between the two nearest numbers, as NumPy has it.
fn percentile(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    let place = PERCENTILE / 100.0 * (sorted.len() - 1) as f64;
    let (_, &mut low, above) = sorted.select_nth_unstable_by(place as usize, f64::total_cmp);
    let high = smallest(above);
    if high.is_finite() { low + (high - low) * place.fract() } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_numpys() {
        // numpy.percentile(numpy.arange(11) ** 2, 99)
        let squares: Vec<f64> = (0..11).map(|n| f64::from(n * n)).collect();
        assert!((percentile(&squares) - 98.1).abs() < 1e-12);
        assert_eq!(percentile(&[4.0]), 4.0);
    }

    #[test]
    fn channels_are_summed_with_their_signs_or_without() {
        let view = View::new(&[1.0, -2.0, 0.0, 3.0, /* the other channel */ 1.0, 2.0, 0.0, -3.0], &[2, 2, 2]);
        assert_eq!(view.shape(), [2, 2]);
        // Sizes 2, 4, 0, 6, of which the 99th percentile is 5.94.
        let expected = [2.0 / 5.94, 4.0 / 5.94, 0.0, 1.0];
        view.absolute().iter().zip(expected).for_each(|(found, expected)| assert!((found - expected).abs() < 1e-12));
        assert_eq!(view.signed(), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_spectrogram_keeps_its_bands_and_a_wave_is_a_line() {
        assert_eq!(View::new(&[0.0; 12], &[3, 4]).shape(), [3, 4]);
        assert_eq!(View::new(&[0.0; 12], &[1, 12]).shape(), [12]);
        assert_eq!(View::new(&[0.0; 12], &[1, 3, 4]).shape(), [3, 4]);
    }
}
