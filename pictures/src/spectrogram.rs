//! A spectrogram, what was said above it, and a map of the same time below.

use crate::colormap::{Colormap, Limits};
use crate::figure::{self, ColorBar, Letter, Panel};
use crate::heat_map::Map;
use crate::{Axis, Options, Picture, Result};

const WIDTH: u32 = 960;

/// What a network heard, with the letters of a transcript above their places.
pub fn heard(spectrogram: &Map<'_>, letters: &[Letter], options: &Options) -> Result<Picture> {
    spectrogram.check()?;
    figure::draw(vec![panel_of(spectrogram, letters, options.colormap)], 1, options, WIDTH)
}

/// The same with a map below it, whose columns are the spectrogram's; one of a single row shows as a strip.
pub fn over_time(map: &Map<'_>, spectrogram: &Map<'_>, letters: &[Letter], options: &Options) -> Result<Picture> {
    spectrogram.check()?;
    map.check()?;
    let colormap = map.colormap(options.colormap);
    let limits = Limits::of(map.values, colormap);
    // A strip has no rows to name, but begins where the spectrogram does.
    let unnamed = Axis::counted("");
    let below = Panel {
        image: map.colored(colormap, limits),
        title: "",
        row_axis: Some(if map.rows > 1 { &map.row_axis } else { &unnamed }),
        column_axis: Some(&map.column_axis),
        places: (map.rows, map.columns),
        color_bar: Some(ColorBar { colormap, limits }),
        is_map: true,
        letters: &[],
    };
    figure::draw(vec![panel_of(spectrogram, letters, Some(Colormap::Inferno)), below], 1, options, WIDTH)
}

fn panel_of<'a>(spectrogram: &'a Map<'_>, letters: &'a [Letter], colormap: Option<Colormap>) -> Panel<'a> {
    let colormap = colormap.unwrap_or(Colormap::Inferno);
    let limits = Limits::of(spectrogram.values, colormap);
    Panel {
        image: spectrogram.colored(colormap, limits),
        title: if letters.is_empty() { "what the network heard" } else { "" },
        row_axis: Some(&spectrogram.row_axis),
        column_axis: Some(&spectrogram.column_axis),
        places: (spectrogram.rows, spectrogram.columns),
        color_bar: Some(ColorBar { colormap, limits }),
        is_map: true,
        letters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_tones_are_below_high_ones() {
        let map = |values| Map {
            values,
            rows: 2,
            columns: 2,
            row_axis: Axis { values: Some(vec![100.0, 200.0]), ..Axis::counted("frequency") },
            column_axis: Axis::counted("time"),
        };
        let colored = map(&[0.0, 0.0, 1.0, 1.0]).colored(Colormap::Gray, Limits { low: 0.0, high: 1.0 });
        assert_ne!(colored.get_pixel(0, 0), colored.get_pixel(0, 1));
        assert_eq!(colored.get_pixel(0, 0).0, Colormap::Gray.color(1.0));
    }

    #[test]
    fn letters_stand_above_or_words_where_there_is_no_room() {
        let values = [0.0; 40];
        let map = Map {
            values: &values,
            rows: 2,
            columns: 20,
            row_axis: Axis::counted("frequency"),
            column_axis: Axis { step: 0.1, ..Axis::counted("time") },
        };
        let letter = |(nth, text): (usize, &str), step: f64| Letter { place: nth as f64 * step, text: text.to_owned() };
        let options = Options { format: crate::Format::Svg, ..Options::default() };
        let drawn = |step: f64| {
            let letters: Vec<Letter> =
                ["h", "i", " ", "y", "o", "u"].into_iter().enumerate().map(|of| letter(of, step)).collect();
            String::from_utf8(over_time(&map, &map, &letters, &options).unwrap().bytes).unwrap()
        };
        let has = |text: &str, word: &str| text.lines().any(|line| line.trim() == word);
        assert!(has(&drawn(0.2), "h") && !has(&drawn(0.2), "you"));
        assert!(has(&drawn(0.01), "hi") && !has(&drawn(0.01), "h"));
    }
}
