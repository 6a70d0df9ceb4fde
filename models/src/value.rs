//! What flows between operators: numbers with a logical shape and a physical layout.
//!
//! The logical shape is the file's (`[batch, channel, row, column]`); the layout says how it lies in memory.
//! Operators with spatial axes want their channels last, operators that mix axes want the logical order; both ask
//! for what they want and pay for a conversion only where the two meet, at the edges of a network.
//!
//! The numbers may lie on another device ([`crate::device`]); whoever asks for them as a slice gets a copy then.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::element::Element;
use crate::error::{ModelError, Result};
use crate::kernels::transpose::transpose;
use crate::kernels::vectorized::elementwise::combined;

/// Numbers that a thread takes together.
const PART: usize = 1 << 14;

/// How a value lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Row-major in the order of the logical shape.
    Logical,
    /// Row-major in the order batch, spatial axes, channel; for logical shapes `[batch, channel, spatial…]`.
    ChannelsLast,
}

impl Layout {
    /// Where a logical axis of a value of this rank lies in memory.
    pub fn physical_axis(self, axis: usize, rank: usize) -> usize {
        match (self, axis) {
            (Layout::Logical, _) | (Layout::ChannelsLast, 0) => axis,
            (Layout::ChannelsLast, 1) => rank - 1,
            (Layout::ChannelsLast, _) => axis - 1,
        }
    }

    /// A logical shape in the order in which it lies in memory.
    pub fn physical_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut physical = shape.to_vec();
        if self == Layout::ChannelsLast {
            physical[1..].rotate_left(1);
        }
        physical
    }
}

/// A contiguous tensor with its logical shape; cheap to clone, since the numbers are shared.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    shape: Vec<usize>,
    layout: Layout,
}

impl Value {
    /// A value in logical order; the tensor is made contiguous, since kernels and candle alike are wrong on others.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(Value { shape: tensor.dims().to_vec(), tensor: tensor.contiguous()?, layout: Layout::Logical })
    }

    /// A value from numbers in the order of `layout`.
    pub fn from_vec<T: Element>(numbers: Vec<T>, shape: &[usize], layout: Layout) -> Result<Self> {
        if layout == Layout::ChannelsLast && shape.len() < 3 {
            return Err(ModelError::operator(
                "value",
                format!("shape {shape:?} has no spatial axis to put before its channels"),
            ));
        }
        let tensor = Tensor::from_vec(numbers, layout.physical_shape(shape), &Device::Cpu)?;
        Ok(Value { tensor, shape: shape.to_vec(), layout })
    }

    /// A tensor whose axes are in the order of the layout; contiguous, on any device.
    pub(crate) fn laid_out(tensor: &Tensor, shape: &[usize], layout: Layout) -> Result<Self> {
        debug_assert_eq!(tensor.dims(), layout.physical_shape(shape));
        Ok(Value { tensor: tensor.contiguous()?, shape: shape.to_vec(), layout })
    }

    /// The tensor, its axes in the order of the layout.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Where its numbers lie.
    pub fn device(&self) -> &Device {
        self.tensor.device()
    }

    /// The same on a device; no copy where it lies there.
    pub fn to_device(&self, device: &Device) -> Result<Value> {
        if self.device().same_device(device) {
            return Ok(self.clone());
        }
        Ok(Value { tensor: self.tensor.to_device(device)?, shape: self.shape.clone(), layout: self.layout })
    }

    /// The same number everywhere.
    pub fn full<T: Element>(number: T, shape: &[usize], layout: Layout) -> Result<Self> {
        Value::from_vec(vec![number; shape.iter().product()], shape, layout)
    }

    /// Zeros in the shape of another value, with so many rows.
    pub fn zeros_like(other: &Value, rows: usize) -> Result<Self> {
        let mut shape = other.shape.clone();
        if let Some(batch) = shape.first_mut() {
            *batch = rows;
        }
        crate::element::with_element!(other.dtype(), T => {
            Value::from_vec::<T>(crate::kernels::zeros(shape.iter().product()), &shape, other.layout)
        })
    }

    /// The logical shape, batch first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of the batch axis.
    pub fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// How it lies in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The element type.
    pub fn dtype(&self) -> candle_core::DType {
        self.tensor.dtype()
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype().size_in_bytes()
    }

    /// The numbers in the order of the layout; a copy where they lie on another device.
    pub fn numbers<T: Element>(&self) -> Result<Numbers<'_, T>> {
        if !self.device().is_cpu() {
            return Ok(Numbers(Held::Copied(self.tensor.flatten_all()?.to_vec1::<T>()?)));
        }
        let (storage, layout) = self.tensor.storage_and_layout();
        let start = layout.start_offset();
        let numbers = Numbers(Held::InPlace { storage, start, len: self.len() });
        numbers.slice()?;
        Ok(numbers)
    }

    /// In logical order, row-major; no copy where it lies so already.
    pub fn to_logical(&self) -> Result<Value> {
        self.to_layout(Layout::Logical)
    }

    /// With its channels last in memory; no copy where it lies so already. Shapes without a spatial axis stay as they are.
    pub fn to_channels_last(&self) -> Result<Value> {
        if self.shape.len() < 3 {
            return Ok(self.clone());
        }
        self.to_layout(Layout::ChannelsLast)
    }

    /// In the layout asked for; no copy where it lies so already.
    pub fn to_layout(&self, layout: Layout) -> Result<Value> {
        if self.layout == layout {
            return Ok(self.clone());
        }
        if !self.device().is_cpu() {
            let tensor = match layout {
                Layout::ChannelsLast => {
                    self.tensor.permute(channels_moved(self.shape.len(), 1, self.shape.len() - 1))?
                }
                Layout::Logical => self.tensor.permute(channels_moved(self.shape.len(), self.shape.len() - 1, 1))?,
            };
            return Value::laid_out(&tensor, &self.shape, layout);
        }
        let n_places = self.shape[2..].iter().product();
        let (rows, columns) = match layout {
            Layout::ChannelsLast => (self.shape[1], n_places),
            Layout::Logical => (n_places, self.shape[1]),
        };
        crate::element::with_element!(self.dtype(), T => {
            Value::from_vec(transpose(&self.numbers::<T>()?, rows, columns), &self.shape, layout)
        })
    }

    /// The numbers in logical order as f32, for whoever is outside.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        let logical = self.to_logical()?;
        match self.dtype() {
            candle_core::DType::F32 => Ok(logical.numbers::<f32>()?.to_vec()),
            _ => Ok(logical.tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?),
        }
    }

    /// The numbers in logical order as f64.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        let logical = self.to_logical()?;
        Ok(logical.tensor.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
    }

    /// As a tensor in logical order.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Ok(self.to_logical()?.tensor)
    }

    /// With another element type.
    pub fn to_dtype(&self, dtype: candle_core::DType) -> Result<Value> {
        Ok(Value { tensor: self.tensor.to_dtype(dtype)?, shape: self.shape.clone(), layout: self.layout })
    }

    /// The same numbers in logical order under another shape of as many numbers.
    pub fn reshape(&self, shape: &[usize]) -> Result<Value> {
        let tensor = self.to_logical()?.tensor.reshape(shape)?;
        Ok(Value { tensor, shape: shape.to_vec(), layout: Layout::Logical })
    }

    /// The same numbers with the logical axes in another order.
    pub fn permute(&self, order: &[usize]) -> Result<Value> {
        Value::from_tensor(&self.to_logical()?.tensor.permute(order)?)
    }

    /// One row of the batch, as a batch of one.
    pub fn row(&self, row: usize) -> Result<Value> {
        let tensor = self.tensor.narrow(0, row, 1)?.contiguous()?;
        let mut shape = self.shape.clone();
        shape[0] = 1;
        Ok(Value { tensor, shape, layout: self.layout })
    }

    /// Rows of the batch, in the order given, repeats allowed; no copy where that is all of them in order.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Value> {
        let is_identity = rows.len() == self.batch() && rows.iter().enumerate().all(|(i, &row)| i == row);
        if is_identity {
            return Ok(self.clone());
        }
        let indices: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let indices = Tensor::from_vec(indices, rows.len(), self.tensor.device())?;
        let tensor = self.tensor.index_select(&indices, 0)?;
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Ok(Value { tensor, shape, layout: self.layout })
    }

    /// Values of one shape but for their batch axis, one after the other.
    pub fn stack_rows(values: &[Value]) -> Result<Value> {
        let first = values.first().ok_or_else(|| ModelError::operator("value", "no rows to stack"))?;
        if values.len() == 1 {
            return Ok(first.clone());
        }
        let laid_out = values
            .iter()
            .map(|value| value.to_layout(first.layout)?.to_device(first.device()))
            .collect::<Result<Vec<_>>>()?;
        let tensors: Vec<&Tensor> = laid_out.iter().map(|value| &value.tensor).collect();
        let tensor = Tensor::cat(&tensors, 0)?;
        let mut shape = first.shape.clone();
        shape[0] = values.iter().map(Value::batch).sum();
        Ok(Value { tensor, shape, layout: first.layout })
    }

    /// Element-wise sum of two values of one shape.
    pub fn add(&self, other: &Value) -> Result<Value> {
        let other = other.to_layout(self.layout)?.to_device(self.device())?;
        if !self.device().is_cpu() {
            return Value::laid_out(&self.tensor.add(&other.tensor)?, &self.shape, self.layout);
        }
        crate::element::with_element!(self.dtype(), T => {
            let sums = combined(&self.numbers::<T>()?, &other.numbers::<T>()?, &[0], |left: T, right| left + right);
            Value::from_vec::<T>(sums, &self.shape, self.layout)
        })
    }

    /// Element-wise product of two values of one shape.
    pub fn multiply(&self, other: &Value) -> Result<Value> {
        let other = other.to_layout(self.layout)?.to_device(self.device())?;
        let tensor = self.tensor.mul(&other.tensor)?;
        Ok(Value { tensor, shape: self.shape.clone(), layout: self.layout })
    }

    /// Each number changed by itself, in f64.
    pub fn map(&self, change: impl Fn(f64) -> f64 + Sync) -> Result<Value> {
        crate::element::with_element!(self.dtype(), T => {
            let changed = |number: &T| T::of(change(number.wide()));
            let numbers = self.numbers::<T>()?.par_iter().with_min_len(PART).map(changed).collect();
            Value::from_vec::<T>(numbers, &self.shape, self.layout)
        })
    }

    /// Whether any number is below zero.
    pub fn has_negative(&self) -> Result<bool> {
        crate::element::with_element!(self.dtype(), T => {
            let has_negative = |part: &[T]| part.iter().fold(false, |any, number| any | (number.wide() < 0.0));
            Ok(self.numbers::<T>()?.par_chunks(PART).any(has_negative))
        })
    }

    /// The sum of each row of the batch, in f64.
    pub fn row_sums(&self) -> Result<Vec<f64>> {
        let per_row = self.len() / self.batch().max(1);
        crate::element::with_element!(self.dtype(), T => {
            let numbers = self.numbers::<T>()?;
            let of_row = |row: &[T]| row.par_chunks(PART).map(sum).collect::<Vec<f64>>().into_iter().sum();
            Ok(numbers.chunks(per_row.max(1)).map(of_row).collect())
        })
    }

    /// The logical position of the first number that is not finite, with that number.
    pub fn first_not_finite(&self) -> Result<Option<(Vec<usize>, f64)>> {
        if !self.device().is_cpu() {
            // Zero times anything finite is zero; only one number has to be copied.
            let sum = (&self.tensor * 0.0)?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
            if sum == 0.0 {
                return Ok(None);
            }
        }
        let has_one = crate::element::with_element!(self.dtype(), T => {
            Ok::<bool, ModelError>(self.numbers::<T>()?.iter().any(|number| !num_traits::Float::is_finite(*number)))
        })?;
        if !has_one {
            return Ok(None);
        }
        let numbers = self.to_f64_vec()?;
        let found = numbers.iter().enumerate().find(|(_, number)| !number.is_finite());
        Ok(found.map(|(index, &number)| (unravel(index, &self.shape), number)))
    }
}

/// The position along each axis of the `index`-th number of a row-major array.
pub fn unravel(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position = vec![0; shape.len()];
    for (place, &length) in position.iter_mut().zip(shape).rev() {
        *place = index % length;
        index /= length;
    }
    position
}

/// The axes of a value with its channels taken from one place to another.
fn channels_moved(rank: usize, from: usize, to: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    let channels = axes.remove(from);
    axes.insert(to, channels);
    axes
}

/// A value's numbers: read in place, or a copy of what lies on another device.
pub struct Numbers<'a, T>(Held<'a, T>);

enum Held<'a, T> {
    InPlace { storage: candle_core::StorageRef<'a>, start: usize, len: usize },
    Copied(Vec<T>),
}

impl<T: Element> Numbers<'_, T> {
    fn slice(&self) -> Result<&[T]> {
        match &self.0 {
            Held::Copied(numbers) => Ok(numbers),
            Held::InPlace { storage, start, len } => match &**storage {
                candle_core::Storage::Cpu(storage) => Ok(&T::cpu_storage_as_slice(storage)?[*start..start + len]),
                _ => Err(ModelError::operator("value", "these numbers are not in the processor's memory")),
            },
        }
    }
}

impl<T: Element> std::ops::Deref for Numbers<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.slice().expect("`Value::numbers` has sliced it once")
    }
}

impl<T> std::fmt::Debug for Numbers<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "numbers of type {}", std::any::type_name::<T>())
    }
}

/// In f64, several sums side by side, since an addition waits for the one before.
fn sum<T: Element>(numbers: &[T]) -> f64 {
    const SIDE_BY_SIDE: usize = 16;
    let mut sums = [0.0; SIDE_BY_SIDE];
    for numbers in numbers.chunks(SIDE_BY_SIDE) {
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number.wide());
    }
    sums.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_last_and_back_is_the_same() {
        let numbers: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let value = Value::from_vec(numbers.clone(), &[2, 3, 4, 5], Layout::Logical).unwrap();
        let last = value.to_channels_last().unwrap();
        assert_eq!(last.shape(), [2, 3, 4, 5]);
        assert_eq!(&last.numbers::<f32>().unwrap()[..3], [0.0, 20.0, 40.0], "the three channels of the first pixel");
        assert_eq!(last.to_f32_vec().unwrap(), numbers);
    }

    #[test]
    fn a_number_that_is_none_is_found_by_its_logical_position() {
        let mut numbers = vec![0.0f32; 24];
        numbers[17] = f32::NAN;
        let value = Value::from_vec(numbers, &[1, 2, 3, 4], Layout::Logical).unwrap().to_channels_last().unwrap();
        let (position, number) = value.first_not_finite().unwrap().unwrap();
        assert_eq!(position, [0, 1, 1, 1]);
        assert!(number.is_nan());
    }
}
