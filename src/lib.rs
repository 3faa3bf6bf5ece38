//! Asynchronous request-reply as Tower middleware.

pub mod header;
