use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request};

/// Head of a request, borrowed: admission, owner rules, keys and dialects read it without taking the request apart.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URI, as routers outside have left it.
    pub uri: &'a Uri,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What layers and servers outside have noted.
    pub extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    /// The head of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The target as the client sent it, before a router took a prefix away: path and query.
    #[must_use]
    pub fn target(self) -> &'a str {
        self.original()
            .path_and_query()
            .map_or("", |path| path.as_str())
    }

    /// The URI as the client sent it, before a router took a prefix away.
    pub(crate) fn original(self) -> &'a Uri {
        #[cfg(feature = "axum")]
        let uri = self
            .extensions
            .get::<axum::extract::OriginalUri>()
            .map_or(self.uri, |uri| &uri.0);
        #[cfg(not(feature = "axum"))]
        let uri = self.uri;
        uri
    }
}

impl<'a> From<&'a request::Parts> for Head<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}
