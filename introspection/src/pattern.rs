//! Names that a pattern fits.

/// Whether a name fits a pattern in which `*` stands for any letters.
pub fn fits_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits_pattern;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, fits) in [
            ("conv1", "conv1", true),
            ("conv1", "conv10", false),
            ("conv*", "conv10", true),
            ("*.conv*", "layer1.0.conv2", true),
            ("layer*.conv", "layer1.conv2", false),
            ("*", "", true),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(fits_pattern(pattern, name), fits, "{pattern} {name}");
        }
    }
}
