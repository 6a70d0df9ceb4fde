//! Annotated corpora: a summary, and of each utterance its letters with their phonemes.

use client_protocol::corpus::{Annotated, AnnotatedItem, AnnotatedLetter};

use super::table::{Column, table};

pub(super) fn annotated(annotated: Annotated) -> String {
    let mut lines = vec![format!(
        "{} utterances aligned, {} skipped; a letter's mean log probability is {:.2}",
        annotated.utterances, annotated.skipped, annotated.log_probability
    )];
    lines.extend(annotated.agreement.map(|agreement| {
        format!(
            "{} letters beside known phones: median {:+.0} ms, {:.0} % within 50 ms",
            agreement.letters,
            1000.0 * agreement.median_offset,
            100.0 * agreement.within_50_ms
        )
    }));
    if annotated.unknown_words > 0 {
        let words = annotated.first_unknown_words.join(", ");
        lines.push(format!("{} words that the dictionary lacks: {words}", annotated.unknown_words));
    }
    lines.extend(annotated.skipped_files.iter().map(|skipped| format!("skipped {}: {}", skipped.path, skipped.reason)));
    let items = annotated.items.iter().map(item);
    std::iter::once(lines.join("\n")).chain(items).collect::<Vec<_>>().join("\n\n")
}

fn item(item: &AnnotatedItem) -> String {
    let seconds = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let row = |of: &AnnotatedLetter| {
        let letter = if of.letter.letter == " " { "␣" } else { &of.letter.letter };
        let score = of.score.map(|score| format!("{score:.1}")).unwrap_or_default();
        vec![letter.to_owned(), of.phonemes.join(" "), seconds(of.letter.start), seconds(of.letter.end), score]
    };
    let columns = [
        Column::words("letter"),
        Column::words("phonemes"),
        Column::numbers("start (s)"),
        Column::numbers("end (s)"),
        Column::numbers("score"),
    ];
    let rows: Vec<Vec<String>> = item.letters.iter().map(row).collect();
    format!("{} “{}”\n{}", item.id, item.transcript, table(&columns, &rows))
}
