//! Files of both kinds, whole, torn, changed and hostile.

use super::*;

const LEGACY: &[u8] = include_bytes!("../../../tests/data/legacy.pth");
const ZIPPED: &[u8] = include_bytes!("../../../tests/data/zipped.pth");
const HOSTILE: &[u8] = include_bytes!("../../../tests/data/runs_code.pth");

fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A file of the unzipped kind: the instructions that make its object, and the numbers of its storage `s`.
fn file(object: &[u8], storage: &[f32]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    bytes.extend([b"\x80\x02", object, b"."].concat());
    if storage.is_empty() {
        bytes.extend(b"\x80\x02].");
        return bytes;
    }
    bytes.extend(b"\x80\x02]U\x01sa.");
    bytes.extend((storage.len() as i64).to_le_bytes());
    bytes.extend(storage.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Instructions for a tensor of the storage `s`.
fn tensor(offset: u8, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let tuple = |numbers: &[u64]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| [b"\x8a\x08", &n.to_le_bytes()[..]].concat()).collect();
        [b"(", &numbers[..], b"t"].concat()
    };
    let storage = b"(U\x07storagectorch\nFloatStorage\nU\x01sU\x03cpuK\x01tQ";
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    [call, &storage[..], &[b'K', offset], &tuple(shape), &tuple(strides), b"\x89}tR"].concat()
}

/// Instructions for a dictionary.
fn dict(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entry = |(name, value): &(&str, &[u8])| [b"U", &[name.len() as u8], name.as_bytes(), value].concat();
    [b"}(", &entries.iter().flat_map(entry).collect::<Vec<u8>>()[..], b"u"].concat()
}

#[track_caller]
fn refused(bytes: &[u8], with: &str) {
    let error = load(&bytes).unwrap_err().to_string();
    assert!(error.contains(with), "{error}");
}

#[test]
fn both_formats_hold_the_same_weights() {
    for bytes in [LEGACY, ZIPPED] {
        let checkpoint = load(&bytes).unwrap();
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
fn numbers_of_all_types_become_f32() {
    assert_eq!(StorageType::Double.read(&1.5f64.to_le_bytes()), 1.5);
    assert_eq!(StorageType::BFloat16.read(&[0xc0, 0x3f]), 1.5);
    assert_eq!(StorageType::Half.read(&[0x00, 0x3e]), 1.5);
    assert_eq!(StorageType::Long.read(&(-3i64).to_le_bytes()), -3.0);
    assert_eq!(StorageType::Int.read(&(-3i32).to_le_bytes()), -3.0);
    assert_eq!(StorageType::Short.read(&(-3i16).to_le_bytes()), -3.0);
    assert_eq!(StorageType::Char.read(&[0xfd]), -3.0);
    assert_eq!(StorageType::Byte.read(&[0xfd]), 253.0);
    assert_eq!(StorageType::Bool.read(&[1]), 1.0);
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_name() {
    refused(HOSTILE, "`posix.system`");
    refused(&file(b"cbuiltins\neval\n", &[]), "`builtins.eval`");
    // Protocol 4 names what it calls by two texts.
    refused(&file(b"\x8c\x02os\x8c\x06system\x93", &[]), "`os.system`");
}

#[test]
fn a_torn_file_is_an_error_wherever_it_is_torn() {
    for bytes in [LEGACY, ZIPPED] {
        for length in 0..bytes.len() {
            assert!(load(&&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn no_change_of_a_byte_brings_the_reader_down() {
    for whole in [LEGACY, ZIPPED] {
        let mut bytes = whole.to_vec();
        for place in 0..bytes.len() {
            for changed in [0, 1, 0x7f, 0xff, whole[place] ^ 0x80, whole[place].wrapping_add(1)] {
                bytes[place] = changed;
                if let Ok(checkpoint) = load(&bytes) {
                    assert!(checkpoint.names().count() <= 4, "byte {place} as {changed}");
                }
            }
            bytes[place] = whole[place];
        }
    }
}

#[test]
fn what_is_no_such_file_says_so() {
    refused(b"\x89PNG and so on", "not a PyTorch file of weights");
    refused(&file(b"]", &[]), "save `model.state_dict()`");
}

#[test]
fn wrapped_weights_come_before_what_lies_beside_them() {
    let weight = tensor(1, &[2], &[1]);
    let wrapped = dict(&[("weight", &weight)]);
    let checkpoint = dict(&[("best_loss", &tensor(0, &[], &[])), ("state_dict", &wrapped)]);
    let checkpoint = load(&file(&checkpoint, &[1.0, 2.0, 3.0])).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["weight"]);
    assert_eq!(numbers(&checkpoint, "weight"), [2.0, 3.0]);
}

#[test]
fn a_dictionary_that_is_filled_after_it_was_remembered_is_recalled_full() {
    let remembered = [b"}q\x00U\x01w", &tensor(0, &[1], &[1])[..], b"s"].concat();
    let shared = dict(&[("ema", &remembered), ("model", b"h\x00")]);
    assert_eq!(numbers(&load(&file(&shared, &[5.0])).unwrap(), "w"), [5.0]);
}

#[test]
fn tensors_that_reach_beyond_their_storage_are_refused() {
    let weights =
        |offset, shape: &[u64], strides: &[u64]| file(&dict(&[("w", &tensor(offset, shape, strides))]), &[1.0; 4]);
    assert_eq!(numbers(&load(&weights(1, &[3], &[1])).unwrap(), "w"), [1.0; 3]);
    refused(
        &weights(2, &[3], &[1]),
        "weights `w`: shape [3] with strides [1] needs more than the 4 numbers of its storage",
    );
    refused(&weights(0, &[2, 2], &[3, 1]), "needs more than the 4 numbers");
    refused(&weights(0, &[1 << 40, 1 << 40], &[1, 1]), "does not fit into memory");
    refused(&weights(0, &[2], &[i64::MAX as u64]), "needs more than the 4 numbers");
    refused(&weights(0, &[2, 2], &[1]), "2 axes and 1 strides");
    refused(&weights(0, &[u64::MAX], &[1]), "negative length");
    refused(&weights(0, &[0, 1 << 40, 1 << 40], &[1, 1, 1]), "does not fit into memory");
    assert_eq!(load(&weights(0, &[0, 3], &[3, 1])).unwrap().get("w").unwrap().dims(), [0, 3]);
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    // One number a million times over.
    let repeated = dict(&[("w", &tensor(0, &[1_000_000], &[0]))]);
    refused(&file(&repeated, &[1.0]), "weights `w`: with it the tensors have more numbers than the file has bytes");
    // A storage a hundred times over, each time through two instructions.
    let mut entries = [b"}U\x01w", &tensor(0, &[1000], &[1])[..], b"q\x00s"].concat();
    (0..100).for_each(|nth| entries.extend([b"U\x02w".as_slice(), &[nth], b"h\x00s"].concat()));
    refused(&file(&entries, &[1.0; 1000]), "more numbers than the file has bytes");
    // A pair of a pair of a pair …: 2⁶⁰ objects, were each recalled one a copy.
    let doubling = [b"]q\x00".as_slice(), &b"h\x00h\x00\x86q\x00".repeat(60)].concat();
    refused(&file(&doubling, &[]), "save `model.state_dict()`");
    refused(&file(&b"N".repeat(5_000_000), &[]), "holds more than 4194304 objects");
}

#[test]
fn neither_depth_nor_circles_exhaust_the_stack() {
    let deep = [b"]".repeat(1_000_000), b"a".repeat(999_999)].concat();
    refused(&file(&deep, &[]), "save `model.state_dict()`");
    refused(&file(b"}q\x00U\x0astate_dicth\x00s", &[]), "save `model.state_dict()`");
}
