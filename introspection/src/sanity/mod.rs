//! Sanity checks for attributions (Adebayo et al. 2018): whether maps change when what the network has learned is taken
//! away layer by layer. `units` says what is taken away together, `randomize` makes the curve.

mod randomize;
mod units;

pub use randomize::{Mode, Randomization, Step};
pub use units::{Grouping, Unit, units, units_named};
