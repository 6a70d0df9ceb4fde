//! Constants and shape arithmetic, folded while a network is read.
//!
//! Exporters compute shapes at run time (`Shape`, `Gather`, `Concat` before a `Reshape`). We evaluate that arithmetic at
//! load, for several inputs at once that differ in batch and length ([`Scenario`]): what comes out the same for all is a
//! constant, and what differs is free.

use super::arrays::{self, first, from_start, second, vector, whole};
use super::attributes::Attributes;
use super::tensor::Constant;

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

type Evaluate = fn(&Attributes<'_>, &[Option<&Constant>], i64) -> Result<Constant, String>;

/// Whether an operator's type is one of those that are folded.
pub(super) fn is_folded(operator: &str) -> bool {
    ["Constant", "ConstantOfShape", "Dropout"].contains(&operator) || evaluator(operator).is_some()
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
    if let ("Identity" | "Dropout", Some(Some(known))) = (operator, inputs.first()) {
        return Some(Ok(known.clone()));
    }
    let evaluate = evaluator(operator)?;
    let at = |scenario: usize| -> Result<Constant, String> {
        let inputs: Vec<Option<&Constant>> =
            inputs.iter().map(|input| input.as_ref().map(|known| known.at(scenario))).collect();
        evaluate(attributes, &inputs, opset)
    };
    let differs = inputs.iter().flatten().any(|known| matches!(known, Known::FromShapes(_)));
    Some(if differs { in_each_scenario(at) } else { at(0).map(Known::constant) })
}

/// How an operator is evaluated; attributes, inputs and the opset go in.
fn evaluator(operator: &str) -> Option<Evaluate> {
    Some(match operator {
        "Identity" => |_, inputs, _| first(inputs).cloned(),
        "Cast" => |attributes, inputs, _| arrays::cast(first(inputs)?, attributes.int("to", 1)),
        "Shape" => |attributes, inputs, _| Ok(shape_of(&first(inputs)?.shape, attributes)),
        "Size" => |_, inputs, _| Ok(Constant { shape: vec![], ..vector(vec![first(inputs)?.numbers.len() as i64]) }),
        "Gather" => |attributes, inputs, _| arrays::gather(first(inputs)?, second(inputs)?, attributes.int("axis", 0)),
        "Concat" => |attributes, inputs, _| arrays::concat(inputs, attributes.int("axis", 0)),
        "Unsqueeze" => |attributes, inputs, opset| {
            let axes = axes(attributes, inputs, opset, 13)?.ok_or("it does not say its axes")?;
            arrays::unsqueeze(first(inputs)?, &axes)
        },
        "Squeeze" => |attributes, inputs, opset| arrays::squeeze(first(inputs)?, axes(attributes, inputs, opset, 13)?),
        "Slice" => |_, inputs, _| arrays::slice(inputs),
        "Reshape" => |_, inputs, _| arrays::reshape(first(inputs)?, &whole(second(inputs)?)?),
        "Flatten" => |attributes, inputs, _| {
            let (input, rank) = (first(inputs)?, first(inputs)?.shape.len());
            let before = from_start(attributes.int("axis", 1), rank + 1)?;
            arrays::reshape(input, &[input.shape[..before].iter().product::<usize>() as i64, -1])
        },
        "Transpose" => |attributes, inputs, _| arrays::transpose(first(inputs)?, attributes.ints("perm")),
        "Expand" => |_, inputs, _| arrays::expand(first(inputs)?, second(inputs)?),
        "Range" => |_, inputs, _| arrays::range(inputs),
        "Add" => |_, inputs, _| arrays::binary(inputs, |a, b| a + b, i64::checked_add),
        "Sub" => |_, inputs, _| arrays::binary(inputs, |a, b| a - b, i64::checked_sub),
        "Mul" => |_, inputs, _| arrays::binary(inputs, |a, b| a * b, i64::checked_mul),
        "Div" => |_, inputs, _| arrays::binary(inputs, |a, b| a / b, i64::checked_div),
        "Mod" => |_, inputs, _| arrays::binary(inputs, |a, b| a % b, i64::checked_rem_euclid),
        "Min" => |_, inputs, _| arrays::binary(inputs, f32::min, |a, b| Some(a.min(b))),
        "Max" => |_, inputs, _| arrays::binary(inputs, f32::max, |a, b| Some(a.max(b))),
        "Equal" => |_, inputs, _| arrays::equal(inputs),
        "Where" => |_, inputs, _| arrays::choose(inputs),
        "Trilu" => |attributes, inputs, _| arrays::triangle(inputs, attributes.int("upper", 1) != 0),
        "Floor" => |_, inputs, _| arrays::unary(first(inputs)?, f32::floor, |_| None),
        "Ceil" => |_, inputs, _| arrays::unary(first(inputs)?, f32::ceil, |_| None),
        "Neg" => |_, inputs, _| arrays::unary(first(inputs)?, |a| -a, i64::checked_neg),
        "Sqrt" => |_, inputs, _| arrays::unary(first(inputs)?, f32::sqrt, |_| None),
        "ReduceProd" => |attributes, inputs, _| arrays::product(first(inputs)?, attributes.int("keepdims", 1) != 0),
        _ => return None,
    })
}

/// The numbers of a shape, as `Shape` answers them.
pub(super) fn shape_of(shape: &[usize], attributes: &Attributes<'_>) -> Constant {
    let rank = shape.len() as i64;
    let bound = |place: i64| (if place < 0 { place + rank } else { place }).clamp(0, rank) as usize;
    let (start, end) = (bound(attributes.int("start", 0)), bound(attributes.int("end", rank)));
    vector(shape[start.min(end)..end].iter().map(|&length| length as i64).collect())
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

/// The scenarios' answers.
pub(super) fn in_each_scenario(at: impl FnMut(usize) -> Result<Constant, String>) -> Result<Known, String> {
    let constants = (0..N_SCENARIOS).map(at).collect::<Result<Vec<_>, _>>()?;
    Ok(Known::FromShapes(constants.try_into().expect("there is one for each scenario")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loaders::onnx::arrays::reshaped;
    use crate::loaders::onnx::proto::AttributeProto;
    use crate::loaders::onnx::tensor::Numbers;

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
        assert_eq!(reshaped(&[2, 3], &[-1, 6, -1]).unwrap_err(), "[2, 3] cannot be reshaped to [-1, 6, -1]");
        assert_eq!(
            reshaped(&[2, 3], &[i64::MAX, 4, 6]).unwrap_err(),
            "[2, 3] cannot be reshaped to [9223372036854775807, 4, 6]"
        );
        for target in [vec![1 << 40, 1 << 40], vec![1 << 23]] {
            let expanded = arrays::expand(&scalar(1), &vector(target)).unwrap_err();
            assert!(expanded.ends_with("is too large to be folded; at most 4194304 numbers are"), "{expanded}");
        }
        let bounds = [matrix(), vector(vec![0]), vector(vec![1]), vector(vec![0, 1])];
        let sliced = arrays::slice(&bounds.each_ref().map(Some)).unwrap_err();
        assert_eq!(sliced, "starts [0], ends [1], axes [0, 1] and steps [1] differ in number");
    }
}
