//! Tables of text, as wide as what they hold.

/// A column: its heading, and whether its cells are numbers, which stand to the right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    heading: &'static str,
    is_number: bool,
}

impl Column {
    /// A column of words.
    pub(crate) const fn words(heading: &'static str) -> Self {
        Column { heading, is_number: false }
    }

    /// A column of numbers.
    pub(crate) const fn numbers(heading: &'static str) -> Self {
        Column { heading, is_number: true }
    }
}

/// The lines of a table; the headings are left out where all are empty.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width_of = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(String::as_str);
        cells.chain([columns[index].heading]).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, column), width) in cells.zip(columns).zip(&widths) {
            let space = " ".repeat(width - cell.chars().count());
            let padded = if column.is_number { space + cell } else { cell.to_owned() + &space };
            text += &padded;
            text += "  ";
        }
        text.trim_end().to_owned()
    };
    let headings = columns.iter().any(|column| !column.heading.is_empty());
    let headings = headings.then(|| line(&mut columns.iter().map(|column| column.heading)));
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    headings.into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [vec!["tabby".to_owned(), "9".to_owned()], vec!["é".to_owned(), "10".to_owned()]];
        let table = table(&[Column::words("label"), Column::numbers("n")], &rows);
        assert_eq!(table, "label   n\ntabby   9\né      10");
    }
}
