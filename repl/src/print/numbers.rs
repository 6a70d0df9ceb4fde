//! Numbers as people read them.

/// A number with four significant digits.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = (3 - magnitude.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count with its thousands set apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in memory or on disk.
pub(crate) fn bytes(value: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value} B") } else { format!("{scaled:.1} {}", units[unit]) }
}

/// Lengths along axes: `3 × 224 × 224`.
pub(crate) fn length(shape: &[usize]) -> String {
    match shape {
        [] => "one number".to_owned(),
        _ => shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(value: f64, expected: &str) {
        assert_eq!(number(value), expected);
    }

    #[test]
    fn numbers_have_four_significant_digits() {
        reads(0.0, "0");
        reads(1.0, "1");
        reads(-2.5, "-2.5");
        reads(9.312345, "9.312");
        reads(0.0412, "0.0412");
        reads(0.00012345, "1.234e-4");
        reads(12345.678, "12346");
        reads(120.0, "120");
        reads(4e6, "4.000e6");
        reads(f64::NAN, "NaN");
        reads(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn counts_and_sizes() {
        assert_eq!([count(7), count(999), count(1000), count(4_652_008)], ["7", "999", "1,000", "4,652,008"]);
        assert_eq!([bytes(12), bytes(2048), bytes(3 << 30)], ["12 B", "2.0 KiB", "3.0 GiB"]);
        assert_eq!([length(&[3, 224, 224]), length(&[])], ["3 × 224 × 224", "one number"]);
    }
}
