//! Every public name can be named where the documentation has it, and promises what its users count on.
//!
//! That there are no others is for `.ci/public-names` to tell, which reads them out of the documentation. This file need
//! only compile; the tests in it are there to be seen.

use std::{error::Error, fmt::Debug, future::Future, hash::Hash};

/// What is named at the top is the same as where it comes from.
mod at_the_top {
    #[allow(unused_imports)]
    pub(crate) use tower_lro::{
        Azure, BuildError, Builder, CompleteError, Defer, DeferLayer, DetachError, Dialect,
        Drained, Head, Limits, MemoryStore, MetadataError, OperationHandle, OperationId,
        Operations, Owner, Record, ReplyBody, Rfc, SameUrl, StatusFuture, StatusService, Store,
        Usage, Wrapped, WrappedFuture, admit,
    };
}

mod in_modules {
    #![allow(unused_imports)]
    pub(crate) use tower_lro::{
        admit::{Admit, Always, And, Asked, Not, Or, UnsafeMethods, always, asked, unsafe_methods},
        defer::{
            ByTrait, Defer, DeferLayer, MakeBody, ResponseBody, ResponseFuture, WithFunction,
            rebuild::{Buffered, Driver, Rebuild, Rebuilt},
        },
        dialect::{
            Address, Answer, Ask, Azure, Dialect, Head, Links, ListAsk, Listing, Mount,
            OPERATION_ID, OPERATION_LOCATION, OPERATION_OUTCOME, OptIn, Polls, Rfc, Route,
            STATUS_DOCUMENT, SameUrl, View, entity_tag, status_document,
        },
        header::{
            IDEMPOTENCY_KEY, InvalidKey, PREFER, PREFERENCE_APPLIED, Prefer, applied,
            idempotency_key, if_match_holds, if_none_match_holds, remove_preferences, retry_after,
            retry_after_for,
        },
        problem::{Problem, ProblemKind, TYPE_PREFIX},
        record::{
            Ending, Event, Fields, Fingerprint, InvalidId, KeyUse, OperationId, Outcome, Owner,
            Phase, Reason, Record, Report, Revision, Sighting, State, Stop, StoredResponse,
            Submission, Timestamp, UniqueKey,
        },
        store::{
            Change, Changes, Claim, Clock, Created, Cursor, ListQuery, Lookup, MemoryLimits,
            MemoryStore, Page, Settled, StateSet, Store, StoreError, StoreErrorKind, StoreFuture,
            StoreUsage, Swept,
        },
    };
}

use at_the_top as top;
use in_modules as named;

type Body = http_body_util::Full<bytes::Bytes>;
type Request = http::Request<Body>;
type Response = http::Response<Body>;
type Inner = tower::util::BoxCloneSyncService<Request, Response, std::io::Error>;

fn shared<T: Send + Sync + Unpin + Debug + 'static>() {}
fn cloned<T: Send + Sync + Unpin + Debug + Clone + 'static>() {}
fn copied<T: Send + Sync + Unpin + Debug + Copy + 'static>() {}
fn compared<T: Eq>() {}
fn keyed<T: Eq + Hash>() {}
fn error<T: Error + Send + Sync + 'static>() {}
fn sent<T: Send + 'static>() {}
fn boxed<T: ?Sized + Send + Sync + 'static>() {}

#[test]
fn what_programs_hold_is_cheap_to_share() {
    cloned::<top::Operations>();
    cloned::<top::OperationHandle>();
    cloned::<top::StatusService>();
    cloned::<top::DeferLayer>();
    cloned::<top::DeferLayer<named::WithFunction<fn(named::Buffered) -> named::Rebuilt<Body>>>>();
    cloned::<top::Defer<Inner>>();
    cloned::<top::Wrapped<Inner>>();
    cloned::<top::Limits>();
    cloned::<top::Record>();
    cloned::<top::Owner>();
    cloned::<named::Clock>();
    cloned::<named::MemoryLimits>();
    cloned::<named::ListQuery>();
    cloned::<named::Page>();
    cloned::<named::Settled>();
    cloned::<named::Lookup>();
    cloned::<named::StoredResponse>();
    cloned::<named::Ending>();
    cloned::<named::Sighting>();
    cloned::<named::Submission>();
    cloned::<named::KeyUse>();
    cloned::<named::Problem>();
    cloned::<named::Buffered>();
    cloned::<named::Mount>();
    cloned::<named::Address>();
    cloned::<named::Answer>();
    cloned::<named::Swept>();
    shared::<top::Builder>();
    shared::<top::MemoryStore>();
    shared::<named::Created>();
    // Whoever has the claim may write: there is one.
    shared::<named::Claim>();
}

#[test]
fn small_things_are_copied_and_compared() {
    copied::<top::OperationId>();
    copied::<top::Usage>();
    copied::<top::Drained>();
    copied::<top::Rfc>();
    copied::<top::SameUrl>();
    copied::<top::Azure>();
    copied::<named::Timestamp>();
    copied::<named::Revision>();
    copied::<named::Outcome>();
    copied::<named::Phase>();
    copied::<named::Event>();
    copied::<named::Stop>();
    copied::<named::Prefer>();
    copied::<named::Ask>();
    cloned::<named::OptIn>();
    copied::<named::Polls>();
    copied::<named::Listing<'_>>();
    copied::<named::ListAsk>();
    copied::<named::Change>();
    copied::<named::StoreUsage>();
    copied::<named::And<named::Always, named::Or<named::Asked, named::Not<named::UnsafeMethods>>>>(
    );
    keyed::<top::OperationId>();
    keyed::<top::Owner>();
    keyed::<named::UniqueKey>();
    keyed::<named::Timestamp>();
    keyed::<named::Revision>();
    keyed::<named::Outcome>();
    keyed::<named::ProblemKind>();
    keyed::<named::InvalidKey>();
    compared::<top::Usage>();
    compared::<top::Drained>();
    compared::<top::BuildError>();
    compared::<named::Phase>();
    compared::<named::Claim>();
    compared::<named::Cursor>();
    compared::<named::StateSet>();
    compared::<named::StoreErrorKind>();
    compared::<named::Fingerprint>();
}

#[test]
fn errors_are_errors() {
    error::<top::BuildError>();
    error::<top::CompleteError>();
    error::<top::DetachError>();
    error::<top::MetadataError>();
    error::<named::StoreError>();
    error::<named::InvalidId>();
    error::<named::InvalidKey>();
}

#[test]
fn what_cannot_be_built_is_for_the_builder_to_say() {
    // Two traits would be meant here if there were a conversion from what is a pair inside.
    trait Unmade<Why> {
        const IS: bool = true;
    }
    impl<T> Unmade<()> for T {}
    impl<T: From<(&'static str, String)>> Unmade<u8> for T {}
    const { assert!(<top::BuildError as Unmade<_>>::IS) };
}

#[test]
fn futures_and_bodies_go_to_other_threads() {
    sent::<top::StatusFuture>();
    sent::<named::ResponseFuture<Inner, Body, Body>>();
    sent::<top::WrappedFuture<named::ResponseFuture<Inner, Body, Body>>>();
    sent::<top::ReplyBody>();
    sent::<named::ResponseBody<Body>>();
    sent::<named::Driver>();
    sent::<named::Rebuilt<Body>>();
    sent::<named::StoreFuture<'static, named::Settled>>();

    fn future<F: Future + Send>(_: F) {}
    let operations = top::Operations::builder().build().unwrap();
    let id = top::OperationId::random();
    future(operations.get(id));
    future(operations.changed(id, named::Revision(0)));
    future(operations.complete(id, Response::default()));
    future(operations.cancel(id));
    future(operations.forget(id));
    future(operations.list(&named::ListQuery::all()));
    future(operations.drain(std::time::Duration::ZERO));
}

#[test]
fn bodies_go_where_they_may_be_shared() {
    shared::<top::ReplyBody>();
    shared::<named::ResponseBody<Body>>();
    // The box that most programs on bare hyper answer with.
    fn boxed<B: http_body::Body + Send + Sync + 'static>(body: B) {
        let _ = http_body_util::BodyExt::boxed(body);
    }
    boxed(named::ResponseBody::<Body>::default());
}

#[test]
fn what_users_implement_can_be_an_object() {
    boxed::<dyn top::Store>();
    boxed::<dyn top::Dialect>();
    boxed::<dyn named::Admit>();
    fn changes(_: Option<Box<dyn named::Changes>>) {}
    changes(None);
}
