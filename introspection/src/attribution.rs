//! What every attribution is asked with, and the walks that they are made of.

use models::{Graph, Interrupt, NodeIdx, Outlet, Trace, Value};

use crate::backward_walk::{Arrived, Composite, Observer, Start, Walk};
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

/// Numbers that a walk holds at once of one value: more pairs together would only push each other out of the caches.
const NUMBERS_TOGETHER: usize = 4 << 20;

/// Is shown what arrives at a node's first output for the targets from one on.
pub(crate) type PairsObserver<'a> = dyn Fn(usize, NodeIdx, &Arrived) + 'a;

impl Question<'_> {
    /// What the walk under a composite brings to where the map is read, for every target.
    pub fn walk(&self, composite: &dyn Composite) -> Result<Arrived> {
        self.walk_until(composite, self.at)
    }

    /// The same, read elsewhere.
    pub(crate) fn walk_until(&self, composite: &dyn Composite, until: Outlet) -> Result<Arrived> {
        Ok(self.walk_observed(composite, &[until], None)?.swap_remove(0))
    }

    /// What one walk brings to several layers, in their order.
    pub(crate) fn walk_to(&self, composite: &dyn Composite, until: &[Outlet]) -> Result<Vec<Arrived>> {
        self.walk_observed(composite, until, None)
    }

    /// The same, with what arrives at each node shown on the way, together with the first target that it is of.
    pub(crate) fn walk_observed(
        &self,
        composite: &dyn Composite,
        until: &[Outlet],
        observer: Option<&PairsObserver<'_>>,
    ) -> Result<Vec<Arrived>> {
        let starts = self.starts()?;
        let rows = self.rows();
        let together = self.pairs_together(&starts);
        let mut parts: Vec<Vec<Arrived>> = vec![Vec::new(); until.len()];
        for first in (0..rows.len()).step_by(together) {
            let pairs = first..rows.len().min(first + together);
            let starts = starts.iter().map(|start| start.of_pairs(pairs.clone())).collect::<Result<Vec<_>>>()?;
            let (graph, trace, rows) = (self.graph, self.trace, &rows[pairs]);
            let of_walk = observer.map(|observer| move |idx, arrived: &Arrived| observer(first, idx, arrived));
            let observer = of_walk.as_ref().map(|observer| observer as &Observer<'_>);
            let walk = Walk { graph, trace, rows, composite, interrupt: self.interrupt, observer };
            let arrived = walk.run(&starts, until)?;
            parts.iter_mut().zip(arrived).for_each(|(parts, arrived)| parts.push(arrived));
        }
        let stacked = |(parts, outlet): (Vec<Arrived>, &Outlet)| Arrived::stack(parts, self.trace.shape(*outlet));
        parts.into_iter().zip(until).map(stacked).collect()
    }

    /// All of what a walk brought to where the map is read.
    ///
    /// # Shapes
    /// - returns `[target, …]`, the shape of where the map is read behind the targets
    pub fn whole(&self, arrived: Arrived) -> Result<Value> {
        arrived.into_whole(self.trace.shape(self.at))
    }

    /// Numbers that a walk for all targets holds at once.
    pub fn walk_numbers(&self) -> usize {
        let largest_row = self.trace.largest() / self.trace.batch().max(1);
        largest_row * self.targets.len().min((NUMBERS_TOGETHER / largest_row.max(1)).max(1))
    }

    /// How many pairs walk together: all that hold no more than is worth it.
    fn pairs_together(&self, starts: &[Start]) -> usize {
        // Windows grow on their way down, but stay far below the whole.
        const WINDOWS_TOGETHER: usize = 64;
        if starts.iter().all(|start| start.gradient.windows.is_some()) {
            return WINDOWS_TOGETHER;
        }
        let largest_row = self.trace.largest() / self.trace.batch().max(1);
        (NUMBERS_TOGETHER / largest_row.max(1)).max(1)
    }

    /// The row of the trace that each target is about.
    pub(crate) fn rows(&self) -> Vec<usize> {
        self.targets.iter().map(|target| target.row).collect()
    }

    /// The values where the map is read, a row for each target.
    pub(crate) fn values_at(&self, outlet: Outlet) -> Result<Value> {
        Ok(self.trace.value(outlet)?.select_rows(&self.rows())?)
    }

    /// One start an outlet, with the gradient of each target's score in its own pair.
    fn starts(&self) -> Result<Vec<Start>> {
        let mut outlets: Vec<Outlet> = self.targets.iter().map(|target| target.outlet).collect();
        outlets.sort_unstable();
        outlets.dedup();
        outlets.into_iter().map(|outlet| self.start_at(outlet)).collect()
    }

    fn start_at(&self, outlet: Outlet) -> Result<Start> {
        let of_target =
            |target: &'_ ResolvedTarget| if target.outlet == outlet { target.gradient.clone() } else { Vec::new() };
        let places: Vec<Vec<(usize, f64)>> = self.targets.iter().map(of_target).collect();
        Start::of_places(self.trace, outlet, &places.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}
