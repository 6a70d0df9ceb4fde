//! Pictures of arrays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file format of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// Pixels.
    #[default]
    Png,
    /// Lines and text that scale.
    Svg,
}

/// Which picture is wanted; `{}` is a good one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PictureRequest {
    /// `png` or `svg`.
    #[serde(default)]
    pub format: PictureFormat,
    /// A colour map by name; the default depends on what is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colormap: Option<String>,
    /// Draw over the input that the network saw (default: where that is a photo).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<bool>,
    /// The title (default: the method, class and probability).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Picture {
    /// Its format.
    pub format: PictureFormat,
    /// Base64 for PNG, the text itself for SVG.
    pub data: String,
}
