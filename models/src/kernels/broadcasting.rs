//! Walks a row-major array together with arrays that are broadcast to it.

/// Visits each run along the last axis of `shape`: with the index at which it starts in the whole array, and for each
/// operand (a shape of the same rank, its lengths 1 where it is broadcast) the index and the step along the run.
pub(crate) fn for_each_run<const N: usize>(
    shape: &[usize],
    operands: [&[usize]; N],
    mut visit: impl FnMut(usize, usize, [(usize, usize); N]),
) {
    let strides = operands.map(|operand| broadcast_strides(shape, operand));
    let Some(&run) = shape.last() else {
        return visit(0, 1, [(0, 0); N]);
    };
    let outer = &shape[..shape.len() - 1];
    let mut position = vec![0; outer.len()];
    for nth in 0..outer.iter().product::<usize>() {
        let starts = std::array::from_fn(|operand| {
            let strides: &Vec<usize> = &strides[operand];
            let start: usize = position.iter().zip(strides).map(|(index, stride)| index * stride).sum();
            (start, strides[shape.len() - 1])
        });
        visit(nth * run, run, starts);
        for axis in (0..outer.len()).rev() {
            position[axis] += 1;
            if position[axis] < outer[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
}

fn broadcast_strides(shape: &[usize], operand: &[usize]) -> Vec<usize> {
    assert_eq!(shape.len(), operand.len(), "operands are brought to one rank first");
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for axis in (0..shape.len()).rev() {
        strides[axis] = if operand[axis] == 1 { 0 } else { stride };
        stride *= operand[axis];
    }
    strides
}
