//! Resizing as Pillow does it, to the bit, and no more of the result than is asked for.
//!
//! Pillow weighs rows and columns one after the other, with whole-number weights of 22 bits behind the point, and rounds
//! to 0 to 255 in between; networks were trained on what comes of that. Only the window that a network sees is computed.

use image::RgbImage;

use super::image::Resampling;

/// A window of a resized image along one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The whole side's length after resizing.
    pub(super) resized: u32,
    /// Where the window begins.
    pub(super) offset: u32,
    /// How long it is.
    pub(super) length: u32,
}

/// The window of `photo` as it were resized to the windows' whole lengths.
pub(super) fn resized_window(photo: &RgbImage, columns: Window, rows: Window, resampling: Resampling) -> RgbImage {
    let (n_columns, n_rows) = (photo.width() as usize, photo.height() as usize);
    let (of_columns, of_rows) = (taps(n_columns, columns, resampling), taps(n_rows, rows, resampling));
    let first = of_rows.first().map_or(0, |taps| taps.start);
    let last = of_rows.last().map_or(0, |taps| taps.start + taps.weights.len());
    let wide = columns.length as usize;
    let mut squeezed = vec![0; (last - first) * wide * 3];
    for (row, squeezed) in squeezed.chunks_exact_mut(wide * 3).enumerate() {
        let pixels = &photo.as_raw()[(first + row) * n_columns * 3..][..n_columns * 3];
        for (taps, pixel) in of_columns.iter().zip(squeezed.chunks_exact_mut(3)) {
            for (channel, level) in pixel.iter_mut().enumerate() {
                let levels = pixels[taps.start * 3 + channel..].iter().step_by(3);
                *level = weighed(&taps.weights, levels);
            }
        }
    }
    let mut window = RgbImage::new(columns.length, rows.length);
    for (taps, row) in of_rows.iter().zip(window.chunks_exact_mut(wide * 3)) {
        for (place, level) in row.iter_mut().enumerate() {
            let levels = squeezed[(taps.start - first) * wide * 3 + place..].iter().step_by(wide * 3);
            *level = weighed(&taps.weights, levels);
        }
    }
    window
}

/// What one place of the result is made of: consecutive places of the original, each with its weight.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// How many bits of a weight stand behind the point.
const FRACTION_BITS: u32 = 22;

fn taps(n: usize, window: Window, resampling: Resampling) -> Vec<Taps> {
    let step = n as f64 / f64::from(window.resized);
    // Where the result is coarser the kernel is widened to all that one place covers.
    let widening = step.max(1.0);
    let reach = resampling.reach() * widening;
    let at = |place: u32| {
        let centre = (f64::from(place) + 0.5) * step;
        let start = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(n);
        let weights: Vec<f64> =
            (start..end).map(|source| resampling.kernel((source as f64 - centre + 0.5) * (1.0 / widening))).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / total * f64::from(1u32 << FRACTION_BITS)).round() as i32;
        Taps { start, weights: weights.iter().map(fixed).collect() }
    };
    (window.offset..window.offset + window.length).map(at).collect()
}

fn weighed<'a>(weights: &[i32], levels: impl Iterator<Item = &'a u8>) -> u8 {
    let half = 1i32 << (FRACTION_BITS - 1);
    let sum = weights.iter().zip(levels).fold(half, |sum, (weight, &level)| sum + weight * i32::from(level));
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

impl Resampling {
    /// How far its kernel reaches to either side, in places of the coarser grid.
    fn reach(self) -> f64 {
        match self {
            Resampling::Bicubic => 2.0,
            Resampling::Bilinear => 1.0,
        }
    }

    /// Its kernel (Keys 1981 for the cubic one, with a = -1/2).
    fn kernel(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Resampling::Bilinear => (1.0 - x).max(0.0),
            Resampling::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Resampling::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Resampling::Bicubic => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Resampling::{Bicubic, Bilinear};

    /// The picture of `make_resized.py`, among the tests' data, which asks Pillow.
    fn picture(columns: u32, rows: u32) -> RgbImage {
        let levels = (0..columns * rows * 3).map(|place| ((place * place * 31 + place * 7919) % 256) as u8);
        RgbImage::from_raw(columns, rows, levels.collect()).unwrap()
    }

    fn whole(resized: u32) -> Window {
        Window { resized, offset: 0, length: resized }
    }

    fn resized(of: (u32, u32), to: (u32, u32), resampling: Resampling) -> Vec<u8> {
        resized_window(&picture(of.0, of.1), whole(to.0), whole(to.1), resampling).into_raw()
    }

    #[test]
    #[rustfmt::skip]
    fn coarser_pictures_are_pillows() {
        assert_eq!(resized((9, 7), (5, 4), Bicubic), [
            149, 72, 166, 183, 133, 100, 134, 102, 200, 77, 98, 107, 91, 94, 102,
            150, 129, 141, 199, 164, 101, 109, 120, 136, 170, 120, 126, 88, 151, 171,
            132, 141, 198, 141, 154, 180, 188, 176, 146, 107, 168, 167, 82, 138, 113,
            180, 162, 60, 121, 78, 129, 197, 142, 115, 154, 115, 99, 92, 85, 81,
        ]);
        assert_eq!(resized((9, 7), (5, 4), Bilinear), [
            146, 79, 160, 181, 132, 106, 135, 107, 190, 80, 101, 110, 88, 99, 106,
            152, 130, 137, 193, 159, 107, 115, 119, 138, 160, 123, 128, 97, 144, 162,
            136, 141, 190, 141, 151, 175, 180, 172, 143, 111, 160, 159, 87, 137, 116,
            172, 154, 73, 129, 90, 127, 191, 146, 115, 146, 114, 102, 94, 91, 85,
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn finer_pictures_are_pillows() {
        assert_eq!(resized((3, 2), (6, 4), Bicubic), [
            0, 0, 68, 40, 38, 98, 179, 141, 163, 255, 171, 153, 255, 125, 69, 255, 103, 29,
            9, 23, 115, 50, 61, 134, 170, 141, 176, 227, 172, 167, 214, 152, 109, 208, 143, 82,
            35, 87, 206, 70, 104, 205, 153, 139, 203, 170, 175, 197, 119, 206, 190, 95, 220, 186,
            48, 120, 253, 80, 127, 241, 144, 139, 216, 140, 176, 211, 71, 233, 230, 38, 255, 239,
        ]);
        assert_eq!(resized((3, 2), (6, 4), Bilinear), [
            0, 14, 90, 57, 54, 112, 171, 133, 156, 233, 159, 148, 242, 133, 87, 246, 120, 56,
            14, 39, 127, 63, 72, 141, 163, 136, 171, 210, 163, 164, 204, 155, 120, 201, 150, 98,
            41, 89, 200, 76, 107, 200, 146, 141, 200, 163, 172, 195, 127, 198, 185, 110, 210, 181,
            54, 114, 236, 82, 124, 229, 137, 144, 214, 139, 176, 210, 89, 219, 218, 64, 240, 222,
        ]);
    }

    #[test]
    fn a_picture_of_the_same_size_stays() {
        assert_eq!(resized((9, 7), (9, 7), Bicubic), picture(9, 7).into_raw());
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let whole = resized_window(&picture(40, 30), whole(16), whole(12), Bicubic);
        let window = |resized, offset| Window { resized, offset, length: 5 };
        let part = resized_window(&picture(40, 30), window(16, 7), window(12, 3), Bicubic);
        assert_eq!(part, image::imageops::crop_imm(&whole, 7, 3, 5, 5).to_image());
    }
}
