//! Arrays to pictures: maps, overlays, bar charts, grids and curves, as PNG or SVG. No network, no files, no candle.
//!
//! `figure` lays panels out and draws them by plotters with a font of its own, so that a picture looks the same on every
//! machine; the files beside it are one kind of picture each.

mod axis;
mod bar_chart;
mod colormap;
mod curves;
mod figure;
mod grid;
mod heat_map;
mod layer_curves;
mod overlay;
mod photos;
mod sharp_text;
mod spectrogram;

pub use axis::Axis;
pub use bar_chart::bar_chart;
pub use colormap::{COLORMAP_NAMES, Colormap};
pub use curves::{Curve, curves};
pub use figure::Letter;
pub use grid::{grid, grid_of_groups};
pub use heat_map::{Map, heat_map};
pub use image::{Rgb, RgbImage};
pub use layer_curves::{LayerCurve, layer_curves};
pub use overlay::{beside, overlay, rgb_of};
pub use photos::{photos, tiles};
pub use spectrogram::{heard, over_time};

/// The file format of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Pixels.
    #[default]
    Png,
    /// Lines and text that scale.
    Svg,
}

/// What a picture shall look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Its file format.
    pub format: Format,
    /// Above everything.
    pub title: String,
    /// How numbers become colours; the default depends on what is drawn.
    pub colormap: Option<Colormap>,
    /// Width in pixels; the height follows.
    pub width: Option<u32>,
}

impl Options {
    /// Widths that a picture may have.
    pub const WIDTHS: std::ops::RangeInclusive<u32> = 200..=4000;

    fn checked_width(&self, default: u32) -> Result<u32, PictureError> {
        let width = self.width.unwrap_or(default);
        if Self::WIDTHS.contains(&width) { Ok(width) } else { Err(PictureError::Width { asked: width }) }
    }
}

/// A picture's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Their format.
    pub format: Format,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The array is not what its shape says.
    #[error("a map of {rows} × {columns} needs {} numbers but has {found}", rows * columns)]
    Length { rows: usize, columns: usize, found: usize },
    /// There is nothing to draw.
    #[error("the array is empty")]
    Empty,
    /// A number that cannot be drawn.
    #[error("number {index} is {number}")]
    NotFinite { index: usize, number: f32 },
    /// Too small or too large.
    #[error("a picture is {} to {} pixels wide, not {asked}", Options::WIDTHS.start(), Options::WIDTHS.end())]
    Width { asked: u32 },
    /// The plotting library refused.
    #[error("drawing failed: {0}")]
    Drawing(String),
}

/// Shorthand for this crate.
pub type Result<T, E = PictureError> = std::result::Result<T, E>;
