//! One walk backwards over a graph and a trace, from one or many targets at once, down to an input or any layer.
//!
//! At each node a rule says how what arrives at its output passes to its inputs. The batch axis of everything that
//! walks is the pair (row of the trace, target), so that many targets share one trace and one walk.
//!
//! What arrives is held as windows as long as it can be nonzero only there (a target's cone): every pair has a window
//! of its own, all of one size, so that targets at different places still walk together. An operator that has to see
//! whole values gets whole values, and so does everything below it.

use std::sync::Arc;

use models::operators::{AxisWindow, Backward, NodeValues, Operator, Reach, RectifierBelow};
use models::{Graph, Interrupt, Layout, Node, NodeIdx, Outlet, Trace, Value, Windows};

use crate::error::{IntrospectionError, Result};

/// How what arrives at a node's output passes to its inputs.
pub trait Rule: std::fmt::Debug + Send + Sync {
    /// An answer for each input, `None` for those that are not wanted.
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>>;

    /// Which part of what arrives passes at a rectifier where it was between its bounds, if that is all that this rule
    /// does there; such a rectifier costs no pass of its own.
    fn at_rectifiers(&self) -> Option<Passing> {
        None
    }

    /// Whether it has to see whole values rather than windows of them.
    fn sees_whole(&self) -> bool {
        false
    }

    /// Whether this is the gradient.
    fn is_gradient(&self) -> bool {
        false
    }
}

/// What passes a rectifier between its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// All.
    All,
    /// What is positive.
    Positive,
}

/// Which rule each node gets.
pub trait Composite: std::fmt::Debug + Sync {
    /// The node's rule.
    fn rule(&self, graph: &Graph, idx: NodeIdx) -> &dyn Rule;
}

/// What is on its way at an outlet.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// `[pair, …]`: the outlet's shape behind the pairs, or that of the windows.
    pub value: Value,
    /// Where the windows lie, where it is held as windows.
    pub windows: Option<Windows>,
}

impl Arrived {
    /// Held as it is.
    pub fn whole(value: Value) -> Arrived {
        Arrived { value, windows: None }
    }

    /// All of it, for an outlet of this shape.
    ///
    /// # Shapes
    /// - returns `[pair, …]`, `shape` behind the pairs
    pub fn into_whole(self, shape: &[usize]) -> Result<Value> {
        match self.windows {
            None => Ok(self.value),
            Some(windows) => Ok(windows.spread(&self.value, shape)?),
        }
    }

    /// The part in other windows, which lie within the outlet's value and hold all that is not zero.
    ///
    /// # Shapes
    /// - returns `[pair, …]`, the windows' lengths behind the channels
    pub fn in_windows(&self, windows: &Windows) -> Result<Value> {
        let pairs: Vec<usize> = (0..windows.starts.len()).collect();
        let Some(held) = &self.windows else { return Ok(windows.cut(&self.value, &pairs, 0.0)?) };
        let within = |(start, held): (&Vec<isize>, &Vec<isize>)| start.iter().zip(held).map(|(a, b)| a - b).collect();
        let starts = windows.starts.iter().zip(&held.starts).map(within).collect();
        Ok(Windows { lengths: windows.lengths.clone(), starts }.cut(&self.value, &pairs, 0.0)?)
    }

    /// The pairs of several walks one after the other, of an outlet of this shape.
    pub(crate) fn stack(parts: Vec<Arrived>, shape: &[usize]) -> Result<Arrived> {
        let lengths = |part: &Arrived| part.windows.as_ref().map(|windows| windows.lengths.clone());
        let are_alike = parts.windows(2).all(|pair| lengths(&pair[0]) == lengths(&pair[1]));
        let of_all = parts.iter().filter_map(|part| part.windows.as_ref()).flat_map(|windows| windows.starts.clone());
        let windows = parts.first().and_then(lengths).filter(|_| are_alike);
        let windows = windows.map(|lengths| Windows { lengths, starts: of_all.collect() });
        let held = |part: Arrived| if windows.is_some() { Ok(part.value) } else { part.into_whole(shape) };
        let values = parts.into_iter().map(held).collect::<Result<Vec<_>>>()?;
        Ok(Arrived { value: Value::stack_rows(&values)?, windows })
    }

    fn plus(self, other: Arrived, shape: &[usize]) -> Result<Arrived> {
        if self.windows == other.windows {
            return Ok(Arrived { value: self.value.add(&other.value)?, windows: self.windows });
        }
        let both = match (&self.windows, &other.windows) {
            (Some(own), Some(others)) => own.union(others).filter(|windows| are_worth_it(&windows.lengths, shape)),
            _ => None,
        };
        let (left, right) = match &both {
            Some(windows) => (self.moved(windows)?, other.moved(windows)?),
            None => (self.into_whole(shape)?, other.into_whole(shape)?),
        };
        Ok(Arrived { value: left.add(&right)?, windows: both })
    }

    /// The same in larger windows.
    fn moved(self, to: &Windows) -> Result<Value> {
        let Some(from) = self.windows.filter(|from| from != to) else { return Ok(self.value) };
        let offset = |axis: usize| from.starts[0][axis] - to.starts[0][axis];
        let place = (0..to.lengths.len()).map(offset).collect();
        let within = Windows { lengths: from.lengths.clone(), starts: vec![place; from.starts.len()] };
        let channels = self.value.shape()[1];
        let shape: Vec<usize> = [from.starts.len(), channels].into_iter().chain(to.lengths.iter().copied()).collect();
        Ok(within.spread(&self.value, &shape)?)
    }
}

/// What starts at an outlet.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where.
    pub outlet: Outlet,
    /// What.
    pub gradient: Arrived,
}

impl Start {
    /// A gradient given as a value, `[pair, …]` with the outlet's shape behind the pairs.
    pub fn whole(outlet: Outlet, gradient: Value) -> Start {
        Start { outlet, gradient: Arrived::whole(gradient) }
    }

    /// That of some pairs.
    pub(crate) fn of_pairs(&self, pairs: std::ops::Range<usize>) -> Result<Start> {
        let rows: Vec<usize> = pairs.clone().collect();
        let windows = self.gradient.windows.as_ref().map(|windows| windows.of_pairs(pairs));
        let value = self.gradient.value.select_rows(&rows)?;
        Ok(Start { outlet: self.outlet, gradient: Arrived { value, windows } })
    }

    /// A gradient that is zero but for some numbers of each pair: flat logical index within the row, and weight.
    pub fn of_places(trace: &Trace, outlet: Outlet, pairs: &[&[(usize, f64)]]) -> Result<Start> {
        let dtype = trace.value(outlet)?.dtype();
        let shape = trace.shape(outlet);
        let windows = windows_around(pairs, shape);
        let lengths = windows.as_ref().map_or(&shape[2.min(shape.len())..], |windows| &windows.lengths);
        let held: Vec<usize> =
            [pairs.len()].into_iter().chain(shape.get(1).copied()).chain(lengths.iter().copied()).collect();
        let per_pair: usize = held[1..].iter().product();
        let mut numbers = vec![0.0f64; pairs.len() * per_pair];
        for (pair, places) in pairs.iter().enumerate() {
            for &(index, weight) in *places {
                let mut position = models::value::unravel(index, &shape[1..]);
                if let Some(windows) = &windows {
                    let starts = position[1..].iter_mut().zip(&windows.starts[pair]);
                    starts.for_each(|(place, start)| *place -= *start as usize);
                }
                let flat = position.iter().zip(&held[1..]).fold(0, |flat, (place, length)| flat * length + place);
                numbers[pair * per_pair + flat] += weight;
            }
        }
        let value = Value::from_vec(numbers, &held, Layout::Logical)?.to_dtype(dtype)?;
        Ok(Start { outlet, gradient: Arrived { value, windows } })
    }
}

/// Windows that hold every place with a weight, where they are worth it.
fn windows_around(pairs: &[&[(usize, f64)]], shape: &[usize]) -> Option<Windows> {
    let spatial = shape.get(2..).filter(|spatial| (1..=2).contains(&spatial.len()))?;
    let extents: Vec<Vec<(usize, usize)>> = pairs
        .iter()
        .map(|places| {
            let mut extent: Vec<(usize, usize)> = spatial.iter().map(|&length| (length, 0)).collect();
            for (index, _) in *places {
                let position = models::value::unravel(*index, &shape[1..]);
                for (extent, &place) in extent.iter_mut().zip(&position[1..]) {
                    *extent = (extent.0.min(place), extent.1.max(place + 1));
                }
            }
            extent
        })
        .collect();
    let longest = |axis: usize| {
        let lengths = extents.iter().map(|extent| extent[axis].1.saturating_sub(extent[axis].0));
        lengths.max().unwrap_or(0).max(1)
    };
    let lengths: Vec<usize> = (0..spatial.len()).map(longest).collect();
    // Shorter extents near the end are held by a window that begins before them.
    let start_of = |extent: &Vec<(usize, usize)>| {
        (0..spatial.len()).map(|axis| extent[axis].0.min(spatial[axis] - lengths[axis]) as isize).collect()
    };
    let starts = extents.iter().map(start_of).collect();
    are_worth_it(&lengths, shape).then_some(Windows { lengths, starts })
}

/// Whether windows are so much smaller than the whole that cutting them saves work.
fn are_worth_it(lengths: &[usize], shape: &[usize]) -> bool {
    let spatial = &shape[2..];
    let (window, whole): (usize, usize) = (lengths.iter().product(), spatial.iter().product());
    lengths.iter().zip(spatial).all(|(length, whole)| length <= whole) && 4 * window <= 3 * whole
}

/// Is shown what arrives at a node's first output.
pub type Observer<'a> = dyn Fn(NodeIdx, &Arrived) + 'a;

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
    /// Shown what arrived at the first output of each node.
    pub observer: Option<&'a Observer<'a>>,
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
    pub fn run(&self, starts: &[Start], until: &[Outlet]) -> Result<Vec<Arrived>> {
        for outlet in until {
            self.check_reached(starts, *outlet)?;
        }
        let is_wanted = self.graph.descendants(&until.iter().map(|outlet| outlet.node).collect::<Vec<_>>());
        let (nodes, consumers) = (self.graph.nodes(), self.graph.consumers());
        let mut arrived: Vec<Vec<Option<Arrived>>> =
            nodes.iter().map(|node| vec![None; node.operator.n_outputs()]).collect();
        for start in starts {
            self.accumulate(&mut arrived, start.outlet, start.gradient.clone())?;
        }
        let first = until.iter().map(|outlet| outlet.node.0).min().unwrap_or(0);
        let mut read: Vec<Option<Arrived>> = vec![None; until.len()];
        for idx in (first..nodes.len()).rev() {
            let gradients = std::mem::take(&mut arrived[idx]);
            for (read, outlet) in read.iter_mut().zip(until).filter(|(_, outlet)| outlet.node.0 == idx) {
                *read = gradients.get(outlet.port).cloned().flatten();
            }
            if let (Some(observer), Some(Some(first))) = (self.observer, gradients.first()) {
                observer(NodeIdx(idx), first);
            }
            let node = &nodes[idx];
            let wanted: Vec<bool> = node.inputs.iter().map(|input| is_wanted[input.node.0]).collect();
            if gradients.iter().all(Option::is_none) || !wanted.contains(&true) {
                continue;
            }
            self.interrupt.check()?;
            models::pause::point();
            if let Some((rectifier, passing)) = self.rectifier_below(&consumers, until, idx)
                && let Some(passed) = self.pass_through(NodeIdx(idx), &gradients, rectifier, passing)?
            {
                let input = nodes[rectifier.0].inputs[0];
                self.accumulate(&mut arrived, input, passed)?;
                continue;
            }
            for (input, passed) in node.inputs.iter().zip(self.pass(NodeIdx(idx), gradients, &wanted)?) {
                if let Some(passed) = passed.filter(|_| is_wanted[input.node.0]) {
                    self.accumulate(&mut arrived, *input, passed)?;
                }
            }
        }
        let missing = |outlet: &Outlet| IntrospectionError::Unreached {
            layer: self.graph.node(outlet.node).name.clone(),
            target: starts.first().map_or_else(String::new, |start| self.graph.node(start.outlet.node).name.clone()),
        };
        read.into_iter().zip(until).map(|(read, outlet)| read.ok_or_else(|| missing(outlet))).collect()
    }

    fn accumulate(&self, arrived: &mut [Vec<Option<Arrived>>], outlet: Outlet, more: Arrived) -> Result<()> {
        let into = &mut arrived[outlet.node.0][outlet.port];
        *into = Some(match into.take() {
            Some(sum) => sum.plus(more, self.trace.shape(outlet))?,
            None => more,
        });
        Ok(())
    }

    /// The rectifier that computed a node's only input for this node alone, where its rule can be part of the node's.
    fn rectifier_below(&self, consumers: &[Vec<NodeIdx>], until: &[Outlet], idx: usize) -> Option<(NodeIdx, Passing)> {
        let [input] = self.graph.nodes()[idx].inputs[..] else { return None };
        let rectifier = input.node;
        let is_read = until.iter().any(|outlet| outlet.node == rectifier);
        self.graph.node(rectifier).operator.as_activation()?.function().bounds()?;
        let passing = self.composite.rule(self.graph, rectifier).at_rectifiers()?;
        let is_gradient = self.composite.rule(self.graph, NodeIdx(idx)).is_gradient();
        (is_gradient && !is_read && consumers[rectifier.0] == [NodeIdx(idx)]).then_some((rectifier, passing))
    }

    /// Passes whole values through a node and the rectifier below it at once, where the node can.
    fn pass_through(
        &self,
        idx: NodeIdx,
        gradients: &[Option<Arrived>],
        rectifier: NodeIdx,
        passing: Passing,
    ) -> Result<Option<Arrived>> {
        let [Some(Arrived { value, windows: None })] = gradients else { return Ok(None) };
        let node = self.graph.node(idx);
        let bounds = self.graph.node(rectifier).operator.as_activation().and_then(|of| of.function().bounds());
        let Some((low, high)) = bounds else { return Ok(None) };
        let output = &self.trace.value(Outlet { node: rectifier, port: 0 })?;
        let below = RectifierBelow { output, low, high, only_positive: passing == Passing::Positive };
        let (values, gradients) = (self.trace.of_node(idx), [Some(value.clone())]);
        let backward = Backward { values: &values, gradients: &gradients, rows: self.rows, wanted: &[true] };
        let passed = node.operator.gradient_through(&backward, &below).transpose();
        let passed = passed.map_err(|error| error.at_node(&node.name))?;
        Ok(passed.map(Arrived::whole))
    }

    fn pass(&self, idx: NodeIdx, gradients: Vec<Option<Arrived>>, wanted: &[bool]) -> Result<Vec<Option<Arrived>>> {
        if let [Some(Arrived { value, windows: Some(windows) })] = &gradients[..]
            && let Some(passed) = self.pass_windows(idx, value, windows, wanted)?
        {
            return Ok(passed);
        }
        let into_whole = |(port, arrived): (usize, Option<Arrived>)| {
            let shape = self.trace.shape(Outlet { node: idx, port });
            arrived.map(|arrived| arrived.into_whole(shape)).transpose()
        };
        let gradients = gradients.into_iter().enumerate().map(into_whole).collect::<Result<Vec<_>>>()?;
        let node = self.graph.node(idx);
        let values = self.trace.of_node(idx);
        let backward = Backward { values: &values, gradients: &gradients, rows: self.rows, wanted };
        let passed = self.answer(idx, node, &backward)?;
        Ok(passed.into_iter().map(|passed| passed.map(Arrived::whole)).collect())
    }

    /// Passes windows on as windows; `None` where the node has to see whole values, or where windows would be no
    /// smaller.
    fn pass_windows(
        &self,
        idx: NodeIdx,
        gradient: &Value,
        windows: &Windows,
        wanted: &[bool],
    ) -> Result<Option<Vec<Option<Arrived>>>> {
        let node = self.graph.node(idx);
        if self.composite.rule(self.graph, idx).sees_whole() {
            return Ok(None);
        }
        let Some(operator) = node.operator.on_windows(windows.lengths.len()) else { return Ok(None) };
        let Some(below) = through(windows, &node.operator.reach()) else { return Ok(None) };
        let own_shape = self.trace.shape(Outlet { node: idx, port: 0 });
        let is_pointwise = node.operator.reach() == Reach::Pointwise;
        let fits = |input: &Outlet| {
            let shape = self.trace.shape(*input);
            let has_axes = shape.len() == own_shape.len() && (!is_pointwise || shape[2..] == own_shape[2..]);
            has_axes && are_worth_it(&below.lengths, shape)
        };
        if !node.inputs.iter().all(fits) {
            return Ok(None);
        }
        let values = InWindows { walk: self, idx, above: windows, below: &below };
        let pairs: Vec<usize> = (0..self.rows.len()).collect();
        let gradients = [Some(gradient.clone())];
        let backward = Backward { values: &values, gradients: &gradients, rows: &pairs, wanted };
        let of_windows = Node { name: node.name.clone(), operator, inputs: node.inputs.clone() };
        let passed = self.answer(idx, &of_windows, &backward)?;
        let cleared = |(passed, input): (Option<Value>, &Outlet)| {
            let clear = |value| below.cleared_outside(value, self.trace.shape(*input));
            let value = passed.map(clear).transpose()?;
            Ok(value.map(|value| Arrived { value, windows: Some(below.clone()) }))
        };
        passed.into_iter().zip(&node.inputs).map(cleared).collect::<Result<_>>().map(Some)
    }

    fn answer(&self, idx: NodeIdx, node: &Node, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let passed = self.composite.rule(self.graph, idx).pass(node, backward);
        let passed = passed.map_err(|error| error.at_node(&node.name))?;
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

/// The windows of an operator's input that windows of its output depend on.
fn through(windows: &Windows, reach: &Reach) -> Option<Windows> {
    let of_axes = match reach {
        Reach::Pointwise => return Some(windows.clone()),
        Reach::Window(of_axes) if of_axes.len() == windows.lengths.len() => of_axes,
        Reach::Window(_) | Reach::Global => return None,
    };
    let length = |(length, axis): (&usize, &AxisWindow)| (length - 1) * axis.stride + axis.extent;
    let start = |(start, axis): (&isize, &AxisWindow)| start * axis.stride as isize - axis.padding as isize;
    Some(Windows {
        lengths: windows.lengths.iter().zip(of_axes).map(length).collect(),
        starts: windows.starts.iter().map(|starts| starts.iter().zip(of_axes).map(start).collect()).collect(),
    })
}

/// What a node read and computed, cut to the windows of the walk's pairs.
#[derive(Debug)]
struct InWindows<'a> {
    walk: &'a Walk<'a>,
    idx: NodeIdx,
    above: &'a Windows,
    below: &'a Windows,
}

impl InWindows<'_> {
    fn operator(&self) -> &Arc<dyn Operator> {
        &self.walk.graph.node(self.idx).operator
    }
}

impl NodeValues for InWindows<'_> {
    fn input_shape(&self, nth: usize) -> Vec<usize> {
        let channels = self.walk.trace.shape(self.walk.graph.node(self.idx).inputs[nth])[1];
        [self.walk.rows.len(), channels].into_iter().chain(self.below.lengths.iter().copied()).collect()
    }

    fn input(&self, nth: usize) -> models::Result<Value> {
        let value = self.walk.trace.of_node(self.idx).input(nth)?;
        self.below.cut(&value, self.walk.rows, self.operator().outside())
    }

    fn output(&self, nth: usize) -> models::Result<Value> {
        let value = self.walk.trace.of_node(self.idx).output(nth)?;
        self.above.cut(&value, self.walk.rows, 0.0)
    }
}
