//! Rewritings of a graph that change no output.

mod merge_batch_norm;

pub use merge_batch_norm::{merge_batch_norms, with_batch_norm};
