//! How the axes of a value in the file are made of ours.
//!
//! Our values have the batch first. A file need not: recurrent layers have time first and the batch behind it, and
//! attention joins the batch with heads or with time. So each value comes with [`FileAxes`], which say of which of our
//! axes each of the file's is made. To transpose, join or split the batch in the file then costs nothing here and
//! leaves no trace in the graph but an `Identity` of that name; an operator that works along axes asks which of ours
//! they are. All other axes keep the file's order, so that whatever moves these is an operator of ours too.
//!
//! Where an exporter was shown a batch of one and wrote it into its shapes, a reshape may say nothing of where the
//! batch went. It is nowhere then, until a reshape names an axis of length one again: numbers lie in one order
//! wherever an axis of length one stands.

use super::folding::{N_SCENARIOS, Scenarios};

/// For each axis of a file's value the axes of ours, in order, whose product it is. Axis 0 of ours, the batch, is in at
/// most one of them; all others are there once, in ascending order, and alone unless the batch is with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileAxes(Vec<Vec<usize>>);

impl FileAxes {
    /// The same axes as ours.
    pub(super) fn plain(rank: usize) -> Self {
        FileAxes((0..rank).map(|axis| vec![axis]).collect())
    }

    /// Axes that are each one of ours.
    pub(super) fn of(axes: &[usize]) -> Self {
        FileAxes(axes.iter().map(|&axis| vec![axis]).collect())
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == FileAxes::plain(self.rank())
    }

    /// How many axes the file's value has.
    pub(super) fn rank(&self) -> usize {
        self.0.len()
    }

    /// The shape of the file's value, from ours.
    pub(super) fn shape(&self, ours: &[usize]) -> Vec<usize> {
        self.0.iter().map(|group| group.iter().map(|&axis| ours[axis]).product()).collect()
    }

    /// Which of ours an axis is, where it is one alone; 0 is the batch.
    pub(super) fn alone(&self, axis: usize) -> Option<usize> {
        match self.0.get(axis).map(Vec::as_slice) {
            Some([ours]) => Some(*ours),
            _ => None,
        }
    }

    /// Which of ours an axis is, where it is one alone and not the batch.
    pub(super) fn own(&self, axis: usize) -> Option<usize> {
        self.alone(axis).filter(|ours| *ours > 0)
    }

    /// Where the batch stands in the file, maybe joined with others.
    pub(super) fn batch(&self) -> Option<usize> {
        self.0.iter().position(|group| group.contains(&0))
    }

    /// Whether both have the same axes before the last two.
    pub(super) fn begins_like(&self, other: &FileAxes) -> bool {
        self.rank() == other.rank() && self.0.iter().zip(&other.0).rev().skip(2).all(|(one, other)| one == other)
    }

    /// The axes in another order, and the order of ours that this asks for.
    pub(super) fn permuted(&self, order: &[usize]) -> (FileAxes, Vec<usize>) {
        let groups: Vec<Vec<usize>> = order.iter().map(|&axis| self.0[axis].clone()).collect();
        let others = groups.iter().flatten().copied().filter(|axis| *axis > 0);
        let order = std::iter::once(0).chain(others).collect();
        (FileAxes::counted(groups), order)
    }

    /// Without some axes.
    pub(super) fn without(&self, axes: &[usize]) -> FileAxes {
        let left = self.0.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        FileAxes::counted(left.map(|(_, group)| group.clone()).collect())
    }

    /// With new axes at these places of the result, and the places that they get among ours. Where the batch was
    /// nowhere, the first of them is the batch.
    pub(super) fn with_new(&self, places: &[usize]) -> (FileAxes, Vec<usize>) {
        let mut is_batch_missing = self.batch().is_none();
        let (mut old, mut next) = (self.0.iter(), 1);
        let (mut groups, mut ours) = (Vec::new(), Vec::new());
        for place in 0..self.rank() + places.len() {
            if places.contains(&place) {
                let is_batch = std::mem::take(&mut is_batch_missing);
                groups.push(vec![if is_batch { 0 } else { next }]);
                ours.extend((!is_batch).then_some(next));
                next += usize::from(!is_batch);
            } else if let Some(group) = old.next() {
                let mut counted = |axis: &usize| {
                    next += usize::from(*axis > 0);
                    if *axis > 0 { next - 1 } else { 0 }
                };
                groups.push(group.iter().map(&mut counted).collect());
            }
        }
        (FileAxes(groups), ours)
    }

    /// Groups whose axes, apart from the batch, are counted anew from 1 on, in order.
    fn counted(groups: Vec<Vec<usize>>) -> FileAxes {
        let mut next = 0;
        let mut count = |axis: usize| {
            next += usize::from(axis > 0);
            if axis > 0 { next } else { 0 }
        };
        FileAxes(groups.into_iter().map(|group| group.into_iter().map(&mut count).collect()).collect())
    }

    /// The product of what stands before the batch.
    fn before_batch(&self, ours: &[usize]) -> usize {
        self.0.iter().flatten().take_while(|axis| **axis > 0).map(|&axis| ours[axis]).product()
    }

    /// A reshape of the file's value: what it does to ours, from shapes of ours to shapes in the file.
    ///
    /// `batches` are the lengths that the batch has in the file's shapes. `None` where the batch is cut or cannot be
    /// found.
    pub(super) fn reshaped(
        &self,
        from: &Scenarios<Vec<usize>>,
        to: &Scenarios<Vec<usize>>,
        batches: Scenarios<usize>,
    ) -> Option<Reshaped> {
        if self.batch().is_none() {
            return Some(Reshaped::naming_the_batch(from, to));
        }
        // What is left of the axis beside the batch, before and behind it.
        let split = |scenario: usize, axis: usize| {
            let (before, batch) = (self.before_batch(&from[scenario]), batches[scenario]);
            let start: usize = to[scenario][..axis].iter().product();
            let end = start * to[scenario][axis];
            let fits = before.is_multiple_of(start.max(1)) && end.is_multiple_of((before * batch).max(1));
            fits.then(|| (before / start.max(1), end / (before * batch).max(1)))
        };
        let splits =
            |axis: usize| -> Option<Vec<(usize, usize)>> { (0..N_SCENARIOS).map(|at| split(at, axis)).collect() };
        // What is joined to the batch is so for all lengths.
        let is_uniform = |(_, splits): &(usize, Vec<(usize, usize)>)| {
            let joins = |split: &(usize, usize)| (split.0 > 1, split.1 > 1);
            splits.iter().all(|split| joins(split) == joins(&splits[0]))
        };
        let candidates = (0..to[0].len()).filter_map(|axis| Some((axis, splits(axis)?)));
        let candidates: Vec<_> = candidates.filter(is_uniform).collect();
        let is_alone = |(_, splits): &&(usize, Vec<(usize, usize)>)| splits.iter().all(|split| *split == (1, 1));
        let is_told = batches.iter().any(|batch| *batch > 1);
        let chosen = candidates.iter().find(is_alone).or(candidates.first().filter(|_| is_told));
        match chosen {
            Some((axis, splits)) => Some(Reshaped::with_batch(*axis, splits, from, to)),
            None if is_told => None,
            None => Some(Reshaped::without_batch(from, to)),
        }
    }
}

/// What a reshape makes of a value.
#[derive(Debug)]
pub(super) struct Reshaped {
    pub(super) axes: FileAxes,
    /// Our shapes behind it.
    pub(super) shapes: Scenarios<Vec<usize>>,
}

impl Reshaped {
    /// The batch within an axis of the file, with what is joined to it before and behind.
    fn with_batch(
        batch_axis: usize,
        splits: &[(usize, usize)],
        from: &Scenarios<Vec<usize>>,
        to: &Scenarios<Vec<usize>>,
    ) -> Self {
        let has_before = splits.iter().any(|(before, _)| *before > 1);
        let has_behind = splits.iter().any(|(_, behind)| *behind > 1);
        let mut groups = Vec::new();
        for axis in 0..to[0].len() {
            // Any number above 0 will do: they are counted below.
            groups.push(match axis == batch_axis {
                false => vec![1],
                true => [vec![1; usize::from(has_before)], vec![0], vec![1; usize::from(has_behind)]].concat(),
            });
        }
        let shape = |scenario: usize| {
            let (before, behind) = splits[scenario];
            let mut shape = vec![from[scenario][0]];
            shape.extend(&to[scenario][..batch_axis]);
            shape.extend(has_before.then_some(before));
            shape.extend(has_behind.then_some(behind));
            shape.extend(&to[scenario][batch_axis + 1..]);
            shape
        };
        Reshaped { axes: FileAxes::counted(groups), shapes: [shape(0), shape(1), shape(2)] }
    }

    fn without_batch(from: &Scenarios<Vec<usize>>, to: &Scenarios<Vec<usize>>) -> Self {
        let shape = |scenario: usize| [&from[scenario][..1], &to[scenario]].concat();
        let axes = FileAxes::counted(vec![vec![1]; to[0].len()]);
        Reshaped { axes, shapes: [shape(0), shape(1), shape(2)] }
    }

    /// The first axis of length one is the batch, where there is one.
    fn naming_the_batch(from: &Scenarios<Vec<usize>>, to: &Scenarios<Vec<usize>>) -> Self {
        match (0..to[0].len()).find(|&axis| to.iter().all(|shape| shape[axis] == 1)) {
            Some(axis) => Reshaped::with_batch(axis, &[(1, 1); N_SCENARIOS], from, to),
            None => Reshaped::without_batch(from, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Scenarios<[usize; 4]> = [[1, 9, 2, 8], [1, 15, 2, 8], [2, 9, 2, 8]];

    #[test]
    fn the_batch_moves_for_nothing_and_the_others_by_order() {
        let (time_first, order) = FileAxes::plain(3).permuted(&[1, 0, 2]);
        assert_eq!((time_first.clone(), order), (FileAxes::of(&[1, 0, 2]), vec![0, 1, 2]));
        assert_eq!(time_first.shape(&[2, 9, 5]), [9, 2, 5]);
        let (heads_first, order) = FileAxes::plain(4).permuted(&[2, 0, 1, 3]);
        assert_eq!((heads_first, order), (FileAxes::of(&[1, 0, 2, 3]), vec![0, 2, 1, 3]));
    }

    #[test]
    fn axes_come_and_go() {
        let states = FileAxes::of(&[1, 2, 0, 3]);
        assert_eq!(states.without(&[1]), FileAxes::of(&[1, 0, 2]));
        assert_eq!(states.without(&[2]), FileAxes::of(&[1, 2, 3]));
        assert_eq!(FileAxes::of(&[1, 0, 2]).with_new(&[0, 4]), (FileAxes::of(&[1, 2, 0, 3, 4]), vec![1, 4]));
        assert_eq!(FileAxes::of(&[1, 2]).with_new(&[1]), (FileAxes::of(&[1, 0, 2]), vec![]));
    }

    #[track_caller]
    fn reshapes(
        axes: &[usize],
        to: Scenarios<&[usize]>,
        batches: Scenarios<usize>,
        expected: &[&[usize]],
        ours: &[usize],
    ) {
        let from = OURS.map(|shape| shape.to_vec());
        let reshaped = FileAxes::of(axes).reshaped(&from, &to.map(<[usize]>::to_vec), batches).unwrap();
        assert_eq!(reshaped.axes, FileAxes(expected.iter().map(|group| group.to_vec()).collect()));
        assert_eq!(reshaped.shapes[2], ours);
    }

    #[test]
    fn the_batch_is_joined_split_and_found_again() {
        let batches = [1, 1, 2];
        let joined: Scenarios<&[usize]> = [&[9, 2, 8], &[15, 2, 8], &[9, 4, 8]];
        reshapes(&[1, 0, 2, 3], joined, batches, &[&[1], &[0, 2], &[3]], &[2, 9, 2, 8]);
        let with_time: Scenarios<&[usize]> = [&[9, 16], &[15, 16], &[18, 16]];
        reshapes(&[1, 0, 2, 3], with_time, batches, &[&[1, 0], &[2]], &[2, 9, 16]);
        let alone: Scenarios<&[usize]> = [&[9, 1, 16], &[15, 1, 16], &[9, 2, 16]];
        reshapes(&[1, 0, 2, 3], alone, batches, &[&[1], &[0], &[2]], &[2, 9, 16]);
        // A batch of one that the exporter wrote down.
        let fixed: Scenarios<&[usize]> = [&[9, 2, 8], &[15, 2, 8], &[9, 2, 8]];
        reshapes(&[1, 0, 2, 3], fixed, [1; 3], &[&[1], &[2], &[3]], &[2, 9, 2, 8]);
        let named: Scenarios<&[usize]> = [&[18, 1, 8], &[30, 1, 8], &[18, 1, 8]];
        reshapes(&[1, 2, 3], named, [1; 3], &[&[1], &[0], &[2]], &[2, 18, 8]);
    }

    #[test]
    fn a_batch_that_is_cut_is_not_found() {
        let from = OURS.map(|shape| shape.to_vec());
        let to = [vec![6, 24], vec![6, 40], vec![6, 48]];
        assert!(FileAxes::of(&[1, 0, 2, 3]).reshaped(&from, &to, [1, 1, 2]).is_none());
    }
}
