//! What goes over the wire: every request, result and error of the protocol, typed and documented once, without I/O.
//!
//! Start at [`method_table`]: a method is a line there, and the OpenRPC document, `docs/protocol.md`, the REPL's
//! completion, help and argument checks are made from it. A module a noun holds the types of that noun's methods.

pub mod activation;
pub mod attribution;
mod attribution_request;
mod check_params;
mod common;
pub mod corpus;
mod error;
pub mod filter;
pub mod input;
pub mod job;
pub mod method_table;
pub mod metric;
pub mod model;
mod nearest;
mod open_rpc;
mod picture;
mod reference;
pub mod relevance;
pub mod sanity;
pub mod server;
mod target;
mod tensor;
pub mod transcript;
pub mod variation;
pub mod visualization;

pub use attribution_request::{AttributionName, AttributionRequest, find_attribution};
pub use check_params::{OF_ANSWERS, check_params, takes_attribution};
pub use common::{AnswerOptions, Encoding, InputRef, NoParams, OneInput, OneOrMany, Settings, WorkOptions};
pub use error::{ErrorData, ErrorKind, ErrorObject};
pub use method_table::{Method, MethodSpec, find_method, methods, resolve_method};
pub use nearest::nearest;
pub use open_rpc::open_rpc;
pub use picture::{Picture, PictureFormat, PictureRequest};
pub use reference::reference_page;
pub use target::{ClassName, Place, ResolvedTarget, ScoreOf, Target};
pub use tensor::{Axis, Dtype, Tensor, TensorData};
