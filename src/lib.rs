#![doc = include_str!("docs/guide.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod defer;
pub mod dialect;
pub mod header;
mod json;
mod operations;
pub mod problem;
pub mod record;
mod reply;
mod runner;
mod status;
pub mod store;
mod sync;
mod trace;

#[doc(inline)]
pub use self::{
    defer::{Defer, DeferLayer, admit},
    dialect::{
        ArchitectureCenter, Arm, Azure, Dialect, DurableFunctions, Fhir, GoogleRest, Head, OData,
        OgcProcesses, Redfish, RestEasy, Rfc, SameUrl, Spa, TwoOhTwo, XOperation,
    },
    operations::{BuildError, Builder, CompleteError, Drained, Limits, Operations, Usage},
    record::{OperationId, Owner, Queue, Record},
    reply::ReplyBody,
    runner::{DetachError, MetadataError, OperationHandle, SeenUri, Worker},
    status::{StatusFuture, StatusService, Wrapped, WrappedFuture},
    store::{MemoryStore, Store},
};

/// The examples of the README are examples like all others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
