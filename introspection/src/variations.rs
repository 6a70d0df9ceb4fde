//! The same question of many variations of one input, evaluated in batches.

use models::{Dim, NodeIdx, Outlet, Trace, Value};

use crate::attribution::Question;
use crate::backward_walk::Composite;
use crate::cone::cone;
use crate::error::{IntrospectionError, Result};
use crate::target::ResolvedTarget;

/// Numbers of all layers that one batch holds at most, but for a single variation that holds more.
const NUMBERS_TOGETHER: usize = 16 << 20;

/// Variations in a batch at most.
const ROWS_TOGETHER: usize = 32;

/// One target of a sequence with the part of the input that alone it depends on, as a question of its own.
pub(crate) struct OwnPart {
    trace: Trace,
    target: [ResolvedTarget; 1],
    /// Steps of the input before the part, and those in it.
    steps: std::ops::Range<usize>,
}

impl OwnPart {
    /// The question about the part.
    pub(crate) fn question<'a>(&'a self, of: &Question<'a>) -> Question<'a> {
        Question { trace: &self.trace, targets: &self.target, ..*of }
    }

    /// The same part of another value of the input's shape.
    pub(crate) fn of(&self, value: &Value) -> Result<Value> {
        part_of(value, &self.steps)
    }

    /// A map of the part as one of the whole, zero elsewhere.
    pub(crate) fn spread(&self, part: &[f64], n_steps: usize) -> Vec<f64> {
        let mut whole = vec![0.0; part.len() / self.steps.len() * n_steps];
        for (line, part) in whole.chunks_exact_mut(n_steps).zip(part.chunks_exact(self.steps.len())) {
            line[self.steps.clone()].copy_from_slice(part);
        }
        whole
    }
}

/// Some steps of the last axis.
fn part_of(value: &Value, steps: &std::ops::Range<usize>) -> Result<Value> {
    let mut shape = value.shape().to_vec();
    let length = shape.last().copied().unwrap_or(1);
    let numbers: Vec<f64> =
        value.to_f64_vec()?.chunks_exact(length).flat_map(|line| line[steps.clone()].iter().copied()).collect();
    if let Some(last) = shape.last_mut() {
        *last = steps.len();
    }
    Ok(Value::from_vec(numbers, &shape, models::Layout::Logical)?.to_dtype(value.dtype())?)
}

impl Question<'_> {
    /// Each target with its own part of the input, where all have one and it is worth it: a frame of a network that is
    /// convolutional along time depends on nothing outside its cone, so that what varies there need not be evaluated.
    pub(crate) fn own_parts(&self) -> Result<Option<Vec<OwnPart>>> {
        let parts = self.targets.iter().map(|target| self.own_part(target)).collect::<Result<Option<Vec<_>>>>()?;
        let n_steps = self.trace.shape(self.at).last().copied().unwrap_or(0);
        let is_worth_it = |parts: &Vec<OwnPart>| {
            let lengths = parts.iter().map(|part| part.steps.len());
            lengths.clone().all(|length| 2 * length <= n_steps) && lengths.sum::<usize>() <= 2 * n_steps
        };
        Ok(parts.filter(is_worth_it))
    }

    fn own_part(&self, target: &ResolvedTarget) -> Result<Option<OwnPart>> {
        let Some(frame) = target.only_frame() else { return Ok(None) };
        let shape = self.trace.shape(self.at);
        let has_one_input = self.graph.inputs().len() == 1;
        if shape.len() != 3
            || !has_one_input
            || !matches!(self.graph.input_shape(self.at.node).last(), Some(Dim::Any(_)))
        {
            return Ok(None);
        }
        let fields = models::receptive_field::receptive_fields(self.graph)?;
        let field = fields[target.outlet.node.0].as_ref().and_then(|fields| fields.last().copied());
        let Some(stride) = field.map(|field| field.stride).filter(|stride| *stride > 0) else { return Ok(None) };
        let cone = cone(self.graph, self.trace, target, self.at)?;
        let [places] = &cone[..] else { return Ok(None) };
        // Whole strides, so that every layer's steps stay where they were.
        let frames = (places.start / stride).min(frame);
        let steps = frames * stride..places.end;
        if steps.is_empty() || steps.end > shape[2] {
            return Ok(None);
        }
        let part = part_of(&self.trace.value(self.at)?.row(target.row)?, &steps)?;
        let trace = Trace::record(self.graph, &[part], self.interrupt)?;
        let target = target.earlier(frames, self.graph, &trace)?;
        Ok(Some(OwnPart { trace, target: [target], steps }))
    }

    /// The network's input that is varied, where the map must be read, since a layer's value cannot be varied by
    /// itself; other inputs stay as they are.
    pub(crate) fn varied_input(&self, method: &str) -> Result<Outlet> {
        if self.graph.inputs().contains(&self.at.node) {
            return Ok(self.at);
        }
        let names: Vec<&str> = self.graph.inputs().iter().map(|input| self.graph.node(*input).name.as_str()).collect();
        let advice = match names[..] {
            [_] => "leave `at` out".to_owned(),
            _ => format!("`at` may be {}", names.join(" or ")),
        };
        Err(IntrospectionError::Unfit(format!("{method} varies an input and is read there; {advice}")))
    }

    /// Evaluates the network on values of the input that is varied; other inputs are those of a row of this trace.
    pub(crate) fn record_with(&self, varied: Value, row: usize) -> Result<Trace> {
        let rows = vec![row; varied.batch()];
        let of_input = |node: &NodeIdx| -> Result<Value> {
            match *node == self.at.node {
                true => Ok(varied.clone()),
                false => Ok(self.trace.value(Outlet { node: *node, port: 0 })?.select_rows(&rows)?),
            }
        };
        let inputs = self.graph.inputs().iter().map(of_input).collect::<Result<Vec<_>>>()?;
        Ok(Trace::record(self.graph, &inputs, self.interrupt)?)
    }

    /// Evaluates variations, and gives each batch's trace and the variations that are its rows; tells how far it is.
    ///
    /// # Shapes
    /// - `variation(nth)`: one row, shaped as the network's input
    pub(crate) fn each_batch(
        &self,
        n_variations: usize,
        variation: &dyn Fn(usize) -> Result<Value>,
        then: &mut dyn FnMut(std::ops::Range<usize>, &Trace) -> Result<()>,
    ) -> Result<()> {
        let row = self.targets.first().map_or(0, |target| target.row);
        let per_row = self.trace.bytes() / size_of::<f32>() / self.trace.batch().max(1);
        let together = (NUMBERS_TOGETHER / per_row.max(1)).clamp(1, ROWS_TOGETHER);
        self.interrupt.progress(0, n_variations);
        for first in (0..n_variations).step_by(together) {
            let rows = first..n_variations.min(first + together);
            let values = rows.clone().map(variation).collect::<Result<Vec<_>>>()?;
            let trace = self.record_with(Value::stack_rows(&values)?, row)?;
            let done = rows.end;
            then(rows, &trace)?;
            self.interrupt.progress(done, n_variations);
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
