//! A node's attributes by name, with ONNX's defaults.

use super::arrays;
use super::proto::{AttributeProto, TensorProto};
use super::tensor::{Constant, Numbers};

/// The attributes of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [AttributeProto]);

impl<'a> Attributes<'a> {
    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, default: f64) -> f64 {
        // Through text, so that 0.2 as f32 means 0.2 and not 0.200000003.
        self.find(name).map_or(default, |attribute| attribute.f.to_string().parse().unwrap_or(f64::from(attribute.f)))
    }

    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.find(name).map(|attribute| attribute.ints.clone())
    }

    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.find(name).map(|attribute| attribute.floats.clone())
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.find(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
    }

    /// Texts; none where there is no such attribute.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.find(name).map(|attribute| &attribute.strings[..]).unwrap_or_default();
        texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.find(name).and_then(|attribute| attribute.t.as_ref())
    }

    /// A constant node's value where it is no tensor.
    pub(super) fn plain_constant(&self) -> Option<Constant> {
        let scalar = |numbers: Numbers| Some(Constant { shape: vec![], numbers });
        if let Some(int) = self.find("value_int") {
            return scalar(Numbers::Whole(vec![int.i]));
        }
        if let Some(float) = self.find("value_float") {
            return scalar(Numbers::Float(vec![float.f]));
        }
        if let Some(ints) = self.ints("value_ints") {
            return Some(arrays::vector(ints));
        }
        let floats = self.floats("value_floats")?;
        Some(Constant { shape: vec![floats.len()], numbers: Numbers::Float(floats) })
    }
}
