//! What a result looks like as text: tables and summaries for people; the numbers themselves go to files.

mod numbers;
mod picture;
mod results;
mod summary;
mod table;

pub(crate) use numbers::bytes;
pub(crate) use picture::{show, terminal_protocol};
pub(crate) use results::render;
pub(crate) use table::{Column, table};

#[cfg(test)]
mod tests;
