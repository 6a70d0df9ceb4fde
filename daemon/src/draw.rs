//! Which picture an answer gets: photos with maps over or beside them, spectrograms with maps below them, channels as a
//! grid, time as a curve.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::model::ClassScore;
use client_protocol::{AnswerOptions, ErrorKind, ErrorObject, Picture, PictureFormat, PictureRequest, nearest};
use models::front_ends::image::PreparedImage;
use pictures::{Axis, COLORMAP_NAMES, Colormap, Curve, Format, Letter, Map, Options, RgbImage};

use crate::held_input::PreparedInput;
use crate::requests::asked::AskedInput;
use crate::to_protocol::Array;

/// What is shown of a map with red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The largest size among the three.
    Magnitude,
    /// The three as colours, grey where they are 0.
    Colors,
    /// The sum of the three, with its sign.
    Signed,
}

/// A picture of a map over the input's places.
pub(crate) fn of_map(
    answer: &AnswerOptions,
    array: &Array,
    prepared: Option<&PreparedInput>,
    letters: &[Letter],
    look: Look,
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = &answer.picture else { return Ok(None) };
    let (array, title) = first_of_list(array, title);
    let options = options(request, &title)?;
    let with_input = prepared.filter(|_| request.overlay != Some(false));
    if let Some(picture) = with_input.and_then(|prepared| of_sound(&array, prepared, letters, &options)) {
        return drawn(picture, &options);
    }
    let photo = with_input.and_then(|prepared| prepared.photo.as_ref());
    match (&array.shape[..], photo) {
        ([rows, columns], Some(photo)) if is_spatial(&array) => {
            let map = map_of(&array.numbers, *rows, *columns, &array.axes[0], &array.axes[1]);
            // As fine as the photo is beside it; coarser lies over it.
            let is_fine = [*rows, *columns] == photo.shape[1..] && request.overlay != Some(true) && is_speckled(&array);
            drawn(
                if is_fine {
                    pictures::beside(&map, &photo.crop, &options)
                } else {
                    pictures::overlay(&map, &photo.crop, &options)
                },
                &options,
            )
        }
        ([n_channels, rows, columns], photo) => {
            let of_channels = if look == Look::Signed { sum_of_channels } else { largest_of_channels };
            let reduced = of_channels(&array.numbers, rows * columns);
            let map = map_of(&reduced, *rows, *columns, &array.axes[1], &array.axes[2]);
            drawn(of_places(&array, &map, photo, look, *n_channels, &options), &options)
        }
        _ => of_plain(&array, &options),
    }
}

/// A map over the time of a sound below its spectrogram; nothing where either is something else.
fn of_sound(
    array: &Array,
    prepared: &PreparedInput,
    letters: &[Letter],
    options: &Options,
) -> Option<pictures::Result<pictures::Picture>> {
    let (rows, time) = match (&array.shape[..], &array.axes[..]) {
        ([rows, _], [_, time]) if time.name == "time" => (*rows, time),
        ([_], [time]) if time.name == "time" => (1, time),
        _ => return None,
    };
    let columns = array.numbers.len() / rows.max(1);
    let numbers = bands_by_time(prepared)?;
    let spectrogram = spectrogram(prepared, &numbers)?;
    // What was cropped, or read at an inner layer, has places of its own.
    if spectrogram.columns != columns {
        return None;
    }
    let row_axis = if rows == 1 { Axis::counted("row") } else { axis(&array.axes[0]) };
    let map = Map { values: &array.numbers, rows, columns, row_axis, column_axis: axis(time) };
    Some(pictures::over_time(&map, &spectrogram, letters, options))
}

/// A spectrogram, `[band, time]`, whichever way the network takes it.
fn bands_by_time(prepared: &PreparedInput) -> Option<Vec<f32>> {
    let n_bands = prepared.sound_scale.as_ref()?.bands_hz.as_ref()?.len();
    let numbers = prepared.value.to_f32_vec().ok()?;
    let shape: Vec<usize> = prepared.value.shape().iter().copied().filter(|length| *length != 1).collect();
    match shape[..] {
        [first, _] if first == n_bands => Some(numbers),
        [n_frames, last] if last == n_bands => {
            let of_band = |band: usize| (0..n_frames).map(move |frame| frame * n_bands + band);
            Some((0..n_bands).flat_map(of_band).map(|place| numbers[place]).collect())
        }
        _ => None,
    }
}

/// A spectrogram with its axes; `numbers` is `[band, time]`.
fn spectrogram<'a>(prepared: &PreparedInput, numbers: &'a [f32]) -> Option<Map<'a>> {
    let scale = prepared.sound_scale.as_ref()?;
    let bands = scale.bands_hz.clone()?;
    let (rows, columns) = (bands.len(), numbers.len() / bands.len().max(1));
    let row_axis = Axis { unit: Some("Hz".to_owned()), values: Some(bands), ..Axis::counted("frequency") };
    let seconds = Some("s".to_owned());
    let column_axis = Axis { unit: seconds, start: scale.start, step: scale.step, ..Axis::counted("time") };
    Some(Map { values: numbers, rows, columns, row_axis, column_axis })
}

/// A sound's spectrogram with letters above; nothing where the network takes something else.
pub(crate) fn of_transcript(
    answer: &AnswerOptions,
    prepared: &PreparedInput,
    letters: &[Letter],
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = &answer.picture else { return Ok(None) };
    let Some(numbers) = bands_by_time(prepared) else { return Ok(None) };
    let Some(spectrogram) = spectrogram(prepared, &numbers) else { return Ok(None) };
    let options = options(request, title)?;
    drawn(pictures::heard(&spectrogram, letters, &options), &options)
}

/// ` in FILE`, for a title.
pub(crate) fn in_file(path: Option<&str>) -> String {
    path.and_then(|path| path.rsplit('/').next()).map_or(String::new(), |file| format!(" in {file}"))
}

fn of_places(
    array: &Array,
    map: &Map<'_>,
    photo: Option<&PreparedImage>,
    look: Look,
    n_channels: usize,
    options: &Options,
) -> pictures::Result<pictures::Picture> {
    match photo {
        Some(photo) if look == Look::Colors && n_channels == 3 => {
            pictures::rgb_of(&array.numbers, map, &photo.crop, options)
        }
        // What has fewer places than the photo was read at an inner layer.
        Some(photo) if [map.rows, map.columns] != photo.shape[1..] => pictures::overlay(map, &photo.crop, options),
        Some(photo) => pictures::beside(map, &photo.crop, options),
        None => pictures::heat_map(map, options),
    }
}

/// Whether neighbours differ much, as in a gradient and not in a map that was brought to more places.
fn is_speckled(array: &Array) -> bool {
    let columns = array.shape[1].max(1);
    let (mut steps, mut sizes) = (0.0f64, 0.0f64);
    for row in array.numbers.chunks_exact(columns) {
        steps += row.windows(2).map(|pair| f64::from((pair[1] - pair[0]).abs())).sum::<f64>();
        sizes += row.iter().map(|number| f64::from(number.abs())).sum::<f64>();
    }
    steps > 0.3 * sizes
}

fn is_spatial(array: &Array) -> bool {
    array.axes[0].name == "row" && array.axes[1].name == "column"
}

/// A picture of what a layer computes: channels as a grid, channels over time as a map, features as a curve.
pub(crate) fn of_array(
    answer: &AnswerOptions,
    array: &Array,
    _: Option<&PreparedInput>,
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = &answer.picture else { return Ok(None) };
    let (array, title) = first_of_list(array, title);
    let options = options(request, &title)?;
    let [n_channels, rows, columns] = array.shape[..] else { return of_plain(&array, &options) };
    let channels: Vec<Map<'_>> = array
        .numbers
        .chunks_exact((rows * columns).max(1))
        .map(|numbers| map_of(numbers, rows, columns, &array.axes[1], &array.axes[2]))
        .collect();
    let names: Vec<String> = (0..n_channels).map(|channel| channel.to_string()).collect();
    drawn(pictures::grid(&channels, &names, &options), &options)
}

/// A picture of inputs that were found: in colours where they have three channels, else as maps.
///
/// `array` goes from 0 to 1 where the input has bounds; it is `[input, …]`.
pub(crate) fn of_found(
    request: Option<&PictureRequest>,
    array: &Array,
    has_bounds: bool,
    title: &str,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = request else { return Ok(None) };
    let options = options(request, title)?;
    let n_inputs = array.shape[0];
    let names: Vec<String> = if n_inputs == 1 { vec![] } else { (0..n_inputs).map(|nth| nth.to_string()).collect() };
    match array.shape[1..] {
        [3, rows, columns] if has_bounds => {
            let inputs = array.numbers.chunks_exact((3 * rows * columns).max(1));
            let images: Vec<RgbImage> = inputs.map(|input| colored(input, rows, columns, |number| number)).collect();
            drawn(pictures::photos(&images, &names, &options), &options)
        }
        [rows, columns] | [1, rows, columns] if n_inputs > 1 => {
            let axes = &array.axes[array.axes.len() - 2..];
            let inputs = array.numbers.chunks_exact((rows * columns).max(1));
            let maps: Vec<Map<'_>> = inputs.map(|numbers| map_of(numbers, rows, columns, &axes[0], &axes[1])).collect();
            drawn(pictures::grid(&maps, &names, &options), &options)
        }
        [1, _, _] => of_plain(&behind(behind(array.clone())), &options),
        [n_channels, rows, columns] => {
            let axes = &array.axes[2..];
            let largest = largest_of_channels(&array.numbers[..n_channels * rows * columns], rows * columns);
            drawn(pictures::heat_map(&map_of(&largest, rows, columns, &axes[0], &axes[1]), &options), &options)
        }
        _ => of_plain(&behind(array.clone()), &options),
    }
}

/// The first of an array's first axis.
fn behind(mut array: Array) -> Array {
    array.axes.remove(0);
    array.shape.remove(0);
    array.numbers.truncate(array.shape.iter().product());
    array
}

/// Three planes as an image; `share` brings a number to 0 to 1.
fn colored(numbers: &[f32], rows: usize, columns: usize, share: impl Fn(f32) -> f32) -> RgbImage {
    let level = |number: f32| (255.0 * share(number).clamp(0.0, 1.0)).round() as u8;
    RgbImage::from_fn(columns as u32, rows as u32, |x, y| {
        let place = y as usize * columns + x as usize;
        pictures::Rgb(std::array::from_fn(|plane| level(numbers[plane * rows * columns + place])))
    })
}

/// A picture of filters, `[filter, channel, …]`: in colours around grey where they read three channels and have rows and
/// columns; else a mosaic of kernels each, channel by channel; dense layers as a matrix.
pub(crate) fn of_filters(answer: &AnswerOptions, array: &Array, title: &str) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = &answer.picture else { return Ok(None) };
    let options = options(request, title)?;
    let n_filters = array.shape[0];
    let names: Vec<String> = (0..n_filters).map(|filter| filter.to_string()).collect();
    let of_filter = array.shape[1..].iter().product::<usize>().max(1);
    match array.shape[1..] {
        [3, rows, columns] if rows * columns > 1 => {
            let reach = array.numbers.iter().fold(f32::MIN_POSITIVE, |reach, number| reach.max(number.abs()));
            let around_grey = |number: f32| 0.5 + 0.5 * number / reach;
            let filters = array.numbers.chunks_exact(of_filter);
            let images: Vec<RgbImage> = filters.map(|filter| colored(filter, rows, columns, around_grey)).collect();
            drawn(pictures::tiles(&images, &names, &options), &options)
        }
        [n_channels, rows, columns] => {
            let filters = array.numbers.chunks_exact(of_filter).take(MOST_FILTERS);
            let mosaics: Vec<Mosaic> = filters.map(|filter| mosaic(filter, n_channels, rows, columns)).collect();
            let axes = &array.axes[2..];
            let maps: Vec<Map<'_>> = mosaics.iter().map(|mosaic| mosaic.map(&axes[0], &axes[1])).collect();
            drawn(pictures::grid(&maps, &names, &options), &options)
        }
        [rows, columns] => {
            let filters = array.numbers.chunks_exact(of_filter).take(MOST_FILTERS);
            let maps: Vec<Map<'_>> =
                filters.map(|filter| map_of(filter, rows, columns, &array.axes[1], &array.axes[2])).collect();
            drawn(pictures::grid(&maps, &names, &options), &options)
        }
        _ => of_plain(array, &options),
    }
}

/// The most filters that are drawn.
pub(crate) const MOST_FILTERS: usize = 256;

/// Kernels beside each other, as square as may be.
struct Mosaic {
    numbers: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Mosaic {
    fn map(&self, row_axis: &client_protocol::Axis, column_axis: &client_protocol::Axis) -> Map<'_> {
        map_of(&self.numbers, self.rows, self.columns, row_axis, column_axis)
    }
}

fn mosaic(kernels: &[f32], n_kernels: usize, rows: usize, columns: usize) -> Mosaic {
    let across = (n_kernels as f64).sqrt().ceil() as usize;
    let down = n_kernels.div_ceil(across.max(1));
    let mut mosaic =
        Mosaic { numbers: vec![0.0; across * columns * down * rows], rows: down * rows, columns: across * columns };
    for (nth, kernel) in kernels.chunks_exact((rows * columns).max(1)).enumerate() {
        for (row, numbers) in kernel.chunks_exact(columns).enumerate() {
            let start = ((nth / across) * rows + row) * mosaic.columns + (nth % across) * columns;
            mosaic.numbers[start..start + columns].copy_from_slice(numbers);
        }
    }
    mosaic
}

/// A matrix as a heat map, a list as a curve.
fn of_plain(array: &Array, options: &Options) -> Result<Option<Picture>, ErrorObject> {
    match array.shape[..] {
        [rows, columns] => drawn(
            pictures::heat_map(&map_of(&array.numbers, rows, columns, &array.axes[0], &array.axes[1]), options),
            options,
        ),
        [_] => {
            let curve = Curve { name: String::new(), values: array.numbers.clone() };
            drawn(pictures::curves(&[curve], &axis(&array.axes[0]), "value", options), options)
        }
        _ => {
            let message = format!(
                "there is no picture for an array of shape {:?}; ask for one channel or a reduction",
                array.shape
            );
            Err(ErrorObject::new(ErrorKind::Unfit, message).field("picture"))
        }
    }
}

/// Probabilities as bars.
pub(crate) fn of_classes(
    answer: &AnswerOptions,
    classes: &[ClassScore],
    asked: &AskedInput,
) -> Result<Option<Picture>, ErrorObject> {
    let Some(request) = &answer.picture else { return Ok(None) };
    let file = asked.held.path.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or("the input");
    let options = options(request, &format!("prediction for {file}"))?;
    let name = |class: &ClassScore| class.label.clone().unwrap_or_else(|| format!("class {}", class.index));
    let names: Vec<String> = classes.iter().map(name).collect();
    let shares: Vec<f64> = classes.iter().map(|class| class.probability).collect();
    drawn(pictures::bar_chart(&names, &shares, &options), &options)
}

/// The first of several, whose number the title then tells.
fn first_of_list(array: &Array, title: &str) -> (Array, String) {
    let mut array = array.clone();
    let mut title = title.to_owned();
    while array.axes.first().is_some_and(|axis| ["input", "target"].contains(&axis.name.as_str())) {
        let axis = array.axes.remove(0);
        let length = array.shape.remove(0);
        array.numbers.truncate(array.shape.iter().product());
        title += &format!(" (first {} of {length})", axis.name);
    }
    (array, title)
}

/// For each place the number of the largest size among the channels, without its sign.
fn largest_of_channels(numbers: &[f32], n_places: usize) -> Vec<f32> {
    let largest = |place: usize| {
        numbers.iter().skip(place).step_by(n_places.max(1)).fold(0.0f32, |largest, number| largest.max(number.abs()))
    };
    (0..n_places).map(largest).collect()
}

/// For each place the sum of its channels.
fn sum_of_channels(numbers: &[f32], n_places: usize) -> Vec<f32> {
    (0..n_places).map(|place| numbers.iter().skip(place).step_by(n_places.max(1)).sum()).collect()
}

fn map_of<'a>(
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_axis: &client_protocol::Axis,
    column_axis: &client_protocol::Axis,
) -> Map<'a> {
    Map { values, rows, columns, row_axis: axis(row_axis), column_axis: axis(column_axis) }
}

fn axis(axis: &client_protocol::Axis) -> Axis {
    Axis {
        name: axis.name.clone(),
        unit: axis.unit.clone(),
        start: axis.start.unwrap_or(0.0),
        step: axis.step.unwrap_or(1.0),
        values: axis.values.clone(),
    }
}

pub(crate) fn options(request: &PictureRequest, title: &str) -> Result<Options, ErrorObject> {
    let colormap = request.colormap.as_deref().map(|name| {
        Colormap::named(name).ok_or_else(|| {
            let known = COLORMAP_NAMES.join(", ");
            ErrorObject::invalid("colormap", format!("no colour map `{name}`; there are {known}"))
                .value(name)
                .expected(known)
                .nearest(nearest(name, COLORMAP_NAMES))
        })
    });
    Ok(Options {
        format: match request.format {
            PictureFormat::Png => Format::Png,
            PictureFormat::Svg => Format::Svg,
        },
        title: request.title.clone().unwrap_or_else(|| title.to_owned()),
        colormap: colormap.transpose()?,
        width: request.width,
    })
}

pub(crate) fn drawn(
    picture: pictures::Result<pictures::Picture>,
    options: &Options,
) -> Result<Option<Picture>, ErrorObject> {
    let picture = picture.map_err(|error| match error {
        pictures::PictureError::Width { .. } => ErrorObject::invalid("width", error.to_string()),
        _ => ErrorObject::new(ErrorKind::Unfit, error.to_string()).field("picture"),
    })?;
    Ok(Some(match options.format {
        Format::Png => Picture { format: PictureFormat::Png, data: BASE64.encode(picture.bytes) },
        Format::Svg => {
            Picture { format: PictureFormat::Svg, data: String::from_utf8_lossy(&picture.bytes).into_owned() }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_lie_beside_each_other_row_by_row() {
        let kernels: Vec<f32> = (0..12).map(|number| number as f32).collect();
        let mosaic = mosaic(&kernels, 3, 2, 2);
        assert_eq!((mosaic.rows, mosaic.columns), (4, 4));
        assert_eq!(mosaic.numbers, [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0, 0.0, 0.0, 10.0, 11.0, 0.0, 0.0]);
    }
}
