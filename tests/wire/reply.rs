//! What came back, whichever version carried it.

use std::fmt::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) version: &'static str,
    pub(crate) status: u16,
    /// Names in lower case, in the order in which they came.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// HTTP/1 only.
    pub(crate) chunked: bool,
}

impl Reply {
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name} of {self:?}");
        values[0]
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(field, _)| field == name);
        fields.map(|(_, value)| &**value).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("content-type"), "application/problem+json");
        assert_eq!(self.field("cache-control"), "no-store");
        let problem = self.json();
        let kind = format!("urn:tower-lro:problem:{name}");
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&kind.into(), &status.into()),
            "{self:?}"
        );
    }

    /// Status and fields, sorted by name, but for what a server adds to every response: `Date`, checked to be there once
    /// and to be now, and `Content-Length`, checked to be there once and to be right, where `sized`.
    #[track_caller]
    pub(crate) fn shown(&self, sized: bool) -> String {
        let date = httpdate::parse_http_date(self.field("date")).unwrap();
        let age = std::time::SystemTime::now().duration_since(date).unwrap();
        assert!(age < std::time::Duration::from_secs(30), "{self:?}");
        match sized {
            true => assert_eq!(self.field("content-length"), self.body.len().to_string()),
            false => assert!(self.values("content-length").is_empty(), "{self:?}"),
        }
        let mut fields = self.fields.clone();
        fields.retain(|(name, _)| name != "date" && name != "content-length");
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut shown = self.status.to_string();
        for (name, value) in fields {
            write!(shown, "\n{name}: {value}").unwrap();
        }
        shown
    }
}
