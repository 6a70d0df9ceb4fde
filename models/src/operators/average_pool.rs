//! Averages over a sliding window, or over as many bins as the output shall have.

use std::sync::Arc;

use candle_core::DType;

use super::pool_window::{PoolWindow, channels_last};
use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// An average pool.
#[derive(Clone, Debug)]
pub struct AveragePool {
    window: PoolWindow,
    count_include_pad: bool,
}

impl AveragePool {
    /// Checks the window; with `count_include_pad` padding counts as zeros, else it does not count at all.
    pub fn new(window: PoolWindow, count_include_pad: bool) -> Result<Self> {
        Ok(AveragePool { window: window.check("AveragePool")?, count_include_pad })
    }

    fn divisor(&self, input: &[usize], place: [usize; 2], under: &[usize]) -> usize {
        if self.count_include_pad { self.window.padded_count(input, place) } else { under.len() }.max(1)
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.window.output_shape("AveragePool", input.shape())?;
        let (input, channels) = (channels_last(input)?, shape[1]);
        let numbers = input.numbers::<T>()?;
        let mut output = vec![T::zero(); shape.iter().product()];
        self.window.for_each_output(input.shape(), &shape, |pixel, place, under| {
            let share = T::one() / T::of(self.divisor(input.shape(), place, under) as f64);
            let sums = &mut output[pixel * channels..][..channels];
            for &place in under {
                sums.iter_mut()
                    .zip(&numbers[place * channels..][..channels])
                    .for_each(|(sum, &number)| *sum += number * share);
            }
        });
        Value::from_vec(output, &shape, Layout::ChannelsLast)
    }

    fn input_gradient_as<T: Element>(&self, input: &[usize], gradient: &Value) -> Result<Value> {
        let (gradient, channels) = (channels_last(gradient)?, input[1]);
        let mut shape = input.to_vec();
        shape[0] = gradient.batch();
        let arrived = gradient.numbers::<T>()?;
        let mut passed = vec![T::zero(); shape.iter().product()];
        self.window.for_each_output(&shape, gradient.shape(), |pixel, place, under| {
            let share = T::one() / T::of(self.divisor(&shape, place, under) as f64);
            let arrived = &arrived[pixel * channels..][..channels];
            for &place in under {
                passed[place * channels..][..channels]
                    .iter_mut()
                    .zip(arrived)
                    .for_each(|(passed, &number)| *passed += number * share);
            }
        });
        Value::from_vec(passed, &shape, Layout::ChannelsLast)
    }
}

impl Operator for AveragePool {
    fn kind(&self) -> &'static str {
        "AveragePool"
    }

    fn family(&self) -> Family {
        Family::AveragePool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        Ok(vec![self.window.output_shape("AveragePool", inputs[0])?])
    }

    fn reach(&self) -> Reach {
        self.window.reach()
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, gradient) = (&backward.values.input_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(input, gradient)?))
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        // Where padding does not count, windows at the edges have other divisors than those within.
        let is_uniform = self.count_include_pad || self.window.padding.iter().all(|&padding| padding == (0, 0));
        let window = self.window.without_padding();
        (is_uniform && !self.window.ceil_mode)
            .then(|| Arc::new(AveragePool { window, ..self.clone() }) as Arc<dyn Operator>)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

/// Averages over bins that cover the input: bin `i` of `n` holds indices `floor(i·l/n)` to `ceil((i+1)·l/n)`.
#[derive(Clone, Debug)]
pub struct AdaptiveAveragePool {
    output: Vec<usize>,
}

impl AdaptiveAveragePool {
    /// `output` has an entry for each spatial axis.
    pub fn new(output: &[usize]) -> Result<Self> {
        if !(1..=2).contains(&output.len()) || output.contains(&0) {
            return Err(ModelError::operator(
                "AdaptiveAveragePool",
                format!("output {output:?}: one or two axes, nothing 0"),
            ));
        }
        Ok(AdaptiveAveragePool { output: output.to_vec() })
    }

    fn bins(length: usize, n_bins: usize) -> Vec<std::ops::Range<usize>> {
        (0..n_bins).map(|bin| bin * length / n_bins..((bin + 1) * length).div_ceil(n_bins)).collect()
    }

    /// Visits each output pixel with the input pixels of its bin.
    fn for_each_bin(&self, input: &[usize], mut visit: impl FnMut(usize, &[usize])) {
        let n_spatial = self.output.len();
        let (rows, columns) = if n_spatial == 1 { (1, input[2]) } else { (input[2], input[3]) };
        let row_bins = Self::bins(rows, if n_spatial == 1 { 1 } else { self.output[0] });
        let column_bins = Self::bins(columns, self.output[n_spatial - 1]);
        let mut pixel = 0;
        for image in 0..input[0] {
            for row_bin in &row_bins {
                for column_bin in &column_bins {
                    let places: Vec<usize> = row_bin
                        .clone()
                        .flat_map(|row| column_bin.clone().map(move |column| (image * rows + row) * columns + column))
                        .collect();
                    visit(pixel, &places);
                    pixel += 1;
                }
            }
        }
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let (input, channels) = (channels_last(input)?, shape[1]);
        let numbers = input.numbers::<T>()?;
        let mut output = vec![T::zero(); shape.iter().product()];
        self.for_each_bin(input.shape(), |pixel, places| {
            let share = T::one() / T::of(places.len() as f64);
            let sums = &mut output[pixel * channels..][..channels];
            for &place in places {
                sums.iter_mut()
                    .zip(&numbers[place * channels..][..channels])
                    .for_each(|(sum, &number)| *sum += number * share);
            }
        });
        Value::from_vec(output, &shape, Layout::ChannelsLast)
    }

    fn input_gradient_as<T: Element>(&self, input: &[usize], gradient: &Value) -> Result<Value> {
        let (gradient, channels) = (channels_last(gradient)?, input[1]);
        let mut shape = input.to_vec();
        shape[0] = gradient.batch();
        let arrived = gradient.numbers::<T>()?;
        let mut passed = vec![T::zero(); shape.iter().product()];
        self.for_each_bin(&shape, |pixel, places| {
            let share = T::one() / T::of(places.len() as f64);
            let arrived = &arrived[pixel * channels..][..channels];
            for &place in places {
                passed[place * channels..][..channels]
                    .iter_mut()
                    .zip(arrived)
                    .for_each(|(passed, &number)| *passed += number * share);
            }
        });
        Value::from_vec(passed, &shape, Layout::ChannelsLast)
    }
}

impl Operator for AdaptiveAveragePool {
    fn kind(&self) -> &'static str {
        "AdaptiveAveragePool"
    }

    fn family(&self) -> Family {
        Family::AveragePool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let n_spatial = self.output.len();
        if inputs[0].len() != n_spatial + 2 || inputs[0][2..].contains(&0) {
            return Err(ModelError::operator(
                "AdaptiveAveragePool",
                format!("input must have {n_spatial} spatial axes but has shape {:?}", inputs[0]),
            ));
        }
        Ok(vec![inputs[0][..2].iter().chain(&self.output).copied().collect()])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, gradient) = (&backward.values.input_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(input, gradient)?))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn padding_counted_or_not_and_ceiled_windows() {
        for count_include_pad in [true, false] {
            let window =
                PoolWindow { padding: vec![(1, 1), (0, 1)], ceil_mode: true, ..PoolWindow::plain(&[3, 2], &[2, 2]) };
            check_gradients(&AveragePool::new(window, count_include_pad).unwrap(), &[random_value(&[2, 3, 6, 7], 1)]);
            let window = PoolWindow { padding: vec![(1, 1)], ..PoolWindow::plain(&[3], &[2]) };
            check_gradients(&AveragePool::new(window, count_include_pad).unwrap(), &[random_value(&[2, 3, 8], 2)]);
        }
    }

    #[test]
    fn what_counts_divides() {
        let input = Value::from_vec(vec![2.0f32, 4.0, 6.0], &[1, 1, 3], Layout::Logical).unwrap();
        let averages = |count_include_pad| {
            let window = PoolWindow { padding: vec![(1, 0)], ..PoolWindow::plain(&[2], &[1]) };
            AveragePool::new(window, count_include_pad).unwrap().forward(&[&input]).unwrap()[0].to_f32_vec().unwrap()
        };
        assert_eq!(averages(true), [1.0, 3.0, 5.0]);
        assert_eq!(averages(false), [2.0, 3.0, 5.0]);
    }

    #[test]
    fn adaptive_bins_overlap_where_lengths_do_not_divide() {
        let input = Value::from_vec(vec![1.0f64, 2.0, 3.0, 4.0, 5.0], &[1, 1, 5], Layout::Logical).unwrap();
        let output = AdaptiveAveragePool::new(&[3]).unwrap().forward(&[&input]).unwrap().remove(0);
        assert_eq!(output.to_f64_vec().unwrap(), [1.5, 3.0, 4.5]);
        check_gradients(&AdaptiveAveragePool::new(&[3, 2]).unwrap(), &[random_value(&[2, 3, 7, 5], 1)]);
        check_gradients(&AdaptiveAveragePool::new(&[7, 7]).unwrap(), &[random_value(&[1, 2, 3, 4], 2)]);
    }
}
