//! What max and average pools share: a window that slides over one or two spatial axes.

use super::{AxisWindow, Reach};
use crate::error::{ModelError, Result};
use crate::kernels::convolution::Geometry;
use crate::value::{Layout, Value};

/// A pool's window; vectors have an entry for each spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolWindow {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    /// Padding before and behind.
    pub padding: Vec<(usize, usize)>,
    pub dilation: Vec<usize>,
    /// Whether a window that begins inside but ends outside counts.
    pub ceil_mode: bool,
}

impl PoolWindow {
    /// No padding, no dilation, whole windows only.
    pub fn plain(kernel: &[usize], stride: &[usize]) -> Self {
        let n_spatial = kernel.len();
        PoolWindow {
            kernel: kernel.to_vec(),
            stride: stride.to_vec(),
            padding: vec![(0, 0); n_spatial],
            dilation: vec![1; n_spatial],
            ceil_mode: false,
        }
    }

    pub(super) fn check(self, operator: &'static str) -> Result<Self> {
        let n_spatial = self.kernel.len();
        let lengths_agree =
            [self.stride.len(), self.padding.len(), self.dilation.len()].iter().all(|&length| length == n_spatial);
        let is_positive = [&self.kernel, &self.stride, &self.dilation].iter().all(|lengths| !lengths.contains(&0));
        let padding_is_inside = (0..n_spatial.min(self.padding.len())).all(|axis| {
            let extent = self.dilation.get(axis).copied().unwrap_or(1) * (self.kernel[axis].max(1) - 1) + 1;
            self.padding[axis].0 < extent && self.padding[axis].1 < extent
        });
        if (1..=2).contains(&n_spatial) && lengths_agree && is_positive && padding_is_inside {
            return Ok(self);
        }
        Err(ModelError::operator(
            operator,
            format!("window {self:?}: one or two axes, nothing 0, and less padding than kernel"),
        ))
    }

    fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    pub(crate) fn output_shape(&self, operator: &'static str, input: &[usize]) -> Result<Vec<usize>> {
        let n_spatial = self.kernel.len();
        if input.len() != n_spatial + 2 {
            return Err(ModelError::operator(
                operator,
                format!("input must have {n_spatial} spatial axes but has shape {input:?}"),
            ));
        }
        let mut shape = input.to_vec();
        for axis in 0..n_spatial {
            let (before, behind) = self.padding[axis];
            let rest = (input[axis + 2] + before + behind).checked_sub(self.extent(axis)).ok_or_else(|| {
                ModelError::operator(
                    operator,
                    format!("a window of extent {} over {} steps", self.extent(axis), input[axis + 2]),
                )
            })?;
            let stride = self.stride[axis];
            let mut length = if self.ceil_mode { rest.div_ceil(stride) } else { rest / stride } + 1;
            // A last window that would begin in the padding behind is none (as PyTorch has it).
            if self.ceil_mode && (length - 1) * stride >= input[axis + 2] + before {
                length -= 1;
            }
            shape[axis + 2] = length;
        }
        Ok(shape)
    }

    /// The same window over values that hold what the padding stood for.
    pub(super) fn without_padding(&self) -> PoolWindow {
        PoolWindow { padding: vec![(0, 0); self.padding.len()], ceil_mode: false, ..self.clone() }
    }

    /// As the sizes of a depthwise convolution, for inputs and outputs of these shapes.
    pub(super) fn geometry(&self, input: &[usize], output: &[usize]) -> Geometry {
        let pair = |first: usize, of_axis: &dyn Fn(usize) -> usize| match self.kernel.len() {
            1 => [first, of_axis(0)],
            _ => [of_axis(0), of_axis(1)],
        };
        Geometry {
            batch: input[0],
            input: self.plane(input),
            output: self.plane(output),
            channels_in: input[1],
            channels_out: input[1],
            groups: input[1],
            kernel: pair(1, &|axis| self.kernel[axis]),
            stride: pair(1, &|axis| self.stride[axis]),
            dilation: pair(1, &|axis| self.dilation[axis]),
            padding: pair(0, &|axis| self.padding[axis].0),
        }
    }

    pub(super) fn reach(&self) -> Reach {
        let window = |axis: usize| AxisWindow {
            extent: self.extent(axis),
            stride: self.stride[axis],
            padding: self.padding[axis].0,
        };
        Reach::Window((0..self.kernel.len()).map(window).collect())
    }

    /// Rows and columns of a shape, one row where there is but one spatial axis.
    fn plane(&self, shape: &[usize]) -> [usize; 2] {
        if self.kernel.len() == 1 { [1, shape[2]] } else { [shape[2], shape[3]] }
    }

    fn taps(&self, axis: usize, output: usize, length: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        // Of the two planar axes the first is missing for sequences.
        let missing = 2 - self.kernel.len();
        let (kernel, stride, dilation, before) = match axis.checked_sub(missing) {
            Some(axis) => (self.kernel[axis], self.stride[axis], self.dilation[axis], self.padding[axis].0),
            None => (1, 1, 1, 0),
        };
        let index = move |tap: usize| (output * stride + tap * dilation).checked_sub(before);
        (0..kernel).filter_map(index).filter(move |&index| index < length)
    }

    /// How many places of the window above an output are inside the input or its padding; for averages that count padding.
    pub(super) fn padded_count(&self, input: &[usize], place: [usize; 2]) -> usize {
        let missing = 2 - self.kernel.len();
        let plane = self.plane(input);
        let along = |axis: usize| match axis.checked_sub(missing) {
            Some(own) => {
                let end = plane[axis] + self.padding[own].0 + self.padding[own].1;
                (0..self.kernel[own])
                    .filter(|tap| place[axis] * self.stride[own] + tap * self.dilation[own] < end)
                    .count()
            }
            None => 1,
        };
        along(0) * along(1)
    }

    /// Visits each output pixel with the input pixels under it, in row-major order; indices are of pixels, image included.
    pub(super) fn for_each_output(
        &self,
        input: &[usize],
        output: &[usize],
        mut visit: impl FnMut(usize, [usize; 2], &[usize]),
    ) {
        let ([in_rows, in_columns], [out_rows, out_columns]) = (self.plane(input), self.plane(output));
        let mut under = Vec::new();
        for image in 0..input[0] {
            for row in 0..out_rows {
                for column in 0..out_columns {
                    under.clear();
                    for in_row in self.taps(0, row, in_rows) {
                        let start = (image * in_rows + in_row) * in_columns;
                        under.extend(self.taps(1, column, in_columns).map(|in_column| start + in_column));
                    }
                    visit((image * out_rows + row) * out_columns + column, [row, column], &under);
                }
            }
        }
    }
}

/// With channels last, as pools want it.
pub(super) fn channels_last(value: &Value) -> Result<Value> {
    let value = value.to_channels_last()?;
    debug_assert_eq!(value.layout(), Layout::ChannelsLast);
    Ok(value)
}
