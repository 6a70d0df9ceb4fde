//! Numbers over time.

use crate::{Axis, Options, Picture, PictureError, Result, figure};

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it is.
    pub name: String,
    /// A number at each place of the axis.
    pub values: Vec<f32>,
}

/// Curves over one axis; `value_name` is what their numbers are.
pub fn curves(curves: &[Curve], axis: &Axis, value_name: &str, options: &Options) -> Result<Picture> {
    if curves.iter().all(|curve| curve.values.is_empty()) {
        return Err(PictureError::Empty);
    }
    for curve in curves {
        if let Some(index) = curve.values.iter().position(|value| !value.is_finite()) {
            return Err(PictureError::NotFinite { index, number: curve.values[index] });
        }
    }
    let lines: Vec<(String, Vec<f64>)> = curves
        .iter()
        .map(|curve| (curve.name.clone(), curve.values.iter().map(|value| f64::from(*value)).collect()))
        .collect();
    figure::draw_lines(&lines, axis, value_name, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_in_both_formats() {
        let curve = Curve { name: "channel 3".to_owned(), values: vec![0.0, 2.0, 1.0] };
        for format in [crate::Format::Png, crate::Format::Svg] {
            let options = Options { format, ..Options::default() };
            assert!(
                curves(std::slice::from_ref(&curve), &Axis::counted("time"), "activation", &options)
                    .unwrap()
                    .bytes
                    .len()
                    > 500
            );
        }
        let broken = Curve { values: vec![f32::INFINITY], ..curve };
        assert!(curves(&[broken], &Axis::counted("time"), "activation", &Options::default()).is_err());
    }
}
