//! Answers about operations: the dialect's, with the bodies that it asks for. For monitors, and for what the layer tells of an
//! operation.

mod body;
mod render;

pub use self::body::ReplyBody;
pub(crate) use self::{
    body::replay,
    render::{Asked, render, with_body, without_body},
};
