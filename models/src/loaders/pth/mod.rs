//! PyTorch's `.pth` files: weights as a pickle, zipped (since 1.6) or not (before).
//!
//! A pickle is a program. `unpickle` runs it on a machine that knows tensors, storages and OrderedDict and refuses all
//! else by name; `legacy` and `zipped` say where the storages' bytes are; this file puts numbers into shape.

mod legacy;
mod unpickle;
mod zipped;

use std::collections::HashMap;

use half::{bf16, f16};

use self::unpickle::{Object, StorageType, TensorRef};
use super::{Checkpoint, LoadError};

/// Reads all weights as f32; dictionaries that wrap the weights (`state_dict`, `model`) are opened.
pub fn load(bytes: &[u8]) -> Result<Checkpoint, LoadError> {
    let file = if bytes.starts_with(b"PK\x03\x04") { zipped::read(bytes)? } else { legacy::read(bytes)? };
    let entries = weights_of(&file.object).ok_or_else(|| {
        LoadError::UnsupportedFormat("the file holds no dictionary of weights; save `model.state_dict()`".to_owned())
    })?;
    let mut checkpoint = Checkpoint::new();
    for (name, tensor) in entries {
        let numbers = numbers_of(tensor, &file.storages, name)?;
        checkpoint.insert(name, &tensor.shape, numbers)?;
    }
    Ok(checkpoint)
}

/// What a file holds: its object, and the storages' bytes by key.
struct File<'a> {
    object: Object,
    storages: HashMap<String, &'a [u8]>,
}

fn corrupt(reason: impl Into<String>) -> LoadError {
    LoadError::Corrupt { what: "not a PyTorch file of weights, or a damaged one".to_owned(), reason: reason.into() }
}

/// The dictionary that maps names to tensors, within others or not.
fn weights_of(object: &Object) -> Option<Vec<(&str, &TensorRef)>> {
    let Object::Dict(entries) = object else { return None };
    let named = entries.iter().filter_map(|(key, value)| match (key, value) {
        (Object::Text(name), Object::Tensor(tensor)) => Some((name.as_str(), tensor)),
        _ => None,
    });
    let named: Vec<_> = named.collect();
    if !named.is_empty() {
        return Some(named);
    }
    let inside = |wanted: &&str| entries.iter().find(|(key, _)| matches!(key, Object::Text(name) if name == wanted));
    ["state_dict", "model", "model_state_dict"].iter().find_map(inside).and_then(|(_, value)| weights_of(value))
}

/// A tensor's numbers in row-major order, whatever its strides.
fn numbers_of(tensor: &TensorRef, storages: &HashMap<String, &[u8]>, name: &str) -> Result<Vec<f32>, LoadError> {
    let refused = |reason: String| LoadError::Corrupt { what: format!("weights `{name}`"), reason };
    let storage = storages.get(&tensor.storage.key).ok_or_else(|| refused("its storage is missing".to_owned()))?;
    let width = tensor.storage.element.width();
    let held = storage.len() / width;
    let length = tensor.shape.iter().try_fold(1usize, |length, &axis| length.checked_mul(axis));
    let reach = tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |reach, (&length, &stride)| {
        reach.checked_add(length.saturating_sub(1).checked_mul(stride)?)
    });
    let (Some(length), Some(reach)) = (length, reach) else {
        return Err(refused(format!("its shape {:?} does not fit into memory", tensor.shape)));
    };
    if tensor.shape.len() != tensor.strides.len()
        || (length > 0 && reach >= held)
        || length > held.max(1).saturating_mul(64)
    {
        let reason = format!(
            "shape {:?} with strides {:?} needs more than the {held} numbers of its storage",
            tensor.shape, tensor.strides
        );
        return Err(refused(reason));
    }
    let number_at = |index: usize| tensor.storage.element.read(&storage[index * width..(index + 1) * width]);
    let row_major = tensor.shape.iter().zip(&tensor.strides).rev().try_fold(1usize, |expected, (&length, &stride)| {
        (length == 1 || stride == expected).then_some(expected * length)
    });
    if row_major.is_some() {
        return Ok((tensor.offset..tensor.offset + length).map(number_at).collect());
    }
    let index_of = |nth: usize| {
        let position = crate::value::unravel(nth, &tensor.shape);
        tensor.offset + position.iter().zip(&tensor.strides).map(|(at, stride)| at * stride).sum::<usize>()
    };
    Ok((0..length).map(|nth| number_at(index_of(nth))).collect())
}

impl StorageType {
    fn width(self) -> usize {
        match self {
            StorageType::Byte | StorageType::Char | StorageType::Bool => 1,
            StorageType::Half | StorageType::BFloat16 | StorageType::Short => 2,
            StorageType::Float | StorageType::Int => 4,
            StorageType::Double | StorageType::Long => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f32 {
        macro_rules! number {
            ($type:ty) => {
                <$type>::from_le_bytes(bytes.try_into().expect("callers cut slices of the type's width"))
            };
        }
        match self {
            StorageType::Float => number!(f32),
            StorageType::Double => number!(f64) as f32,
            StorageType::Half => number!(f16).to_f32(),
            StorageType::BFloat16 => number!(bf16).to_f32(),
            StorageType::Long => number!(i64) as f32,
            StorageType::Int => number!(i32) as f32,
            StorageType::Short => f32::from(number!(i16)),
            StorageType::Char => f32::from(number!(i8)),
            StorageType::Byte | StorageType::Bool => f32::from(number!(u8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: &[u8] = include_bytes!("../../../tests/data/legacy.pth");
    const ZIPPED: &[u8] = include_bytes!("../../../tests/data/zipped.pth");
    const HOSTILE: &[u8] = include_bytes!("../../../tests/data/runs_code.pth");

    fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
        checkpoint.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn both_formats_hold_the_same_weights() {
        for bytes in [LEGACY, ZIPPED] {
            let checkpoint = load(bytes).unwrap();
            assert_eq!(
                checkpoint.names().collect::<Vec<_>>(),
                ["conv.weight", "conv.transposed", "conv.half", "bn.num_batches_tracked"]
            );
            assert_eq!(numbers(&checkpoint, "conv.weight"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            assert_eq!(numbers(&checkpoint, "conv.transposed"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
            assert_eq!(numbers(&checkpoint, "conv.half"), [-2.0, 0.5]);
            assert_eq!(checkpoint.get("conv.transposed").unwrap().dims(), [3, 2]);
        }
    }

    #[test]
    fn a_pickle_that_would_run_code_is_refused_by_name() {
        let error = load(HOSTILE).unwrap_err().to_string();
        assert!(error.contains("`posix.system`"), "{error}");
    }

    #[test]
    fn a_torn_file_is_an_error_wherever_it_is_torn() {
        for bytes in [LEGACY, ZIPPED] {
            for tenth in 0..10 {
                assert!(load(&bytes[..bytes.len() * tenth / 10]).is_err(), "{tenth} tenths");
            }
        }
    }

    #[test]
    fn what_is_no_such_file_says_so() {
        let error = load(b"\x89PNG and so on").unwrap_err().to_string();
        assert!(error.starts_with("not a PyTorch file of weights"), "{error}");
    }
}
