//! NumPy's array files: any type of number in, f32 out; and our answers as such files.

use npyz::{DType, NpyFile, Order, WriterBuilder};

/// An array with its shape, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<f32>,
}

/// Reads a file's bytes; the error says what is wrong with them.
pub(crate) fn read(bytes: &[u8]) -> Result<Array, String> {
    let file = NpyFile::new(bytes).map_err(|error| format!("it is no NumPy array: {error}"))?;
    let shape: Option<Vec<usize>> = file.shape().iter().map(|&length| usize::try_from(length).ok()).collect();
    let shape = shape.ok_or("its shape does not fit into memory")?;
    let length = shape
        .iter()
        .try_fold(1usize, |length, &axis| length.checked_mul(axis))
        .ok_or("its shape does not fit into memory")?;
    let (order, dtype) = (file.order(), file.dtype());
    let DType::Plain(number_type) = &dtype else {
        return Err("it holds records; an input is an array of plain numbers".to_owned());
    };
    let bytes_each = number_type.num_bytes().unwrap_or(0).max(1);
    // A header may claim more than the file holds; nothing is allocated before that is known.
    if length.checked_mul(bytes_each).is_none_or(|needed| needed > bytes.len()) {
        return Err(format!(
            "it is cut off: its header says {length} numbers of {bytes_each} bytes, but the file has {} bytes",
            bytes.len()
        ));
    }
    let descriptor = dtype.descr().trim_matches('\'').to_owned();
    let numbers = numbers(file, &descriptor)?;
    Ok(Array { numbers: if order == Order::Fortran { row_major(&numbers, &shape) } else { numbers }, shape })
}

fn numbers(file: NpyFile<&[u8]>, descriptor: &str) -> Result<Vec<f32>, String> {
    macro_rules! read_as {
        ($type:ty, $convert:expr) => {{
            let read: Vec<$type> = file.into_vec().map_err(|error| format!("it is cut off or damaged: {error}"))?;
            Ok(read.into_iter().map($convert).collect())
        }};
    }
    match &descriptor[descriptor.len().saturating_sub(2)..] {
        "f2" => read_as!(half::f16, half::f16::to_f32),
        "f4" => read_as!(f32, |number| number),
        "f8" => read_as!(f64, |number| number as f32),
        "i1" => read_as!(i8, f32::from),
        "i2" => read_as!(i16, f32::from),
        "i4" => read_as!(i32, |number| number as f32),
        "i8" => read_as!(i64, |number| number as f32),
        "u1" => read_as!(u8, f32::from),
        "u2" => read_as!(u16, f32::from),
        "u4" => read_as!(u32, |number| number as f32),
        "u8" => read_as!(u64, |number| number as f32),
        "b1" => read_as!(bool, |truth| if truth { 1.0 } else { 0.0 }),
        _ => Err(format!(
            "its numbers are of type `{descriptor}`; whole numbers, floats up to 64 bits and booleans are understood"
        )),
    }
}

/// From the first axis running fastest to the last.
fn row_major(numbers: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut position = vec![0usize; shape.len()];
    let mut ordered = Vec::with_capacity(numbers.len());
    for _ in 0..numbers.len() {
        let index = position.iter().zip(shape).rev().fold(0, |index, (at, length)| index * length + at);
        ordered.push(numbers[index]);
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    ordered
}

/// Writes f32 in row-major order.
pub(crate) fn write(into: &mut Vec<u8>, shape: &[usize], numbers: &[f32]) -> std::io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
    // The head alone: number by number, as the library goes on, takes ten times as long.
    drop(npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape).writer(&mut *into).begin_nd()?);
    let head = into.len();
    into.resize(head + size_of_val(numbers), 0);
    let bytes = into[head..].chunks_exact_mut(size_of::<f32>());
    bytes.zip(numbers).for_each(|(bytes, number)| bytes.copy_from_slice(&number.to_le_bytes()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 1 file as NumPy writes it.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let header = format!("{header}\n");
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, -6.5]).unwrap();
        assert_eq!(read(&bytes).unwrap(), Array { shape: vec![2, 3], numbers: vec![1.0, 2.0, 3.0, 4.0, 5.0, -6.5] });
    }

    #[test]
    fn any_number_type_and_order_becomes_f32() {
        let bytes = file("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }", &[1, 0, 2, 0, 3, 0, 255, 255]);
        assert_eq!(read(&bytes).unwrap().numbers, [1.0, 3.0, 2.0, -1.0]);
        let bytes = file("{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }", &(-2.5f64).to_be_bytes());
        assert_eq!(read(&bytes).unwrap().numbers, [-2.5]);
    }

    #[track_caller]
    fn refused(bytes: &[u8], because: &str) {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        refused(b"not numpy at all", "it is no NumPy array");
        refused(&file("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", &[0; 8]), "it is cut off");
        refused(
            &file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", &[]),
            "does not fit",
        );
        refused(&file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0; 64]), "`|O`");
        refused(&file("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]), "`<c8`");
    }
}
