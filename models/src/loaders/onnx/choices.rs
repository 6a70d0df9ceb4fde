//! Functions in pieces: comparisons with constants, the choice that they decide, the larger or smaller of two.

use candle_core::Tensor;

use super::operators::{Converted, layer};
use super::reading::{Read, Reading};
use crate::loaders::LoadError;
use crate::operators::{
    Activation, Arithmetic, ArithmeticFunction, Choice, Compare, Comparison, Operand, PointwiseFunction,
};

impl Reading<'_> {
    fn is_computed(&self, nth: usize) -> bool {
        matches!(self.inputs.get(nth), Some(Some(Read::Computed { .. })))
    }

    /// A value and a constant number; `turned` is what holds where they stand the other way round.
    pub(super) fn comparison(&self, comparison: Comparison, turned: Comparison) -> Result<Converted, LoadError> {
        let (computed, constant, comparison) = match (self.is_computed(0), self.is_computed(1)) {
            (true, false) => (0, 1, comparison),
            (false, true) => (1, 0, turned),
            _ => return Err(self.refused("only comparisons of a value with a constant are supported")),
        };
        let is_number = self.optional_constant(constant)?.is_some_and(|constant| constant.numbers.len() == 1);
        match self.scalar(constant)?.filter(|_| is_number) {
            Some(constant) => layer(Compare { comparison, constant }, &[computed]),
            None => Err(self.refused("what it compares with must be one constant number")),
        }
    }

    pub(super) fn choice(&self) -> Result<Converted, LoadError> {
        if !self.is_computed(0) {
            return Err(self.refused("a choice that does not depend on the input is supported only between constants"));
        }
        let mut inputs = vec![0];
        let mut constant = |nth: usize| -> Result<Option<Tensor>, LoadError> {
            match self.is_computed(nth) {
                true => {
                    inputs.push(nth);
                    Ok(None)
                }
                false => self.weights_beside(nth, 0).map(Some),
            }
        };
        let (first, second) = (constant(1)?, constant(2)?);
        self.check_same_axes(&inputs)?;
        layer(Choice { first, second }, &inputs)
    }

    /// The larger or smaller of two; with a constant number it is a clip.
    pub(super) fn extreme(&self, function: ArithmeticFunction) -> Result<Converted, LoadError> {
        match (self.inputs.len(), self.is_computed(0), self.is_computed(1)) {
            (2, true, true) => {
                self.check_same_axes(&[0, 1])?;
                layer(Arithmetic::new(function, Operand::Graph), &[0, 1])
            }
            (2, left, _) => {
                let (computed, constant) = if left { (0, 1) } else { (1, 0) };
                let is_number = self.optional_constant(constant)?.is_some_and(|constant| constant.numbers.len() == 1);
                match (self.scalar(constant)?.filter(|_| is_number), function) {
                    (Some(low), ArithmeticFunction::Maximum) => {
                        let high = f64::INFINITY;
                        layer(Activation::new(PointwiseFunction::Clip { low, high }), &[computed])
                    }
                    (Some(high), _) => {
                        let low = f64::NEG_INFINITY;
                        layer(Activation::new(PointwiseFunction::Clip { low, high }), &[computed])
                    }
                    _ => {
                        let operand = Operand::Right(self.weights_beside(constant, computed)?);
                        layer(Arithmetic::new(function, operand), &[computed])
                    }
                }
            }
            (1, ..) => layer(crate::operators::Identity { kind: "Identity" }, &[0]),
            (n, ..) => Err(self.refused(format!("it has {n} inputs; two are supported"))),
        }
    }
}
