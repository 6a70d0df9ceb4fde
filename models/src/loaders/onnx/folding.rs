//! Constants and shape arithmetic, folded while a network is read.
//!
//! Exporters compute shapes at run time (`Shape`, `Gather`, `Concat` before a `Reshape`). We evaluate that arithmetic at
//! load, for several inputs at once that differ in batch and length ([`Scenario`]): what comes out the same for all is a
//! constant, and what differs is free.

use super::attributes::Attributes;
use super::tensor::{Constant, Numbers};

/// How many inputs the arithmetic is evaluated for: the declared one, one of other lengths, one of another batch.
pub(super) const N_SCENARIOS: usize = 3;

/// Something for each scenario.
pub(super) type Scenarios<T> = [T; N_SCENARIOS];

/// A value that is known at load.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// The same for every input.
    Constant(std::sync::Arc<Constant>),
    /// Whole numbers that were computed from shapes.
    FromShapes(Scenarios<Constant>),
}

impl Known {
    pub(super) fn constant(constant: Constant) -> Self {
        Known::Constant(std::sync::Arc::new(constant))
    }

    /// The value in one scenario.
    pub(super) fn at(&self, scenario: usize) -> &Constant {
        match self {
            Known::Constant(constant) => constant,
            Known::FromShapes(constants) => &constants[scenario],
        }
    }

    /// The value, where it is the same in all scenarios.
    pub(super) fn same(&self) -> Option<&Constant> {
        match self {
            Known::Constant(constant) => Some(constant),
            Known::FromShapes([first, others @ ..]) => others.iter().all(|other| other == first).then_some(first),
        }
    }
}

/// Evaluates a node whose inputs are all known.
///
/// `None` where the operator is not one of those that are folded; the text says what is wrong otherwise.
pub(super) fn fold(
    operator: &str,
    attributes: &Attributes<'_>,
    inputs: &[Option<Known>],
    opset: i64,
) -> Option<Result<Known, String>> {
    let evaluate: fn(&Attributes<'_>, &[Option<&Constant>], i64) -> Result<Constant, String> = match operator {
        "Identity" | "Dropout" => |_, inputs, _| first(inputs).cloned(),
        "Cast" => |attributes, inputs, _| cast(first(inputs)?, attributes.int("to", 1)),
        "Shape" => |attributes, inputs, _| shape_of(&first(inputs)?.shape, attributes),
        "Gather" => |attributes, inputs, _| gather(first(inputs)?, second(inputs)?, attributes.int("axis", 0)),
        "Concat" => |attributes, inputs, _| concat(inputs, attributes.int("axis", 0)),
        "Unsqueeze" => |attributes, inputs, opset| {
            unsqueeze(first(inputs)?, &axes(attributes, inputs, opset, 13)?.unwrap_or_default())
        },
        "Squeeze" => |attributes, inputs, opset| squeeze(first(inputs)?, axes(attributes, inputs, opset, 13)?),
        "Slice" => |_, inputs, _| slice(inputs),
        "Reshape" => |_, inputs, _| reshape(first(inputs)?, &whole(second(inputs)?)?),
        "Transpose" => |attributes, inputs, _| transpose(first(inputs)?, attributes),
        "Expand" => |_, inputs, _| expand(first(inputs)?, &whole(second(inputs)?)?),
        "ConstantOfShape" => |_, _, _| Err("handled where attributes are read".to_owned()),
        "Range" => |_, inputs, _| range(inputs),
        "Add" => |_, inputs, _| binary(inputs, |a, b| a + b, |a, b| a.checked_add(b)),
        "Sub" => |_, inputs, _| binary(inputs, |a, b| a - b, |a, b| a.checked_sub(b)),
        "Mul" => |_, inputs, _| binary(inputs, |a, b| a * b, |a, b| a.checked_mul(b)),
        "Div" => |_, inputs, _| binary(inputs, |a, b| a / b, |a, b| a.checked_div(b)),
        "Mod" => |_, inputs, _| binary(inputs, |a, b| a % b, |a, b| a.checked_rem_euclid(b)),
        "Min" => |_, inputs, _| binary(inputs, f32::min, |a, b| Some(a.min(b))),
        "Max" => |_, inputs, _| binary(inputs, f32::max, |a, b| Some(a.max(b))),
        "Equal" => |_, inputs, _| binary(inputs, |a, b| f32::from(a == b), |a, b| Some(i64::from(a == b))),
        "Where" => |_, inputs, _| choose(inputs),
        "Floor" => |_, inputs, _| unary(first(inputs)?, f32::floor, |a| a),
        "Ceil" => |_, inputs, _| unary(first(inputs)?, f32::ceil, |a| a),
        "Neg" => |_, inputs, _| unary(first(inputs)?, |a| -a, |a| -a),
        "Sqrt" => |_, inputs, _| unary(first(inputs)?, f32::sqrt, |a| (a as f64).sqrt() as i64),
        "ReduceProd" => |_, inputs, _| Ok(vector(vec![whole(first(inputs)?)?.iter().product()])),
        _ => return None,
    };
    let at = |scenario: usize| -> Result<Constant, String> {
        let inputs: Vec<Option<&Constant>> =
            inputs.iter().map(|input| input.as_ref().map(|known| known.at(scenario))).collect();
        evaluate(attributes, &inputs, opset)
    };
    let differs = inputs.iter().flatten().any(|known| matches!(known, Known::FromShapes(_)));
    Some(if differs {
        (0..N_SCENARIOS)
            .map(at)
            .collect::<Result<Vec<_>, _>>()
            .map(|constants| Known::FromShapes(constants.try_into().expect("there is one for each scenario")))
    } else {
        at(0).map(Known::constant)
    })
}

/// The numbers of a shape, as `Shape` answers them.
pub(super) fn shape_of(shape: &[usize], attributes: &Attributes<'_>) -> Result<Constant, String> {
    let rank = shape.len() as i64;
    let bound = |place: i64| (if place < 0 { place + rank } else { place }).clamp(0, rank) as usize;
    let (start, end) = (bound(attributes.int("start", 0)), bound(attributes.int("end", rank)));
    Ok(vector(shape[start.min(end)..end].iter().map(|&length| length as i64).collect()))
}

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

/// The axes that a node names: an attribute before opset `since`, then its second input.
pub(super) fn axes(
    attributes: &Attributes<'_>,
    inputs: &[Option<&Constant>],
    opset: i64,
    since: i64,
) -> Result<Option<Vec<i64>>, String> {
    if opset < since {
        return Ok(attributes.ints("axes"));
    }
    inputs.get(1).copied().flatten().map(whole).transpose()
}

fn first<'a>(inputs: &[Option<&'a Constant>]) -> Result<&'a Constant, String> {
    inputs.first().copied().flatten().ok_or_else(|| "its first input is missing".to_owned())
}

fn second<'a>(inputs: &[Option<&'a Constant>]) -> Result<&'a Constant, String> {
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

fn cast(input: &Constant, to: i64) -> Result<Constant, String> {
    let is_float = [1, 10, 11, 16].contains(&to);
    let numbers = match (&input.numbers, is_float) {
        (Numbers::Whole(numbers), true) => Numbers::Float(numbers.iter().map(|&number| number as f32).collect()),
        (Numbers::Float(numbers), false) => Numbers::Whole(numbers.iter().map(|&number| number as i64).collect()),
        (same, _) => same.clone(),
    };
    Ok(Constant { shape: input.shape.clone(), numbers })
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

fn gather(data: &Constant, indices: &Constant, axis: i64) -> Result<Constant, String> {
    let axis = from_start(axis, data.shape.len())?;
    let wanted: Vec<usize> =
        whole(indices)?.into_iter().map(|index| from_start(index, data.shape[axis])).collect::<Result<_, _>>()?;
    let shape = data.shape[..axis].iter().chain(&indices.shape).chain(&data.shape[axis + 1..]).copied().collect();
    Ok(Constant { shape, numbers: take(data, axis, &wanted) })
}

fn concat(inputs: &[Option<&Constant>], axis: i64) -> Result<Constant, String> {
    let parts: Vec<&Constant> = inputs.iter().copied().flatten().collect();
    let rank = parts.first().map_or(0, |part| part.shape.len());
    let axis = from_start(axis, rank)?;
    let without = |shape: &[usize]| [&shape[..axis], &shape[axis + 1..]].concat();
    if parts.iter().any(|part| part.shape.len() != rank || without(&part.shape) != without(&parts[0].shape)) {
        return Err("its inputs have shapes that do not fit together".to_owned());
    }
    let n_lines: usize = parts[0].shape[..axis].iter().product();
    let is_whole = parts.iter().all(|part| matches!(part.numbers, Numbers::Whole(_)));
    let mut floats = Vec::new();
    let mut wholes = Vec::new();
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
    match (is_whole, wholes.is_empty()) {
        (true, _) => Ok(Constant { shape, numbers: Numbers::Whole(wholes) }),
        (false, true) => Ok(Constant { shape, numbers: Numbers::Float(floats) }),
        (false, false) => Err("its inputs mix floats and whole numbers".to_owned()),
    }
}

fn unsqueeze(input: &Constant, axes: &[i64]) -> Result<Constant, String> {
    let rank = input.shape.len() + axes.len();
    let put: Vec<usize> = axes.iter().map(|&axis| from_start(axis, rank)).collect::<Result<_, _>>()?;
    let mut lengths = input.shape.iter();
    let shape =
        (0..rank).filter_map(|axis| if put.contains(&axis) { Some(1) } else { lengths.next().copied() }).collect();
    Ok(Constant { shape, numbers: input.numbers.clone() })
}

fn squeeze(input: &Constant, axes: Option<Vec<i64>>) -> Result<Constant, String> {
    let rank = input.shape.len();
    let gone: Vec<usize> = match axes {
        Some(axes) => axes.into_iter().map(|axis| from_start(axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).filter(|&axis| input.shape[axis] == 1).collect(),
    };
    let shape = (0..rank).filter(|axis| !gone.contains(axis)).map(|axis| input.shape[axis]).collect();
    Ok(Constant { shape, numbers: input.numbers.clone() })
}

fn slice(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let mut sliced = first(inputs)?.clone();
    let list = |nth: usize| inputs.get(nth).copied().flatten().map(whole).transpose();
    let (starts, ends) = (list(1)?.ok_or("its starts are missing")?, list(2)?.ok_or("its ends are missing")?);
    let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    for (nth, &axis) in axes.iter().enumerate() {
        let axis = from_start(axis, sliced.shape.len())?;
        let length = sliced.shape[axis] as i64;
        let (start, end, step) =
            (starts[nth], ends.get(nth).copied().unwrap_or(length), steps.get(nth).copied().unwrap_or(1));
        if step < 1 {
            return Err(format!("a slice with step {step}; steps from 1 are understood"));
        }
        let bound =
            |place: i64| (if place < 0 { place.saturating_add(length) } else { place }).clamp(0, length) as usize;
        let indices: Vec<usize> = (bound(start)..bound(end)).step_by(step as usize).collect();
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
    let known: usize = reshaped.iter().product();
    if let Some(free) = target.iter().position(|&number| number == -1) {
        reshaped[free] = length.checked_div(known).ok_or_else(wrong)?;
    }
    if reshaped.iter().product::<usize>() == length { Ok(reshaped) } else { Err(wrong()) }
}

fn reshape(input: &Constant, target: &[i64]) -> Result<Constant, String> {
    Ok(Constant { shape: reshaped(&input.shape, target)?, numbers: input.numbers.clone() })
}

fn transpose(input: &Constant, attributes: &Attributes<'_>) -> Result<Constant, String> {
    let rank = input.shape.len();
    let order = attributes.ints("perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
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
    Ok(Constant { numbers: picked(&input.numbers, (0..input.numbers.len()).map(place)), shape: shape.clone() })
}

/// The shape of two that are broadcast against each other.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let length = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let both = |axis| match (length(a, axis), length(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("shapes {a:?} and {b:?} cannot be broadcast")),
    };
    let shape: Vec<usize> = (0..rank).map(both).collect::<Result<_, _>>()?;
    if shape.iter().product::<usize>() > 1 << 26 {
        Err(format!("a constant of shape {shape:?} is too large to be folded"))
    } else {
        Ok(shape)
    }
}

/// For each place of a broadcast shape the place within one of the operands.
fn places_in<'a>(operand: &'a [usize], shape: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let skipped = shape.len() - operand.len();
    (0..shape.iter().product()).map(move |index| {
        let position = crate::value::unravel(index, shape);
        position[skipped..]
            .iter()
            .zip(operand)
            .fold(0, |place, (&at, &length)| place * length + if length == 1 { 0 } else { at })
    })
}

fn expand(input: &Constant, target: &[i64]) -> Result<Constant, String> {
    let target: Option<Vec<usize>> = target.iter().map(|&length| usize::try_from(length).ok()).collect();
    let shape = broadcast(&input.shape, &target.ok_or("a negative length")?)?;
    Ok(Constant { numbers: picked(&input.numbers, places_in(&input.shape, &shape)), shape: shape.clone() })
}

fn unary(input: &Constant, float: fn(f32) -> f32, whole: fn(i64) -> i64) -> Result<Constant, String> {
    let numbers = match &input.numbers {
        Numbers::Float(numbers) => Numbers::Float(numbers.iter().copied().map(float).collect()),
        Numbers::Whole(numbers) => Numbers::Whole(numbers.iter().copied().map(whole).collect()),
    };
    Ok(Constant { shape: input.shape.clone(), numbers })
}

fn binary(
    inputs: &[Option<&Constant>],
    float: fn(f32, f32) -> f32,
    whole: fn(i64, i64) -> Option<i64>,
) -> Result<Constant, String> {
    let (a, b) = (first(inputs)?, second(inputs)?);
    let shape = broadcast(&a.shape, &b.shape)?;
    let places: Vec<(usize, usize)> = places_in(&a.shape, &shape).zip(places_in(&b.shape, &shape)).collect();
    let numbers = match (&a.numbers, &b.numbers) {
        (Numbers::Whole(a), Numbers::Whole(b)) => {
            let numbers: Option<Vec<i64>> = places.iter().map(|&(i, j)| whole(a[i], b[j])).collect();
            Numbers::Whole(numbers.ok_or("whole numbers overflow or are divided by zero")?)
        }
        (Numbers::Float(a), Numbers::Float(b)) => {
            Numbers::Float(places.iter().map(|&(i, j)| float(a[i], b[j])).collect())
        }
        _ => return Err("its inputs mix floats and whole numbers".to_owned()),
    };
    Ok(Constant { shape, numbers })
}

fn choose(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let condition = whole(first(inputs)?)?;
    let (a, b) = (second(inputs)?, inputs.get(2).copied().flatten().ok_or("its third input is missing")?);
    let shape = broadcast(&broadcast(&a.shape, &b.shape)?, &first(inputs)?.shape)?;
    let (a, b) = (picked(&a.numbers, places_in(&a.shape, &shape)), picked(&b.numbers, places_in(&b.shape, &shape)));
    let decided: Vec<bool> = places_in(&first(inputs)?.shape, &shape).map(|place| condition[place] != 0).collect();
    let numbers = match (a, b) {
        (Numbers::Whole(a), Numbers::Whole(b)) => {
            Numbers::Whole((0..a.len()).map(|i| if decided[i] { a[i] } else { b[i] }).collect())
        }
        (Numbers::Float(a), Numbers::Float(b)) => {
            Numbers::Float((0..a.len()).map(|i| if decided[i] { a[i] } else { b[i] }).collect())
        }
        _ => return Err("its inputs mix floats and whole numbers".to_owned()),
    };
    Ok(Constant { shape, numbers })
}

fn range(inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let number = |nth: usize| -> Result<i64, String> {
        let constant = inputs.get(nth).copied().flatten().ok_or("an input is missing")?;
        whole(constant)?.first().copied().ok_or_else(|| "an input is empty".to_owned())
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    if step < 1 || limit.saturating_sub(start) > 1 << 20 {
        return Err(format!("a range from {start} to {limit} by {step}"));
    }
    Ok(vector((start..limit).step_by(step as usize).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loaders::onnx::proto::AttributeProto;

    #[track_caller]
    fn folds(operator: &str, attributes: &[(&str, i64)], inputs: &[Constant], expected: Constant) {
        let attributes: Vec<AttributeProto> = attributes
            .iter()
            .map(|(name, i)| AttributeProto { name: (*name).to_owned(), i: *i, ..AttributeProto::default() })
            .collect();
        let known: Vec<Option<Known>> = inputs.iter().map(|input| Some(Known::constant(input.clone()))).collect();
        let folded = fold(operator, &Attributes(&attributes), &known, 17).unwrap().unwrap();
        assert_eq!(folded.same(), Some(&expected));
    }

    fn scalar(number: i64) -> Constant {
        Constant { shape: vec![], numbers: Numbers::Whole(vec![number]) }
    }

    fn matrix() -> Constant {
        Constant { shape: vec![2, 3], numbers: Numbers::Whole(vec![1, 2, 3, 4, 5, 6]) }
    }

    #[test]
    fn what_exporters_compute_of_shapes() {
        folds("Gather", &[("axis", 0)], &[vector(vec![7, 8, 9]), scalar(-1)], scalar(9));
        folds(
            "Gather",
            &[("axis", 1)],
            &[matrix(), vector(vec![2, 0])],
            Constant { shape: vec![2, 2], numbers: Numbers::Whole(vec![3, 1, 6, 4]) },
        );
        folds("Concat", &[("axis", 0)], &[vector(vec![1]), vector(vec![-1, 4])], vector(vec![1, -1, 4]));
        folds(
            "Slice",
            &[],
            &[vector(vec![1, 2, 3, 4]), vector(vec![1]), vector(vec![i64::MAX]), vector(vec![0]), vector(vec![2])],
            vector(vec![2, 4]),
        );
        folds(
            "Transpose",
            &[],
            &[matrix()],
            Constant { shape: vec![3, 2], numbers: Numbers::Whole(vec![1, 4, 2, 5, 3, 6]) },
        );
        folds("Mul", &[], &[vector(vec![2, 3]), scalar(4)], vector(vec![8, 12]));
        folds("Where", &[], &[vector(vec![1, 0]), scalar(5), vector(vec![8, 9])], vector(vec![5, 9]));
        folds("Range", &[], &[scalar(2), scalar(8), scalar(3)], vector(vec![2, 5]));
        folds(
            "Expand",
            &[],
            &[vector(vec![1, 2]), vector(vec![2, 2])],
            Constant { shape: vec![2, 2], numbers: Numbers::Whole(vec![1, 2, 1, 2]) },
        );
    }

    #[test]
    fn what_depends_on_the_input_is_kept_for_each_scenario() {
        let shape = Known::FromShapes([vector(vec![1, 8]), vector(vec![1, 12]), vector(vec![2, 8])]);
        let index = Known::constant(scalar(1));
        let folded = fold("Gather", &Attributes(&[]), &[Some(shape), Some(index)], 17).unwrap().unwrap();
        assert_eq!([folded.at(0), folded.at(1), folded.at(2)], [&scalar(8), &scalar(12), &scalar(8)]);
        assert!(folded.same().is_none());
    }

    #[test]
    fn nonsense_is_an_error() {
        let divided =
            fold("Div", &Attributes(&[]), &[Some(Known::constant(scalar(1))), Some(Known::constant(scalar(0)))], 17);
        assert_eq!(divided.unwrap().unwrap_err(), "whole numbers overflow or are divided by zero");
        assert_eq!(reshaped(&[2, 3], &[4, -1]).unwrap_err(), "[2, 3] cannot be reshaped to [4, -1]");
    }
}
