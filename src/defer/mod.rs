//! The middleware: requests in, 202 out, the inner service run in a task of its own.

pub mod admit;
pub mod rebuild;

mod accept;
mod body;
mod compact;
mod future;
mod layer;
mod recent;
mod service;
mod upload;

pub(crate) use self::layer::Options;
pub use self::{
    body::{BodyError, ResponseBody},
    future::ResponseFuture,
    layer::{ByTrait, DeferLayer, MakeBody, WithFunction},
    service::Defer,
};
