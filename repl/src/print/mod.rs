//! What a result looks like as text: tables and summaries for people; the numbers themselves go to files.

mod annotated;
mod numbers;
mod picture;
mod results;
mod sanity;
mod summary;
mod table;
mod terminal;

pub(crate) use numbers::bytes;
pub(crate) use picture::show;
pub(crate) use results::render;
pub(crate) use table::{Column, table};
pub(crate) use terminal::protocol;

#[cfg(test)]
mod tests;
