//! Photos: decoded, resized by their short side, cropped at the centre, normalised.
//!
//! The crop that the network saw is kept for overlays, and where its pixels lie in the original for axes.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use super::resize::{Window, resized_window};

/// How a photo becomes `[3, crop, crop]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFrontEnd {
    /// The length in pixels that the shorter side is brought to.
    pub short_side: u32,
    /// How pixels are weighted; always over all pixels that one of the result covers.
    pub interpolation: Resampling,
    /// Rows and columns that are cut from the centre.
    pub crop: u32,
    /// What is subtracted from red, green and blue, of 0 to 255.
    pub mean: [f32; 3],
    /// What they are divided by then.
    pub std: [f32; 3],
}

/// How pixels are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// Keys' kernel with a = -1/2, as Pillow has it.
    Bicubic,
    /// A triangle.
    Bilinear,
}

impl ImageFrontEnd {
    /// As torchvision's ImageNet classifiers were trained: means and deviations of ImageNet.
    pub fn torchvision() -> Self {
        ImageFrontEnd {
            short_side: 256,
            interpolation: Resampling::Bilinear,
            crop: 224,
            mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
            std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
        }
    }

    /// Fails where the numbers make no sense.
    pub fn check(&self) -> Result<(), String> {
        if self.crop == 0 || self.crop > self.short_side || self.short_side > 8192 {
            return Err(format!(
                "crop {} of a short side of {}; both from 1 to 8192, the crop not larger",
                self.crop, self.short_side
            ));
        }
        if self.std.iter().any(|std| !std.is_finite() || *std <= 0.0) || self.mean.iter().any(|mean| !mean.is_finite())
        {
            return Err(format!("mean {:?} and std {:?}; finite numbers, and std above 0", self.mean, self.std));
        }
        Ok(())
    }

    /// The smallest and largest number that it can give.
    pub fn value_range(&self) -> (f32, f32) {
        let of = |value: f32| (0..3).map(move |channel| (value, channel));
        let normalised = |(value, channel): (f32, usize)| (value - self.mean[channel]) / self.std[channel];
        let low = of(0.0).map(normalised).fold(f32::INFINITY, f32::min);
        (low, of(255.0).map(normalised).fold(f32::NEG_INFINITY, f32::max))
    }
}

/// The most pixels that a photo may have once it is resized.
const MOST_RESIZED: u64 = 32_000_000;

/// Why bytes are no photo.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// They cannot be decoded.
    #[error("the image cannot be decoded: {0}")]
    Undecodable(String),
    /// It is larger than allowed.
    #[error("the image has {columns} × {rows} pixels, more than the {limit} that are decoded")]
    TooLarge { columns: u32, rows: u32, limit: u64 },
    /// Its sides are so different that it would become too large when its short side is brought to length.
    #[error(
        "the image has {columns} × {rows} pixels and would become {wide} × {high} when resized by its short side, more than \
         {MOST_RESIZED} pixels; cut it first"
    )]
    TooLong { columns: u32, rows: u32, wide: u32, high: u32 },
}

impl ImageError {
    /// Whether a limit was passed, rather than a file damaged.
    pub fn is_over_limit(&self) -> bool {
        matches!(self, ImageError::TooLarge { .. } | ImageError::TooLong { .. })
    }
}

/// A photo as a network takes it.
#[derive(Clone, Debug)]
pub struct PreparedImage {
    /// `[channel, row, column]`
    pub shape: [usize; 3],
    /// Red, green and blue, row-major.
    pub numbers: Vec<f32>,
    /// What the network sees.
    pub crop: RgbImage,
    /// Where the rows lie in the original.
    pub rows: PixelScale,
    /// Where the columns lie in the original.
    pub columns: PixelScale,
}

/// Where places lie along one side of the original photo, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelScale {
    /// The centre of the first place.
    pub start: f64,
    /// From one place to the next.
    pub step: f64,
}

/// Columns and rows, from the header alone; an image of more pixels than allowed is refused before it is decoded.
pub fn checked_size(bytes: &[u8], most_pixels: u64) -> Result<(u32, u32), ImageError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(&error))?;
    let (columns, rows) = reader.into_dimensions().map_err(|error| undecodable(&error))?;
    if u64::from(columns) * u64::from(rows) > most_pixels {
        return Err(ImageError::TooLarge { columns, rows, limit: most_pixels });
    }
    Ok((columns, rows))
}

/// Decodes and prepares a photo; call [`checked_size`] first where the bytes come from strangers.
pub fn prepare(bytes: &[u8], front_end: &ImageFrontEnd) -> Result<PreparedImage, ImageError> {
    let photo = decode(bytes)?;
    let (columns, rows) = photo.dimensions();
    let short = columns.min(rows).max(1);
    // As torchvision rounds: the longer side is cut to whole pixels.
    let resized_length = |side: u32| {
        let length = u64::from(side) * u64::from(front_end.short_side) / u64::from(short);
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    let (wide, high) = (resized_length(columns).max(front_end.crop), resized_length(rows).max(front_end.crop));
    if u64::from(wide) * u64::from(high) > MOST_RESIZED {
        return Err(ImageError::TooLong { columns, rows, wide, high });
    }
    let offset = |side: u32| ((f64::from(side) - f64::from(front_end.crop)) / 2.0).round_ties_even() as u32;
    let (left, top) = (offset(wide), offset(high));
    let window = |resized: u32, offset: u32| Window { resized, offset, length: front_end.crop };
    let crop = resized_window(&photo, window(wide, left), window(high, top), front_end.interpolation);
    let scale = |original: u32, resized: u32, offset: u32| {
        let step = f64::from(original) / f64::from(resized);
        PixelScale { start: (f64::from(offset) + 0.5) * step - 0.5, step }
    };
    let (rows, columns) = (scale(rows, high, top), scale(columns, wide, left));
    let side = front_end.crop as usize;
    Ok(PreparedImage { shape: [3, side, side], numbers: normalised(&crop, front_end), crop, rows, columns })
}

fn normalised(crop: &RgbImage, front_end: &ImageFrontEnd) -> Vec<f32> {
    let of_channel = |channel: usize| {
        let (mean, std) = (front_end.mean[channel], front_end.std[channel]);
        crop.pixels().map(move |pixel| (f32::from(pixel.0[channel]) - mean) / std)
    };
    (0..3).flat_map(of_channel).collect()
}

/// Upright RGB; what is transparent lies on white.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(&error))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(1 << 30);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| undecodable(&error))?;
    let orientation = decoder.orientation().map_err(|error| undecodable(&error))?;
    let mut photo = DynamicImage::from_decoder(decoder).map_err(|error| undecodable(&error))?;
    photo.apply_orientation(orientation);
    if !photo.color().has_alpha() {
        return Ok(photo.to_rgb8());
    }
    let on_white = |pixel: &image::Rgba<u8>| {
        let [r, g, b, alpha] = pixel.0.map(f32::from);
        [r, g, b].map(|level| (level * alpha / 255.0 + 255.0 - alpha).round() as u8)
    };
    let photo = photo.to_rgba8();
    let mut opaque = RgbImage::new(photo.width(), photo.height());
    opaque.pixels_mut().zip(photo.pixels()).for_each(|(opaque, pixel)| opaque.0 = on_white(pixel));
    Ok(opaque)
}

fn undecodable(error: &dyn std::fmt::Display) -> ImageError {
    ImageError::Undecodable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(photo: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn front_end(short_side: u32, crop: u32) -> ImageFrontEnd {
        ImageFrontEnd { short_side, interpolation: Resampling::Bicubic, crop, mean: [127.0; 3], std: [128.0; 3] }
    }

    fn gradient(columns: u32, rows: u32) -> DynamicImage {
        DynamicImage::ImageRgb8(RgbImage::from_fn(columns, rows, |x, y| image::Rgb([x as u8, y as u8, 0])))
    }

    #[test]
    fn the_centre_is_cut_and_normalised() {
        let prepared = prepare(&png(&gradient(8, 4)), &front_end(4, 2)).unwrap();
        assert_eq!(prepared.crop.as_raw(), &[3, 1, 0, 4, 1, 0, 3, 2, 0, 4, 2, 0]);
        assert_eq!(prepared.shape, [3, 2, 2]);
        assert_eq!(prepared.numbers[0], (3.0 - 127.0) / 128.0);
        assert_eq!(prepared.columns, PixelScale { start: 3.0, step: 1.0 });
    }

    #[test]
    fn places_of_a_shrunk_photo_lie_in_the_originals_pixels() {
        let prepared = prepare(&png(&gradient(16, 8)), &front_end(4, 4)).unwrap();
        assert_eq!(prepared.rows, PixelScale { start: 0.5, step: 2.0 });
        assert_eq!(prepared.columns, PixelScale { start: 4.5, step: 2.0 });
    }

    #[test]
    fn grey_deep_and_transparent_photos_are_understood() {
        let one = |photo: DynamicImage| decode(&png(&photo)).unwrap().into_raw();
        assert_eq!(one(DynamicImage::ImageLuma8(image::GrayImage::from_raw(1, 1, vec![7]).unwrap())), [7, 7, 7]);
        let deep = image::ImageBuffer::from_raw(1, 1, vec![65535u16, 0, 257]).unwrap();
        assert_eq!(one(DynamicImage::ImageRgb16(deep)), [255, 0, 1]);
        let half_red = image::RgbaImage::from_raw(1, 1, vec![255, 0, 0, 127]).unwrap();
        assert_eq!(one(DynamicImage::ImageRgba8(half_red)), [255, 128, 128]);
    }

    #[test]
    fn a_photo_of_a_tilted_camera_is_turned_upright() {
        let mut bytes = Cursor::new(Vec::new());
        gradient(16, 8).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        // EXIF in big-endian TIFF with the one entry orientation (0x0112), a short, 6: turn to the right.
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let tilted = [&bytes.get_ref()[..2], exif, &bytes.get_ref()[2..]].concat();
        assert_eq!(decode(bytes.get_ref()).unwrap().dimensions(), (16, 8));
        assert_eq!(decode(&tilted).unwrap().dimensions(), (8, 16));
    }

    #[test]
    fn a_strip_of_pixels_is_refused_before_it_grows() {
        let error = prepare(&png(&gradient(20_000, 1)), &front_end(256, 224)).unwrap_err();
        assert!(error.is_over_limit() && error.to_string().contains("would become 5120000 × 256"), "{error}");
    }

    #[test]
    fn a_bomb_is_refused_by_its_header_and_a_torn_file_named() {
        let bytes = png(&gradient(64, 64));
        let error = checked_size(&bytes, 1000).unwrap_err();
        assert_eq!(error.to_string(), "the image has 64 × 64 pixels, more than the 1000 that are decoded");
        let error = prepare(&bytes[..bytes.len() / 2], &front_end(8, 8)).unwrap_err();
        assert!(error.to_string().starts_with("the image cannot be decoded"), "{error}");
    }
}
