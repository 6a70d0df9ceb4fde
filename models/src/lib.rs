//! Networks as graphs: operators and their kernels, loaders, the zoo, and the front ends that turn a file's bytes into
//! an input. No file is read here and no clock: loaders take bytes.
//!
//! Read `graph`, then `trace`, then any operator.

pub mod corpora;
pub mod description;
pub mod device;
pub mod element;
pub mod error;
pub mod front_ends;
pub mod graph;
mod kernels;
pub mod loaders;
pub mod memory;
pub mod operators;
pub mod passes;
pub mod pause;
pub mod receptive_field;
pub mod reinitialize;
pub mod speech;
pub mod trace;
pub mod value;
pub mod windows;
pub mod zoo;

pub use error::{Interrupt, Interrupted, ModelError, PartOf, Result, Uninterrupted};
pub use graph::{Dim, Graph, GraphBuilder, Node, NodeIdx, Outlet};
pub use receptive_field::ReceptiveField;
pub use trace::Trace;
pub use value::{Layout, Value};
pub use windows::Windows;
