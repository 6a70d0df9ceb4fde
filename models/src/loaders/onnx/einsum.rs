//! `Einsum` of two values, written out as the product of matrices that it is, as attention is often written.
//!
//! Each label must be one of four kinds: in both values and the result (which matrix), in the first and the result (its
//! row), in the second and the result (its column), or in both values alone (summed over); of the last three there is one
//! each. Everything else stays an `Einsum`, and is refused as such.

use super::attributes::Attributes;
use super::proto::{AttributeProto, NodeProto};
use super::reading::layer_name;

/// The nodes with every such `Einsum` replaced; `is_constant` tells what is stored in the file.
pub(super) fn written_out(nodes: Vec<NodeProto>, is_constant: &dyn Fn(&str) -> bool) -> Vec<NodeProto> {
    let replaced = |node: NodeProto| match steps(&node, is_constant) {
        Some(steps) => steps,
        None => vec![node],
    };
    nodes.into_iter().flat_map(replaced).collect()
}

/// Which axes of what become those of a batch of matrices, and back.
#[derive(Debug, PartialEq)]
struct Orders {
    left: Vec<i64>,
    right: Vec<i64>,
    result: Vec<i64>,
}

fn steps(node: &NodeProto, is_constant: &dyn Fn(&str) -> bool) -> Option<Vec<NodeProto>> {
    let is_standard = node.domain.is_empty() || node.domain == "ai.onnx";
    let ([first, second], [output]) = (&node.input[..], &node.output[..]) else { return None };
    if node.op_type != "Einsum" || !is_standard {
        return None;
    }
    let (terms, result) = labels(Attributes(&node.attribute).text("equation")?)?;
    let [of_first, of_second] = &terms[..] else { return None };
    // Weights stand on the right.
    let ((left, of_left), (right, of_right)) = match is_constant(first) {
        true => ((second, of_second), (first, of_first)),
        false => ((first, of_first), (second, of_second)),
    };
    let orders = orders(of_left, of_right, &result)?;
    let name = layer_name(node);
    let mut steps = Vec::new();
    let mut moved = |from: &str, order: Vec<i64>, what: &str| {
        if order.is_sorted() {
            return from.to_owned();
        }
        let to = format!("{name}/{what}");
        steps.push(transpose(from, order, &to, &to));
        to
    };
    let (left, right) = (moved(left, orders.left, "left"), moved(right, orders.right, "right"));
    let is_in_order = orders.result.is_sorted();
    let inner = format!("{name}/product");
    let (product_name, product_output) = if is_in_order { (name, output) } else { (inner.as_str(), &inner) };
    steps.push(NodeProto {
        input: vec![left, right],
        output: vec![product_output.clone()],
        name: product_name.to_owned(),
        op_type: "MatMul".to_owned(),
        ..NodeProto::default()
    });
    if !is_in_order {
        steps.push(transpose(&inner, orders.result, name, output));
    }
    Some(steps)
}

fn transpose(from: &str, order: Vec<i64>, name: &str, output: &str) -> NodeProto {
    let perm = AttributeProto { name: "perm".to_owned(), ints: order, ..AttributeProto::default() };
    NodeProto {
        input: vec![from.to_owned()],
        output: vec![output.to_owned()],
        name: name.to_owned(),
        op_type: "Transpose".to_owned(),
        attribute: vec![perm],
        ..NodeProto::default()
    }
}

/// The labels of each value, and of the result: without an arrow all that appear once, in the order of the alphabet.
fn labels(equation: &str) -> Option<(Vec<Vec<char>>, Vec<char>)> {
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (values, result) = equation.split_once("->").map_or((&*equation, None), |(values, to)| (values, Some(to)));
    let terms: Vec<Vec<char>> = values.split(',').map(|term| term.chars().collect()).collect();
    let result = match result {
        Some(result) => result.chars().collect(),
        None => {
            let all: Vec<char> = terms.concat();
            let mut once: Vec<char> = all.iter().copied().filter(|label| n_times(*label, &all) == 1).collect();
            once.sort_unstable();
            once
        }
    };
    let are_letters = terms.iter().flatten().chain(&result).all(char::is_ascii_alphabetic);
    let are_apart = terms.iter().chain([&result]).all(|term| term.iter().all(|label| n_times(*label, term) == 1));
    (are_letters && are_apart).then_some((terms, result))
}

fn n_times(label: char, among: &[char]) -> usize {
    among.iter().filter(|other| **other == label).count()
}

fn orders(left: &[char], right: &[char], result: &[char]) -> Option<Orders> {
    let of_kind = |in_left: bool, in_right: bool, in_result: bool| -> Vec<char> {
        let has = |label: &char| {
            [left.contains(label), right.contains(label), result.contains(label)] == [in_left, in_right, in_result]
        };
        // Matrices in the order of the result, so that it needs to move little.
        let mut all: Vec<char> = result.iter().chain(left).chain(right).copied().filter(has).collect();
        let mut seen = Vec::new();
        all.retain(|label| {
            !seen.contains(label) && {
                seen.push(*label);
                true
            }
        });
        all
    };
    let matrices = of_kind(true, true, true);
    let [row] = of_kind(true, false, true)[..] else { return None };
    let [column] = of_kind(false, true, true)[..] else { return None };
    let [summed] = of_kind(true, true, false)[..] else { return None };
    let n_axes = matrices.len() + 2;
    if [left, right, result].iter().any(|labels| labels.len() != n_axes) {
        return None;
    }
    let places = |wanted: &[char], among: &[char]| -> Option<Vec<i64>> {
        wanted.iter().map(|label| among.iter().position(|other| other == label).map(|at| at as i64)).collect()
    };
    let with = |a: char, b: char| matrices.iter().copied().chain([a, b]).collect::<Vec<char>>();
    Some(Orders {
        left: places(&with(row, summed), left)?,
        right: places(&with(summed, column), right)?,
        result: places(result, &with(row, column))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders_of(equation: &str) -> Option<Orders> {
        let (terms, result) = labels(equation)?;
        orders(&terms[0], &terms[1], &result)
    }

    #[test]
    fn attention_is_a_batch_of_matrices() {
        let scores = orders_of("bihd, bjhd -> bhij").unwrap();
        assert_eq!(scores, Orders { left: vec![0, 2, 1, 3], right: vec![0, 2, 3, 1], result: vec![0, 1, 2, 3] });
        let heads = orders_of("bhij,bjhd->bihd").unwrap();
        assert_eq!(heads, Orders { left: vec![0, 1, 2, 3], right: vec![0, 2, 1, 3], result: vec![0, 2, 1, 3] });
    }

    #[test]
    fn without_an_arrow_labels_that_appear_once_are_kept_in_order() {
        assert_eq!(orders_of("ij,jk"), orders_of("ij,jk->ik"));
        assert_eq!(orders_of("kj,ji"), orders_of("kj,ji->ik"));
    }

    #[test]
    fn what_is_no_single_product_is_left_alone() {
        for equation in ["ij,jk->i", "ii,ij->j", "i...,ij->j", "ij,ij->ij", "btd,dhk->bthk", "ij,j->i"] {
            assert_eq!(orders_of(equation), None, "{equation}");
        }
    }
}
