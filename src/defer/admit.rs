//! Which requests are deferred.
//!
//! A predicate says yes or no, so that [`and`](Admit::and), [`or`](Admit::or) and [`not`](Admit::not) mean what they say;
//! how long the answer may be held back is decided [elsewhere](crate#wait).
//!
//! ```
//! use tower_lro::{Operations, admit::{self, Admit}};
//!
//! let operations = Operations::builder().build()?;
//! // For a whole application: what changes something, and what asks for it.
//! let layer = operations.layer().when(admit::unsafe_methods().or(admit::asked()));
//! # Ok::<_, tower_lro::BuildError>(())
//! ```
//!
//! Never deferred, whatever is admitted: HEAD, CONNECT, OPTIONS, TRACE, the target `*`, upgrades to other protocols than
//! HTTP, requests for event streams (`Accept: text/event-stream`), gRPC (`Content-Type: application/grpc*`), and what a layer
//! of this crate further out has deferred already.

use crate::{
    OperationHandle,
    dialect::Head,
    header::{Prefer, accept},
};
use http::{HeaderName, HeaderValue, Method, Version, header};

/// Decides, by its head, whether a request is deferred. Implemented for closures, which have to name the type of what they
/// are given:
///
/// ```
/// use tower_lro::{Head, Operations};
///
/// let operations = Operations::builder().build()?;
/// let layer = operations.layer().when(|head: Head<'_>| head.uri.path().starts_with("/reports"));
/// # Ok::<_, tower_lro::BuildError>(())
/// ```
pub trait Admit: Send + Sync + 'static {
    /// Whether the request with this head is deferred.
    fn admit(&self, head: Head<'_>) -> bool;

    /// Whether the answer depends on `Prefer`: then responses tell caches so, with `Vary`. For closures it is `false`; instead
    /// of reading `Prefer` in a closure, combine it with [`asked`].
    fn reads_prefer(&self) -> bool {
        false
    }

    /// Admits what both admit.
    fn and<A: Admit>(self, other: A) -> And<Self, A>
    where
        Self: Sized,
    {
        And(self, other)
    }

    /// Admits what either admits.
    fn or<A: Admit>(self, other: A) -> Or<Self, A>
    where
        Self: Sized,
    {
        Or(self, other)
    }

    /// Admits what this does not admit.
    fn not(self) -> Not<Self>
    where
        Self: Sized,
    {
        Not(self)
    }
}

impl<F: Fn(Head<'_>) -> bool + Send + Sync + 'static> Admit for F {
    fn admit(&self, head: Head<'_>) -> bool {
        self(head)
    }
}

/// Admits every request. The default, for a layer that stands on the slow routes only.
#[must_use]
pub const fn always() -> Always {
    Always(())
}

/// Admits methods that may change something (RFC 9110, section 9.2.1): all but GET, HEAD, OPTIONS, TRACE.
#[must_use]
pub const fn unsafe_methods() -> UnsafeMethods {
    UnsafeMethods(())
}

/// Admits requests that ask for it with `Prefer: respond-async` (RFC 7240, section 4.1).
#[must_use]
pub const fn asked() -> Asked {
    Asked(())
}

/// See [`always`].
#[derive(Clone, Copy, Debug)]
pub struct Always(());

/// See [`unsafe_methods`].
#[derive(Clone, Copy, Debug)]
pub struct UnsafeMethods(());

/// See [`asked`].
#[derive(Clone, Copy, Debug)]
pub struct Asked(());

/// See [`Admit::and`].
#[derive(Clone, Copy, Debug)]
pub struct And<A, B>(A, B);

/// See [`Admit::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B>(A, B);

/// See [`Admit::not`].
#[derive(Clone, Copy, Debug)]
pub struct Not<A>(A);

impl Admit for Always {
    fn admit(&self, _: Head<'_>) -> bool {
        true
    }
}

impl Admit for UnsafeMethods {
    fn admit(&self, head: Head<'_>) -> bool {
        !head.method.is_safe()
    }
}

impl Admit for Asked {
    fn admit(&self, head: Head<'_>) -> bool {
        Prefer::parse(head.headers).respond_async
    }

    fn reads_prefer(&self) -> bool {
        true
    }
}

impl<A: Admit, B: Admit> Admit for And<A, B> {
    fn admit(&self, head: Head<'_>) -> bool {
        self.0.admit(head) && self.1.admit(head)
    }

    fn reads_prefer(&self) -> bool {
        self.0.reads_prefer() || self.1.reads_prefer()
    }
}

impl<A: Admit, B: Admit> Admit for Or<A, B> {
    fn admit(&self, head: Head<'_>) -> bool {
        self.0.admit(head) || self.1.admit(head)
    }

    fn reads_prefer(&self) -> bool {
        self.0.reads_prefer() || self.1.reads_prefer()
    }
}

impl<A: Admit> Admit for Not<A> {
    fn admit(&self, head: Head<'_>) -> bool {
        !self.0.admit(head)
    }

    fn reads_prefer(&self) -> bool {
        self.0.reads_prefer()
    }
}

/// Whether a request can be deferred at all.
pub(super) fn deferrable(head: Head<'_>) -> bool {
    // One pass: looking each up costs more than comparing them all with the few there are.
    let forbids = |(name, value): (&HeaderName, &HeaderValue)| {
        (name == header::UPGRADE && is_upgrade(head.version, value.as_bytes()))
            || (name == header::CONTENT_TYPE && starts_with(value.as_bytes(), b"application/grpc"))
            || (name == header::ACCEPT && accept::names(value.as_bytes(), "text/event-stream"))
    };
    !matches!(
        *head.method,
        Method::HEAD | Method::CONNECT | Method::OPTIONS | Method::TRACE
    ) && !head.headers.iter().any(forbids)
        && head.extensions.get::<OperationHandle>().is_none()
        && head.uri.path() != "*"
}

/// Whether a connection is to become something else than one of HTTP. Clients offer HTTP/2 by this field as well, with
/// requests that are ordinary otherwise; and HTTP/1.0 has no upgrades (RFC 9110, section 7.8).
fn is_upgrade(version: Version, protocols: &[u8]) -> bool {
    version == Version::HTTP_11
        && protocols.split(|byte| *byte == b',').any(|protocol| {
            let name = protocol.split(|byte| *byte == b'/').next();
            let name = name.unwrap_or_default().trim_ascii();
            let is_http = [&b"h2c"[..], b"http"];
            !name.is_empty() && !is_http.iter().any(|http| name.eq_ignore_ascii_case(http))
        })
}

fn starts_with(value: &[u8], prefix: &[u8]) -> bool {
    value
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(method: &str, field: Option<(&str, &str)>) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/x");
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn what_cannot_be_deferred_never_is() {
        for method in ["HEAD", "CONNECT", "OPTIONS", "TRACE"] {
            assert!(!deferrable(Head::of(&head(method, None))), "{method}");
        }
        for field in [
            ("upgrade", "websocket"),
            ("accept", "text/html, Text/Event-Stream;q=0.5"),
            ("content-type", "application/grpc"),
            ("content-type", "Application/gRPC-web+proto"),
        ] {
            assert!(
                !deferrable(Head::of(&head("POST", Some(field)))),
                "{field:?}"
            );
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "REPORT"] {
            assert!(deferrable(Head::of(&head(
                method,
                Some(("accept", "text/event-stream-x"))
            ))));
        }
        for none in ["q=0", "Q=0.000", "charset=utf-8; q=0.0 "] {
            let accept = format!("text/html, text/event-stream;{none}");
            let request = head("POST", Some(("accept", &accept)));
            assert!(deferrable(Head::of(&request)), "{accept}");
        }
        for some in ["q=0.001", "q=1", "q=", "version=0"] {
            let accept = format!("text/event-stream;{some}");
            let request = head("POST", Some(("accept", &accept)));
            assert!(!deferrable(Head::of(&request)), "{accept}");
        }
    }

    #[test]
    fn an_offer_of_another_version_of_http_is_no_upgrade() {
        let is_deferrable = |version, protocols| {
            let mut request = head("POST", Some(("upgrade", protocols)));
            *request.version_mut() = version;
            deferrable(Head::of(&request))
        };
        for protocols in ["h2c", "H2C", "HTTP/2.0", "h2c, HTTP/3.0", "", " , "] {
            assert!(is_deferrable(Version::HTTP_11, protocols), "{protocols}");
        }
        for protocols in ["websocket", "h2c, websocket", "TLS/1.3, HTTP/1.1", "h2c2"] {
            assert!(!is_deferrable(Version::HTTP_11, protocols), "{protocols}");
        }
        assert!(is_deferrable(Version::HTTP_10, "websocket"));
    }

    #[test]
    fn combinations_mean_what_they_say() {
        let (get, post) = (head("GET", None), head("POST", None));
        let asking = head("GET", Some(("prefer", "respond-async")));
        let both = unsafe_methods().or(asked());
        assert!(
            !both.admit(Head::of(&get))
                && both.admit(Head::of(&post))
                && both.admit(Head::of(&asking))
        );
        assert!(both.reads_prefer() && !unsafe_methods().reads_prefer());
        let neither = unsafe_methods().or(asked()).not();
        assert!(neither.admit(Head::of(&get)) && neither.reads_prefer());
        let path = |head: Head<'_>| head.uri.path() == "/x";
        assert!(always().and(path).admit(Head::of(&get)));
        assert!(!always().and(path).not().admit(Head::of(&get)));
    }
}
