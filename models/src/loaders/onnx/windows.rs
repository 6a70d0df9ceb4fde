//! Convolutions and pools: strides, dilations and the padding that ONNX writes in four ways.

use super::operators::{Converted, layer};
use super::reading::Reading;
use crate::loaders::LoadError;
use crate::operators::{Convolution, ConvolutionParams, PoolWindow, TransposedConvolution};

/// Beyond this, strides and paddings are nonsense.
const MOST_STEPS: i64 = 1 << 24;

impl Reading<'_> {
    pub(super) fn convolution(&self) -> Result<Converted, LoadError> {
        let weight = self.weights(1)?;
        let kernel: Vec<usize> = weight.dims().get(2..).unwrap_or_default().to_vec();
        self.check_spatial(&kernel)?;
        let (stride, dilation) = (self.per_axis("strides", kernel.len())?, self.per_axis("dilations", kernel.len())?);
        let padding = self.padding(&kernel, &stride, &dilation)?;
        let groups = usize::try_from(self.attributes.int("group", 1)).unwrap_or(0);
        let params = ConvolutionParams { weight, bias: self.optional_weights(2)?, stride, padding, dilation, groups };
        layer(Convolution::new(params).map_err(|error| self.at_node(error))?, &[0])
    }

    pub(super) fn transposed_convolution(&self) -> Result<Converted, LoadError> {
        let weight = self.weights(1)?;
        let kernel: Vec<usize> = weight.dims().get(2..).unwrap_or_default().to_vec();
        self.check_spatial(&kernel)?;
        if self.attributes.ints("output_shape").is_some()
            || self.attributes.text("auto_pad").is_some_and(|pad| !["", "NOTSET"].contains(&pad))
        {
            return Err(self.refused("`output_shape` and `auto_pad` are not supported; `pads` are"));
        }
        let (stride, dilation) = (self.per_axis("strides", kernel.len())?, self.per_axis("dilations", kernel.len())?);
        let padding = self.padding(&kernel, &stride, &dilation)?;
        let groups = usize::try_from(self.attributes.int("group", 1)).unwrap_or(0);
        let output_padding = self.attributes.ints("output_padding").unwrap_or_else(|| vec![0; kernel.len()]);
        let output_padding = output_padding.iter().map(|&padding| usize::try_from(padding)).collect::<Result<_, _>>();
        let output_padding = output_padding.map_err(|_| self.refused("`output_padding` is negative"))?;
        let params = ConvolutionParams { weight, bias: self.optional_weights(2)?, stride, padding, dilation, groups };
        let transposed = TransposedConvolution::new(params, output_padding);
        layer(transposed.map_err(|error| self.at_node(error))?, &[0])
    }

    pub(super) fn pool_window(&self) -> Result<PoolWindow, LoadError> {
        let kernel = self.attributes.ints("kernel_shape").ok_or_else(|| self.refused("`kernel_shape` is missing"))?;
        let kernel = self.positive("kernel_shape", kernel)?;
        self.check_spatial(&kernel)?;
        let (stride, dilation) = (self.per_axis("strides", kernel.len())?, self.per_axis("dilations", kernel.len())?);
        let padding = self.padding(&kernel, &stride, &dilation)?;
        Ok(PoolWindow { kernel, stride, padding, dilation, ceil_mode: self.attributes.int("ceil_mode", 0) != 0 })
    }

    /// A window has an axis for each spatial axis of the input.
    fn check_spatial(&self, kernel: &[usize]) -> Result<(), LoadError> {
        if self.rank()? == kernel.len() + 2 && !kernel.contains(&0) {
            return Ok(());
        }
        Err(self.refused(format!(
            "a kernel {kernel:?} over an input of shape {:?}; it needs one positive length for each axis behind batch \
             and channels",
            self.shapes()?[0]
        )))
    }

    fn positive(&self, name: &str, numbers: Vec<i64>) -> Result<Vec<usize>, LoadError> {
        if numbers.iter().any(|number| !(1..MOST_STEPS).contains(number)) {
            return Err(self.refused(format!("`{name}` is {numbers:?}; positive numbers are needed")));
        }
        Ok(numbers.into_iter().map(|number| number as usize).collect())
    }

    /// A positive number for each spatial axis, 1 by default.
    fn per_axis(&self, name: &str, n_spatial: usize) -> Result<Vec<usize>, LoadError> {
        let numbers = self.attributes.ints(name).unwrap_or_else(|| vec![1; n_spatial]);
        if numbers.len() != n_spatial {
            return Err(self.refused(format!("`{name}` is {numbers:?}; {n_spatial} numbers are needed")));
        }
        self.positive(name, numbers)
    }

    /// Steps before and behind, for each spatial axis.
    fn padding(
        &self,
        kernel: &[usize],
        stride: &[usize],
        dilation: &[usize],
    ) -> Result<Vec<(usize, usize)>, LoadError> {
        let n_spatial = kernel.len();
        match self.attributes.text("auto_pad") {
            Some("SAME_UPPER") => self.same_padding(kernel, stride, dilation, |total| (total / 2, total - total / 2)),
            Some("SAME_LOWER") => self.same_padding(kernel, stride, dilation, |total| (total - total / 2, total / 2)),
            Some("VALID") => Ok(vec![(0, 0); n_spatial]),
            Some("" | "NOTSET") | None => {
                let pads = self.attributes.ints("pads").unwrap_or_else(|| vec![0; 2 * n_spatial]);
                if pads.len() != 2 * n_spatial || pads.iter().any(|pad| !(0..MOST_STEPS).contains(pad)) {
                    let needed = format!("{} numbers from 0 are needed", 2 * n_spatial);
                    return Err(self.refused(format!("`pads` is {pads:?}; {needed}")));
                }
                Ok((0..n_spatial).map(|axis| (pads[axis] as usize, pads[n_spatial + axis] as usize)).collect())
            }
            Some(other) => Err(self
                .refused(format!("`auto_pad` is `{other}`; NOTSET, SAME_UPPER, SAME_LOWER and VALID are understood"))),
        }
    }

    /// As much padding as makes the output as long as the input, divided by the stride and rounded up.
    fn same_padding(
        &self,
        kernel: &[usize],
        stride: &[usize],
        dilation: &[usize],
        split: fn(usize) -> (usize, usize),
    ) -> Result<Vec<(usize, usize)>, LoadError> {
        let of_axis = |shape: &[usize], axis: usize| {
            let length = shape[2 + axis];
            let extent = dilation[axis] * (kernel[axis] - 1) + 1;
            split(((length.div_ceil(stride[axis]) - 1) * stride[axis] + extent).saturating_sub(length))
        };
        let of_scenario = |shape: &Vec<usize>| (0..kernel.len()).map(|axis| of_axis(shape, axis)).collect::<Vec<_>>();
        let paddings = self.shapes()?.each_ref().map(of_scenario);
        if paddings.iter().any(|padding| *padding != paddings[0]) {
            return Err(self.refused("`auto_pad` pads inputs of different lengths differently"));
        }
        Ok(paddings[0].clone())
    }
}
