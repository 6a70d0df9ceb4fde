//! What turns a file's bytes into the numbers that a network takes; every parameter stands in the model's description,
//! since a model is only as good as the match.

pub mod audio;
pub mod image;
mod resize;
