//! The query language: one line is one call of one method.
//!
//! [`parse`] turns text into [`Statement`]s without knowing any method; [`Binder`] turns a statement into the [`Call`]
//! that goes over the wire, guided by the protocol's method table. Both say in which column something is wrong.

mod binding;
mod error;
mod parser;
mod paths;
mod scanner;
mod schema;
mod syntax;
mod target;

pub(crate) use binding::{Binder, Call, method_of};
pub(crate) use error::QueryError;
pub(crate) use parser::parse;
pub(crate) use paths::absolute;
pub(crate) use schema::{Parameter, parameters, parameters_with};
pub(crate) use syntax::{NodeKind, Statement, Text};

#[cfg(test)]
mod tests;
