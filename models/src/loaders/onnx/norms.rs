//! Normalisations: batch, layer, group and instance norms.

use super::operators::{Converted, layer};
use super::reading::Reading;
use crate::loaders::LoadError;
use crate::operators::{BatchNorm, GroupNorm, LayerNorm};

impl Reading<'_> {
    pub(super) fn batch_norm(&self) -> Result<Converted, LoadError> {
        if self.attributes.int("training_mode", 0) != 0 {
            return Err(self.refused_training());
        }
        let epsilon = self.attributes.float("epsilon", 1e-5);
        let norm = BatchNorm::new(self.weights(1)?, self.weights(2)?, self.weights(3)?, self.weights(4)?, epsilon);
        layer(norm.map_err(|error| self.at_node(error))?, &[0])
    }

    pub(super) fn layer_norm(&self) -> Result<Converted, LoadError> {
        let (scale, rank) = (self.weights(1)?, self.rank()?);
        let first = self.file_axis(self.attributes.int("axis", -1))?;
        for axis in first..rank {
            self.own_axis(axis)?;
        }
        if scale.rank() != rank - first {
            let reason =
                format!("its scale has shape {:?}; it needs the {} axes from {first} on", scale.dims(), rank - first);
            return Err(self.refused(reason));
        }
        let norm = LayerNorm::new(scale, self.optional_weights(2)?, self.attributes.float("epsilon", 1e-5));
        layer(norm.map_err(|error| self.at_node(error))?, &[0])
    }

    /// A group for each channel, or so many as the node says.
    pub(super) fn group_norm(&self) -> Result<Converted, LoadError> {
        let (scale, shift, epsilon) = (self.weights(1)?, self.weights(2)?, self.attributes.float("epsilon", 1e-5));
        if self.node.op_type == "InstanceNormalization" {
            return layer(GroupNorm::of_instances(scale, shift, epsilon).map_err(|error| self.at_node(error))?, &[0]);
        }
        let groups = usize::try_from(self.attributes.int("num_groups", 0)).unwrap_or(0);
        let n_channels = self.shapes()?[0].get(1).copied().unwrap_or(0);
        // Before opset 21 scale and shift have a number for each group.
        let of_channels = |tensor: candle_core::Tensor| match tensor.dims() {
            [n] if *n == groups && groups > 0 && groups < n_channels => {
                tensor.unsqueeze(1)?.repeat((1, n_channels / groups))?.flatten_all()
            }
            _ => Ok(tensor),
        };
        let norm = GroupNorm::new(groups, of_channels(scale)?, of_channels(shift)?, epsilon);
        layer(norm.map_err(|error| self.at_node(error))?, &[0])
    }
}
