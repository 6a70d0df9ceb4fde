//! Training over the graphs of `models`: a forward pass in training form, a walk back that gathers the gradient to every
//! parameter, a step of the optimiser, and what goes around it (losses, checkpoints, progress, corpora).
//!
//! Read `trainer.rs` first, then `network.rs`; each thing that can be trained is a folder or file of its own
//! (`digits.rs`, `prior.rs`, `speech/`, `phonemes.rs`).

pub mod backward;
pub mod checkpoint;
pub mod digits;
pub mod error;
pub mod folder;
pub mod losses;
pub mod network;
pub mod optimiser;
pub mod phonemes;
pub mod prior;
pub mod progress;
pub mod random;
pub mod speech;
pub mod trainer;
pub mod weights_file;

pub use error::{Result, TrainingError};
pub use network::Network;
pub use trainer::Trainer;
