//! Pictures in colour beside each other: inputs that were found, filters that read colours.

use image::RgbImage;

use crate::figure::{self, Panel};
use crate::{Options, Picture, PictureError, Result};

/// The most that one picture holds.
const MOST: usize = 256;

/// Photos in rows, each under its name, smoothed where they are enlarged.
pub fn photos(images: &[RgbImage], names: &[String], options: &Options) -> Result<Picture> {
    drawn(images, names, false, options)
}

/// The same with every pixel a square; what is beyond 256 is left out, which the title should say.
pub fn tiles(images: &[RgbImage], names: &[String], options: &Options) -> Result<Picture> {
    drawn(images, names, true, options)
}

fn drawn(images: &[RgbImage], names: &[String], is_map: bool, options: &Options) -> Result<Picture> {
    let images = &images[..images.len().min(MOST)];
    let first = images.first().filter(|image| image.width() > 0 && image.height() > 0).ok_or(PictureError::Empty)?;
    let ratio = f64::from(first.height()) / f64::from(first.width());
    let columns = ((images.len() as f64 * ratio * 1.5).sqrt().ceil() as usize).clamp(1, 16);
    let panel = |(nth, image): (usize, &RgbImage)| Panel {
        image: image.clone(),
        title: names.get(nth).map_or("", String::as_str),
        row_axis: None,
        column_axis: None,
        places: (image.height() as usize, image.width() as usize),
        color_bar: None,
        is_map,
        letters: &[],
    };
    let width = if images.len() == 1 { 480 } else { 960 };
    figure::draw(images.iter().enumerate().map(panel).collect(), columns, options, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photo_has_its_place() {
        let colors = [[200, 10, 10], [10, 200, 10], [10, 10, 200]];
        let images = colors.map(|color| RgbImage::from_pixel(4, 3, image::Rgb(color)));
        let names = ["a", "b", "c"].map(str::to_owned);
        for draw in [photos, tiles] {
            let picture = draw(&images, &names, &Options::default()).unwrap();
            let pixels = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
            for color in colors {
                assert!(pixels.pixels().filter(|pixel| pixel.0 == color).count() > 1000, "{color:?}");
            }
        }
        assert!(matches!(photos(&[], &[], &Options::default()), Err(PictureError::Empty)));
    }
}
