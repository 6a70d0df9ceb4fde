//! How numbers become colours.

/// A way from 0 to 1 through colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colormap {
    /// From dark violet to yellow; for what is not negative.
    Viridis,
    /// From black over red to yellow; for magnitudes.
    Inferno,
    /// From blue over green to red; for overlays.
    Turbo,
    /// From blue over white to red, white at 0; for signed maps.
    Diverging,
    /// From black to white.
    Gray,
}

/// The names that [`Colormap::named`] knows.
pub const COLORMAP_NAMES: [&str; 5] = ["viridis", "inferno", "turbo", "diverging", "gray"];

impl Colormap {
    /// The colour map of a name.
    pub fn named(name: &str) -> Option<Colormap> {
        let all = [Colormap::Viridis, Colormap::Inferno, Colormap::Turbo, Colormap::Diverging, Colormap::Gray];
        COLORMAP_NAMES.iter().position(|known| *known == name).map(|place| all[place])
    }

    /// Colours at even distances.
    fn anchors(self) -> &'static [[u8; 3]] {
        match self {
            Colormap::Viridis => &[
                [68, 1, 84],
                [71, 45, 123],
                [59, 82, 139],
                [44, 114, 142],
                [33, 145, 140],
                [40, 174, 128],
                [94, 201, 98],
                [173, 220, 48],
                [253, 231, 37],
            ],
            Colormap::Inferno => &[
                [0, 0, 4],
                [33, 12, 74],
                [87, 16, 110],
                [138, 34, 106],
                [188, 55, 84],
                [228, 90, 49],
                [249, 142, 9],
                [249, 203, 53],
                [252, 255, 164],
            ],
            Colormap::Turbo => &[
                [48, 18, 59],
                [64, 64, 162],
                [70, 107, 227],
                [66, 148, 255],
                [40, 188, 235],
                [24, 221, 194],
                [50, 242, 152],
                [109, 254, 98],
                [164, 252, 60],
                [205, 236, 52],
                [238, 207, 58],
                [253, 172, 52],
                [251, 126, 33],
                [235, 80, 14],
                [208, 47, 5],
                [169, 22, 1],
                [122, 4, 3],
            ],
            Colormap::Diverging => &[
                [5, 48, 97],
                [42, 113, 178],
                [107, 172, 209],
                [194, 221, 236],
                [255, 255, 255],
                [251, 204, 180],
                [228, 128, 102],
                [186, 40, 50],
                [103, 0, 31],
            ],
            Colormap::Gray => &[[0, 0, 0], [255, 255, 255]],
        }
    }

    /// The colour of a share from 0 to 1.
    pub fn color(self, share: f32) -> [u8; 3] {
        let anchors = self.anchors();
        let place = share.clamp(0.0, 1.0) * (anchors.len() - 1) as f32;
        let low = (place as usize).min(anchors.len() - 2);
        let between = place - low as f32;
        std::array::from_fn(|channel| {
            let (from, to) = (f32::from(anchors[low][channel]), f32::from(anchors[low + 1][channel]));
            (from + (to - from) * between).round() as u8
        })
    }
}

/// The range of numbers that colours stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Limits {
    /// From the smallest to the largest number; around 0 for a diverging map. Where all are equal there is still a range.
    pub(crate) fn of(values: &[f32], colormap: Colormap) -> Limits {
        let (low, high) =
            values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        if colormap == Colormap::Diverging {
            let reach = low.abs().max(high.abs());
            let reach = if reach == 0.0 { 1.0 } else { reach };
            return Limits { low: -reach, high: reach };
        }
        let low = if low >= 0.0 { 0.0 } else { low };
        Limits { low, high: if high > low { high } else { low + 1.0 } }
    }

    /// Where a number lies between both, from 0 to 1.
    pub(crate) fn share(self, value: f32) -> f32 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middle() {
        assert_eq!(Colormap::Diverging.color(0.5), [255, 255, 255]);
        assert_eq!(Colormap::Viridis.color(0.0), [68, 1, 84]);
        assert_eq!(Colormap::Viridis.color(2.0), [253, 231, 37]);
        assert_eq!(Colormap::Gray.color(0.5), [128, 128, 128]);
    }

    #[test]
    fn zero_is_white_in_a_signed_map_and_equal_numbers_have_a_range() {
        let limits = Limits::of(&[-1.0, 4.0], Colormap::Diverging);
        assert_eq!((limits.share(0.0), limits.share(4.0)), (0.5, 1.0));
        assert_eq!(Limits::of(&[2.0, 2.0], Colormap::Viridis), Limits { low: 0.0, high: 2.0 });
        assert_eq!(Limits::of(&[0.0], Colormap::Viridis), Limits { low: 0.0, high: 1.0 });
    }

    #[test]
    fn every_name_leads_to_a_map() {
        assert!(COLORMAP_NAMES.iter().all(|name| Colormap::named(name).is_some()));
        assert_eq!(Colormap::named("jet"), None);
    }
}
