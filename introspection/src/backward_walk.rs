//! One walk backwards over a graph and a trace, from one or many targets at once, down to an input or any layer.
//!
//! At each node a rule says how what arrives at its output passes to its inputs. The batch axis of everything that
//! walks is the pair (row of the trace, target), so that many targets share one trace and one walk.

use models::operators::Backward;
use models::{Graph, Interrupt, Node, NodeIdx, Outlet, Trace, Value};

use crate::error::{IntrospectionError, Result};

/// How what arrives at a node's output passes to its inputs.
pub trait Rule: std::fmt::Debug + Send + Sync {
    /// An answer for each input, `None` for those that are not wanted.
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>>;
}

/// Which rule each node gets.
pub trait Composite: std::fmt::Debug {
    /// The node's rule.
    fn rule(&self, graph: &Graph, idx: NodeIdx) -> &dyn Rule;
}

/// What starts at an outlet.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where.
    pub outlet: Outlet,
    /// `[pair, …]`, the outlet's shape behind the pairs.
    pub gradient: Value,
}

/// A walk to be made.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// What it computed.
    pub trace: &'a Trace,
    /// For each pair the row of the trace that it is about.
    pub rows: &'a [usize],
    /// Which rule each node gets.
    pub composite: &'a dyn Composite,
    /// Asked between nodes.
    pub interrupt: &'a dyn Interrupt,
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("rows", &self.rows).field("composite", &self.composite).finish_non_exhaustive()
    }
}

impl Walk<'_> {
    /// What arrives at each outlet of `until`.
    ///
    /// Nodes that none of `until` influences are not visited. A start that does not depend on an outlet of `until` is
    /// an error: an attribution that is zero everywhere because nothing is connected would be read as a finding.
    ///
    /// # Shapes
    /// - returns for each of `until` `[pair, …]`, its outlet's shape behind the pairs
    pub fn run(&self, starts: &[Start], until: &[Outlet]) -> Result<Vec<Value>> {
        for outlet in until {
            self.check_reached(starts, *outlet)?;
        }
        let is_wanted = self.graph.descendants(&until.iter().map(|outlet| outlet.node).collect::<Vec<_>>());
        let nodes = self.graph.nodes();
        let mut arrived: Vec<Vec<Option<Value>>> =
            nodes.iter().map(|node| vec![None; node.operator.n_outputs()]).collect();
        for start in starts {
            accumulate(&mut arrived[start.outlet.node.0][start.outlet.port], start.gradient.clone())?;
        }
        let first = until.iter().map(|outlet| outlet.node.0).min().unwrap_or(0);
        let mut read: Vec<Option<Value>> = vec![None; until.len()];
        for idx in (first..nodes.len()).rev() {
            let gradients = std::mem::take(&mut arrived[idx]);
            for (read, _) in read.iter_mut().zip(until).filter(|(_, outlet)| outlet.node.0 == idx) {
                *read = gradients.first().cloned().flatten();
            }
            let node = &nodes[idx];
            let wanted: Vec<bool> = node.inputs.iter().map(|input| is_wanted[input.node.0]).collect();
            if gradients.iter().all(Option::is_none) || !wanted.contains(&true) {
                continue;
            }
            self.interrupt.check()?;
            for (input, passed) in node.inputs.iter().zip(self.pass(NodeIdx(idx), &gradients, &wanted)?) {
                if let Some(passed) = passed.filter(|_| is_wanted[input.node.0]) {
                    accumulate(&mut arrived[input.node.0][input.port], passed)?;
                }
            }
        }
        let missing = |outlet: &Outlet| IntrospectionError::Unreached {
            layer: self.graph.node(outlet.node).name.clone(),
            target: starts.first().map_or_else(String::new, |start| self.graph.node(start.outlet.node).name.clone()),
        };
        read.into_iter().zip(until).map(|(read, outlet)| read.ok_or_else(|| missing(outlet))).collect()
    }

    fn pass(&self, idx: NodeIdx, gradients: &[Option<Value>], wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let node = self.graph.node(idx);
        let inputs: Vec<Value> = node.inputs.iter().map(|input| self.trace.value(*input).clone()).collect();
        let outputs = self.trace.outputs(idx);
        let backward = Backward { inputs: &inputs, outputs, gradients, rows: self.rows, wanted };
        let passed =
            self.composite.rule(self.graph, idx).pass(node, &backward).map_err(|error| error.at_node(&node.name))?;
        debug_assert_eq!(passed.len(), node.inputs.len(), "a rule answers for every input");
        Ok(passed)
    }

    fn check_reached(&self, starts: &[Start], outlet: Outlet) -> Result<()> {
        let reached = self.graph.descendants(&[outlet.node]);
        match starts.iter().find(|start| !reached[start.outlet.node.0]) {
            None => Ok(()),
            Some(start) => Err(IntrospectionError::Unreached {
                layer: self.graph.node(outlet.node).name.clone(),
                target: self.graph.node(start.outlet.node).name.clone(),
            }),
        }
    }
}

fn accumulate(into: &mut Option<Value>, passed: Value) -> Result<()> {
    *into = Some(match into.take() {
        Some(sum) => sum.add(&passed)?,
        None => passed,
    });
    Ok(())
}
