use super::Head;
use crate::record::{ID_LEN, OperationId};
use http::{HeaderValue, Uri, header, uri::Authority};
use std::fmt;

/// Where a dialect is served: a path prefix, and the base URL before it where clients are told absolute URLs.
#[derive(Clone, PartialEq, Eq)]
pub struct Mount {
    /// Base URL, if any, and path.
    url: Box<str>,
    path_at: usize,
}

impl Mount {
    /// Checks and joins both.
    pub(crate) fn new(path: &str, base: Option<&str>) -> Result<Self, (&'static str, String)> {
        check_path(path).map_err(|why| ("mount", format!("`{path}` {why}")))?;
        let given = base.unwrap_or_default();
        let base = given.trim_end().trim_end_matches('/');
        if base.is_empty() && !given.is_empty() {
            return Err(("base_url", format!("`{given}` is no URL")));
        }
        check_base(base).map_err(|why| ("base_url", format!("`{base}` {why}")))?;
        Ok(Self {
            url: format!("{base}{path}").into(),
            path_at: base.len(),
        })
    }

    /// The path prefix: `/operations`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.url[self.path_at..]
    }

    /// Whether there is a base URL.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.path_at > 0
    }

    /// The base URL, or nothing.
    pub(crate) fn base(&self) -> &str {
        &self.url[..self.path_at]
    }

    /// The prefix of every URL given to clients: the path, behind the base URL if there is one.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        Err("does not begin with a slash")
    } else if path.ends_with('/') {
        Err("ends with a slash, or is the root, where every request would be a poll")
    } else if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        Err("has an empty or a dot segment")
    } else if !path.bytes().all(may_stand_in_a_path) {
        Err("has a character that no path has (a mount is literal: it takes no parameters)")
    } else if !path.split('%').skip(1).all(begins_with_hex) {
        Err("has a percent sign without two hexadecimal digits")
    } else {
        Ok(())
    }
}

fn begins_with_hex(rest: &str) -> bool {
    let digits = rest.as_bytes().first_chunk::<2>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

fn may_stand_in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

fn check_base(base: &str) -> Result<(), &'static str> {
    if base.is_empty() {
        return Ok(());
    }
    if base.contains('#') {
        return Err("must not hold a fragment");
    }
    let uri: Uri = base.parse().map_err(|_| "is no URL")?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err("must not hold credentials")
        }
        (Some("http" | "https"), Some(authority)) if !has_lawful_port(authority) => {
            Err("has a port that is none")
        }
        (Some("http" | "https"), Some(_)) if uri.query().is_some() => Err("must not hold a query"),
        (Some("http" | "https"), Some(_)) if !uri.path().bytes().all(may_stand_in_a_path) => {
            Err("has a character that no path has")
        }
        (Some("http" | "https"), Some(_)) => Ok(()),
        _ => Err("is no absolute http or https URL"),
    }
}

/// Whether its port can be one, if it has any: a URI may have digits there as many as it likes.
fn has_lawful_port(authority: &Authority) -> bool {
    let behind_host = &authority.as_str()[authority.host().len()..];
    matches!(behind_host, "" | ":") || authority.port_u16().is_some()
}

/// A mount, seen from where a request has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    mount: &'a Mount,
    nested: bool,
}

impl<'a> Route<'a> {
    /// `nested`: a router may have taken the prefix away.
    #[must_use]
    pub const fn new(mount: &'a Mount, nested: bool) -> Self {
        Self { mount, nested }
    }

    /// The mount.
    #[must_use]
    pub const fn mount(self) -> &'a Mount {
        self.mount
    }

    /// What of the path lies below the mount: empty, or beginning with a slash. `None` if the path is not below it.
    ///
    /// Matches whole segments of the raw path: `%6fperations` is not `operations`.
    #[must_use]
    pub fn tail(self, uri: &Uri) -> Option<&str> {
        let path = uri.path();
        match path.strip_prefix(self.mount.path()) {
            Some(tail) if tail.is_empty() || tail.starts_with('/') => Some(tail),
            _ if self.nested && path.starts_with('/') => Some(path),
            _ => None,
        }
    }
}

/// Scheme and host of a request, for a mount without base URL under a dialect that needs absolute ones. Empty if the
/// request tells no host that can be one.
///
/// The answer goes back to the sender of the request, and no cache keeps it: a host that is not ours misleads nobody else.
pub(crate) fn origin(head: Head<'_>) -> String {
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    };
    if is_host(host) {
        format!("{}://{host}", head.uri.scheme_str().unwrap_or("http"))
    } else {
        String::new()
    }
}

/// Whether it is a name or an IP address, and perhaps a port: less than RFC 3986 allows, and all there is.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            (
                is_address,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            (!name.is_empty() && name.bytes().all(is_name), Some(port))
        }
    };
    host && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The addresses of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    mount: &'a Mount,
    origin: &'a str,
    id: OperationId,
}

impl<'a> Links<'a> {
    /// The addresses under `mount`.
    #[must_use]
    pub fn new(mount: &'a Mount, id: OperationId) -> Self {
        Self {
            mount,
            origin: "",
            id,
        }
    }

    pub(crate) fn origin(self, origin: &'a str) -> Self {
        Self { origin, ..self }
    }

    /// The operation's name.
    pub(crate) fn id(&self) -> [u8; ID_LEN] {
        self.id.text()
    }

    /// The mount.
    #[must_use]
    pub const fn mount(self) -> &'a Mount {
        self.mount
    }

    /// Appends the URL of the operation's monitor and `suffix`, such as `/result`.
    pub fn write(self, out: &mut Vec<u8>, suffix: &str) {
        self.write_named(out, &self.id(), suffix);
    }

    /// As [`write`](Self::write) does, where the operation's name is at hand.
    pub(crate) fn write_named(self, out: &mut Vec<u8>, id: &[u8; ID_LEN], suffix: &str) {
        if !self.origin.is_empty() {
            out.extend_from_slice(self.origin.as_bytes());
        }
        out.extend_from_slice(self.mount.url().as_bytes());
        out.push(b'/');
        out.extend_from_slice(id);
        out.extend_from_slice(suffix.as_bytes());
    }

    /// Appends the URL of the mount, `path` such as `/results`, the operation's name, and `suffix`.
    pub fn write_below(self, out: &mut Vec<u8>, path: &str, suffix: &str) {
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(self.mount.url().as_bytes());
        out.extend_from_slice(path.as_bytes());
        out.push(b'/');
        out.extend_from_slice(&self.id());
        out.extend_from_slice(suffix.as_bytes());
    }

    /// The URL of the operation's monitor and `suffix`, such as `/result`, as the value of a field.
    ///
    /// # Panics
    ///
    /// If `suffix` has characters that no field value has.
    #[must_use]
    pub fn header(self, suffix: &str) -> HeaderValue {
        let len = self.origin.len() + self.mount.url().len() + 1 + ID_LEN + suffix.len();
        let mut url = Vec::with_capacity(len);
        self.write(&mut url, suffix);
        value(url)
    }

    /// The URL that [`write_below`](Self::write_below) writes, as the value of a field.
    ///
    /// # Panics
    ///
    /// If `path` or `suffix` has characters that no field value has.
    #[must_use]
    pub fn header_below(self, path: &str, suffix: &str) -> HeaderValue {
        let mut url = Vec::new();
        self.write_below(&mut url, path, suffix);
        value(url)
    }

    /// A reference to another resource of the application, such as what a handler has
    /// [told](crate::OperationHandle::resource), made as absolute as the operation's own URLs are.
    #[must_use]
    pub fn resolve(self, reference: &str) -> String {
        if reference.starts_with('/') && !reference.starts_with("//") {
            format!("{}{}{reference}", self.origin, self.mount.base())
        } else {
            reference.to_owned()
        }
    }
}

fn value(url: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(url))
        .expect("mounts are checked to be visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_on_segment_boundaries() {
        let mount = Mount::new("/a/ops", None).unwrap();
        let tail = |nested, path: &str| {
            Route::new(&mount, nested)
                .tail(&path.parse().unwrap())
                .map(str::to_owned)
        };
        assert_eq!(tail(false, "/a/ops"), Some(String::new()));
        assert_eq!(tail(false, "/a/ops/x?y=1"), Some("/x".into()));
        assert_eq!(tail(false, "http://h/a/ops/x"), Some("/x".into()));
        assert_eq!(tail(false, "/a/opsx"), None);
        assert_eq!(tail(false, "/a/%6fps/x"), None);
        assert_eq!(tail(false, "*"), None);
        assert_eq!(tail(true, "/x"), Some("/x".into()));
        assert_eq!(tail(true, "/a/ops/x"), Some("/x".into()));
        assert_eq!(tail(true, "*"), None);
    }

    #[test]
    fn mounts_and_bases_that_cannot_be_are_refused_by_name() {
        for path in [
            "", "/", "ops", "/ops/", "/a//b", "/a/../b", "/{id}", "/a b", "/a?b", "/ä", "/%zz",
            "/a%4/b", "/%",
        ] {
            assert_eq!(Mount::new(path, None).unwrap_err().0, "mount", "{path}");
        }
        assert!(Mount::new("/a%20b/%C3%A4", None).is_ok());
        for base in [
            "/",
            " ",
            "example.com",
            "/x",
            "ftp://h",
            "http://",
            "http://u:p@h",
            "https://h/?q",
            "https://h/#f",
        ] {
            let error = Mount::new("/ops", Some(base));
            assert_eq!(error.map_err(|error| error.0), Err("base_url"), "{base}");
        }
    }

    #[test]
    fn what_is_no_host_names_none() {
        for (host, named) in [
            ("example.com", true),
            ("example.com:8080", true),
            ("127.0.0.1:1", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("", false),
            (":80", false),
            ("a b", false),
            ("a\"b", false),
            ("a/b", false),
            ("user@example.com", false),
            ("a:b", false),
            ("[x]", false),
            ("[::1]80", false),
            ("a:1:2", false),
        ] {
            let request = http::Request::builder().header("host", host).body(());
            let origin = origin(Head::of(&request.unwrap()));
            let wanted = if named {
                format!("http://{host}")
            } else {
                String::new()
            };
            assert_eq!(origin, wanted);
        }
        let request = http::Request::builder()
            .uri("https://example.com/x")
            .header("host", "other");
        assert_eq!(
            origin(Head::of(&request.body(()).unwrap())),
            "https://example.com"
        );
    }

    #[test]
    fn references_to_other_hosts_are_left_as_they_are() {
        let mount = Mount::new("/ops", Some("https://example.com/api")).unwrap();
        let links = Links::new(&mount, OperationId::random());
        let own = links.resolve("/reports/7");
        assert_eq!(own, "https://example.com/api/reports/7");
        for other in ["//other.example/7", "https://other.example/7"] {
            assert_eq!(links.resolve(other), other);
        }
    }

    #[test]
    fn urls_are_base_mount_and_id() {
        let id = OperationId::random();
        let mount = Mount::new("/ops", Some("https://example.com/api/")).unwrap();
        let url = Links::new(&mount, id).header("/status");
        assert_eq!(url, format!("https://example.com/api/ops/{id}/status"));
        assert_eq!(mount.path(), "/ops");
    }
}
