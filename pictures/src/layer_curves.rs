//! Numbers over the layers of a network, with their spread.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;

use crate::axis::Axis;
use crate::figure::{self, FONT, INK, LEFT_AXIS, MARGIN, TITLE_HEIGHT, failed, fitted, frame, ticks, vertical_axis};
use crate::{Options, Picture, PictureError, Result};

/// One curve with a band around it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCurve {
    /// What it is.
    pub name: String,
    /// A number for each layer.
    pub means: Vec<f64>,
    /// How far the band goes to either side.
    pub spreads: Vec<f64>,
}

/// What is drawn.
pub(crate) struct LayerPlot<'a> {
    curves: &'a [LayerCurve],
    layers: &'a [String],
    value_name: &'a str,
    /// Room for the names of layers, which stand upright.
    names_height: u32,
}

/// The longest that names of layers get.
const LONGEST_NAME: u32 = 150;

/// The least room from one name to the next.
const NAME_WIDTH: i32 = 13;

const LEGEND_ROW: i32 = 17;

/// Curves over layers in the order given.
pub fn layer_curves(curves: &[LayerCurve], layers: &[String], value_name: &str, options: &Options) -> Result<Picture> {
    let fits = |curve: &LayerCurve| curve.means.len() == layers.len() && curve.spreads.len() == layers.len();
    if layers.is_empty() || curves.is_empty() || !curves.iter().all(fits) {
        return Err(PictureError::Empty);
    }
    let numbers = || curves.iter().flat_map(|curve| curve.means.iter().chain(&curve.spreads));
    if let Some(index) = numbers().position(|number| !number.is_finite()) {
        return Err(PictureError::NotFinite { index, number: f32::NAN });
    }
    let width = options.checked_width(900)?;
    let longest = layers.iter().map(|name| name.chars().count() as u32 * 7).max().unwrap_or(0);
    let names_height = longest.min(LONGEST_NAME) + 16;
    let plot = LayerPlot { curves, layers, value_name, names_height };
    let height = TITLE_HEIGHT + (width * 2 / 5).max(200) + names_height;
    figure::draw_layer_plot(&plot, (width, height), options)
}

/// Draws below a title.
pub(crate) fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, plot: &LayerPlot<'_>) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let (x0, x1) = ((LEFT_AXIS + MARGIN) as i32, (width - 2 * MARGIN) as i32);
    let (y0, y1) = (TITLE_HEIGHT as i32 + 8, (height - plot.names_height) as i32);
    let (low, high) = limits(plot.curves);
    let x = |place: usize| x0 + ((place as f64 + 0.5) / plot.layers.len() as f64 * f64::from(x1 - x0)) as i32;
    let y = |value: f64| y1 - ((value - low) / (high - low) * f64::from(y1 - y0)) as i32;
    frame(area, (x0, y0), (x1, y1))?;
    for tick in ticks((low, high), ((y1 - y0) / 45).max(2) as usize) {
        let faint = RGBColor(225, 225, 225);
        area.draw(&PathElement::new(vec![(x0, y(tick)), (x1 - 1, y(tick))], faint)).map_err(failed)?;
    }
    let axis = Axis { name: plot.value_name.to_owned(), ..Axis::counted("") };
    vertical_axis(area, &axis, (high, low), (y0, y1), x0)?;
    names(area, plot, &x, y1)?;
    for (nth, curve) in plot.curves.iter().enumerate() {
        let color = Palette99::pick(nth);
        let edge = |side: f64| {
            move |place: usize| (x(place), y((curve.means[place] + side * curve.spreads[place]).clamp(low, high)))
        };
        let places = 0..plot.layers.len();
        let band: Vec<(i32, i32)> = places.clone().map(edge(1.0)).chain(places.clone().rev().map(edge(-1.0))).collect();
        if curve.spreads.iter().any(|spread| *spread > 0.0) && plot.layers.len() > 1 {
            area.draw(&Polygon::new(band, color.mix(0.15))).map_err(failed)?;
        }
        let line: Vec<(i32, i32)> = places.map(edge(0.0)).collect();
        area.draw(&PathElement::new(line.clone(), color.stroke_width(2))).map_err(failed)?;
        for point in line {
            area.draw(&Circle::new(point, 3, color.filled())).map_err(failed)?;
        }
    }
    legend(area, plot.curves, (x1, y0))
}

/// From 0, or below where a curve goes there, to 1 or above.
fn limits(curves: &[LayerCurve]) -> (f64, f64) {
    let edges = |side: f64| {
        curves.iter().flat_map(move |curve| {
            curve.means.iter().zip(&curve.spreads).map(move |(mean, spread)| mean + side * spread)
        })
    };
    let low = edges(-1.0).fold(0.0f64, f64::min);
    let high = edges(1.0).fold(1.0f64, f64::max);
    let room = (high - low) * 0.03;
    (low - room, high + room)
}

/// Names below the axis, from bottom to top; where there are too many, every second or third.
fn names<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    plot: &LayerPlot<'_>,
    x: &impl Fn(usize) -> i32,
    y: i32,
) -> Result<()> {
    let per_name = if plot.layers.len() > 1 { (x(1) - x(0)).max(1) } else { NAME_WIDTH };
    let every = (NAME_WIDTH as usize).div_ceil(per_name as usize);
    let upwards = (FONT, 12).into_font().transform(FontTransform::Rotate270).color(&INK);
    for (place, name) in plot.layers.iter().enumerate().filter(|(place, _)| place % every == 0) {
        area.draw(&PathElement::new(vec![(x(place), y), (x(place), y + 4)], INK)).map_err(failed)?;
        let (text, _) = fitted(area, name, 12, LONGEST_NAME)?;
        let (length, height) = area.estimate_text_size(&text, &(FONT, 12).into_font().into()).map_err(failed)?;
        area.draw_text(&text, &upwards, (x(place) - height as i32 / 2, y + 8 + length as i32)).map_err(failed)?;
    }
    Ok(())
}

/// The curves' names, in the upper right corner.
fn legend<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, curves: &[LayerCurve], corner: (i32, i32)) -> Result<()> {
    let style = (FONT, 13).into_font();
    let mut widest = 0;
    for curve in curves {
        let (width, _) = area.estimate_text_size(&curve.name, &style.clone().into()).map_err(failed)?;
        widest = widest.max(width as i32);
    }
    let left = corner.0 - widest - 44;
    let bottom = corner.1 + 8 + LEGEND_ROW * curves.len() as i32;
    let box_of = [(left, corner.1 + 4), (corner.0 - 6, bottom)];
    area.draw(&Rectangle::new(box_of, WHITE.mix(0.85).filled())).map_err(failed)?;
    for (nth, curve) in curves.iter().enumerate() {
        let (color, top) = (Palette99::pick(nth), corner.1 + 8 + LEGEND_ROW * nth as i32);
        let line = vec![(left + 4, top + 7), (left + 26, top + 7)];
        area.draw(&PathElement::new(line, color.stroke_width(2))).map_err(failed)?;
        area.draw_text(&curve.name, &style.clone().color(&INK), (left + 32, top)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn curve(means: &[f64], spread: f64) -> LayerCurve {
        LayerCurve { name: "SSIM".to_owned(), means: means.to_vec(), spreads: vec![spread; means.len()] }
    }

    #[test]
    fn curves_are_drawn_in_both_formats_however_many_layers() {
        for n in [1, 3, 200] {
            let layers: Vec<String> = (0..n).map(|nth| format!("blocks.{nth}.a_name_that_is_far_too_long")).collect();
            let means: Vec<f64> = (0..n).map(|nth| 1.0 - 1.5 * nth as f64 / n as f64).collect();
            for format in [Format::Png, Format::Svg] {
                let options = Options { format, title: "a title".to_owned(), ..Options::default() };
                let picture = layer_curves(&[curve(&means, 0.1)], &layers, "similarity", &options).unwrap();
                assert!(picture.bytes.len() > 1000);
            }
        }
    }

    #[test]
    fn what_does_not_fit_or_is_no_number_is_refused() {
        let layers = ["a".to_owned(), "b".to_owned()];
        let refused = |curve| layer_curves(&[curve], &layers, "similarity", &Options::default()).unwrap_err();
        assert!(matches!(refused(curve(&[1.0], 0.0)), PictureError::Empty));
        assert!(matches!(refused(curve(&[1.0, f64::NAN], 0.0)), PictureError::NotFinite { .. }));
    }
}
