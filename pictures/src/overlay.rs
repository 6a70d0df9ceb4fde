//! A map over the photo that it explains, the photo beside it.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::colormap::{Colormap, Limits};
use crate::figure::{self, ColorBar, Panel};
use crate::heat_map::{Map, is_signed};
use crate::{Options, Picture, PictureError, Result};

/// How much of the colour shows where the map is largest.
const OPACITY: f32 = 0.75;

/// The photo, and beside it the photo with the map over it: the larger a number, the more of its colour.
///
/// The map's axes are those of the photo, which may have more pixels than the map has places.
pub fn overlay(map: &Map<'_>, photo: &RgbImage, options: &Options) -> Result<Picture> {
    map.check()?;
    let colormap =
        options.colormap.unwrap_or(if is_signed(map.values) { Colormap::Diverging } else { Colormap::Turbo });
    let limits = Limits::of(map.values, colormap);
    let image = blended(map, photo, colormap, limits);
    drawn(map, photo, Shown { image, title: "", bar: ColorBar { colormap, limits }, is_map: false }, options)
}

fn blended(map: &Map<'_>, photo: &RgbImage, colormap: Colormap, limits: Limits) -> RgbImage {
    // Shares rather than colours are brought to the photo's size, so that no colour appears that the bar has not.
    let share =
        |column: u32, row: u32| image::Luma([limits.share(map.values[row as usize * map.columns + column as usize])]);
    let shares = image::ImageBuffer::from_fn(map.columns as u32, map.rows as u32, share);
    let shares = imageops::resize(&shares, photo.width(), photo.height(), FilterType::Triangle);
    let zero = limits.share(0.0);
    let reach = zero.max(1.0 - zero).max(f32::MIN_POSITIVE);
    RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
        let share = shares.get_pixel(x, y).0[0];
        let weight = OPACITY * ((share - zero).abs() / reach).clamp(0.0, 1.0).sqrt();
        let (color, pixel) = (colormap.color(share), photo.get_pixel(x, y).0);
        // A grey photo lets the colours speak.
        let grey = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        Rgb(std::array::from_fn(|channel| (grey * (1.0 - weight) + f32::from(color[channel]) * weight).round() as u8))
    })
}

/// The photo, and a map beside it: for maps as fine as the photo, which would hide it.
pub fn beside(map: &Map<'_>, photo: &RgbImage, options: &Options) -> Result<Picture> {
    map.check()?;
    let colormap =
        options.colormap.unwrap_or(if is_signed(map.values) { Colormap::Diverging } else { Colormap::Inferno });
    // A few numbers are far larger than all others; colours go to where one in two hundred lies beyond.
    let limits = Limits::of(&within(map.values, 0.995), colormap);
    let image = map.colored(colormap, limits);
    let title = "colours end at the 99.5th percentile";
    drawn(map, photo, Shown { image, title, bar: ColorBar { colormap, limits }, is_map: true }, options)
}

/// The numbers whose size is within this quantile.
fn within(values: &[f32], quantile: f32) -> Vec<f32> {
    let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let largest = sizes[((sizes.len() - 1) as f32 * quantile) as usize];
    let kept: Vec<f32> = values.iter().copied().filter(|value| value.abs() <= largest).collect();
    if largest > 0.0 { kept } else { values.to_vec() }
}

/// A map of red, green and blue, grey where it is 0, as guided backpropagation is shown; the photo beside it.
///
/// `values` is `[3, rows, columns]`; `map` says where the places lie, and its own values are not drawn.
pub fn rgb_of(values: &[f32], map: &Map<'_>, photo: &RgbImage, options: &Options) -> Result<Picture> {
    map.check()?;
    let (rows, columns) = (map.rows, map.columns);
    if values.len() != 3 * rows * columns {
        return Err(PictureError::Length { rows: 3 * rows, columns, found: values.len() });
    }
    let kept = within(values, 0.995);
    let reach = kept.iter().fold(f32::MIN_POSITIVE, |reach, value| reach.max(value.abs()));
    let n_places = map.rows * map.columns;
    let level = |value: f32| (127.5 + 127.5 * (value / reach).clamp(-1.0, 1.0)).round() as u8;
    let image = RgbImage::from_fn(map.columns as u32, map.rows as u32, |x, y| {
        let place = y as usize * map.columns + x as usize;
        Rgb(std::array::from_fn(|channel| level(values[channel * n_places + place])))
    });
    let limits = Limits { low: -reach, high: reach };
    let bar = ColorBar { colormap: Colormap::Gray, limits };
    drawn(map, photo, Shown { image, title: "by colour; grey is 0", bar, is_map: true }, options)
}

/// What stands beside the photo.
struct Shown {
    image: RgbImage,
    title: &'static str,
    bar: ColorBar,
    is_map: bool,
}

/// The photo as the network saw it, and what is shown beside it, in the same places.
fn drawn(map: &Map<'_>, photo: &RgbImage, shown: Shown, options: &Options) -> Result<Picture> {
    let places = (map.rows, map.columns);
    let photo_panel = Panel {
        image: photo.clone(),
        title: "what the network saw",
        row_axis: Some(&map.row_axis),
        column_axis: Some(&map.column_axis),
        places,
        color_bar: None,
        is_map: false,
        letters: &[],
    };
    let map_panel = Panel {
        image: shown.image,
        title: shown.title,
        row_axis: None,
        column_axis: Some(&map.column_axis),
        places,
        color_bar: Some(shown.bar),
        is_map: shown.is_map,
        letters: &[],
    };
    figure::draw(vec![photo_panel, map_panel], 2, options, 960)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Axis;

    fn map(values: &[f32]) -> Map<'_> {
        Map { values, rows: 1, columns: 2, row_axis: Axis::counted("row"), column_axis: Axis::counted("column") }
    }

    #[test]
    fn the_photo_shows_where_the_map_is_zero() {
        let photo = RgbImage::from_pixel(2, 1, Rgb([90, 90, 90]));
        let values = [0.0, 1.0];
        let limits = Limits::of(&values, Colormap::Turbo);
        let blended = blended(&map(&values), &photo, Colormap::Turbo, limits);
        assert_eq!(blended.get_pixel(0, 0).0, [90, 90, 90]);
        assert_eq!(blended.get_pixel(1, 0).0, [114, 26, 25]);
    }

    #[test]
    fn outliers_do_not_darken_the_rest() {
        let mut values = vec![1.0; 999];
        values.push(1000.0);
        assert_eq!(within(&values, 0.995).len(), 999);
        assert_eq!(within(&[0.0, 0.0], 0.995), [0.0, 0.0]);
    }
}
