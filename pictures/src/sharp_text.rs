//! Text on pixels with each glyph where the font's widths put it, to a fraction of a pixel.
//!
//! plotters puts glyphs at whole pixels, so that small text looks uneven. This backend draws text itself and leaves
//! everything else to the one that it wraps; it measures as plotters does, so that layouts are the same.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// The font that everything is written in.
pub(crate) const FONT_FILE: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");

/// Where the baseline lies below the top of a text, in sizes; as plotters has it in SVG.
const BASELINE: f64 = 0.76 / 1.24;

/// A backend of pixels with text of its own.
pub(crate) struct SharpText<B> {
    inner: B,
    font: Option<FontRef<'static>>,
}

impl<B> SharpText<B> {
    pub(crate) fn new(inner: B) -> Self {
        SharpText { inner, font: FontRef::try_from_slice(FONT_FILE).ok() }
    }
}

type Drawn<B> = Result<(), DrawingErrorKind<<B as DrawingBackend>::ErrorType>>;

impl<B: DrawingBackend> DrawingBackend for SharpText<B> {
    type ErrorType = B::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<B> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<B> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn<B> {
        self.inner.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<B> {
        self.inner.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn<B> {
        self.inner.draw_rect(from, to, style, fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn<B> {
        self.inner.draw_path(path, style)
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn<B> {
        let Some(font) = self.font.clone() else { return self.inner.draw_text(text, style, at) };
        let (color, turn, (width, height)) = (style.color(), style.transform(), self.get_size());
        let scale = PxScale::from(style.size() as f32);
        let scaled = font.as_scaled(scale);
        let baseline = (style.size() * BASELINE).round() as i32;
        let mut right = 0.0;
        let mut previous = None;
        for letter in text.chars() {
            let glyph = font.glyph_id(letter);
            right += previous.map_or(0.0, |previous| scaled.kern(previous, glyph));
            previous = Some(glyph);
            if let Some(outline) = font.outline_glyph(glyph.with_scale_and_position(scale, point(right, 0.0))) {
                let corner = outline.px_bounds().min;
                let mut covered = Vec::new();
                outline.draw(|x, y, share| {
                    covered.push((x as i32 + corner.x as i32, y as i32 + corner.y as i32 + baseline, share))
                });
                for (x, y, share) in covered {
                    let (x, y) = turn.transform(x, y);
                    let (x, y) = (at.0 + x, at.1 + y);
                    let is_inside = x >= 0 && y >= 0 && x < width as i32 && y < height as i32;
                    if is_inside && share > 0.0 {
                        let alpha = color.alpha * f64::from(share.min(1.0));
                        self.inner.draw_pixel((x, y), BackendColor { alpha, rgb: color.rgb })?;
                    }
                }
            }
            right += scaled.h_advance(glyph);
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<B::ErrorType>> {
        self.inner.estimate_text_size(text, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::prelude::*;

    #[test]
    fn a_word_covers_what_its_glyphs_do_and_nothing_beside() {
        let mut pixels = vec![255u8; 120 * 40 * 3];
        {
            let area = SharpText::new(BitMapBackend::with_buffer(&mut pixels, (120, 40))).into_drawing_area();
            crate::figure::register();
            area.draw_text("lll", &(crate::figure::FONT, 20).into_font().color(&BLACK), (10, 5)).unwrap();
            area.present().unwrap();
        }
        let is_dark = |x: usize| (0..40).any(|y| pixels[(y * 120 + x) * 3] < 128);
        let strokes = (1..120).filter(|&x| is_dark(x) && !is_dark(x - 1)).count();
        assert_eq!(strokes, 3);
        assert!((0..10).chain(40..120).all(|x| !is_dark(x)));
    }
}
