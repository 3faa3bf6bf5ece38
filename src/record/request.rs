use super::{
    Content,
    end_to_end::keep_of_request,
    response::{Fields, put},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Uri, Version, request};
use std::fmt;

/// A request as it is kept, so that another process can run it, or the same one again.
///
/// What it is made of beside the body lies in one allocation of just the right size. The method is in the
/// [`Submission`](super::Submission). Extensions are not kept: what layers outside have put there is theirs to put back,
/// in the hook that [`Worker::restore`](crate::Worker::restore) sets.
#[derive(Clone)]
pub struct StoredRequest {
    pub(super) version: Version,
    pub(super) uri_end: u32,
    pub(super) original_end: u32,
    pub(super) fields_end: u32,
    pub(super) head: Bytes,
    pub(super) body: Content,
}

impl StoredRequest {
    /// Takes the fields that may outlive the connection, except those named in `without`. `original` is the URI before
    /// any router took a prefix away.
    #[must_use]
    pub fn capture(
        head: &request::Parts,
        original: &Uri,
        body: Content,
        trailers: Option<&HeaderMap>,
        without: &[HeaderName],
    ) -> Self {
        let mut buffer = Vec::new();
        buffer.extend_from_slice(written(&head.uri).as_bytes());
        let uri_end = buffer.len();
        buffer.extend_from_slice(written(original).as_bytes());
        let original_end = buffer.len();
        let stays = |(name, _): &(&HeaderName, _)| {
            !without.contains(name) && *name != http::header::CONTENT_LENGTH
        };
        for (name, value) in keep_of_request(&head.headers).filter(stays) {
            put(&mut buffer, name, value);
        }
        let fields_end = buffer.len();
        for (name, value) in trailers.into_iter().flat_map(keep_of_request).filter(stays) {
            put(&mut buffer, name, value);
        }
        buffer.shrink_to_fit();
        // A head of 4 GiB was not read.
        let end = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            version: head.version,
            uri_end: end(uri_end),
            original_end: end(original_end),
            fields_end: end(fields_end),
            head: buffer.into(),
            body,
        }
    }

    /// The version of HTTP that it came by.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its URI as the layer saw it.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.parse(0..self.uri_end as usize)
    }

    /// Its URI before any router took a prefix away.
    #[must_use]
    pub fn original(&self) -> Uri {
        self.parse(self.uri_end as usize..self.original_end as usize)
    }

    fn parse(&self, range: std::ops::Range<usize>) -> Uri {
        // What was a URI is one still, but for the one form that can't be written alone.
        Uri::from_maybe_shared(self.head.slice(range)).unwrap_or_default()
    }

    /// The fields that were kept, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields::within(
            &self.head,
            self.original_end as usize,
            self.fields_end as usize,
        )
    }

    /// The trailer fields that were kept, in order.
    pub fn trailers(&self) -> Fields<'_> {
        Fields::within(&self.head, self.fields_end as usize, self.head.len())
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Content {
        &self.body
    }

    /// The same with its body elsewhere.
    #[must_use]
    pub fn with_body(self, body: Content) -> Self {
        Self { body, ..self }
    }

    /// Bytes that keeping it takes, a blob not counted.
    #[must_use]
    pub fn size(&self) -> usize {
        self.head.len()
            + match &self.body {
                Content::Inline(bytes) => bytes.len(),
                Content::Blob { .. } => 0,
            }
    }
}

/// Bytes of the longest text that is a URI, by `http`'s own check.
const LONGEST: usize = u16::MAX as usize - 1;

/// The URI as text that is one again. With a slash for the path that it lacks, or put together from the parts that HTTP/2 has,
/// it may be too long for one: then without its host.
fn written(uri: &Uri) -> String {
    let text = uri.to_string();
    match uri.path_and_query() {
        Some(path) if text.len() > LONGEST => path.to_string(),
        _ => text,
    }
}

impl fmt::Debug for StoredRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRequest")
            .field("version", &self.version)
            .field("fields", &self.fields().count())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}
