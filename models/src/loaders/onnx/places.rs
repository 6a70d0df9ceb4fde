//! Gather, Slice and Split: places along axes, by constant indices and bounds.

use super::arrays::whole;
use super::folding::Known;
use super::operators::{Converted, layer};
use super::reading::{Read, Reading};
use crate::loaders::LoadError;
use crate::operators::{Gather, Identity, Slice};

/// From a start up to an end along an axis, by a step.
struct Bounds {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Reading<'_> {
    pub(super) fn gather(&self) -> Result<Converted, LoadError> {
        let file_axis = self.file_axis(self.attributes.int("axis", 0))?;
        let axis = self.own_axis(file_axis)?;
        let (shape, indices) = (&self.constant(1)?.shape, self.whole(1)?);
        if shape.len() > 1 {
            return Err(self.refused(format!("its indices have shape {shape:?}; one index or a list is supported")));
        }
        let keeps_axis = shape.len() == 1;
        let axes = self.axes()?;
        let axes = if keeps_axis { axes.clone() } else { axes.without(&[file_axis]) };
        Ok(Converted { axes: Some(axes), ..layer(Gather { axis, indices, keeps_axis }, &[0])? })
    }

    /// One step for each axis that is cut.
    pub(super) fn slices(&self) -> Result<Vec<(String, Converted)>, LoadError> {
        let mut steps = Vec::new();
        for bounds in self.bounds()? {
            let is_whole = bounds.start == 0 && bounds.end == i64::MAX && bounds.step == 1;
            if is_whole {
                continue;
            }
            let Bounds { axis, start, end, step } = bounds;
            let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
                return Err(self.refused(format!("its step is {step}; steps from 1 are supported")));
            };
            let axis = self.own_axis(axis)?;
            steps.push((format!("/axis{axis}"), layer(Slice { axis, start, end, step }, &[0])?));
        }
        match steps.last_mut() {
            Some((name, _)) => name.clear(),
            None => steps.push((String::new(), layer(Identity { kind: "Slice" }, &[0])?)),
        }
        Ok(steps)
    }

    fn bounds(&self) -> Result<Vec<Bounds>, LoadError> {
        let starts = self.whole(1)?;
        let axes = match self.optional_constant(3)? {
            Some(_) => self.whole(3)?,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = match self.optional_constant(4)? {
            Some(_) => self.whole(4)?,
            None => vec![1; starts.len()],
        };
        let axes = axes.into_iter().map(|axis| self.file_axis(axis)).collect::<Result<Vec<_>, _>>()?;
        let ends = self.ends(&axes)?;
        if [axes.len(), steps.len(), ends.len()].iter().any(|&n| n != starts.len()) {
            return Err(self.refused(format!(
                "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in number"
            )));
        }
        let bounds = axes.into_iter().zip(starts).zip(ends.into_iter().zip(steps));
        Ok(bounds.map(|((axis, start), (end, step))| Bounds { axis, start, end, step }).collect())
    }

    /// The ends, where they are constant or the ends of their axes; the latter are `i64::MAX`.
    fn ends(&self, axes: &[usize]) -> Result<Vec<i64>, LoadError> {
        let Some(Some(Read::Known(known))) = self.inputs.get(2) else { return self.whole(2) };
        let (of_file, shapes) = (self.axes()?, self.shapes()?);
        let mut at_ends = vec![true; axes.len()];
        let mut last = Vec::new();
        for (scenario, shape) in shapes.iter().enumerate() {
            let lengths = of_file.shape(shape);
            last = whole(known.at(scenario)).map_err(|reason| self.refused(reason))?;
            for ((at_end, &end), &axis) in at_ends.iter_mut().zip(&last).zip(axes) {
                *at_end &= end >= lengths[axis] as i64;
            }
        }
        if !at_ends.iter().all(|at_end| *at_end) && matches!(known, Known::FromShapes(_)) {
            last = self.whole(2)?;
        }
        Ok(last.into_iter().zip(at_ends).map(|(end, at_end)| if at_end { i64::MAX } else { end }).collect())
    }

    /// A slice for each output.
    pub(super) fn parts(&self) -> Result<Vec<Converted>, LoadError> {
        let file_axis = self.file_axis(self.attributes.int("axis", 0))?;
        let axis = self.own_axis(file_axis)?;
        let lengths = self.shapes()?.each_ref().map(|shape| shape[axis]);
        let given = match self.optional_constant(1)? {
            Some(_) => Some(self.whole(1)?),
            None => self.attributes.ints("split"),
        };
        let n_parts = self.node.output.len();
        let parts = match given {
            Some(parts) => parts,
            None if lengths.iter().all(|length| *length == lengths[0]) => {
                let part = lengths[0].div_ceil(n_parts) as i64;
                (0..n_parts as i64).map(|nth| part.min(lengths[0] as i64 - nth * part)).collect()
            }
            None => return Err(self.refused("it cuts an axis whose length is free into equal parts")),
        };
        if parts.len() != n_parts || parts.iter().any(|part| *part < 1) {
            return Err(self.refused(format!("parts of lengths {parts:?} for {n_parts} outputs")));
        }
        let mut start = 0;
        let mut slice = |part: &i64| {
            let slice = Slice { axis, start, end: start + part, step: 1 };
            start = slice.end;
            layer(slice, &[0])
        };
        let slices: Vec<Converted> = parts.iter().map(&mut slice).collect::<Result<_, _>>()?;
        if lengths.iter().any(|length| *length as i64 != start) {
            return Err(self.refused(format!("parts of lengths {parts:?} of an axis of length {}", lengths[0])));
        }
        Ok(slices)
    }
}
