//! Pictures in the terminal: by its own protocol (kitty, iTerm2, sixel) where it has one, else as half blocks.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::{Picture, PictureFormat};

use super::terminal::{Protocol, protocol};

/// How many columns of the terminal a picture takes at most.
const WIDEST: u32 = 64;

/// Prints a picture where the cursor is; an error says why it could not be.
pub(crate) fn show(picture: &Picture) -> Result<(), String> {
    if picture.format == PictureFormat::Svg {
        return Err("an SVG picture cannot be shown in a terminal; write it to a file with `> FILE.svg`".to_owned());
    }
    let bytes = BASE64.decode(&picture.data).map_err(|error| format!("the picture is no base64: {error}"))?;
    let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
        .map_err(|error| format!("the picture is no PNG: {error}"))?;
    let width = width(viuer::terminal_size(), (image.width(), image.height()));
    let protocol = protocol();
    // Only what is known to be there is allowed, since viuer would wait without end for a terminal that does not answer.
    let config = viuer::Config {
        absolute_offset: false,
        width: Some(width),
        use_kitty: protocol == Protocol::Kitty,
        use_iterm: protocol == Protocol::Iterm,
        use_sixel: protocol == Protocol::Sixel,
        ..viuer::Config::default()
    };
    viuer::print(&image, &config).map_err(|error| format!("the picture could not be shown: {error}"))?;
    io::Write::flush(&mut io::stdout()).map_err(|error| error.to_string())
}

/// How many columns a picture takes in a terminal of so many columns and rows: all of it is to be seen.
fn width((columns, rows): (u16, u16), (across, down): (u32, u32)) -> u32 {
    // A terminal that does not say how large it is says 0.
    let columns = if columns == 0 { WIDEST } else { u32::from(columns) };
    let rows = if rows == 0 { WIDEST } else { u32::from(rows) };
    // A character is twice as high as it is wide, and the text below the picture takes some rows.
    let as_high = u64::from(rows.saturating_sub(5).max(4)) * 2 * u64::from(across) / u64::from(down.max(1));
    columns.min(WIDEST).min(u32::try_from(as_high).unwrap_or(WIDEST)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_picture_is_seen() {
        assert_eq!(width((200, 100), (300, 300)), 64);
        assert_eq!(width((40, 100), (300, 300)), 40);
        assert_eq!(width((80, 25), (300, 300)), 40);
        assert_eq!(width((80, 25), (600, 300)), 64);
        assert_eq!(width((80, 2), (300, 300)), 8);
        assert_eq!(width((0, 0), (300, 300)), 64);
        assert_eq!(width((80, 25), (1, 1000)), 1);
    }
}
