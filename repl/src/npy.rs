//! NumPy's file format, version 1.0, for writing: little-endian f32 in C order.
//!
//! Source: NEP 1, "A Simple File Format for NumPy Arrays".

/// The bytes of an `.npy` file that holds these numbers, the last axis running fastest.
pub(crate) fn npy(shape: &[usize], numbers: &[f32]) -> Vec<u8> {
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let lengths = if shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({lengths}), }}");
    // The numbers must begin at a multiple of 64 bytes, and the header ends with a newline.
    let before = 10;
    let padding = (before + header.len() + 1).next_multiple_of(64) - before - header.len() - 1;
    header += &" ".repeat(padding);
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn header(shape: &[usize], expected: &str) {
        let numbers = vec![1.0; shape.iter().product()];
        let bytes = npy(shape, &numbers);
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
        assert_eq!(header.trim_end(), expected);
        assert!(header.ends_with('\n') && (10 + length).is_multiple_of(64));
        assert_eq!(bytes.len(), 10 + length + 4 * numbers.len());
        assert_eq!(bytes[10 + length..].first_chunk(), Some(&1.0f32.to_le_bytes()));
    }

    #[test]
    fn headers_are_as_numpy_writes_them() {
        header(&[], "{'descr': '<f4', 'fortran_order': False, 'shape': (), }");
        header(&[3], "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
        header(&[1, 2, 3], "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }");
    }
}
