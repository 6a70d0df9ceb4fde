//! Lays panels out beside each other under a title, and draws them.
//!
//! plotters draws axes, ticks and text, on pixels or into an SVG alike. What is an image (a map's colours, a photo) is put
//! in afterwards: copied into the pixels, or embedded into the SVG as PNG.

use std::io::Cursor;
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, FontTransform, register_font};

use crate::axis::{Axis, number};
use crate::colormap::{Colormap, Limits};
use crate::layer_curves::{self, LayerPlot};
use crate::sharp_text::{FONT_FILE, SharpText};
use crate::{Format, Options, Picture, PictureError, Result};

pub(crate) const FONT: &str = "DejaVu Sans";
static REGISTERED: Once = Once::new();

pub(crate) const TITLE_HEIGHT: u32 = 44;
const SMALL_TITLE_HEIGHT: u32 = 24;
pub(crate) const MARGIN: u32 = 10;
pub(crate) const LEFT_AXIS: u32 = 58;
const BOTTOM_AXIS: u32 = 44;
const COLOR_BAR: u32 = 86;
const BAR_WIDTH: u32 = 16;
pub(crate) const INK: RGBColor = RGBColor(38, 38, 38);

/// An image with axes.
pub(crate) struct Panel<'a> {
    pub(crate) image: RgbImage,
    pub(crate) title: &'a str,
    pub(crate) row_axis: Option<&'a Axis>,
    pub(crate) column_axis: Option<&'a Axis>,
    /// How many places the axes have, rows and columns.
    pub(crate) places: (usize, usize),
    pub(crate) color_bar: Option<ColorBar>,
    /// Whether pixels are shown as squares rather than smoothed.
    pub(crate) is_map: bool,
    /// What was said, above the image.
    pub(crate) letters: &'a [Letter],
}

/// A letter with the place on the column axis that it is written above.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// In the axis' unit.
    pub place: f64,
    /// The letter; a space ends a word.
    pub text: String,
}

/// What the colours mean.
#[derive(Clone, Copy)]
pub(crate) struct ColorBar {
    pub(crate) colormap: Colormap,
    pub(crate) limits: Limits,
}

/// Where an image goes.
struct Placed {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    image: RgbImage,
    is_map: bool,
}

/// Panels in one row, or in several where there are many.
pub(crate) fn draw(panels: Vec<Panel<'_>>, columns: usize, options: &Options, default_width: u32) -> Result<Picture> {
    draw_with_bar(panels, columns, None, options, default_width)
}

/// The same with one colour bar for all, right of them.
pub(crate) fn draw_with_bar(
    panels: Vec<Panel<'_>>,
    columns: usize,
    bar: Option<ColorBar>,
    options: &Options,
    default_width: u32,
) -> Result<Picture> {
    let full_width = options.checked_width(default_width)?;
    let width = if bar.is_some() { full_width - COLOR_BAR } else { full_width };
    let columns = columns.clamp(1, panels.len().max(1));
    // All images of a row are equally wide, whatever axes stand beside them.
    let beside = |panel: &Panel<'_>| axis_widths(panel).0 + axis_widths(panel).1;
    let inner_of = |row: &[Panel<'_>]| (width.saturating_sub(row.iter().map(beside).sum()) / columns as u32).max(16);
    let heights: Vec<u32> = panels
        .chunks(columns)
        .flat_map(|row| row.iter().map(|panel| panel_height(panel, beside(panel) + inner_of(row))).collect::<Vec<_>>())
        .collect();
    let row_heights: Vec<u32> = heights.chunks(columns).map(|row| row.iter().copied().max().unwrap_or(0)).collect();
    let head = if options.title.is_empty() { MARGIN } else { TITLE_HEIGHT };
    let height = (head + row_heights.iter().sum::<u32>() + MARGIN).min(20_000);
    render(full_width, height, options, |drawing| {
        drawing.title(&options.title)?;
        if let Some(bar) = bar {
            let top = head + SMALL_TITLE_HEIGHT;
            let bottom = (top + 240).min(height - 2 * MARGIN).max(top + 40);
            drawing.bar(bar, width + 6, (top, bottom))?;
        }
        let mut placed = Vec::new();
        let mut y = head;
        for (row, row_height) in panels.chunks(columns).zip(&row_heights) {
            let mut x = 0;
            for panel in row {
                let cell_width = beside(panel) + inner_of(row);
                placed.push(drawing.panel(panel, x, y, cell_width, *row_height)?);
                x += cell_width;
            }
            y += row_height;
        }
        Ok(placed)
    })
}

fn axis_widths(panel: &Panel<'_>) -> (u32, u32, u32, u32) {
    let left = if panel.row_axis.is_some() { LEFT_AXIS } else { MARGIN };
    let right = if panel.color_bar.is_some() { COLOR_BAR } else { MARGIN };
    // A map with a colour bar stands beside a photo with a title, at one height.
    let has_head = !panel.title.is_empty() || (panel.color_bar.is_some() && panel.row_axis.is_none());
    let top = if has_head || !panel.letters.is_empty() { SMALL_TITLE_HEIGHT } else { MARGIN };
    let bottom = if panel.column_axis.is_some() { BOTTOM_AXIS } else { MARGIN };
    (left, right, top, bottom)
}

/// As high as keeps the image's proportions; a long recording is not flatter than can be read.
fn panel_height(panel: &Panel<'_>, width: u32) -> u32 {
    let (left, right, top, bottom) = axis_widths(panel);
    let inner = width.saturating_sub(left + right).max(16);
    let ratio = f64::from(panel.image.height()) / f64::from(panel.image.width().max(1));
    top + bottom + (f64::from(inner) * ratio.clamp(0.25, 2.5)).round() as u32
}

/// Makes the font known to plotters, once.
pub(crate) fn register() {
    REGISTERED.call_once(|| {
        if register_font(FONT, FontStyle::Normal, FONT_FILE).is_err() {
            unreachable!("the embedded font is sound; a test draws with it");
        }
    });
}

/// Draws on either kind of canvas; what `content` answers is put in as images.
fn render(
    width: u32,
    height: u32,
    options: &Options,
    content: impl FnOnce(&dyn Drawing) -> Result<Vec<Placed>>,
) -> Result<Picture> {
    register();
    match options.format {
        Format::Png => {
            let mut pixels = vec![255u8; width as usize * height as usize * 3];
            let placed = {
                let pixels = BitMapBackend::with_buffer(&mut pixels, (width, height));
                let area = SharpText::new(pixels).into_drawing_area();
                let placed = content(&area)?;
                area.present().map_err(failed)?;
                placed
            };
            let mut picture = RgbImage::from_raw(width, height, pixels)
                .ok_or_else(|| PictureError::Drawing("pixels are missing".to_owned()))?;
            for image in placed {
                let scaled = scaled(&image);
                imageops::replace(&mut picture, &scaled, i64::from(image.x), i64::from(image.y));
            }
            Ok(Picture { format: Format::Png, bytes: png(&picture)? })
        }
        Format::Svg => {
            let mut text = String::new();
            let placed = {
                let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
                let placed = content(&area)?;
                area.present().map_err(failed)?;
                placed
            };
            let mut images = String::new();
            for image in placed {
                let rendering = if image.is_map { "pixelated" } else { "auto" };
                images += &format!(
                    "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" style=\"image-rendering:{rendering}\" \
                     href=\"data:image/png;base64,{}\"/>\n",
                    image.x,
                    image.y,
                    image.width,
                    image.height,
                    BASE64.encode(png(&image.image)?)
                );
            }
            let text = text.replace("</svg>", &format!("{images}</svg>"));
            Ok(Picture { format: Format::Svg, bytes: text.into_bytes() })
        }
    }
}

fn scaled(placed: &Placed) -> RgbImage {
    let filter = if placed.is_map { FilterType::Nearest } else { FilterType::Triangle };
    imageops::resize(&placed.image, placed.width.max(1), placed.height.max(1), filter)
}

fn png(image: &RgbImage) -> Result<Vec<u8>> {
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(failed)?;
    Ok(bytes.into_inner())
}

pub(crate) fn failed(error: impl std::fmt::Display) -> PictureError {
    PictureError::Drawing(error.to_string())
}

/// A canvas of either kind.
trait Drawing {
    fn title(&self, title: &str) -> Result<()>;
    fn panel(&self, panel: &Panel<'_>, x: u32, y: u32, width: u32, height: u32) -> Result<Placed>;
    fn bar(&self, bar: ColorBar, x: u32, edges: (u32, u32)) -> Result<()>;
    fn bars(&self, bars: &[(String, f64)], y: u32) -> Result<()>;
    fn lines(&self, lines: &[(String, Vec<f64>)], axis: &Axis, value_name: &str, y: u32) -> Result<()>;
    fn layer_plot(&self, plot: &LayerPlot<'_>) -> Result<()>;
}

impl<DB: DrawingBackend> Drawing for DrawingArea<DB, Shift> {
    fn title(&self, title: &str) -> Result<()> {
        self.fill(&WHITE).map_err(failed)?;
        let (width, _) = self.dim_in_pixel();
        let (text, size) = fitted(self, title, 19, width.saturating_sub(2 * MARGIN))?;
        let style = (FONT, size).into_font().color(&INK);
        self.draw_text(&text, &style, (MARGIN as i32 + 2, 12)).map_err(failed)
    }

    fn panel(&self, panel: &Panel<'_>, x: u32, y: u32, width: u32, height: u32) -> Result<Placed> {
        let (left, right, top, bottom) = axis_widths(panel);
        let (inner_width, inner_height) =
            (width.saturating_sub(left + right).max(16), height.saturating_sub(top + bottom).max(16));
        // An image that is flatter than its row stays as wide as it is.
        let own_height = panel_height(panel, width).saturating_sub(top + bottom).clamp(16, inner_height);
        let (x0, y0) = ((x + left) as i32, (y + top) as i32);
        let (x1, y1) = (x0 + inner_width as i32, y0 + own_height as i32);
        let (text, size) = fitted(self, panel.title, 14, inner_width)?;
        self.draw_text(&text, &(FONT, size).into_font().color(&INK), (x0, y as i32 + 4)).map_err(failed)?;
        frame(self, (x0, y0), (x1, y1))?;
        if let Some(axis) = panel.column_axis {
            written_above(self, panel.letters, axis.edges(panel.places.1), (x0, x1), y as i32 + 4)?;
            horizontal_axis(self, axis, axis.edges(panel.places.1), (x0, x1), y1)?;
        }
        if let Some(axis) = panel.row_axis {
            let (first, last) = axis.edges(panel.places.0);
            let edges = if axis.grows_upwards() { (last, first) } else { (first, last) };
            vertical_axis(self, axis, edges, (y0, y1), x0)?;
        }
        if let Some(bar) = panel.color_bar {
            color_bar(self, bar, x1 + 12, (y0, y1))?;
        }
        Ok(Placed {
            x: x0 as u32,
            y: y0 as u32,
            width: inner_width,
            height: own_height,
            image: panel.image.clone(),
            is_map: panel.is_map,
        })
    }

    fn layer_plot(&self, plot: &LayerPlot<'_>) -> Result<()> {
        layer_curves::draw(self, plot)
    }

    fn bar(&self, bar: ColorBar, x: u32, (top, bottom): (u32, u32)) -> Result<()> {
        color_bar(self, bar, x as i32, (top as i32, bottom as i32))
    }

    fn bars(&self, bars: &[(String, f64)], y: u32) -> Result<()> {
        let (width, _) = self.dim_in_pixel();
        let longest = bars.iter().map(|(_, share)| *share).fold(f64::MIN_POSITIVE, f64::max).max(1e-12);
        let (label_width, number_width) = (width * 2 / 5, 70);
        let room = f64::from(width.saturating_sub(label_width + number_width + 2 * MARGIN));
        for (nth, (label, share)) in bars.iter().enumerate() {
            let top = (y + nth as u32 * BAR_ROW) as i32;
            let (text, size) = fitted(self, label, 15, label_width - 2 * MARGIN)?;
            self.draw_text(&text, &(FONT, size).into_font().color(&INK), (MARGIN as i32 + 2, top + 6))
                .map_err(failed)?;
            let (from, to) = (label_width as i32, label_width as i32 + (room * share / longest).round() as i32);
            let color = if nth == 0 { RGBColor(33, 113, 181) } else { RGBColor(158, 202, 225) };
            self.draw(&Rectangle::new([(from, top + 5), (to.max(from + 1), top + BAR_ROW as i32 - 5)], color.filled()))
                .map_err(failed)?;
            let percent =
                if *share < 1e-3 { format!("{} %", number(share * 100.0)) } else { format!("{:.1} %", share * 100.0) };
            self.draw_text(&percent, &(FONT, 14).into_font().color(&INK), (to + 8, top + 7)).map_err(failed)?;
        }
        Ok(())
    }

    fn lines(&self, lines: &[(String, Vec<f64>)], axis: &Axis, value_name: &str, y: u32) -> Result<()> {
        let (width, height) = self.dim_in_pixel();
        let (x0, x1) = ((LEFT_AXIS + MARGIN) as i32, (width - 2 * MARGIN) as i32);
        let (y0, y1) = (y as i32 + 8, (height - BOTTOM_AXIS) as i32);
        let values = || lines.iter().flat_map(|(_, values)| values.iter().copied());
        let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let length = lines.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
        frame(self, (x0, y0), (x1, y1))?;
        horizontal_axis(self, axis, axis.edges(length), (x0, x1), y1)?;
        let values_axis = Axis { name: value_name.to_owned(), unit: None, start: 0.0, step: 1.0, values: None };
        // Values grow upwards.
        vertical_axis(self, &values_axis, (high, low), (y0, y1), x0)?;
        for (nth, (name, values)) in lines.iter().enumerate() {
            let color = Palette99::pick(nth).to_rgba();
            let point = |(place, value): (usize, &f64)| {
                let x = f64::from(x0) + (place as f64 + 0.5) / length as f64 * f64::from(x1 - x0);
                let y = f64::from(y1) - (value - low) / (high - low) * f64::from(y1 - y0);
                (x as i32, y as i32)
            };
            let points: Vec<(i32, i32)> = values.iter().enumerate().map(point).collect();
            self.draw(&PathElement::new(points, color.stroke_width(2))).map_err(failed)?;
            if lines.len() <= 10 && !name.is_empty() {
                self.draw_text(name, &(FONT, 13).into_font().color(&color), (x0 + 8, y0 + 6 + 16 * nth as i32))
                    .map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Curves over layers, in a picture of this size.
pub(crate) fn draw_layer_plot(plot: &LayerPlot<'_>, size: (u32, u32), options: &Options) -> Result<Picture> {
    render(size.0, size.1, options, |drawing| {
        drawing.title(&options.title)?;
        drawing.layer_plot(plot)?;
        Ok(vec![])
    })
}

/// Height of one bar with its room.
pub(crate) const BAR_ROW: u32 = 30;

/// Bars with labels, under a title.
pub(crate) fn draw_bars(bars: &[(String, f64)], options: &Options) -> Result<Picture> {
    let width = options.checked_width(640)?;
    let height = TITLE_HEIGHT + BAR_ROW * bars.len() as u32 + MARGIN;
    render(width, height, options, |drawing| {
        drawing.title(&options.title)?;
        drawing.bars(bars, TITLE_HEIGHT)?;
        Ok(vec![])
    })
}

/// Curves over one axis.
pub(crate) fn draw_lines(
    lines: &[(String, Vec<f64>)],
    axis: &Axis,
    value_name: &str,
    options: &Options,
) -> Result<Picture> {
    let width = options.checked_width(900)?;
    render(width, 360, options, |drawing| {
        drawing.title(&options.title)?;
        drawing.lines(lines, axis, value_name, TITLE_HEIGHT)?;
        Ok(vec![])
    })
}

/// The text in the largest size that fits, cut where even a small one is too long.
pub(crate) fn fitted<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    text: &str,
    size: i32,
    room: u32,
) -> Result<(String, i32)> {
    let width_of = |text: &str, size: i32| -> Result<u32> {
        Ok(area.estimate_text_size(text, &(FONT, size).into_font().into()).map_err(failed)?.0)
    };
    for smaller in (11.min(size)..=size).rev() {
        if width_of(text, smaller)? <= room {
            return Ok((text.to_owned(), smaller));
        }
    }
    let size = 11.min(size);
    let mut cut: Vec<char> = text.chars().collect();
    while !cut.is_empty() {
        cut.pop();
        let shortened = format!("{}…", cut.iter().collect::<String>().trim_end());
        if width_of(&shortened, size)? <= room {
            return Ok((shortened, size));
        }
    }
    Ok((String::new(), size))
}

pub(crate) fn frame<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, from: (i32, i32), to: (i32, i32)) -> Result<()> {
    area.draw(&Rectangle::new([(from.0 - 1, from.1 - 1), (to.0, to.1)], INK.stroke_width(1))).map_err(failed)
}

/// Round numbers between two edges, about as many as asked (Heckbert 1990, "Nice numbers for graph labels").
pub(crate) fn ticks(edges: (f64, f64), about: usize) -> Vec<f64> {
    let (low, high) = (edges.0.min(edges.1), edges.0.max(edges.1));
    let rough = (high - low) / about.max(1) as f64;
    if rough <= 0.0 || !rough.is_finite() {
        return vec![];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|nice| nice * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|nth| nth as f64 * step).collect()
}

/// Letters above their places, or words where letters would touch.
fn written_above<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    letters: &[Letter],
    edges: (f64, f64),
    (x0, x1): (i32, i32),
    y: i32,
) -> Result<()> {
    let x = |place: f64| f64::from(x0) + (place - edges.0) / (edges.1 - edges.0) * f64::from(x1 - x0);
    let style = (FONT, 13).into_font().color(&INK);
    let width_of =
        |text: &str| area.estimate_text_size(text, &style).map(|(width, _)| f64::from(width)).map_err(failed);
    let spoken = || letters.iter().filter(|letter| !letter.text.trim().is_empty());
    let are_apart = spoken().zip(spoken().skip(1)).all(|(a, b)| x(b.place) - x(a.place) >= 7.0);
    let words: Vec<Letter> = letters
        .split(|letter| letter.text.trim().is_empty())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let place = (word[0].place + word[word.len() - 1].place) / 2.0;
            Letter { place, text: word.iter().map(|letter| letter.text.as_str()).collect() }
        })
        .collect();
    let written: Vec<&Letter> = if are_apart { spoken().collect() } else { words.iter().collect() };
    let mut free_from = f64::NEG_INFINITY;
    for letter in written {
        let width = width_of(&letter.text)?;
        let left = x(letter.place) - width / 2.0;
        // A word that finds no room is left out rather than written over another.
        if left >= free_from && left + width <= f64::from(x1) + 4.0 {
            area.draw_text(&letter.text, &style, (left.round() as i32, y)).map_err(failed)?;
            free_from = left + width + if are_apart { 0.0 } else { 3.0 };
        }
    }
    Ok(())
}

fn horizontal_axis<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    axis: &Axis,
    edges: (f64, f64),
    (x0, x1): (i32, i32),
    y: i32,
) -> Result<()> {
    let style = (FONT, 12).into_font().color(&INK);
    for tick in ticks(edges, ((x1 - x0) / 70).max(2) as usize) {
        let x = x0 + ((tick - edges.0) / (edges.1 - edges.0) * f64::from(x1 - x0)) as i32;
        area.draw(&PathElement::new(vec![(x, y), (x, y + 4)], INK)).map_err(failed)?;
        let text = axis.tick(tick);
        let (width, _) = area.estimate_text_size(&text, &style).map_err(failed)?;
        area.draw_text(&text, &style, (x - width as i32 / 2, y + 7)).map_err(failed)?;
    }
    let label = axis.label();
    let (width, _) = area.estimate_text_size(&label, &style).map_err(failed)?;
    area.draw_text(&label, &style, ((x0 + x1 - width as i32) / 2, y + 24)).map_err(failed)
}

pub(crate) fn vertical_axis<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    axis: &Axis,
    edges: (f64, f64),
    (y0, y1): (i32, i32),
    x: i32,
) -> Result<()> {
    if axis.name.is_empty() {
        return Ok(());
    }
    let style = (FONT, 12).into_font().color(&INK);
    for tick in ticks(edges, ((y1 - y0) / 45).max(2) as usize) {
        let y = y0 + ((tick - edges.0) / (edges.1 - edges.0) * f64::from(y1 - y0)) as i32;
        area.draw(&PathElement::new(vec![(x - 5, y), (x - 1, y)], INK)).map_err(failed)?;
        let text = axis.tick(tick);
        let (width, height) = area.estimate_text_size(&text, &style).map_err(failed)?;
        area.draw_text(&text, &style, (x - 8 - width as i32, y - height as i32 / 2)).map_err(failed)?;
    }
    let label = axis.label();
    let (width, _) = area.estimate_text_size(&label, &style).map_err(failed)?;
    let upwards = (FONT, 12).into_font().transform(FontTransform::Rotate270).color(&INK);
    area.draw_text(&label, &upwards, (x - LEFT_AXIS as i32 + 6, (y0 + y1 + width as i32) / 2)).map_err(failed)
}

fn color_bar<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    bar: ColorBar,
    x: i32,
    (y0, y1): (i32, i32),
) -> Result<()> {
    let width = BAR_WIDTH as i32;
    // As many steps as the eye tells apart, so that an SVG stays small.
    let steps = (y1 - y0).min(128);
    for step in 0..steps {
        let (from, to) = (y0 + (y1 - y0) * step / steps, y0 + (y1 - y0) * (step + 1) / steps);
        let [r, g, b] = bar.colormap.color(1.0 - (step as f32 + 0.5) / steps as f32);
        area.draw(&Rectangle::new([(x, from), (x + width, to)], RGBColor(r, g, b).filled())).map_err(failed)?;
    }
    area.draw(&Rectangle::new([(x - 1, y0 - 1), (x + width, y1)], INK.stroke_width(1))).map_err(failed)?;
    let (low, high) = (f64::from(bar.limits.low), f64::from(bar.limits.high));
    let style = (FONT, 12).into_font().color(&INK);
    for tick in ticks((low, high), ((y1 - y0) / 45).max(2) as usize) {
        let y = y1 - ((tick - low) / (high - low) * f64::from(y1 - y0)) as i32;
        area.draw(&PathElement::new(vec![(x + width, y), (x + width + 4, y)], INK)).map_err(failed)?;
        let text = number(tick);
        let (_, height) = area.estimate_text_size(&text, &style).map_err(failed)?;
        area.draw_text(&text, &style, (x + width + 7, y - height as i32 / 2)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((49.0, 399.0), 4), [100.0, 200.0, 300.0]);
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((3.0, 3.0), 5), [0.0; 0]);
    }
}
