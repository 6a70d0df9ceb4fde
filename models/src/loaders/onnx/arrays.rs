//! Arithmetic on constants, as ONNX defines its operators; what is nonsense is an error and never a panic.
//!
//! Errors say what is wrong with the numbers; the node is named by whoever asked.

use super::tensor::{Constant, Numbers};

/// The most numbers that a folded constant may have beyond what is stored, so that a small file cannot ask for much
/// work; large weights are stored and not computed.
const MOST_FOLDED: usize = 1 << 22;

const MIXED: &str = "its inputs mix floats and whole numbers";

/// A list of whole numbers.
pub(super) fn vector(numbers: Vec<i64>) -> Constant {
    Constant { shape: vec![numbers.len()], numbers: Numbers::Whole(numbers) }
}

/// The whole numbers that a constant holds.
pub(super) fn whole(constant: &Constant) -> Result<Vec<i64>, String> {
    match &constant.numbers {
        Numbers::Whole(numbers) => Ok(numbers.clone()),
        Numbers::Float(numbers) if numbers.iter().all(|number| number.fract() == 0.0) => {
            Ok(numbers.iter().map(|&number| number as i64).collect())
        }
        Numbers::Float(_) => Err("whole numbers are needed where fractions stand".to_owned()),
    }
}

pub(super) fn first<'a>(inputs: &[Option<&'a Constant>]) -> Result<&'a Constant, String> {
    inputs.first().copied().flatten().ok_or_else(|| "its first input is missing".to_owned())
}

pub(super) fn second<'a>(inputs: &[Option<&'a Constant>]) -> Result<&'a Constant, String> {
    inputs.get(1).copied().flatten().ok_or_else(|| "its second input is missing".to_owned())
}

/// An axis counted from the start.
pub(super) fn from_start(axis: i64, rank: usize) -> Result<usize, String> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} of a value with {rank} axes"))
}

/// How many numbers a shape has, where they are not too many to be computed from so many stored ones.
pub(super) fn foldable_length(shape: &[usize], n_stored: usize) -> Result<usize, String> {
    let most = MOST_FOLDED.max(n_stored);
    let length = shape.iter().try_fold(1usize, |n, &length| n.checked_mul(length));
    length
        .filter(|length| *length <= most)
        .ok_or_else(|| format!("a constant of shape {shape:?} is too large to be folded; at most {most} numbers are"))
}

/// Lengths that were computed, none of them negative.
pub(super) fn lengths(numbers: &Constant) -> Result<Vec<usize>, String> {
    let numbers = whole(numbers)?;
    let lengths: Option<Vec<usize>> = numbers.iter().map(|&length| usize::try_from(length).ok()).collect();
    lengths.ok_or_else(|| format!("a shape must not be negative but is {numbers:?}"))
}

/// `to` is an element type by its number in `onnx.proto`.
pub(super) fn cast(input: &Constant, to: i64) -> Result<Constant, String> {
    const BOOL: i64 = 9;
    let numbers = match (&input.numbers, is_float(to)) {
        (Numbers::Whole(numbers), true) => Numbers::Float(numbers.iter().map(|&number| number as f32).collect()),
        (Numbers::Float(numbers), false) if to == BOOL => {
            Numbers::Whole(numbers.iter().map(|&number| i64::from(number != 0.0)).collect())
        }
        (Numbers::Whole(numbers), false) if to == BOOL => {
            Numbers::Whole(numbers.iter().map(|&number| i64::from(number != 0)).collect())
        }
        (Numbers::Float(numbers), false) => Numbers::Whole(numbers.iter().map(|&number| number as i64).collect()),
        (same, _) => same.clone(),
    };
    Ok(Constant { shape: input.shape.clone(), numbers })
}

/// Whether an element type, by its number in `onnx.proto`, is one of floats.
pub(super) fn is_float(data_type: i64) -> bool {
    [1, 10, 11, 16].contains(&data_type)
}

/// The numbers at these places, in their order.
fn picked(numbers: &Numbers, places: impl Iterator<Item = usize>) -> Numbers {
    match numbers {
        Numbers::Float(numbers) => Numbers::Float(places.map(|place| numbers[place]).collect()),
        Numbers::Whole(numbers) => Numbers::Whole(places.map(|place| numbers[place]).collect()),
    }
}

/// Takes some indices along an axis.
fn take(input: &Constant, axis: usize, indices: &[usize]) -> Numbers {
    let (length, step) = (input.shape[axis], input.shape[axis + 1..].iter().product::<usize>());
    let n_lines: usize = input.shape[..axis].iter().product();
    let places = (0..n_lines).flat_map(move |line| {
        indices.iter().flat_map(move |index| (0..step).map(move |at| (line * length + index) * step + at))
    });
    picked(&input.numbers, places)
}

pub(super) fn gather(data: &Constant, indices: &Constant, axis: i64) -> Result<Constant, String> {
    let axis = from_start(axis, data.shape.len())?;
    let wanted: Vec<usize> = whole(indices)?
        .into_iter()
        .map(|index| from_start(index, data.shape[axis]))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("indices {:?} along an axis of length {}", indices.numbers, data.shape[axis]))?;
    let shape: Vec<usize> =
        data.shape[..axis].iter().chain(&indices.shape).chain(&data.shape[axis + 1..]).copied().collect();
    foldable_length(&shape, data.numbers.len())?;
    Ok(Constant { shape, numbers: take(data, axis, &wanted) })
}

pub(super) fn concat(inputs: &[Option<&Constant>], axis: i64) -> Result<Constant, String> {
    let parts: Vec<&Constant> = inputs.iter().copied().flatten().collect();
    let rank = parts.first().map_or(0, |part| part.shape.len());
    let axis = from_start(axis, rank)?;
    let without = |shape: &[usize]| [&shape[..axis], &shape[axis + 1..]].concat();
    if parts.iter().any(|part| part.shape.len() != rank || without(&part.shape) != without(&parts[0].shape)) {
        return Err("its inputs have shapes that do not fit together".to_owned());
    }
    let n_lines: usize = parts[0].shape[..axis].iter().product();
    let (mut floats, mut wholes) = (Vec::new(), Vec::new());
    for line in 0..n_lines {
        for part in &parts {
            let step: usize = part.shape[axis..].iter().product();
            match &part.numbers {
                Numbers::Whole(numbers) => wholes.extend(&numbers[line * step..(line + 1) * step]),
                Numbers::Float(numbers) => floats.extend(&numbers[line * step..(line + 1) * step]),
            }
        }
    }
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let is_whole = parts.iter().all(|part| matches!(part.numbers, Numbers::Whole(_)));
    match (is_whole, wholes.is_empty()) {
        (true, _) => Ok(Constant { shape, numbers: Numbers::Whole(wholes) }),
        (false, true) => Ok(Constant { shape, numbers: Numbers::Float(floats) }),
        (false, false) => Err(MIXED.to_owned()),
    }
}

pub(super) fn unsqueeze(input: &Constant, axes: &[i64]) -> Result<Constant, String> {
    let rank = input.shape.len() + axes.len();
    let put: Vec<usize> = axes.iter().map(|&axis| from_start(axis, rank)).collect::<Result<_, _>>()?;
    let mut lengths = input.shape.iter();
    let length = |axis: usize| if put.contains(&axis) { Some(1) } else { lengths.next().copied() };
    let shape = (0..rank).filter_map(length).collect();
    Ok(Constant { shape, numbers: input.numbers.clone() })
}

pub(super) fn squeeze(input: &Constant, axes: Option<Vec<i64>>) -> Result<Constant, String> {
    let rank = input.shape.len();
    let gone: Vec<usize> = match axes {
        Some(axes) => axes.into_iter().map(|axis| from_start(axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).filter(|&axis| input.shape[axis] == 1).collect(),
    };
    if gone.iter().any(|&axis| input.shape[axis] != 1) {
        return Err(format!("axes {gone:?} of shape {:?}; only axes of length 1 can go", input.shape));
    }
    let shape = (0..rank).filter(|axis| !gone.contains(axis)).map(|axis| input.shape[axis]).collect();
    Ok(Constant { shape, numbers: input.numbers.clone() })
}

pub(super) fn slice(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let mut sliced = first(inputs)?.clone();
    let list = |nth: usize| inputs.get(nth).copied().flatten().map(whole).transpose();
    let (starts, ends) = (list(1)?.ok_or("its starts are missing")?, list(2)?.ok_or("its ends are missing")?);
    let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return Err(format!("starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in number"));
    }
    for (nth, &axis) in axes.iter().enumerate() {
        let axis = from_start(axis, sliced.shape.len())?;
        let length = sliced.shape[axis] as i64;
        let (start, end, step) = (starts[nth], ends[nth], steps[nth]);
        let counted = |place: i64| if place < 0 { place.saturating_add(length) } else { place };
        let indices: Vec<usize> = match step {
            1.. => {
                let bound = |place: i64| counted(place).clamp(0, length) as usize;
                (bound(start)..bound(end)).step_by(step as usize).collect()
            }
            0 => return Err("a slice with step 0".to_owned()),
            _ => {
                let bound = |place: i64| counted(place).clamp(-1, length - 1);
                let back = step.unsigned_abs().min(1 << 40) as usize;
                (bound(end) + 1..=bound(start)).rev().step_by(back).map(|place| place as usize).collect()
            }
        };
        sliced.numbers = take(&sliced, axis, &indices);
        sliced.shape[axis] = indices.len();
    }
    Ok(sliced)
}

/// The shape that ONNX's `Reshape` means: 0 keeps an axis, -1 takes what is left.
pub(super) fn reshaped(shape: &[usize], target: &[i64]) -> Result<Vec<usize>, String> {
    let length: usize = shape.iter().product();
    let wrong = || format!("{shape:?} cannot be reshaped to {target:?}");
    let kept = |(axis, &number): (usize, &i64)| match number {
        0 => shape.get(axis).copied().ok_or_else(wrong),
        -1 => Ok(1),
        number => usize::try_from(number).map_err(|_| wrong()),
    };
    let mut reshaped: Vec<usize> = target.iter().enumerate().map(kept).collect::<Result<_, _>>()?;
    let known = reshaped.iter().try_fold(1usize, |n, &length| n.checked_mul(length)).ok_or_else(wrong)?;
    let mut free = (0..target.len()).filter(|&axis| target[axis] == -1);
    let open = free.next();
    if let Some(open) = open {
        reshaped[open] = length.checked_div(known).ok_or_else(wrong)?;
    }
    let fits = known.checked_mul(open.map_or(1, |open| reshaped[open])) == Some(length);
    if fits && free.next().is_none() { Ok(reshaped) } else { Err(wrong()) }
}

pub(super) fn reshape(input: &Constant, target: &[i64]) -> Result<Constant, String> {
    Ok(Constant { shape: reshaped(&input.shape, target)?, numbers: input.numbers.clone() })
}

/// Axes in another order; without one, the reverse.
pub(super) fn transpose(input: &Constant, order: Option<Vec<i64>>) -> Result<Constant, String> {
    let rank = input.shape.len();
    let order = order.unwrap_or_else(|| (0..rank as i64).rev().collect());
    let order: Vec<usize> = order.into_iter().map(|axis| from_start(axis, rank)).collect::<Result<_, _>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("order {order:?} of a value with {rank} axes"));
    }
    let shape: Vec<usize> = order.iter().map(|&axis| input.shape[axis]).collect();
    if let [1, 0] = order[..] {
        // Dense weights are large, and this order is all that they need.
        let (rows, columns) = (input.shape[0], input.shape[1]);
        let places = (0..columns).flat_map(move |column| (0..rows).map(move |row| row * columns + column));
        return Ok(Constant { numbers: picked(&input.numbers, places), shape });
    }
    let step_of = |axis: usize| input.shape[axis + 1..].iter().product::<usize>();
    let steps: Vec<usize> = order.iter().map(|&axis| step_of(axis)).collect();
    let place = |index: usize| {
        crate::value::unravel(index, &shape).iter().zip(&steps).map(|(at, step)| at * step).sum::<usize>()
    };
    let numbers = picked(&input.numbers, (0..input.numbers.len()).map(place));
    Ok(Constant { numbers, shape })
}

/// The shape of two that are broadcast against each other, of which so many numbers are stored.
fn broadcast(a: &[usize], b: &[usize], n_stored: usize) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let length = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let both = |axis| match (length(a, axis), length(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("shapes {a:?} and {b:?} cannot be broadcast")),
    };
    let shape: Vec<usize> = (0..rank).map(both).collect::<Result<_, _>>()?;
    foldable_length(&shape, n_stored)?;
    Ok(shape)
}

/// For each place of a broadcast shape the place within one of the operands.
fn places_in(operand: &[usize], shape: &[usize]) -> Vec<usize> {
    if operand == shape {
        return (0..shape.iter().product()).collect();
    }
    let skipped = shape.len() - operand.len();
    let length_of = |axis: usize| if axis < skipped { 1 } else { operand[axis - skipped] };
    let mut places = vec![0];
    for (axis, &length) in shape.iter().enumerate() {
        let own = length_of(axis);
        let along = |at: usize| if own == 1 { 0 } else { at };
        places = places.iter().flat_map(|place| (0..length).map(move |at| place * own + along(at))).collect();
    }
    places
}

pub(super) fn expand(input: &Constant, target: &Constant) -> Result<Constant, String> {
    let shape = broadcast(&input.shape, &lengths(target)?, input.numbers.len())?;
    let numbers = picked(&input.numbers, places_in(&input.shape, &shape).into_iter());
    Ok(Constant { numbers, shape })
}

/// The same number (0 by default) everywhere.
pub(super) fn constant_of_shape(shape: &Constant, value: Option<&Constant>) -> Result<Constant, String> {
    let shape = lengths(shape)?;
    let length = foldable_length(&shape, 0)?;
    let numbers = match value.map(|value| &value.numbers) {
        None => Numbers::Float(vec![0.0; length]),
        Some(Numbers::Float(value)) => Numbers::Float(vec![value.first().copied().unwrap_or(0.0); length]),
        Some(Numbers::Whole(value)) => Numbers::Whole(vec![value.first().copied().unwrap_or(0); length]),
    };
    Ok(Constant { shape, numbers })
}

pub(super) fn unary(
    input: &Constant,
    float: fn(f32) -> f32,
    whole: fn(i64) -> Option<i64>,
) -> Result<Constant, String> {
    let numbers = match &input.numbers {
        Numbers::Float(numbers) => Numbers::Float(numbers.iter().copied().map(float).collect()),
        Numbers::Whole(numbers) => {
            let numbers: Option<Vec<i64>> = numbers.iter().copied().map(whole).collect();
            Numbers::Whole(numbers.ok_or("it has no answer for these whole numbers")?)
        }
    };
    Ok(Constant { shape: input.shape.clone(), numbers })
}

pub(super) fn binary(
    inputs: &[Option<&Constant>],
    float: fn(f32, f32) -> f32,
    whole: fn(i64, i64) -> Option<i64>,
) -> Result<Constant, String> {
    let (a, b) = (first(inputs)?, second(inputs)?);
    let shape = broadcast(&a.shape, &b.shape, a.numbers.len().max(b.numbers.len()))?;
    let places = places_in(&a.shape, &shape).into_iter().zip(places_in(&b.shape, &shape));
    let numbers = match (&a.numbers, &b.numbers) {
        (Numbers::Whole(a), Numbers::Whole(b)) => {
            let numbers: Option<Vec<i64>> = places.map(|(i, j)| whole(a[i], b[j])).collect();
            Numbers::Whole(numbers.ok_or("whole numbers overflow or are divided by zero")?)
        }
        (Numbers::Float(a), Numbers::Float(b)) => Numbers::Float(places.map(|(i, j)| float(a[i], b[j])).collect()),
        _ => return Err(MIXED.to_owned()),
    };
    Ok(Constant { shape, numbers })
}

/// 1 where two numbers are the same, else 0.
pub(super) fn equal(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let compared = binary(inputs, |a, b| f32::from(a == b), |a, b| Some(i64::from(a == b)))?;
    cast(&compared, 9)
}

/// The second input's number where the first is not 0, else the third's.
pub(super) fn choose(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    fn chosen<T: Copy>(decided: &[bool], a: &[T], b: &[T]) -> Vec<T> {
        decided.iter().enumerate().map(|(i, &is_first)| if is_first { a[i] } else { b[i] }).collect()
    }
    let condition = first(inputs)?;
    let (a, b) = (second(inputs)?, inputs.get(2).copied().flatten().ok_or("its third input is missing")?);
    let n_stored = a.numbers.len().max(b.numbers.len()).max(condition.numbers.len());
    let shape = broadcast(&broadcast(&a.shape, &b.shape, n_stored)?, &condition.shape, n_stored)?;
    let broadcast_to = |constant: &Constant| picked(&constant.numbers, places_in(&constant.shape, &shape).into_iter());
    let (a, b) = (broadcast_to(a), broadcast_to(b));
    let conditions = whole(condition)?;
    let decided: Vec<bool> =
        places_in(&condition.shape, &shape).into_iter().map(|place| conditions[place] != 0).collect();
    let numbers = match (&a, &b) {
        (Numbers::Whole(a), Numbers::Whole(b)) => Numbers::Whole(chosen(&decided, a, b)),
        (Numbers::Float(a), Numbers::Float(b)) => Numbers::Float(chosen(&decided, a, b)),
        _ => return Err(MIXED.to_owned()),
    };
    Ok(Constant { shape, numbers })
}

/// The lower or upper triangle of the last two axes, from a diagonal on.
pub(super) fn triangle(inputs: &[Option<&Constant>], is_upper: bool) -> Result<Constant, String> {
    let input = first(inputs)?;
    let diagonal = match inputs.get(1).copied().flatten() {
        Some(diagonal) => whole(diagonal)?.first().copied().unwrap_or(0),
        None => 0,
    };
    let [.., n_rows, n_columns] = input.shape[..] else { return Err("it needs a matrix".to_owned()) };
    let is_kept = |index: usize| {
        let (row, column) = (index / n_columns % n_rows, index % n_columns);
        let above = column as i64 - row as i64;
        if is_upper { above >= diagonal } else { above <= diagonal }
    };
    let numbers = match &input.numbers {
        Numbers::Float(numbers) => {
            Numbers::Float(numbers.iter().enumerate().map(|(at, &x)| if is_kept(at) { x } else { 0.0 }).collect())
        }
        Numbers::Whole(numbers) => {
            Numbers::Whole(numbers.iter().enumerate().map(|(at, &x)| if is_kept(at) { x } else { 0 }).collect())
        }
    };
    Ok(Constant { shape: input.shape.clone(), numbers })
}

/// From the first input up to the second, which is not reached, by the third.
pub(super) fn range(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let number = |nth: usize| -> Result<i64, String> {
        let constant = inputs.get(nth).copied().flatten().ok_or("an input is missing")?;
        whole(constant)?.first().copied().ok_or_else(|| "an input is empty".to_owned())
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    if step < 1 || limit.saturating_sub(start) > 1 << 20 {
        return Err(format!("a range from {start} to {limit} by {step}; short ones with steps from 1 are understood"));
    }
    Ok(vector((start..limit).step_by(step as usize).collect()))
}

/// The product of a list; a scalar, or a list of one.
pub(super) fn product(input: &Constant, keeps_axis: bool) -> Result<Constant, String> {
    if input.shape.len() > 1 {
        return Err(format!("a product over shape {:?}; lists are understood", input.shape));
    }
    let product = whole(input)?.into_iter().try_fold(1i64, i64::checked_mul).ok_or("whole numbers overflow")?;
    let shape = if keeps_axis { vec![1; input.shape.len()] } else { vec![] };
    Ok(Constant { shape, numbers: Numbers::Whole(vec![product]) })
}
