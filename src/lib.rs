//! Asynchronous request-reply as Tower middleware.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod defer;
