//! Weights in the safetensors format, written so that a file is whole or not there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Result, TrainingError};

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Half,
    Single,
}

/// Writes tensors (in f32) with notes about them.
pub fn write(path: &Path, tensors: &[(String, Tensor)], notes: &[(&str, String)], precision: Precision) -> Result<()> {
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = match precision {
            Precision::Single => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Precision::Half => numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect(),
        };
        stored.push((name, tensor.dims().to_vec(), bytes));
    }
    let dtype = if precision == Precision::Half { Dtype::F16 } else { Dtype::F32 };
    let refuse = |error: safetensors::SafeTensorError| TrainingError::content(path, error.to_string());
    let views = stored
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(dtype, shape.clone(), bytes).map_err(refuse)?)))
        .collect::<Result<Vec<_>>>()?;
    let notes: HashMap<String, String> = notes.iter().map(|(key, note)| ((*key).to_owned(), note.clone())).collect();
    let bytes = safetensors::serialize(views, Some(notes)).map_err(refuse)?;
    write_whole(path, &bytes)
}

/// Writes a file under a temporary name, syncs and renames it: after a crash the old one is whole, or the new one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(TrainingError::file(folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        TrainingError::File { path: path.to_owned(), error }
    })
}

/// Reads tensors as they are stored in f32 by [`write()`], and the notes.
pub fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(TrainingError::file(path))?;
    let refuse = |error: safetensors::SafeTensorError| TrainingError::content(path, error.to_string());
    let file = SafeTensors::deserialize(&bytes).map_err(refuse)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(refuse)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(TrainingError::content(path, format!("`{name}` is of type {:?} and not F32", view.dtype())));
        }
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks are four bytes"));
        let numbers: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        tensors.insert(name, Tensor::from_vec(numbers, view.shape(), &Device::Cpu)?);
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/weights.safetensors");
        let tensor = Tensor::new(&[[1.5f32, -2.0], [0.25, 3.0]], &Device::Cpu).unwrap();
        write(&path, &[("a.weight".to_owned(), tensor)], &[("state", "{}".to_owned())], Precision::Single).unwrap();
        let (tensors, notes) = read(&path).unwrap();
        assert_eq!(tensors["a.weight"].to_vec2::<f32>().unwrap(), [[1.5, -2.0], [0.25, 3.0]]);
        assert_eq!(notes["state"], "{}");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn half_precision_is_what_the_loader_of_models_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let tensor = Tensor::new(&[1.5f32, 0.1], &Device::Cpu).unwrap();
        write(&path, &[("w".to_owned(), tensor)], &[], Precision::Half).unwrap();
        let checkpoint = models::loaders::safetensors::load(&std::fs::read(&path).unwrap()).unwrap();
        let numbers = checkpoint.get("w").unwrap().to_vec1::<f32>().unwrap();
        assert!(numbers[0] == 1.5 && (numbers[1] - 0.1).abs() < 1e-4);
    }
}
