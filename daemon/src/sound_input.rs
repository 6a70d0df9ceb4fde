//! Where a network's input has time and where frequency, and sound as a value of that shape.

use client_protocol::{ErrorKind, ErrorObject};
use models::front_ends::audio::{Features, SoundScale};
use models::operators::AxisKind;
use models::{Dim, Layout, Value};

use crate::errors;
use crate::held_model::HeldModel;

/// What the axes of an input mean, behind the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// `[band, time]`, as convolutions along time take it.
    BandsByTime,
    /// `[time, band]`, as recurrent layers take it.
    TimeByBands,
    /// `[1, band, time]`, a picture of one channel.
    PictureOfBandsByTime,
    /// `[1, time, band]`
    PictureOfTimeByBands,
    /// `[1, sample]`
    Channel,
    /// `[sample]`
    Samples,
}

use Arrangement::{BandsByTime, Channel, PictureOfBandsByTime, PictureOfTimeByBands, Samples, TimeByBands};

impl Arrangement {
    /// How this model takes sound of so many bands; nothing where its input has no such shape.
    pub(crate) fn of(model: &HeldModel, scale: &SoundScale) -> Option<Arrangement> {
        let dims = model.input_dims();
        let kinds = &model.axes[model.input().node.0];
        let n_bands = scale.bands_hz.as_ref().map(Vec::len);
        let fits = |arrangement: &&Arrangement| {
            let lengths = arrangement.lengths(n_bands.unwrap_or(1));
            let is_fitting = |(dim, length): (&Dim, &Option<usize>)| match (dim, length) {
                (Dim::Known(known), Some(length)) => known == length,
                _ => true,
            };
            lengths.len() == dims.len() && dims.iter().zip(&lengths).all(is_fitting)
        };
        let all: &[Arrangement] = match n_bands {
            Some(_) => &[BandsByTime, TimeByBands, PictureOfBandsByTime, PictureOfTimeByBands],
            None => &[Channel, Samples],
        };
        let fitting: Vec<Arrangement> = all.iter().filter(fits).copied().collect();
        // Where both ways fit, the operators may know which axis is time.
        let by_kind = fitting.iter().find(|arrangement| kinds.get(arrangement.time_axis()) == Some(&AxisKind::Time));
        by_kind.or(fitting.first()).copied()
    }

    /// Lengths behind the batch, that of time left open.
    fn lengths(self, n_bands: usize) -> Vec<Option<usize>> {
        match self {
            BandsByTime => vec![Some(n_bands), None],
            TimeByBands => vec![None, Some(n_bands)],
            PictureOfBandsByTime => vec![Some(1), Some(n_bands), None],
            PictureOfTimeByBands => vec![Some(1), None, Some(n_bands)],
            Channel => vec![Some(1), None],
            Samples => vec![None],
        }
    }

    /// Which axis is time, counted with the batch.
    pub(crate) fn time_axis(self) -> usize {
        match self {
            TimeByBands | Samples => 1,
            BandsByTime | Channel | PictureOfTimeByBands => 2,
            PictureOfBandsByTime => 3,
        }
    }

    /// Which axis is frequency, counted with the batch.
    pub(crate) fn frequency_axis(self) -> Option<usize> {
        match self {
            BandsByTime => Some(1),
            TimeByBands | PictureOfBandsByTime => Some(2),
            PictureOfTimeByBands => Some(3),
            Channel | Samples => None,
        }
    }

    /// An input of the model as `[frame, band]`.
    pub(crate) fn frames(self, input: &[f32], n_bands: usize) -> Vec<f32> {
        let n_frames = input.len() / n_bands.max(1);
        match self {
            TimeByBands | PictureOfTimeByBands | Channel | Samples => input.to_vec(),
            BandsByTime | PictureOfBandsByTime => {
                let of_frame = |frame: usize| (0..n_bands).map(move |band| input[band * n_frames + frame]);
                (0..n_frames).flat_map(of_frame).collect()
            }
        }
    }

    /// Frames as the model takes them, `[1, …]`.
    fn value(self, features: Features) -> models::Result<Value> {
        let Features { n_bands, n_frames, numbers } = features;
        match self {
            BandsByTime => Value::from_vec(numbers, &[1, n_bands, n_frames], Layout::ChannelsLast),
            TimeByBands => Value::from_vec(numbers, &[1, n_frames, n_bands], Layout::Logical),
            PictureOfBandsByTime => {
                let bands = Value::from_vec(numbers, &[1, n_bands, n_frames], Layout::ChannelsLast)?;
                bands.reshape(&[1, 1, n_bands, n_frames])
            }
            PictureOfTimeByBands => Value::from_vec(numbers, &[1, 1, n_frames, n_bands], Layout::Logical),
            Channel => Value::from_vec(numbers, &[1, 1, n_frames], Layout::Logical),
            Samples => Value::from_vec(numbers, &[1, n_frames], Layout::Logical),
        }
    }
}

/// Frames, or samples, as the input of a model.
pub(crate) fn fitted(features: Features, scale: &SoundScale, model: &HeldModel) -> Result<Value, ErrorObject> {
    let dims = model.input_dims();
    let lengths: Vec<String> = dims.iter().map(Dim::to_string).collect();
    let expected = format!("[{}]", lengths.join(", "));
    let unfit = || {
        let bands = match features.n_bands {
            1 => "samples".to_owned(),
            n_bands => format!("frames of {n_bands} bands"),
        };
        let message =
            format!("the front end makes {} {bands} of this sound but the model takes {expected}", features.n_frames);
        ErrorObject::new(ErrorKind::Unfit, message).field("input").expected(expected.clone())
    };
    let arrangement = Arrangement::of(model, scale).ok_or_else(unfit)?;
    let takes_length = match &dims[arrangement.time_axis() - 1] {
        Dim::Known(known) => *known == features.n_frames,
        Dim::Any(_) => true,
    };
    if !takes_length {
        return Err(unfit());
    }
    arrangement.value(features).map_err(|error| errors::of_model(error, None))
}
