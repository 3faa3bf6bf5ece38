//! Whatever is asked under a mount has a clear answer, in every dialect.
//!
//! A target is a file in `src/bin`, which names a dialect. `fuzz/run` runs them all.

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, response::Parts,
};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::{convert::Infallible, fmt::Debug, future::pending, time::Duration};
use tokio::time::timeout;
use tower::{Service, ServiceExt, service_fn};
use tower_lro::{
    Operations, Owner,
    dialect::{Dialect, Head},
    store::ListQuery,
};

type Ask = Request<Full<Bytes>>;

/// Requests, one after the other, of one client.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    asks: Vec<Asked<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Asked<'a> {
    method: Verb<'a>,
    /// Below the mount, or not.
    is_below: bool,
    path: Vec<Piece<'a>>,
    query: Option<&'a str>,
    fields: Vec<(Field<'a>, &'a [u8])>,
    body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Verb<'a> {
    Get,
    Head,
    Post,
    Delete,
    Options,
    Other(&'a str),
}

/// Of a path. Addresses have ids in them, which nobody guesses.
#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Slash,
    Pending,
    Ended,
    Text(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Field<'a> {
    Prefer,
    Key,
    IfMatch,
    IfNoneMatch,
    Accept,
    Host,
    Other(&'a str),
}

impl Asked<'_> {
    /// The request, if there is such a one.
    fn request(&self, pending: &str, ended: &str) -> Option<Ask> {
        let method = match self.method {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
            Verb::Options => Method::OPTIONS,
            Verb::Other(name) => name.parse().ok()?,
        };
        let mut target = String::from(if self.is_below { "/operations" } else { "/" });
        for piece in self.path.iter().take(8) {
            target.push_str(match piece {
                Piece::Slash => "/",
                Piece::Pending => pending,
                Piece::Ended => ended,
                Piece::Text(text) => text,
            });
        }
        if let Some(query) = self.query {
            target.push('?');
            target.push_str(query);
        }
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(self.body)));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse::<Uri>().ok()?;
        for (field, value) in self.fields.iter().take(8) {
            let name = match field {
                Field::Prefer => HeaderName::from_static("prefer"),
                Field::Key => HeaderName::from_static("idempotency-key"),
                Field::IfMatch => header::IF_MATCH,
                Field::IfNoneMatch => header::IF_NONE_MATCH,
                Field::Accept => header::ACCEPT,
                Field::Host => header::HOST,
                Field::Other(name) => name.parse().ok()?,
            };
            let value = HeaderValue::from_bytes(value).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

/// Asks all that, of an engine with one operation that is pending and one that has ended.
pub fn drive(dialect: impl Dialect, input: Input<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs little");
    runtime.block_on(async {
        let everybody = |_: Head<'_>| Some(Owner::new("everybody"));
        let operations = Operations::builder().owner(everybody).dialect(dialect);
        let operations = operations.build().expect("nothing is unusual");
        let mut service = operations.wrap(service_fn(inner));
        let mut accepted = Vec::new();
        for path in ["/never?asynch", "/at-once?asynch"] {
            // Some dialects defer what is read, some what is written, and some what asks for it by a field or by the query.
            for method in [Method::GET, Method::POST] {
                let mut request = Request::new(Full::default());
                *request.method_mut() = method;
                *request.uri_mut() = Uri::from_static(path);
                let prefer = HeaderValue::from_static("respond-async");
                request.headers_mut().insert("prefer", prefer);
                let _ = answer(&mut service, request).await;
            }
            tokio::task::yield_now().await;
            let page = operations.list(&ListQuery::all()).await;
            let newest = page
                .expect("it is in memory")
                .records
                .first()
                .map(|record| record.id);
            accepted.push(newest.map(|id| id.to_string()).unwrap_or_default());
        }
        for asked in input.asks.iter().take(4) {
            let Some(request) = asked.request(&accepted[0], &accepted[1]) else {
                continue;
            };
            let is_head = request.method() == Method::HEAD;
            let Some((head, body)) = answer(&mut service, request).await else {
                continue;
            };
            assert_ne!(head.status, StatusCode::INTERNAL_SERVER_ERROR, "{asked:?}");
            assert!(!is_head || body.is_empty(), "{asked:?}");
            if let Some(length) = head.headers.get(header::CONTENT_LENGTH)
                && !is_head
                && head.status != StatusCode::NOT_MODIFIED
            {
                assert_eq!(length, &*body.len().to_string(), "{asked:?}");
            }
        }
    });
}

/// `None` if there is none: what is not deferred may take for ever.
async fn answer<S, B>(service: &mut S, request: Ask) -> Option<(Parts, Bytes)>
where
    S: Service<Ask, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Debug>,
{
    let Ok(service) = service.ready().await;
    let Ok(answer) = timeout(Duration::from_secs(3_600), service.call(request))
        .await
        .ok()?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("it is in memory");
    Some((head, body.to_bytes()))
}

/// Anything but a failure of its own.
async fn inner(request: Ask) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/never" {
        pending::<()>().await;
    }
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    let body = if request.method() == Method::HEAD {
        ""
    } else {
        "{\"is\":\"done\"}"
    };
    Ok(response.body(Full::from(body)).expect("a lawful response"))
}
