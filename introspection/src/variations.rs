//! The same question of many variations of one input, evaluated in batches.

use models::{Outlet, Trace, Value};

use crate::attribution::Question;
use crate::backward_walk::Composite;
use crate::error::{IntrospectionError, Result};
use crate::target::ResolvedTarget;

/// Numbers of all layers that one batch holds at most, but for a single variation that holds more.
const NUMBERS_TOGETHER: usize = 16 << 20;

/// Variations in a batch at most.
const ROWS_TOGETHER: usize = 32;

impl Question<'_> {
    /// The network's input that is varied: the only one, where the map must be read, since a layer's value cannot be
    /// varied by itself.
    pub(crate) fn varied_input(&self, method: &str) -> Result<Outlet> {
        let input = match self.graph.inputs() {
            [node] => Outlet { node: *node, port: 0 },
            inputs => {
                let message = format!("{method} varies one input, but this network has {}", inputs.len());
                return Err(IntrospectionError::Unfit(message));
            }
        };
        if input != self.at {
            let message = format!("{method} varies the input and is read there; leave `at` out");
            return Err(IntrospectionError::Unfit(message));
        }
        Ok(input)
    }

    /// Evaluates variations, and gives each batch's trace and the variations that are its rows.
    ///
    /// # Shapes
    /// - `variation(nth)`: one row, shaped as the network's input
    pub(crate) fn each_batch(
        &self,
        n_variations: usize,
        variation: &dyn Fn(usize) -> Result<Value>,
        then: &mut dyn FnMut(std::ops::Range<usize>, &Trace) -> Result<()>,
    ) -> Result<()> {
        let per_row = self.trace.bytes() / size_of::<f32>() / self.trace.batch().max(1);
        let together = (NUMBERS_TOGETHER / per_row.max(1)).clamp(1, ROWS_TOGETHER);
        for first in (0..n_variations).step_by(together) {
            let rows = first..n_variations.min(first + together);
            let values = rows.clone().map(variation).collect::<Result<Vec<_>>>()?;
            let trace = Trace::record(self.graph, &[Value::stack_rows(&values)?], self.interrupt)?;
            then(rows, &trace)?;
        }
        Ok(())
    }

    /// The targets on every row of a trace of variations, those of a row together.
    pub(crate) fn targets_on(&self, trace: &Trace) -> Result<Vec<ResolvedTarget>> {
        let rows = 0..trace.batch();
        let on_row = |row: usize| self.targets.iter().map(move |target| target.on(self.graph, trace, row));
        rows.flat_map(on_row).collect()
    }

    /// What a walk brings to the input on every row of a trace of variations.
    ///
    /// # Shapes
    /// - returns `[row, target, …]`, row-major in logical order
    pub(crate) fn walk_on(&self, trace: &Trace, composite: &dyn Composite) -> Result<Vec<f64>> {
        let targets = self.targets_on(trace)?;
        let question = Question { trace, targets: &targets, ..*self };
        Ok(question.whole(question.walk(composite)?)?.to_f64_vec()?)
    }

    /// The targets' scores on every row of a trace of variations: `[row, target]`.
    pub(crate) fn scores_on(&self, trace: &Trace) -> Result<Vec<f64>> {
        Ok(self.targets_on(trace)?.iter().map(|target| target.score).collect())
    }

    /// The row of the trace that all targets are about.
    pub(crate) fn only_row(&self, method: &str) -> Result<usize> {
        let mut rows = self.rows();
        rows.dedup();
        match rows[..] {
            [row] => Ok(row),
            _ => Err(IntrospectionError::Unfit(format!("{method} explains one input at a time"))),
        }
    }

    /// A map of each target, shaped as the input.
    pub(crate) fn maps_of(&self, numbers: Vec<f64>, input: Outlet) -> Result<Value> {
        let mut shape = self.trace.shape(input).to_vec();
        shape[0] = self.targets.len();
        let dtype = self.trace.value(input)?.dtype();
        Ok(Value::from_vec(numbers, &shape, models::Layout::Logical)?.to_dtype(dtype)?)
    }
}
