//! From gradients to better parameters.

mod adam_w;
mod schedule;

pub use adam_w::{AdamW, Memory};
pub use schedule::Schedule;
