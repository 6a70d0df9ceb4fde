//! The mean of squared differences.

use models::{Layout, Value};

use crate::error::Result;

/// `mean (output - target)²`, with its derivative by the output.
///
/// # Shapes
/// - both of one shape, in which the derivative is
pub fn mean_squares(output: &Value, target: &Value) -> Result<(f64, Value)> {
    let (output, target) = (output.to_channels_last()?, target.to_channels_last()?);
    let (numbers, wanted) = (output.numbers::<f32>()?, target.numbers::<f32>()?);
    assert_eq!(output.shape(), target.shape(), "an output is compared with a target of its shape");
    let factor = 2.0 / numbers.len() as f32;
    let mut sum = 0.0;
    let mut derivative = Vec::with_capacity(numbers.len());
    for (number, wanted) in numbers.iter().zip(wanted.iter()) {
        let difference = number - wanted;
        sum += f64::from(difference * difference);
        derivative.push(factor * difference);
    }
    let layout = if output.shape().len() < 3 { Layout::Logical } else { Layout::ChannelsLast };
    Ok((sum / numbers.len() as f64, Value::from_vec(derivative, output.shape(), layout)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let value = |numbers: &[f32]| Value::from_vec(numbers.to_vec(), &[2, 2], Layout::Logical).unwrap();
        let (loss, derivative) = mean_squares(&value(&[1.0, 2.0, 3.0, 4.0]), &value(&[0.0, 2.0, 5.0, 4.0])).unwrap();
        assert_eq!(loss, 5.0 / 4.0);
        assert_eq!(derivative.to_f32_vec().unwrap(), [0.5, 0.0, -1.0, 0.0]);
    }
}
