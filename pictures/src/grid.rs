//! Channels of a layer beside each other, with one range of colours for all.

use crate::colormap::Limits;
use crate::figure::{self, ColorBar, Panel};
use crate::heat_map::{Map, is_signed};
use crate::{Options, Picture, PictureError, Result};

/// The most maps that one picture holds.
const MOST: usize = 256;

/// Maps in rows, each under its name; what is beyond 256 is left out, which the title should say.
pub fn grid(maps: &[Map<'_>], names: &[String], options: &Options) -> Result<Picture> {
    grid_of_groups(maps, names, 1, options)
}

/// The same, where so many that follow each other stay in one row.
pub fn grid_of_groups(maps: &[Map<'_>], names: &[String], group: usize, options: &Options) -> Result<Picture> {
    maps.iter().try_for_each(Map::check)?;
    let first = maps.first().ok_or(PictureError::Empty)?;
    let maps = &maps[..maps.len().min(MOST)];
    let all: Vec<f32> = maps.iter().flat_map(|map| map.values.iter().copied()).collect();
    let colormap =
        options.colormap.unwrap_or(if is_signed(&all) { crate::Colormap::Diverging } else { crate::Colormap::Viridis });
    let limits = Limits::of(&all, colormap);
    let ratio = first.rows as f64 / first.columns.max(1) as f64;
    let columns =
        ((maps.len() as f64 * ratio * 1.5).sqrt().ceil() as usize).clamp(1, 16).next_multiple_of(group.max(1));
    let panel = |(nth, map): (usize, &Map<'_>)| Panel {
        image: map.colored(colormap, limits),
        title: names.get(nth).map_or("", String::as_str),
        row_axis: None,
        column_axis: None,
        places: (map.rows, map.columns),
        color_bar: None,
        is_map: true,
        letters: &[],
    };
    let panels: Vec<Panel<'_>> = maps.iter().enumerate().map(panel).collect();
    figure::draw_with_bar(panels, columns, Some(ColorBar { colormap, limits }), options, 960)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Axis;

    #[test]
    fn every_map_has_its_place() {
        let values: Vec<Vec<f32>> = (0..5).map(|nth| vec![nth as f32; 6]).collect();
        let map = |values| Map {
            values,
            rows: 2,
            columns: 3,
            row_axis: Axis::counted("row"),
            column_axis: Axis::counted("column"),
        };
        let maps: Vec<Map<'_>> = values.iter().map(|values| map(values)).collect();
        let names: Vec<String> = (0..5).map(|nth| nth.to_string()).collect();
        let picture = grid(&maps, &names, &Options::default()).unwrap();
        let pixels = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
        for nth in 0..5 {
            let color = crate::Colormap::Viridis.color(nth as f32 / 4.0);
            assert!(pixels.pixels().filter(|pixel| pixel.0 == color).count() > 1000, "{nth}");
        }
    }
}
