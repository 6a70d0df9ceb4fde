//! Small moves and turns, drawn anew at each step, so that a picture excites its unit wherever it lies (Olah et al.
//! 2017, "transformation robustness"; lucid's `transform` module).
//!
//! All that is drawn for a step is one change, so that a picture is interpolated once. Beyond its edge lies grey, also
//! where lucid has black (at turned corners). What has changed its size is cut or padded at its centre to what the
//! network takes.

use super::random::Random;
use super::sampling::{Readings, Sampling, Size};
use crate::error::{IntrospectionError, Result};

/// One random change of a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// So many rows and columns more at each side.
    Pad(usize),
    /// A random cut of so many rows and columns less.
    Jitter(usize),
    /// A size from these factors.
    Scale(Vec<f64>),
    /// A turn from these angles in degrees.
    Rotate(Vec<f64>),
    /// A move by up to so many rows and columns in either direction, for sound: bands of frequency and steps of time.
    Shift { rows: usize, columns: usize },
}

impl Transform {
    /// Those of lucid: `pad 12, jitter 8, scale 0.9 to 1.1, rotate -10 to 10 (five times 0), jitter 4`.
    pub fn standard_for_photos() -> Vec<Transform> {
        vec![
            Transform::Pad(12),
            Transform::Jitter(8),
            Transform::standard_scale(),
            Transform::standard_rotate(),
            Transform::Jitter(4),
        ]
    }

    /// 0.90 to 1.10 in steps of 0.02.
    pub fn standard_scale() -> Transform {
        Transform::Scale((0..11).map(|nth| 1.0 + (f64::from(nth) - 5.0) / 50.0).collect())
    }

    /// -10° to 10° in whole degrees, and 0° five times more.
    pub fn standard_rotate() -> Transform {
        Transform::Rotate((-10..=10).map(f64::from).chain([0.0; 5]).collect())
    }

    /// Sound is moved in time and a little in frequency, and never turned.
    pub fn standard_for_sound() -> Vec<Transform> {
        vec![Transform::Shift { rows: 1, columns: 8 }]
    }

    /// Fails where numbers make no sense.
    pub fn check(&self) -> Result<()> {
        let refused = |what: &'static str, asked: String, expected: &str| {
            Err(IntrospectionError::OutOfRange { what, asked, expected: expected.to_owned() })
        };
        match self {
            Transform::Scale(factors) => match factors.iter().find(|factor| !(0.1..=10.0).contains(*factor)) {
                Some(factor) => refused("scale", factor.to_string(), "factors are from 0.1 to 10"),
                None if factors.is_empty() => refused("scale", "[]".to_owned(), "at least one factor is needed"),
                None => Ok(()),
            },
            Transform::Rotate(angles) => match angles.iter().find(|angle| !(-360.0..=360.0).contains(*angle)) {
                Some(angle) => refused("rotate", angle.to_string(), "angles are from -360 to 360 degrees"),
                None if angles.is_empty() => refused("rotate", "[]".to_owned(), "at least one angle is needed"),
                None => Ok(()),
            },
            Transform::Pad(places) | Transform::Jitter(places) if *places > MOST_PLACES => {
                let what = if matches!(self, Transform::Pad(_)) { "pad" } else { "jitter" };
                refused(what, places.to_string(), "at most 1024 places are added or cut")
            }
            Transform::Pad(_) | Transform::Jitter(_) => Ok(()),
            Transform::Shift { rows, columns } if *rows.max(columns) > MOST_SHIFT => {
                refused("shift", rows.max(columns).to_string(), "at most 100000 places are moved")
            }
            Transform::Shift { .. } => Ok(()),
        }
    }

    /// One of its changes, for planes of a size.
    fn drawn(&self, size: Size, random: &mut Random) -> Result<Sampling> {
        Ok(match self {
            Transform::Pad(places) => {
                let grown = |length| length + 2 * places;
                let offset = -(*places as isize);
                Sampling::moved(size, (grown(size.0), grown(size.1)), (offset, offset))
            }
            Transform::Jitter(places) => {
                if *places >= size.0.min(size.1) {
                    let expected =
                        format!("the picture has {} × {} places there, and some must be left", size.0, size.1);
                    return Err(IntrospectionError::OutOfRange { what: "jitter", asked: places.to_string(), expected });
                }
                let offset = (random.below(places + 1) as isize, random.below(places + 1) as isize);
                Sampling::moved(size, (size.0 - places, size.1 - places), offset)
            }
            Transform::Scale(factors) => {
                let factor = random.choose(factors).unwrap_or(1.0);
                let scaled = |length: usize| ((length as f64 * factor) as usize).max(1);
                let to = (scaled(size.0), scaled(size.1));
                let matrix = [[size.0 as f64 / to.0 as f64, 0.0], [0.0, size.1 as f64 / to.1 as f64]];
                Sampling::turned(size, to, matrix)
            }
            Transform::Rotate(angles) => {
                let (sin, cos) = random.choose(angles).unwrap_or(0.0).to_radians().sin_cos();
                Sampling::turned(size, size, [[cos, sin], [-sin, cos]])
            }
            Transform::Shift { rows, columns } => {
                let offset = |most: &usize, random: &mut Random| random.below(2 * most + 1) as isize - *most as isize;
                let offset = (offset(rows, random), offset(columns, random));
                Sampling::moved(size, size, offset)
            }
        })
    }
}

const MOST_PLACES: usize = 1024;
const MOST_SHIFT: usize = 100_000;

/// What is done to the pictures at one step.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    readings: Readings,
    fill: f64,
}

impl Drawn {
    /// One of each transform's changes in turn, and then back to the size that the network takes.
    pub(super) fn draw(transforms: &[Transform], size: Size, fill: f64, random: &mut Random) -> Result<Drawn> {
        let mut sampling = Sampling::unchanged(size);
        for transform in transforms {
            sampling = sampling.then(&transform.drawn(sampling.to(), random)?);
        }
        let current = sampling.to();
        if current != size {
            let offset = |from: usize, to: usize| (from as isize - to as isize).div_euclid(2);
            let offset = (offset(current.0, size.0), offset(current.1, size.1));
            sampling = sampling.then(&Sampling::moved(current, size, offset));
        }
        Ok(Drawn { readings: sampling.readings(), fill })
    }

    /// The pictures as the network sees them.
    ///
    /// # Shapes
    /// - `pictures`: `[input, plane, row, column]`, returns the same
    pub(super) fn forward(&self, pictures: &[f64]) -> Vec<f64> {
        self.readings.forward(pictures, self.fill)
    }

    /// The gradient at the pictures, from that at what the network saw.
    pub(super) fn adjoint(&self, gradient: &[f64]) -> Vec<f64> {
        self.readings.adjoint(gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let mut each: Vec<Vec<Transform>> = [
            Transform::Pad(2),
            Transform::Jitter(2),
            Transform::Scale(vec![0.7, 1.4]),
            Transform::Rotate(vec![-30.0, 17.0]),
            Transform::Shift { rows: 1, columns: 3 },
        ]
        .map(|transform| vec![transform])
        .to_vec();
        each.push(each.concat());
        each.push(Transform::standard_for_photos());
        for transforms in each {
            for seed in 0..3 {
                let drawn = Drawn::draw(&transforms, (6, 5), 0.5, &mut Random::new(seed)).unwrap();
                let forward = |at: &[f64]| drawn.forward(at);
                check_gradient(2 * 30, forward, |_, arriving| drawn.adjoint(arriving));
            }
        }
    }

    #[test]
    fn the_middle_stays_in_the_middle() {
        let mut picture = vec![0.0; 49];
        picture[24] = 1.0;
        let transforms = [Transform::Pad(3), Transform::Scale(vec![1.0]), Transform::Rotate(vec![90.0])];
        let drawn = Drawn::draw(&transforms, (7, 7), 0.0, &mut Random::new(1)).unwrap();
        let moved = drawn.forward(&picture);
        assert!((moved[24] - 1.0).abs() < 1e-9 && moved.iter().sum::<f64>() < 1.0 + 1e-9, "{moved:?}");
    }

    #[test]
    fn a_scale_of_two_is_the_resize_of_two() {
        let transforms = [Transform::Scale(vec![2.0])];
        let sampling = transforms[0].drawn((3, 4), &mut Random::new(1)).unwrap();
        let plane: Vec<f64> = Random::new(2).normal(12, 1.0);
        let resized = super::super::resize::Resize::new((3, 4), (6, 8)).forward(&plane);
        let scaled = sampling.readings().forward(&plane, 0.0);
        let is_inner = |index: usize| (1..5).contains(&(index / 8)) && (1..7).contains(&(index % 8));
        assert!((0..48).filter(|index| is_inner(*index)).all(|index| (resized[index] - scaled[index]).abs() < 1e-12));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |transform: Transform| transform.check().unwrap_err().to_string();
        assert_eq!(refused(Transform::Scale(vec![0.0])), "scale 0 is out of range; factors are from 0.1 to 10");
        assert_eq!(refused(Transform::Rotate(vec![])), "rotate [] is out of range; at least one angle is needed");
        let drawn = Drawn::draw(&[Transform::Jitter(5)], (9, 5), 0.0, &mut Random::new(1)).unwrap_err();
        assert_eq!(
            drawn.to_string(),
            "jitter 5 is out of range; the picture has 9 × 5 places there, and some must be left"
        );
    }
}
