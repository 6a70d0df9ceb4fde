//! A matrix of numbers as colours.

use image::{Rgb, RgbImage};

use crate::colormap::{Colormap, Limits};
use crate::figure::{self, ColorBar, Panel};
use crate::{Axis, Options, Picture, PictureError, Result};

/// A matrix with what its axes mean.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    /// Row-major.
    pub values: &'a [f32],
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub columns: usize,
    /// Where the rows lie.
    pub row_axis: Axis,
    /// Where the columns lie.
    pub column_axis: Axis,
}

impl Map<'_> {
    /// Fails where there is nothing to draw or a number is none.
    pub(crate) fn check(&self) -> Result<()> {
        if self.rows.checked_mul(self.columns) != Some(self.values.len()) {
            return Err(PictureError::Length { rows: self.rows, columns: self.columns, found: self.values.len() });
        }
        if self.values.is_empty() {
            return Err(PictureError::Empty);
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(PictureError::NotFinite { index, number: self.values[index] }),
            None => Ok(()),
        }
    }

    /// Diverging around 0 where there are numbers on both sides of it, else Viridis.
    pub(crate) fn colormap(&self, asked: Option<Colormap>) -> Colormap {
        asked.unwrap_or(if is_signed(self.values) { Colormap::Diverging } else { Colormap::Viridis })
    }

    /// A pixel a number; the first row is the lowest where its axis grows upwards.
    pub(crate) fn colored(&self, colormap: Colormap, limits: Limits) -> RgbImage {
        let color = |column: u32, row: u32| {
            let row = if self.row_axis.grows_upwards() { self.rows as u32 - 1 - row } else { row };
            Rgb(colormap.color(limits.share(self.values[row as usize * self.columns + column as usize])))
        };
        RgbImage::from_fn(self.columns as u32, self.rows as u32, color)
    }
}

/// Whether numbers lie on both sides of 0 and not all of them far from it, as the levels of a spectrogram in dB do.
pub(crate) fn is_signed(values: &[f32]) -> bool {
    let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(low, high), &value| (low.min(value), high.max(value)));
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64;
    low < 0.0 && high > 0.0 && mean.abs() < 0.4 * f64::from(high.max(-low))
}

/// The matrix as colours, with a colour bar.
pub fn heat_map(map: &Map<'_>, options: &Options) -> Result<Picture> {
    map.check()?;
    let colormap = map.colormap(options.colormap);
    let limits = Limits::of(map.values, colormap);
    let panel = Panel {
        image: map.colored(colormap, limits),
        title: "",
        row_axis: Some(&map.row_axis),
        column_axis: Some(&map.column_axis),
        places: (map.rows, map.columns),
        color_bar: Some(ColorBar { colormap, limits }),
        is_map: true,
        letters: &[],
    };
    figure::draw(vec![panel], 1, options, if map.columns > 2 * map.rows { 900 } else { 560 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32], rows: usize, columns: usize) -> Map<'_> {
        Map { values, rows, columns, row_axis: Axis::counted("row"), column_axis: Axis::counted("column") }
    }

    #[test]
    fn a_picture_has_the_asked_width_and_the_maps_colours() {
        let values = [-1.0, 0.0, 0.5, 1.0];
        let options = Options { title: "signed".to_owned(), width: Some(400), ..Options::default() };
        let picture = heat_map(&map(&values, 2, 2), &options).unwrap();
        let pixels = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
        assert_eq!(pixels.width(), 400);
        // Somewhere within the map each of its colours fills a quarter.
        for color in [[5, 48, 97], [255, 255, 255], [103, 0, 31]] {
            let found = pixels.pixels().filter(|pixel| pixel.0 == color).count();
            assert!(found > 10_000, "{color:?} {found}");
        }
    }

    #[test]
    fn an_svg_holds_the_map_as_an_image_and_text_as_text() {
        let options = Options { format: crate::Format::Svg, title: "three < four".to_owned(), ..Options::default() };
        let picture = heat_map(&map(&[1.0, 2.0], 1, 2), &options).unwrap();
        let text = String::from_utf8(picture.bytes).unwrap();
        assert!(
            text.contains("data:image/png;base64,") && text.contains("three &lt; four") && text.ends_with("</svg>\n")
        );
    }

    #[track_caller]
    fn refused(map: &Map<'_>, options: &Options, because: &str) {
        assert_eq!(heat_map(map, options).unwrap_err().to_string(), because);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let options = Options::default();
        refused(&map(&[1.0, f32::NAN], 1, 2), &options, "number 1 is NaN");
        refused(&map(&[], 0, 2), &options, "the array is empty");
        refused(&map(&[1.0], 2, 2), &options, "a map of 2 × 2 needs 4 numbers but has 1");
        refused(
            &map(&[1.0], 1, 1),
            &Options { width: Some(7), ..options },
            "a picture is 200 to 4000 pixels wide, not 7",
        );
    }

    #[test]
    fn long_titles_are_fitted_and_equal_numbers_drawn() {
        let options = Options { title: "a very long title ".repeat(40), width: Some(300), ..Options::default() };
        heat_map(&map(&[0.0; 6], 2, 3), &options).unwrap();
    }
}
