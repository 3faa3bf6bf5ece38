//! Three services that take the same requests: static answers, a table written by hand, and this crate.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "two programs share it, and each uses a part"
)]

mod bare;
pub mod case;
mod deferred;
mod handrolled;
pub mod harness;
mod work;

pub use self::{bare::Bare, case::Case, deferred::deferred, handrolled::Handrolled, work::Work};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use std::future::Future;
use tokio::runtime::Runtime;
use tower_lro::header::PREFER;

pub type Call = Request<Full<Bytes>>;

/// Who takes part.
pub trait Contestant: 'static {
    /// Whether submitting runs the handler, in a task of its own.
    const RUNS: bool = true;

    type Body: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send + Unpin + 'static;

    /// Answers `POST /work`, `/small` and `/slow`, and `GET` at what their `Location` says.
    fn call(
        &mut self,
        request: Call,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// What runs behind it.
    fn work(&self) -> &Work;

    /// Ends what waits.
    fn release(&self) {
        self.work().open();
    }

    /// Lets go of operations that have ended, so that what is stored stays as it was.
    fn forget(&mut self, locations: &[PathAndQuery]) -> impl Future<Output = ()>;
}

/// One thread, so that a count or a time is all there is.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A request with the fields that curl sends.
fn request(method: &'static str, target: PathAndQuery, body: Bytes) -> Call {
    Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, "127.0.0.1:8080")
        .header(header::USER_AGENT, "curl/8.5.0")
        .header(header::ACCEPT, "*/*")
        .body(Full::new(body))
        .unwrap()
}

pub fn submit(target: &'static str) -> Call {
    request("POST", PathAndQuery::from_static(target), Bytes::new())
}

pub fn submit_body(target: &'static str, body: &'static [u8]) -> Call {
    let mut request = request(
        "POST",
        PathAndQuery::from_static(target),
        Bytes::from_static(body),
    );
    let json = const { HeaderValue::from_static("application/json") };
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    request
}

pub fn poll(location: &PathAndQuery) -> Call {
    request("GET", location.clone(), Bytes::new())
}

/// A poll that waits for the end.
pub fn long_poll(location: &PathAndQuery) -> Call {
    let mut request = poll(location);
    let wait = const { HeaderValue::from_static("wait=60") };
    request.headers_mut().insert(PREFER, wait);
    request
}

/// Takes an answer in, as a server does that writes it out.
pub async fn read<B>(response: Response<B>) -> usize
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let mut body = response.into_body();
    let mut length = 0;
    while !body.is_end_stream() {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

/// Where the operation is, taken out without a copy.
pub fn take_location<B>(response: &mut Response<B>) -> HeaderValue {
    let location = response.headers_mut().remove(header::LOCATION);
    location.expect("a 202 tells where its monitor is")
}

pub fn path(location: &HeaderValue) -> PathAndQuery {
    PathAndQuery::try_from(location.as_bytes()).unwrap()
}

/// Submits, and gives the places of what was made.
pub async fn submit_all<C: Contestant>(
    contestant: &mut C,
    target: &'static str,
    count: usize,
) -> Vec<PathAndQuery> {
    let mut locations = Vec::with_capacity(count);
    for at in 0..count {
        let mut response = contestant.call(submit(target)).await;
        assert_eq!(response.status(), 202);
        locations.push(path(&take_location(&mut response)));
        if at % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    locations
}
