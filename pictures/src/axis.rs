//! Where the places of an array lie, in a unit.

/// One axis of an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// `row`, `time`, `channel`, …
    pub name: String,
    /// `px`, `s`, `Hz`.
    pub unit: Option<String>,
    /// Where the first place lies.
    pub start: f64,
    /// From one place to the next.
    pub step: f64,
    /// Where each place lies, where the axis is uneven.
    pub values: Option<Vec<f64>>,
}

impl Axis {
    /// Places counted from 0.
    pub fn counted(name: &str) -> Self {
        Axis { name: name.to_owned(), unit: None, start: 0.0, step: 1.0, values: None }
    }

    /// Whether its first place is drawn at the bottom: low tones are below high ones.
    pub(crate) fn grows_upwards(&self) -> bool {
        self.name == "frequency"
    }

    /// Name and unit.
    pub(crate) fn label(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{} ({unit})", self.name),
            None => self.name.clone(),
        }
    }

    /// From the near edge of the first place to the far edge of the last; an uneven axis is counted by places.
    pub(crate) fn edges(&self, length: usize) -> (f64, f64) {
        if self.values.is_some() {
            return (-0.5, length as f64 - 0.5);
        }
        (self.start - self.step / 2.0, self.start + (length as f64 - 0.5) * self.step)
    }

    /// What a tick at this place says.
    pub(crate) fn tick(&self, place: f64) -> String {
        match &self.values {
            Some(values) if !values.is_empty() => {
                let nearest = (place.round().max(0.0) as usize).min(values.len() - 1);
                number(values[nearest])
            }
            _ => number(place),
        }
    }
}

/// A number with as many digits as one reads.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    if !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:.1e}");
    }
    let digits = (3 - magnitude.log10().floor() as i32 - 1).clamp(0, 5) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (12.0, "12"),
            (173.72, "174"),
            (0.012345, "0.0123"),
            (1e-7, "1.0e-7"),
            (-2.50, "-2.5"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn places_have_a_width() {
        let axis = Axis { unit: Some("px".to_owned()), start: 74.0, step: 50.0, ..Axis::counted("row") };
        assert_eq!((axis.edges(7), axis.label()), ((49.0, 399.0), "row (px)".to_owned()));
        let mel = Axis { values: Some(vec![0.0, 300.0, 1000.0]), ..Axis::counted("frequency") };
        assert_eq!((mel.edges(3), mel.tick(1.2)), ((-0.5, 2.5), "300".to_owned()));
    }
}
