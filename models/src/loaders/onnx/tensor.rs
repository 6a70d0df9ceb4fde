//! Initialisers in every form in which ONNX stores numbers.

use std::path::{Component, Path};

use half::{bf16, f16};

use super::proto::TensorProto;
use crate::loaders::{LoadError, Siblings};

/// Numbers that are known at load; what is whole stays whole, since shapes are computed from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// Floats, or whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Float(Vec<f32>),
    Whole(Vec<i64>),
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        match self {
            Numbers::Float(numbers) => numbers.len(),
            Numbers::Whole(numbers) => numbers.len(),
        }
    }
}

/// The most numbers that one tensor may hold; the largest that is known in practice has a tenth.
const MOST_NUMBERS: usize = 1 << 31;

/// Element types by their number in `onnx.proto`.
mod data_type {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const UINT8: i32 = 2;
    pub(super) const INT8: i32 = 3;
    pub(super) const UINT16: i32 = 4;
    pub(super) const INT16: i32 = 5;
    pub(super) const INT32: i32 = 6;
    pub(super) const INT64: i32 = 7;
    pub(super) const STRING: i32 = 8;
    pub(super) const BOOL: i32 = 9;
    pub(super) const FLOAT16: i32 = 10;
    pub(super) const DOUBLE: i32 = 11;
    pub(super) const UINT32: i32 = 12;
    pub(super) const UINT64: i32 = 13;
    pub(super) const BFLOAT16: i32 = 16;
}

/// Reads a tensor; `name` is for errors.
pub(super) fn read(tensor: &TensorProto, name: &str, siblings: &dyn Siblings) -> Result<Constant, LoadError> {
    let corrupt = |reason: String| LoadError::Corrupt { what: format!("tensor `{name}`"), reason };
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&length| usize::try_from(length).ok()).collect();
    let shape = shape.ok_or_else(|| corrupt(format!("its shape {:?} is negative", tensor.dims)))?;
    let length = shape
        .iter()
        .try_fold(1usize, |length, &axis| length.checked_mul(axis))
        .filter(|length| *length <= MOST_NUMBERS);
    let length = length.ok_or_else(|| corrupt(format!("its shape {shape:?} has more than {MOST_NUMBERS} numbers")))?;
    let external;
    let raw = if tensor.data_location == 1 {
        let bytes = width_of(tensor.data_type).ok_or_else(|| unknown_type(tensor.data_type, name))? * length;
        external = read_external(tensor, name, bytes, siblings)?;
        Some(&external[..])
    } else if !tensor.raw_data.is_empty() {
        Some(&tensor.raw_data[..])
    } else {
        None
    };
    let numbers = match raw {
        Some(raw) => from_raw(raw, tensor.data_type, length, name)?,
        None => from_fields(tensor, name)?,
    };
    if numbers.len() != length {
        return Err(corrupt(format!("its shape {shape:?} needs {length} numbers but it holds {}", numbers.len())));
    }
    if let Numbers::Float(floats) = &numbers
        && let Some(index) = floats.iter().position(|number| number.is_nan())
    {
        return Err(corrupt(format!("number {index} is NaN")));
    }
    Ok(Constant { shape, numbers })
}

fn unknown_type(data_type: i32, name: &str) -> LoadError {
    let found =
        if data_type == data_type::STRING { "strings".to_owned() } else { format!("elements of type {data_type}") };
    LoadError::UnsupportedFormat(format!("tensor `{name}` holds {found}; floats, whole numbers and booleans are read"))
}

/// Bytes of an element.
fn width_of(data_type: i32) -> Option<usize> {
    match data_type {
        data_type::UINT8 | data_type::INT8 | data_type::BOOL => Some(1),
        data_type::UINT16 | data_type::INT16 | data_type::FLOAT16 | data_type::BFLOAT16 => Some(2),
        data_type::FLOAT | data_type::INT32 | data_type::UINT32 => Some(4),
        data_type::DOUBLE | data_type::INT64 | data_type::UINT64 => Some(8),
        _ => None,
    }
}

fn from_raw(raw: &[u8], data_type: i32, length: usize, name: &str) -> Result<Numbers, LoadError> {
    let width = width_of(data_type).ok_or_else(|| unknown_type(data_type, name))?;
    if raw.len() != length * width {
        let reason = format!("it holds {} bytes where its shape needs {} of {width}", raw.len(), length);
        return Err(LoadError::Corrupt { what: format!("tensor `{name}`"), reason });
    }
    macro_rules! numbers {
        ($type:ty, $kind:ident, $convert:expr) => {{
            let convert = |bytes: &[u8]| {
                $convert(<$type>::from_le_bytes(bytes.try_into().expect("chunks have the type's width")))
            };
            Numbers::$kind(raw.chunks_exact(width).map(convert).collect())
        }};
    }
    Ok(match data_type {
        data_type::FLOAT => numbers!(f32, Float, |number| number),
        data_type::DOUBLE => numbers!(f64, Float, |number| number as f32),
        data_type::FLOAT16 => numbers!(f16, Float, f16::to_f32),
        data_type::BFLOAT16 => numbers!(bf16, Float, bf16::to_f32),
        data_type::UINT8 | data_type::BOOL => numbers!(u8, Whole, i64::from),
        data_type::INT8 => numbers!(i8, Whole, i64::from),
        data_type::UINT16 => numbers!(u16, Whole, i64::from),
        data_type::INT16 => numbers!(i16, Whole, i64::from),
        data_type::INT32 => numbers!(i32, Whole, i64::from),
        data_type::UINT32 => numbers!(u32, Whole, i64::from),
        data_type::UINT64 => numbers!(u64, Whole, |number| i64::try_from(number).unwrap_or(i64::MAX)),
        _ => numbers!(i64, Whole, |number| number),
    })
}

fn from_fields(tensor: &TensorProto, name: &str) -> Result<Numbers, LoadError> {
    // Half-precision floats stand in `int32_data` by their bits.
    let halves =
        |convert: fn(u16) -> f32| Numbers::Float(tensor.int32_data.iter().map(|&bits| convert(bits as u16)).collect());
    Ok(match tensor.data_type {
        data_type::FLOAT => Numbers::Float(tensor.float_data.clone()),
        data_type::DOUBLE => Numbers::Float(tensor.double_data.iter().map(|&number| number as f32).collect()),
        data_type::FLOAT16 => halves(|bits| f16::from_bits(bits).to_f32()),
        data_type::BFLOAT16 => halves(|bits| bf16::from_bits(bits).to_f32()),
        data_type::INT64 => Numbers::Whole(tensor.int64_data.clone()),
        data_type::UINT32 | data_type::UINT64 => {
            Numbers::Whole(tensor.uint64_data.iter().map(|&number| i64::try_from(number).unwrap_or(i64::MAX)).collect())
        }
        data_type::UINT8
        | data_type::INT8
        | data_type::UINT16
        | data_type::INT16
        | data_type::INT32
        | data_type::BOOL => Numbers::Whole(tensor.int32_data.iter().map(|&number| i64::from(number)).collect()),
        other => return Err(unknown_type(other, name)),
    })
}

fn read_external(
    tensor: &TensorProto,
    name: &str,
    bytes: usize,
    siblings: &dyn Siblings,
) -> Result<Vec<u8>, LoadError> {
    let corrupt = |reason: &str| LoadError::Corrupt { what: format!("tensor `{name}`"), reason: reason.to_owned() };
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let location = entry("location").ok_or_else(|| corrupt("its data are in another file, which it does not name"))?;
    let is_inside = !location.is_empty()
        && Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside || location.contains('\\') {
        return Err(LoadError::Outside { name: location.to_owned() });
    }
    let number = |key: &str| {
        entry(key).map(|text| text.parse::<u64>().map_err(|_| corrupt("its offset or length is no number")))
    };
    let offset = number("offset").transpose()?.unwrap_or(0);
    let length = number("length").transpose()?.unwrap_or(bytes as u64);
    if length != bytes as u64 {
        return Err(corrupt(&format!("its shape needs {bytes} bytes but {length} are named in `{location}`")));
    }
    siblings.read(location, offset, Some(length))
}
