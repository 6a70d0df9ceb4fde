//! Which layers are randomised together: each by itself, or those of a block of the network.

use models::reinitialize::initializers;
use models::{Graph, NodeIdx};

use crate::error::{IntrospectionError, Result};
use crate::pattern::fits_pattern;

/// Layers that are randomised together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// A layer's name, or that of what contains them.
    pub name: String,
    /// In the graph's order.
    pub layers: Vec<NodeIdx>,
}

impl Unit {
    fn top(&self) -> Option<NodeIdx> {
        self.layers.last().copied()
    }
}

/// How layers are taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// By the block that their names tell: `blocks.15` of `blocks.15.project_conv`, `layer4.1` of `layer4.1.conv2`.
    #[default]
    Block,
    /// Each by itself.
    Layer,
}

impl Grouping {
    fn name_of(self, layer: &str) -> &str {
        match self {
            Grouping::Layer => layer,
            Grouping::Block => block_of(layer).unwrap_or(layer),
        }
    }
}

/// All layers that have learned something, from the logits down.
pub fn units(graph: &Graph, grouping: Grouping) -> Vec<Unit> {
    grouped(graph, learned(graph), grouping)
}

/// The units that names mean, from the logits down: a layer, all layers of a container, or those that fit a pattern with
/// `*`, grouped.
pub fn units_named(graph: &Graph, names: &[String], grouping: Grouping) -> Result<Vec<Unit>> {
    let mut all: Vec<Unit> = Vec::new();
    for name in names {
        let of_name = units_of(graph, name, grouping)?;
        for unit in &of_name {
            let is_taken = |idx: &NodeIdx| all.iter().find(|other| other.layers.contains(idx));
            if let Some((idx, other)) = unit.layers.iter().find_map(|idx| Some((idx, is_taken(idx)?))) {
                let layer = &graph.node(*idx).name;
                let message = format!("`{layer}` is named twice, by `{}` and by `{name}`", other.name);
                return Err(IntrospectionError::Unfit(message));
            }
        }
        all.extend(of_name);
    }
    all.sort_by_key(|unit| std::cmp::Reverse(unit.top()));
    Ok(all)
}

fn units_of(graph: &Graph, name: &str, grouping: Grouping) -> Result<Vec<Unit>> {
    let is_within =
        |layer: &str| layer.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '/'])) && !name.is_empty();
    let all = learned(graph);
    let of_container: Vec<NodeIdx> = all.iter().copied().filter(|idx| is_within(&graph.node(*idx).name)).collect();
    if !of_container.is_empty() {
        return Ok(vec![Unit { name: name.to_owned(), layers: of_container }]);
    }
    if name.contains('*') {
        let fitting: Vec<NodeIdx> =
            all.iter().copied().filter(|idx| fits_pattern(name, &graph.node(*idx).name)).collect();
        if fitting.is_empty() {
            return Err(IntrospectionError::Unfit(format!("no layer with learned weights fits `{name}`")));
        }
        return Ok(grouped(graph, fitting, grouping));
    }
    let idx = graph.layer(name)?.node;
    if !all.contains(&idx) {
        let kind = graph.node(idx).operator.kind();
        let message =
            format!("`{name}` ({kind}) has learned nothing that could be drawn anew; name a layer with weights");
        return Err(IntrospectionError::Unfit(message));
    }
    Ok(vec![Unit { name: name.to_owned(), layers: vec![idx] }])
}

fn learned(graph: &Graph) -> Vec<NodeIdx> {
    let nodes = graph.nodes().iter().enumerate();
    nodes.filter(|(_, node)| initializers(&*node.operator).is_some()).map(|(idx, _)| NodeIdx(idx)).collect()
}

fn grouped(graph: &Graph, layers: Vec<NodeIdx>, grouping: Grouping) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for idx in layers {
        let name = grouping.name_of(&graph.node(idx).name);
        match units.iter_mut().find(|unit| unit.name == name) {
            Some(unit) => unit.layers.push(idx),
            None => units.push(Unit { name: name.to_owned(), layers: vec![idx] }),
        }
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.top()));
    units
}

/// The shortest part of a name that ends in a number by itself and that something follows.
fn block_of(layer: &str) -> Option<&str> {
    let bytes = layer.as_bytes();
    let is_separator = |at: usize| matches!(bytes[at], b'.' | b'/');
    (1..bytes.len()).filter(|&at| is_separator(at)).map(|at| &layer[..at]).find(|part| {
        let number = part.rsplit(['.', '/']).next().unwrap_or(part);
        number.len() < part.len() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sanity::randomize::tests::network;

    #[test]
    fn a_name_tells_its_block() {
        for (layer, block) in [
            ("blocks.15.project_conv", Some("blocks.15")),
            ("layer2.0.downsample.0", Some("layer2.0")),
            ("/layer1/layer1.0/conv1/Conv", Some("/layer1/layer1.0")),
            ("encoder.layers.3.self_attn.out", Some("encoder.layers.3")),
            ("features.28", None),
            ("conv_stem", None),
            ("fc", None),
            ("a..b", None),
        ] {
            assert_eq!(block_of(layer), block, "{layer}");
        }
    }

    #[test]
    fn units_go_from_the_logits_down() {
        let graph = network();
        let names = |units: Vec<Unit>| units.into_iter().map(|unit| unit.name).collect::<Vec<_>>();
        assert_eq!(names(units(&graph, Grouping::Block)), ["fc", "blocks.1", "blocks.0"]);
        let each = ["fc", "blocks.1.b", "blocks.1.a", "blocks.0.b", "blocks.0.a"];
        assert_eq!(names(units(&graph, Grouping::Layer)), each);
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            units_named(&graph, &names, Grouping::Block)
        };
        assert_eq!(names(named(&["blocks.0", "fc"]).unwrap()), ["fc", "blocks.0"]);
        assert_eq!(named(&["blocks"]).unwrap()[0].layers.len(), 4);
        assert_eq!(names(named(&["*.a"]).unwrap()), ["blocks.1", "blocks.0"]);
        let refusal = |of: &[&str]| named(of).unwrap_err().to_string();
        assert_eq!(
            refusal(&["blocks.0", "blocks.0.a"]),
            "`blocks.0.a` is named twice, by `blocks.0` and by `blocks.0.a`"
        );
        assert!(refusal(&["relu"]).contains("has learned nothing"));
        assert!(refusal(&["x*"]).contains("fits `x*`"));
        assert!(matches!(named(&["fcc"]), Err(IntrospectionError::Model(models::ModelError::UnknownLayer { .. }))));
    }
}
