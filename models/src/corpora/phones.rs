//! Phones with their times: a line `start end phone arpabet` each, with tabs between, in seconds.

/// A phone of an utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Phone {
    /// Where it starts (s).
    pub start: f64,
    /// Where it ends (s).
    pub end: f64,
    /// As the voice calls it.
    pub symbol: String,
    /// In ARPAbet without stress; `SIL` for silence.
    pub arpabet: String,
}

/// Reads a file of phones; the error says which line is wrong.
pub fn read_phones(text: &str) -> Result<Vec<Phone>, String> {
    let phone = |(nth, line): (usize, &str)| {
        let wrong = || format!("line {} is no `start end phone arpabet` with tabs between: {line}", nth + 1);
        let fields: Vec<&str> = line.split('\t').collect();
        let [start, end, symbol, arpabet] = fields[..] else { return Err(wrong()) };
        let (start, end) = (start.trim().parse::<f64>().ok(), end.trim().parse::<f64>().ok());
        let (Some(start), Some(end)) = (start, end) else { return Err(wrong()) };
        if !(start >= 0.0 && end >= start && end.is_finite()) {
            return Err(wrong());
        }
        Ok(Phone { start, end, symbol: symbol.to_owned(), arpabet: arpabet.trim().to_owned() })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(phone).collect()
}
