//! What every attribution is asked with, and the walks that they are made of.

use models::{Graph, Interrupt, Outlet, Trace, Value};

use crate::backward_walk::{Composite, Start, Walk};
use crate::error::Result;
use crate::target::ResolvedTarget;

/// Which targets are explained, and where the map is read.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// What it computed of the inputs.
    pub trace: &'a Trace,
    /// What is explained, each of its own row of the trace; one walk answers all.
    pub targets: &'a [ResolvedTarget],
    /// Where the map is read: the input, or any layer below the targets.
    pub at: Outlet,
    /// Asked between layers.
    pub interrupt: &'a dyn Interrupt,
}

impl std::fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("targets", &self.targets).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Question<'_> {
    /// What the walk under a composite brings to where the map is read.
    ///
    /// # Shapes
    /// - returns `[target, …]`, the shape of `at` behind the targets
    pub fn walk(&self, composite: &dyn Composite) -> Result<Value> {
        self.walk_until(composite, self.at)
    }

    /// The same, read elsewhere.
    pub(crate) fn walk_until(&self, composite: &dyn Composite, until: Outlet) -> Result<Value> {
        let rows = self.rows();
        let walk = Walk { graph: self.graph, trace: self.trace, rows: &rows, composite, interrupt: self.interrupt };
        Ok(walk.run(&self.starts()?, &[until])?.remove(0))
    }

    /// The row of the trace that each target is about.
    pub(crate) fn rows(&self) -> Vec<usize> {
        self.targets.iter().map(|target| target.row).collect()
    }

    /// The values where the map is read, a row for each target.
    pub(crate) fn values_at(&self, outlet: Outlet) -> Result<Value> {
        Ok(self.trace.value(outlet).select_rows(&self.rows())?)
    }

    /// One start an outlet, with the gradient of each target's score in its own pair.
    fn starts(&self) -> Result<Vec<Start>> {
        let mut outlets: Vec<Outlet> = self.targets.iter().map(|target| target.outlet).collect();
        outlets.sort_unstable();
        outlets.dedup();
        outlets.into_iter().map(|outlet| self.start_at(outlet)).collect()
    }

    fn start_at(&self, outlet: Outlet) -> Result<Start> {
        let value = self.trace.value(outlet);
        let mut shape = value.shape().to_vec();
        shape[0] = self.targets.len();
        let per_pair: usize = shape[1..].iter().product();
        let mut numbers = vec![0.0f64; shape.iter().product()];
        for (pair, target) in self.targets.iter().enumerate().filter(|(_, target)| target.outlet == outlet) {
            for &(index, weight) in &target.gradient {
                numbers[pair * per_pair + index] += weight;
            }
        }
        let gradient = Value::from_vec(numbers, &shape, models::Layout::Logical)?.to_dtype(value.dtype())?;
        Ok(Start { outlet, gradient })
    }
}
