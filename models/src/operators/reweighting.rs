//! An operator's weights changed number by number, for rules that tell apart what speaks for and against.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::Operator;
use crate::element::{Element, with_element};
use crate::error::Result;
use crate::value::{Layout, Value};

/// `w → plain · w + positive · w⁺ + negative · w⁻ + square · w² + constant`, with `w⁺ = max(w, 0)` and `w⁻ = min(w, 0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reweighting {
    pub plain: f64,
    pub positive: f64,
    pub negative: f64,
    pub square: f64,
    pub constant: f64,
}

impl Reweighting {
    const NOTHING: Reweighting = Reweighting { plain: 0.0, positive: 0.0, negative: 0.0, square: 0.0, constant: 0.0 };
    /// `w`
    pub const ORIGINAL: Reweighting = Reweighting { plain: 1.0, ..Reweighting::NOTHING };
    /// `w⁺`
    pub const POSITIVE: Reweighting = Reweighting { positive: 1.0, ..Reweighting::NOTHING };
    /// `w⁻`
    pub const NEGATIVE: Reweighting = Reweighting { negative: 1.0, ..Reweighting::NOTHING };
    /// `w²`
    pub const SQUARE: Reweighting = Reweighting { square: 1.0, ..Reweighting::NOTHING };
    /// 1
    pub const ONE: Reweighting = Reweighting { constant: 1.0, ..Reweighting::NOTHING };

    /// One number changed.
    pub fn of(&self, w: f64) -> f64 {
        self.plain * w + self.positive * w.max(0.0) + self.negative * w.min(0.0) + self.square * w * w + self.constant
    }

    /// A tensor changed.
    pub fn of_tensor(&self, tensor: &Tensor) -> Result<Tensor> {
        if *self == Reweighting::ORIGINAL {
            return Ok(tensor.clone());
        }
        let value = Value::from_tensor(tensor)?;
        with_element!(tensor.dtype(), T => {
            let numbers = value.numbers::<T>()?.iter().map(|w| T::of(self.of(w.wide()))).collect();
            Value::from_vec::<T>(numbers, tensor.dims(), Layout::Logical)?.to_tensor()
        })
    }
}

/// Which form of an operator: its weights, and its bias or none.
type Form = (Reweighting, Option<Reweighting>);

/// The reweighted forms of an operator, each made once.
#[derive(Debug)]
pub(crate) struct Reweighted<O>(Mutex<Vec<(Form, Arc<O>)>>);

impl<O> Default for Reweighted<O> {
    fn default() -> Self {
        Reweighted(Mutex::default())
    }
}

impl<O: Operator> Reweighted<O> {
    /// The form, made now unless it is there.
    pub(crate) fn get_or_make(&self, form: Form, make: impl FnOnce() -> Result<O>) -> Result<Arc<O>> {
        // A form is put in whole or not at all.
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = forms.iter().find(|(known, _)| *known == form) {
            return Ok(made.clone());
        }
        let made = Arc::new(make()?);
        forms.push((form, made.clone()));
        Ok(made)
    }

    /// Lets all forms go.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes of all forms, packed weights among them.
    pub(crate) fn bytes(&self) -> usize {
        let forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_parameters = |operator: &O| -> usize {
            let parameters = operator.parameters();
            parameters.iter().map(|(_, tensor)| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum()
        };
        forms.iter().map(|(_, operator)| of_parameters(operator) + operator.prepared_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let generous = Reweighting { plain: 1.0, positive: 0.25, ..Reweighting::default() };
        assert_eq!([generous.of(2.0), generous.of(-2.0)], [2.5, -2.0]);
        assert_eq!([Reweighting::SQUARE.of(-3.0), Reweighting::ONE.of(-3.0)], [9.0, 1.0]);
        assert_eq!([Reweighting::POSITIVE.of(-3.0), Reweighting::NEGATIVE.of(-3.0)], [0.0, -3.0]);
    }
}
