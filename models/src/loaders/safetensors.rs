//! Weights in the safetensors format.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::file_bytes::singles;
use super::{Checkpoint, FileBytes, LoadError};

/// Reads all tensors as f32.
pub fn load(bytes: &impl FileBytes) -> Result<Checkpoint, LoadError> {
    let corrupt = |error: safetensors::SafeTensorError| LoadError::Corrupt {
        what: "not a safetensors file, or a damaged one".to_owned(),
        reason: error.to_string(),
    };
    let file = SafeTensors::deserialize(bytes).map_err(corrupt)?;
    let mut checkpoint = Checkpoint::new();
    let mut names = file.names();
    names.sort_unstable();
    for name in names {
        let view = file.tensor(name).map_err(corrupt)?;
        let data = view.data();
        macro_rules! read_as {
            ($type:ty, $width:literal, $convert:expr) => {
                data.chunks_exact($width)
                    .map(|bytes| {
                        $convert(<$type>::from_le_bytes(bytes.try_into().expect("chunks have the type's width")))
                    })
                    .collect()
            };
        }
        let numbers: Vec<f32> = match view.dtype() {
            Dtype::F32 => {
                let start = data.as_ptr().addr() - bytes.as_ptr().addr();
                singles(bytes, start..start + data.len())
            }
            Dtype::F64 => read_as!(f64, 8, |number: f64| number as f32),
            Dtype::F16 => read_as!(f16, 2, f16::to_f32),
            Dtype::BF16 => read_as!(bf16, 2, bf16::to_f32),
            Dtype::I64 => read_as!(i64, 8, |number: i64| number as f32),
            other => {
                return Err(LoadError::UnsupportedFormat(format!(
                    "weights `{name}` are of type {other:?}; floats of 16 to 64 bits are read"
                )));
            }
        };
        checkpoint.insert(name, view.shape(), numbers)?;
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn half_precision_becomes_single() {
        let header = r#"{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
        let checkpoint = load(&file(header, &[0x00, 0x3c, 0x00, 0xc0])).unwrap();
        assert_eq!(checkpoint.get("w").unwrap().to_vec1::<f32>().unwrap(), [1.0, -2.0]);
    }

    #[test]
    fn torn_and_foreign_files_are_refused() {
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        for bytes in [file(header, &[0; 4]), file("{", &[]), b"pickle".to_vec(), file(header, &[0; 8])[..20].to_vec()] {
            assert!(load(&bytes).unwrap_err().to_string().starts_with("not a safetensors file"));
        }
        let whole = r#"{"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
        assert!(load(&file(whole, &[1])).unwrap_err().to_string().contains("of type I8"));
    }
}
