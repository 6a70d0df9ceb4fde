//! placeholder
use crate::held_input::PreparedInput;
use crate::requests::asked::AskedInput;
use crate::to_protocol::Array;
use client_protocol::model::ClassScore;
use client_protocol::{AnswerOptions, ErrorObject, Picture};
pub(crate) fn of_array(
    _: &AnswerOptions,
    _: &Array,
    _: Option<&PreparedInput>,
    _: &str,
) -> Result<Option<Picture>, ErrorObject> {
    Ok(None)
}
pub(crate) fn of_map(
    _: &AnswerOptions,
    _: &Array,
    _: Option<&PreparedInput>,
    _: &str,
) -> Result<Option<Picture>, ErrorObject> {
    Ok(None)
}
pub(crate) fn of_classes(_: &AnswerOptions, _: &[ClassScore], _: &AskedInput) -> Result<Option<Picture>, ErrorObject> {
    Ok(None)
}
