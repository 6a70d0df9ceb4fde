//! Probabilities of classes.

use crate::{Options, Picture, PictureError, Result, figure};

/// A bar for each label; `shares` are from 0 to 1.
pub fn bar_chart(labels: &[String], shares: &[f64], options: &Options) -> Result<Picture> {
    if labels.is_empty() || labels.len() != shares.len() {
        return Err(PictureError::Empty);
    }
    if let Some(index) = shares.iter().position(|share| !share.is_finite()) {
        return Err(PictureError::NotFinite { index, number: shares[index] as f32 });
    }
    let bars: Vec<(String, f64)> = labels.iter().cloned().zip(shares.iter().copied()).collect();
    figure::draw_bars(&bars, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_room_and_long_names_are_cut() {
        let labels = [
            "espresso".to_owned(),
            "a name that is far too long for the room that labels have beside their bars".to_owned(),
        ];
        let picture = bar_chart(&labels, &[0.95, 0.01], &Options::default()).unwrap();
        let pixels = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
        let blue = pixels.pixels().filter(|pixel| pixel.0 == [33, 113, 181]).count();
        assert!(blue > 20 * 250, "{blue}");
    }

    #[test]
    fn nothing_is_no_chart() {
        assert!(bar_chart(&[], &[], &Options::default()).is_err());
    }
}
