//! A network that is held, with what its users see of it: names of classes, what its axes mean, how files become its
//! input.

use std::sync::Arc;

use client_protocol::{ErrorKind, ErrorObject, nearest};
use introspection::OutputAxes;
use models::description::{CtcSettings, FrontEnd};
use models::front_ends::audio::SoundScale;
use models::operators::AxisKind;
use models::speech::Alphabet;
use models::{Dim, Graph, NodeIdx, Outlet, ReceptiveField};

use crate::changed_weights::LastAsked;
use crate::errors;

/// A network with its description.
#[derive(Debug)]
pub(crate) struct HeldModel {
    /// A hash of bytes and description.
    pub(crate) id: String,
    /// Where it came from: a name of the zoo or a path.
    pub(crate) source: String,
    pub(crate) graph: Graph,
    /// Class names, each with synonyms behind commas; empty where none are known.
    pub(crate) labels: Vec<String>,
    /// What its classes are as letters, where it gives transcripts.
    pub(crate) alphabet: Option<Alphabet>,
    /// How files become its input, where that is known.
    pub(crate) front_end: Option<FrontEnd>,
    pub(crate) output_axes: OutputAxes,
    /// What the axes of each node's first output mean, batch first.
    pub(crate) axes: Vec<Vec<AxisKind>>,
    pub(crate) receptive_fields: Vec<Option<Vec<ReceptiveField>>>,
    /// Where Grad-CAM is read unless a layer is named; every trace keeps it.
    pub(crate) grad_cam_layer: Option<Outlet>,
    /// When relevance was last asked of it, whose rules change weights.
    pub(crate) relevance_asked: LastAsked,
    /// The smallest and largest number of an input, where the description says.
    pub(crate) value_range: Option<[f32; 2]>,
    /// Where the steps of its input lie in time, where that is known.
    pub(crate) sound_scale: Option<SoundScale>,
}

impl HeldModel {
    /// Works out what is asked often.
    pub(crate) fn new(
        id: String,
        source: String,
        graph: Graph,
        labels: Vec<String>,
        front_end: Option<FrontEnd>,
        output_axes: Option<&[String]>,
    ) -> Result<HeldModel, ErrorObject> {
        let of_model = |error| errors::of_model(error, None);
        let sound_scale = front_end.as_ref().and_then(FrontEnd::for_audio).map(|front_end| front_end.scale());
        let axes = graph.axes().map_err(of_model)?;
        let of_output = &axes[graph.logits().node.0];
        let output_axes = match output_axes {
            None => OutputAxes::of(of_output),
            Some(names) => named_axes(names, of_output.len())?,
        };
        let receptive_fields = models::receptive_field::receptive_fields(&graph).map_err(of_model)?;
        let n_classes =
            graph.hinted_shapes().map_err(of_model)?[graph.logits().node.0][0].get(output_axes.class).copied();
        if !labels.is_empty() && n_classes != Some(labels.len()) {
            let message =
                format!("{} labels were given but the network has {} classes", labels.len(), n_classes.unwrap_or(0));
            return Err(
                ErrorObject::invalid("labels", message).expected("one label a class, in the order of the classes")
            );
        }
        Ok(HeldModel {
            id,
            source,
            grad_cam_layer: introspection::last_spatial_convolution(&graph).ok(),
            graph,
            labels,
            alphabet: None,
            front_end,
            output_axes,
            axes,
            receptive_fields,
            relevance_asked: LastAsked::default(),
            value_range: None,
            sound_scale,
        })
    }

    /// The same with another network of the same layers, such as one with other weights.
    pub(crate) fn with_graph(&self, graph: Graph) -> HeldModel {
        HeldModel {
            id: self.id.clone(),
            source: self.source.clone(),
            graph,
            labels: self.labels.clone(),
            front_end: self.front_end.clone(),
            output_axes: self.output_axes,
            axes: self.axes.clone(),
            receptive_fields: self.receptive_fields.clone(),
            relevance_asked: LastAsked::default(),
            value_range: self.value_range,
            sound_scale: self.sound_scale.clone(),
            alphabet: self.alphabet.clone(),
            grad_cam_layer: self.grad_cam_layer,
        }
    }

    /// Takes what the description says of time, unless the front end said it.
    pub(crate) fn set_seconds_per_input_step(&mut self, seconds: Option<f64>) {
        let scale = seconds.map(|step| SoundScale { start: 0.0, step, bands_hz: None });
        self.sound_scale = self.sound_scale.take().or(scale);
    }

    /// Takes how its classes become letters; fails where they are others.
    pub(crate) fn set_ctc(&mut self, ctc: Option<CtcSettings>) -> Result<(), ErrorObject> {
        let alphabet = ctc.map(|ctc| Alphabet::new(&self.labels, ctc)).transpose();
        self.alphabet = alphabet.map_err(|message| ErrorObject::invalid("description", message))?;
        Ok(())
    }

    /// An output by name, with the names that there are where it is not there.
    pub(crate) fn output_named(&self, name: &str, field: &str) -> Result<usize, ErrorObject> {
        let outputs = self.graph.outputs();
        outputs.iter().position(|(known, _)| known == name).ok_or_else(|| {
            let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            ErrorObject::new(ErrorKind::NotFound, format!("no output `{name}`; there are {}", names.join(", ")))
                .field(field)
                .value(name)
                .nearest(nearest(name, names))
        })
    }

    /// An output with its class axis, that of the first as it was loaded with.
    pub(crate) fn axes_of_output(&self, output: usize) -> OutputAxes {
        match output {
            0 => self.output_axes,
            _ => OutputAxes::of(&self.axes[self.graph.logits_of(output).node.0]).of_output(output),
        }
    }

    /// The output whose logits or end stand at an outlet, with its class axis.
    pub(crate) fn output_at(&self, outlet: Outlet) -> Option<OutputAxes> {
        let outputs = self.graph.outputs().iter().enumerate();
        let mut at = outputs.filter(|(nth, (_, end))| *end == outlet || self.graph.logits_of(*nth) == outlet);
        at.next().map(|(nth, _)| self.axes_of_output(nth))
    }

    /// The model's first input.
    pub(crate) fn input(&self) -> Outlet {
        Outlet { node: self.graph.inputs()[0], port: 0 }
    }

    /// The first input's declared lengths without the batch.
    pub(crate) fn input_dims(&self) -> &[Dim] {
        self.graph.input_shape(self.graph.inputs()[0])
    }

    /// The inputs' names, in order.
    pub(crate) fn input_names(&self) -> Vec<&str> {
        self.graph.inputs().iter().map(|input| self.name_of(*input)).collect()
    }

    /// A layer by name, with the nearest names where it is not there.
    pub(crate) fn layer(&self, name: &str) -> Result<Outlet, ErrorObject> {
        self.graph.layer(name).map_err(|error| errors::of_model(error, Some(&self.graph)))
    }

    /// A node's name.
    pub(crate) fn name_of(&self, node: NodeIdx) -> &str {
        &self.graph.node(node).name
    }

    /// The first synonym of a class's label.
    pub(crate) fn label(&self, class: usize) -> Option<String> {
        self.labels.get(class).map(|label| synonyms(label).next().unwrap_or_default().to_owned())
    }

    /// The class that any of its names means.
    pub(crate) fn class_named(&self, name: &str) -> Result<usize, ErrorObject> {
        let not_found = |message: String| ErrorObject::new(ErrorKind::NotFound, message).field("class").value(name);
        if self.labels.is_empty() {
            let message = format!("no class `{name}`: this model was loaded without labels");
            return Err(not_found(message).hint("name the class by its index, or load the model with `labels`"));
        }
        let asked = plain(name);
        let has_name =
            |label: &&String| plain(label) == asked || synonyms(label).any(|synonym| plain(synonym) == asked);
        let found: Vec<usize> =
            self.labels.iter().enumerate().filter(|(_, label)| has_name(label)).map(|(class, _)| class).collect();
        match found[..] {
            [class] => Ok(class),
            [] => {
                let near = nearest(name, self.labels.iter().flat_map(|label| synonyms(label)));
                Err(not_found(format!("no class `{name}`")).expected("a class's name or index").nearest(near))
            }
            _ => {
                let candidates: Vec<String> =
                    found.iter().map(|class| format!("{class} ({})", self.labels[*class])).collect();
                let message = format!("`{name}` names several classes: {}", candidates.join("; "));
                Err(ErrorObject::invalid("class", message).value(name).expected("the index of one of them"))
            }
        }
    }

    /// Bytes of its parameters, and of what was made of them for the kernels.
    pub(crate) fn bytes(&self) -> usize {
        self.graph.parameter_bytes() + self.graph.prepared_bytes()
    }
}

/// The names within a label.
fn synonyms(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').map(str::trim)
}

/// A name as it is compared: case, underscores and hyphens do not matter.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

fn named_axes(names: &[String], rank: usize) -> Result<OutputAxes, ErrorObject> {
    let class = names.iter().position(|name| name == "class");
    match class {
        Some(class) if names.len() + 1 == rank => Ok(OutputAxes::with_class(class + 1, rank)),
        _ => {
            let expected = format!("{} names without the batch axis, one of them `class`", rank.saturating_sub(1));
            let message = format!("`output_axes` {names:?} do not name the output's axes; {expected} are needed");
            Err(ErrorObject::invalid("output_axes", message).expected(expected))
        }
    }
}

/// The models held, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Models {
    held: Vec<Arc<HeldModel>>,
    names: Vec<(String, String)>,
    /// What was loaded from where, so that the same request costs nothing the second time: key and id.
    loaded: Vec<(String, String)>,
}

impl Models {
    /// Holds a model; an equal one that is held stays and is answered instead.
    pub(crate) fn hold(&mut self, model: HeldModel, key: &str) -> Arc<HeldModel> {
        let held = match self.by_id(&model.id) {
            Some(held) => held,
            None => {
                self.held.push(Arc::new(model));
                self.held[self.held.len() - 1].clone()
            }
        };
        self.loaded.retain(|(known, _)| known != key);
        self.loaded.push((key.to_owned(), held.id.clone()));
        held
    }

    /// What a request of this key loaded before, if it is still held.
    pub(crate) fn loaded_by(&self, key: &str) -> Option<Arc<HeldModel>> {
        let (_, id) = self.loaded.iter().find(|(known, _)| known == key)?;
        self.by_id(id)
    }

    /// Gives a model a name, which any other loses.
    pub(crate) fn name(&mut self, id: &str, name: &str) {
        self.names.retain(|(known, _)| known != name);
        self.names.push((name.to_owned(), id.to_owned()));
    }

    fn by_id(&self, id: &str) -> Option<Arc<HeldModel>> {
        self.held.iter().find(|model| model.id == id).cloned()
    }

    /// The model of an id or name.
    pub(crate) fn get(&self, asked: &str) -> Result<Arc<HeldModel>, ErrorObject> {
        let named = self.names.iter().find(|(name, _)| name == asked).and_then(|(_, id)| self.by_id(id));
        named.or_else(|| self.by_id(asked)).ok_or_else(|| {
            let names = self.names.iter().map(|(name, _)| name.as_str());
            let near = nearest(asked, names.chain(self.held.iter().map(|model| model.id.as_str())));
            ErrorObject::new(ErrorKind::NotFound, format!("no model `{asked}` is loaded"))
                .field("model")
                .value(asked)
                .expected("an id or name that `model.load` gave")
                .hint(format!("load it first: model.load source={asked}"))
                .nearest(near)
        })
    }

    /// All models, in the order in which they came.
    pub(crate) fn all(&self) -> &[Arc<HeldModel>] {
        &self.held
    }

    /// What else a model answers to.
    pub(crate) fn names_of(&self, id: &str) -> Vec<String> {
        self.names.iter().filter(|(_, of)| of == id).map(|(name, _)| name.clone()).collect()
    }

    /// Lets a model go.
    pub(crate) fn drop_model(&mut self, id: &str) {
        self.held.retain(|model| model.id != id);
        self.names.retain(|(_, of)| of != id);
        self.loaded.retain(|(_, of)| of != id);
    }
}
