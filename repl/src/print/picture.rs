//! Pictures in the terminal: by its own protocol (kitty, iTerm2, sixel) where it has one, else as half blocks.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::{Picture, PictureFormat};

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
    let columns = viuer::terminal_size().0;
    let width = u32::from(columns).clamp(1, WIDEST);
    let config = viuer::Config { absolute_offset: false, width: Some(width), ..viuer::Config::default() };
    viuer::print(&image, &config).map_err(|error| format!("the picture could not be shown: {error}"))?;
    io::Write::flush(&mut io::stdout()).map_err(|error| error.to_string())
}

/// How the terminal shows pictures, in words.
pub(crate) fn terminal_protocol() -> &'static str {
    if viuer::get_kitty_support() != viuer::KittySupport::None {
        "kitty"
    } else if viuer::is_iterm_supported() {
        "iTerm2"
    } else if viuer::is_sixel_supported() {
        "sixel"
    } else {
        "half blocks"
    }
}
