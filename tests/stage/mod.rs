//! Where the golden transcripts of `tests/transcripts` are played, against the layer and the status service.
//!
//! A transcript is a sequence of blocks, each begun by a line with `###`:
//!
//! | block | means |
//! | --- | --- |
//! | `### given …` | how the server is set up |
//! | `### client` | sends the request that follows; `whose body …` tells of an upload that goes wrong |
//! | `### handler answers` | the handler that waits longest answers what follows |
//! | `### then …` | something else happens |
//! | `### server` | the whole response to the request before: status line, fields sorted by name, body, trailers after `--` |
//!
//! Time stands still but for `### then … pass`, so times are exact. What can't be known beforehand is named in the order
//! in which it turns up: `{id}`, `{id:2}`, …; entity tags `{tag}`, `{tag:2}`, … of each operation; `{cursor}`. `{now}` is
//! the date of now, `{length}` the length of the body, announced exactly, and `{cr}` a carriage return. Bodies in JSON may be broken into lines,
//! which are joined without their indentation; all else is compared byte by byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::{
    collections::VecDeque,
    fmt::Write,
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tower::{Layer, Service, ServiceExt};
use tower_lro::{
    Builder, Defer, Limits, OperationHandle, OperationId, Operations, Owner, StatusService,
    store::{Clock, ListQuery},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Sets a server up as a line `### given …` has it, if it knows the line.
pub(crate) type Given = fn(Builder, &str) -> Option<Builder>;

type ReqBody = UnsyncBoxBody<Bytes, BoxError>;

/// One test for each transcript of a dialect: the name of its folder, how a server is set up for it, and the tests. A line
/// `### given …` that the stage does not know is given to the second function, which gives back what it does not know.
#[macro_export]
macro_rules! transcripts {
    ($folder:literal, $dialect:expr, $given:expr; $($name:ident = $file:literal)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            let path = concat!("tests/transcripts/", $folder, "/", $file, ".http");
            $crate::stage::play(path, $dialect, $given).await;
        })*

        /// A transcript that nobody plays would say anything.
        #[test]
        fn every_transcript_is_played() {
            let mut played = [$(concat!($file, ".http")),*].map(str::to_owned).to_vec();
            let entries = std::fs::read_dir(concat!("tests/transcripts/", $folder)).unwrap();
            let mut there: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            played.sort();
            there.sort();
            assert_eq!(there, played);
        }
    };
}

/// 2026-11-21T09:00:00Z.
const START: Duration = Duration::from_secs(1_795_251_600);

pub(crate) async fn play(path: &str, dialect: fn(Builder) -> Builder, more: Given) {
    let text = std::fs::read_to_string(Path::new(path)).unwrap();
    let blocks = Block::parse(&text);
    let (given, blocks): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block.kind.starts_with("given "));
    assert!(
        blocks.iter().any(|block| block.kind == "server"),
        "{path} asks for nothing"
    );
    let given = given.iter().map(|block| &block.kind["given ".len()..]);
    let mut stage = Stage::new(given, dialect, more);
    for Block { line, kind, text } in &blocks {
        let place = format!("{path}:{line}");
        match kind.split_once(' ').unwrap_or((kind, "")) {
            ("client", upload) => stage.send(text, upload, &place).await,
            ("server", "") => stage.receive(text, &place).await,
            ("handler", "answers") => stage.tell(Told::Answer(parse_response(text))).await,
            ("then", step) => stage.step(step, &place).await,
            _ => panic!("{place}: what is `{kind}`?"),
        }
    }
    stage.over(path);
}

struct Block {
    line: usize,
    kind: String,
    text: String,
}

impl Block {
    fn parse(text: &str) -> Vec<Self> {
        let mut blocks: Vec<Self> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if let Some(kind) = line.strip_prefix("### ") {
                blocks.push(Self {
                    line: at + 1,
                    kind: kind.to_owned(),
                    text: String::new(),
                });
            } else if let Some(block) = blocks.last_mut().filter(|_| !line.starts_with("# ")) {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
        for block in &mut blocks {
            block.text.truncate(block.text.trim_end_matches('\n').len());
        }
        blocks
    }
}

/// Start line, fields, body, trailers.
struct Message<'a> {
    start: &'a str,
    fields: HeaderMap,
    body: &'a str,
    trailers: HeaderMap,
}

fn parse_message(text: &str) -> Message<'_> {
    let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let (body, trailers) = match rest.split_once("\n--\n") {
        Some((body, trailers)) => (body, trailers),
        None => (rest, ""),
    };
    let (start, fields) = head.split_once('\n').unwrap_or((head, ""));
    Message {
        start,
        fields: parse_fields(fields),
        body,
        trailers: parse_fields(trailers),
    }
}

fn parse_fields(text: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let name: HeaderName = name.parse().unwrap();
        fields.append(name, value.parse().unwrap());
    }
    fields
}

fn parse_response(text: &str) -> Response<Content> {
    let message = parse_message(text);
    let status = message.start.split(' ').nth(1).unwrap();
    let mut response = Response::new(Content::of(message.body, message.trailers));
    *response.status_mut() = status.parse().unwrap();
    *response.headers_mut() = message.fields;
    response
}

/// A body that comes in pieces.
#[derive(Default)]
struct Content {
    frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
    endless: bool,
}

impl Content {
    fn of(text: &str, trailers: HeaderMap) -> Self {
        let mut frames = VecDeque::new();
        for piece in text.as_bytes().chunks(3) {
            frames.push_back(Ok(Frame::data(Bytes::copy_from_slice(piece))));
        }
        if !trailers.is_empty() {
            frames.push_back(Ok(Frame::trailers(trailers)));
        }
        Self {
            frames,
            endless: false,
        }
    }

    fn breaking_off() -> Self {
        let mut content = Self::of("a", HeaderMap::new());
        content.frames.push_back(Err("secret".into()));
        content
    }

    fn endless() -> Self {
        Self {
            endless: true,
            ..Self::of("a", HeaderMap::new())
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            None if self.endless => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.endless
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What a handler is told to do.
enum Told {
    Answer(Response<Content>),
    Fail(String),
    Panic(String),
    Tell(String),
}

/// Does what the transcript says; the request that came first is told first.
#[derive(Clone)]
struct Handler {
    told: Arc<Mutex<mpsc::UnboundedReceiver<Told>>>,
    ready: Ready,
}

#[derive(Clone, Copy)]
enum Ready {
    Always,
    Never,
    Fails,
    Panics,
}

impl Service<Request<ReqBody>> for Handler {
    type Response = Response<Content>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.ready {
            Ready::Always => Poll::Ready(Ok(())),
            Ready::Never => Poll::Pending,
            Ready::Fails => Poll::Ready(Err("secret".into())),
            Ready::Panics => panic!("secret"),
        }
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let told = self.told.clone();
        Box::pin(async move {
            let operation = request.extensions().get::<OperationHandle>().unwrap();
            let opt_ins = request.headers().get_all("prefer").iter();
            let opt_ins = opt_ins.filter(|value| {
                let value = value.to_str().unwrap().to_ascii_lowercase();
                value.contains("respond-async") || value.contains("wait")
            });
            assert_eq!(opt_ins.count(), 0, "the inner service sees no opt-in");
            let mut told = told.lock().await;
            loop {
                match told.recv().await {
                    Some(Told::Answer(response)) => return Ok(response),
                    Some(Told::Fail(message)) => return Err(message.into()),
                    Some(Told::Panic(message)) => panic!("{message}"),
                    Some(Told::Tell(what)) => tell(operation, &what),
                    None => std::future::pending().await,
                }
            }
        })
    }
}

fn tell(operation: &OperationHandle, what: &str) {
    let (what, value) = what.split_once(' ').unwrap();
    match what {
        "progress" => {
            let (fraction, message) = value.split_once(' ').unwrap_or((value, ""));
            operation.progress(fraction.parse().unwrap(), message.to_owned());
        }
        "metadata" => {
            let value: serde_json::Value = serde_json::from_str(value).unwrap();
            operation.metadata(&value).unwrap();
        }
        "resource" => operation.resource(&value.parse().unwrap()),
        "retry-after" => operation.retry_after(duration(value)),
        _ => panic!("what is `{what}`?"),
    }
}

fn duration(text: &str) -> Duration {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().unwrap();
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(60 * 60 * number),
        _ => panic!("what is `{text}`?"),
    }
}

struct Stage {
    operations: Operations,
    clock: Clock,
    layer: Defer<Handler>,
    monitor: StatusService,
    tell: mpsc::UnboundedSender<Told>,
    waiting: Option<Waiting>,
    names: Names,
}

struct Waiting {
    method: Method,
    version: Version,
    operation: String,
    response: JoinHandle<Response<Received>>,
}

struct Received {
    /// Of a server that would send it: what it announces.
    length: Option<u64>,
    body: Bytes,
    trailers: HeaderMap,
}

impl Stage {
    fn new<'a>(
        given: impl Iterator<Item = &'a str>,
        dialect: fn(Builder) -> Builder,
        more: Given,
    ) -> Self {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + START);
        let mut limits = Limits::default();
        let mut builder = dialect(Operations::builder().clock(clock.clone()));
        let (mut ready, mut strict_keys) = (Ready::Always, false);
        for given in given {
            let words: Vec<_> = given.split(' ').collect();
            match words[..] {
                ["base", "url", url] => builder = builder.base_url(url),
                ["shared", "keys"] => builder = builder.shared_keys(),
                ["strict", "keys"] => strict_keys = true,
                ["owners", "by", "x-user"] => {
                    builder = builder.owner(|head| {
                        let user = head.headers.get("x-user")?;
                        Some(Owner::new(user.as_bytes()))
                    });
                }
                ["one", "runs", "at", "a", "time"] => limits.running = 1,
                ["one", "place"] => (limits.running, limits.accepted) = (1, 0),
                ["no", "readers"] => limits.readers = 0,
                ["at", "most", n, "stored"] => limits.stored = n.parse().unwrap(),
                ["at", "most", n, "bytes", "of", "request"] => {
                    limits.request_body = n.parse().unwrap();
                }
                ["at", "most", n, "bytes", "of", "response"] => {
                    limits.response_body = n.parse().unwrap();
                }
                ["the", "longest", "wait", "is", time] => limits.wait = duration(time),
                ["the", "inner", "service", "is", "never", "ready"] => ready = Ready::Never,
                ["the", "inner", "service", "fails", "in", ..] => ready = Ready::Fails,
                ["the", "inner", "service", "panics", "in", ..] => ready = Ready::Panics,
                _ => builder = more(builder, given).unwrap_or_else(|| panic!("what is `{given}`?")),
            }
        }
        let operations = builder.limits(limits).build().unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(told));
        let mut layer = operations.layer();
        if strict_keys {
            layer = layer.strict_keys();
        }
        Self {
            layer: layer.layer(Handler { told, ready }),
            monitor: operations.status_service(),
            operations,
            clock,
            tell,
            waiting: None,
            names: Names::default(),
        }
    }

    async fn send(&mut self, text: &str, upload: &str, place: &str) {
        let text = self.names.resolve(text);
        let Message {
            start,
            fields,
            body,
            ..
        } = parse_message(&text);
        let body = match upload {
            "" => Content::of(body, HeaderMap::new()),
            "whose body breaks off" => Content::breaking_off(),
            "whose body never ends" => Content::endless(),
            _ => panic!("{place}: what is `{upload}`?"),
        };
        let mut start = start.split(' ');
        let mut next = || {
            start
                .next()
                .unwrap_or_else(|| panic!("{place}: no request"))
        };
        let mut request = Request::new(body);
        *request.method_mut() = next().parse().unwrap();
        *request.uri_mut() = next().parse().unwrap();
        *request.version_mut() = version(next());
        *request.headers_mut() = fields;
        let (method, version) = (request.method().clone(), request.version());
        let path = request.uri().path();
        let operation = path.split('/').nth(2).unwrap_or_default().to_owned();
        let response = if path.split('/').nth(1) == Some("operations") {
            tokio::spawn(received(self.monitor.clone().oneshot(request)))
        } else {
            let request = request.map(UnsyncBoxBody::new);
            tokio::spawn(received(self.layer.clone().oneshot(request)))
        };
        let sent = Waiting {
            method,
            version,
            operation,
            response,
        };
        assert!(
            self.waiting.replace(sent).is_none(),
            "{place}: one request at a time"
        );
        settle().await;
    }

    async fn receive(&mut self, wanted: &str, place: &str) {
        let Some(mut waiting) = self.waiting.take() else {
            panic!("{place}: nothing was sent")
        };
        settle().await;
        // Awaiting it would let paused time jump, and turn a missing answer into a late one.
        assert!(waiting.response.is_finished(), "{place}: no answer yet");
        let response = (&mut waiting.response).await.unwrap();
        let got = self.names.show(&waiting, &response);
        let wanted = join_json(wanted);
        assert!(
            got == wanted,
            "{place}\n--- wanted\n{wanted}\n--- got\n{got}\n---"
        );
        settle().await;
    }

    async fn tell(&mut self, told: Told) {
        self.tell.send(told).unwrap();
        settle().await;
    }

    async fn step(&mut self, step: &str, place: &str) {
        if let Some(time) = step.strip_suffix(" pass") {
            let time = duration(time);
            self.clock.advance(time);
            tokio::time::advance(time).await;
            settle().await;
        } else if let Some(message) = step.strip_prefix("the handler panics: ") {
            self.tell(Told::Panic(message.to_owned())).await;
        } else if let Some(message) = step.strip_prefix("the handler fails: ") {
            self.tell(Told::Fail(message.to_owned())).await;
        } else if step == "the handler answers, and its body breaks off" {
            let response = Response::new(Content::breaking_off());
            self.tell(Told::Answer(response)).await;
        } else if let Some(what) = step.strip_prefix("the handler tells ") {
            self.tell(Told::Tell(what.to_owned())).await;
        } else if let Some(body) = step.strip_prefix("the newest is completed: ") {
            let response = Response::new(Content::of(body, HeaderMap::new()));
            let id = self.newest().await;
            self.operations.complete(id, response).await.unwrap();
        } else if step == "the newest is cancelled" {
            let id = self.newest().await;
            self.operations.cancel(id).await.unwrap();
        } else if step == "the newest is forgotten" {
            let id = self.newest().await;
            self.operations.forget(id).await.unwrap();
        } else if let Some(id) = step.strip_suffix(" is cancelled") {
            let id = self.names.resolve(id).parse().unwrap();
            self.operations.cancel(id).await.unwrap();
        } else if step == "the server drains" {
            self.operations.drain(Duration::ZERO).await;
        } else if step == "it waits" {
            settle().await;
            let waiting = self.waiting.as_ref().unwrap();
            assert!(!waiting.response.is_finished(), "{place}: answered already");
        } else if step == "nothing is stored" {
            settle().await;
            assert_eq!(self.operations.usage(), Default::default(), "{place}");
        } else {
            panic!("{place}: what is `{step}`?")
        }
    }

    async fn newest(&self) -> OperationId {
        let page = self.operations.list(&ListQuery::all()).await.unwrap();
        page.records[0].id
    }

    /// What was asked has been answered, and nobody holds a reader's or an uploader's place.
    fn over(&self, path: &str) {
        assert!(self.waiting.is_none(), "{path} leaves a request unanswered");
        let usage = self.operations.usage();
        assert_eq!(
            (usage.uploading, usage.uploading_bytes, usage.readers),
            (0, 0, 0),
            "{path}"
        );
    }
}

fn version(text: &str) -> Version {
    match text {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2.0" => Version::HTTP_2,
        _ => panic!("what is `{text}`?"),
    }
}

/// Lets every task do what it can do without time passing: the runtime has one thread, and runs whoever is ready first.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

async fn received<F, B, E>(response: F) -> Response<Received>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
    E: std::fmt::Debug,
{
    let (parts, body) = response.await.unwrap().into_parts();
    let length = body.size_hint().exact();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let received = Received {
        length,
        body: collected.to_bytes(),
        trailers,
    };
    Response::from_parts(parts, received)
}

/// What can't be known beforehand, by the names that transcripts have for it.
#[derive(Default)]
struct Names {
    ids: Vec<String>,
    /// Of one operation each: the tags of two operations may be alike.
    tags: Vec<(String, String)>,
    cursor: Option<String>,
}

/// What stands before a cursor, in one dialect or another.
const CURSORS: [&str; 3] = [
    "?after=",
    "\"nextPageToken\":\"",
    "x-ms-continuation-token: ",
];

fn numbered(name: &str, index: usize) -> String {
    match index {
        0 => format!("{{{name}}}"),
        _ => format!("{{{name}:{}}}", index + 1),
    }
}

impl Names {
    fn resolve(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, id) in self.ids.iter().enumerate() {
            text = text.replace(&numbered("id", at), id);
        }
        if let Some(id) = self.ids.first() {
            text = text.replace("{id:upper}", &id.to_uppercase());
            text = text.replace("{id:simple}", &id.replace('-', ""));
        }
        let path = text.split([' ', '?']).nth(1).unwrap_or_default();
        let operation = path.split('/').nth(2).unwrap_or_default();
        let tags = self.tags.iter().filter(|(of, _)| of == operation);
        let tags: Vec<_> = tags.map(|(_, tag)| tag.clone()).collect();
        for (at, tag) in tags.iter().enumerate() {
            text = text.replace(&numbered("tag", at), tag);
        }
        if let Some(cursor) = &self.cursor {
            text = text.replace("{cursor}", cursor);
        }
        text
    }

    /// The response as transcripts have it.
    fn show(&mut self, waiting: &Waiting, response: &Response<Received>) -> String {
        let (status, received) = (response.status(), response.body());
        let head = waiting.method == Method::HEAD;
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, value) in response.headers() {
            let value = value.to_str().unwrap();
            let value = match name.as_str() {
                "date" => fresh_date(value),
                "etag" if !response.headers().contains_key("operation-outcome") => {
                    self.tag(&waiting.operation, value)
                }
                "content-length" if head => length(value),
                _ => value.to_owned(),
            };
            lines.push((name.as_str().to_owned(), value));
        }
        // What a server adds to a response whose body knows its length, and is not asked by HEAD for one it does not have.
        let bodiless = head || [204, 304].contains(&status.as_u16());
        if let (Some(length), false) = (received.length, bodiless) {
            assert_eq!(length, received.body.len() as u64);
            assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
            lines.push(("content-length".to_owned(), "{length}".to_owned()));
        }
        assert!(
            !bodiless || received.body.is_empty(),
            "a {status} with a body"
        );
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));

        let version = format!("{:?}", waiting.version);
        let mut shown = format!("{version} {status}\n");
        for (name, value) in lines {
            writeln!(shown, "{name}: {value}").unwrap();
        }
        if !received.body.is_empty() {
            let body = std::str::from_utf8(&received.body).unwrap();
            let body = body.replace('\r', "{cr}");
            write!(shown, "\n{body}\n").unwrap();
        }
        if !received.trailers.is_empty() {
            shown.push_str("--\n");
            for (name, value) in &received.trailers {
                writeln!(shown, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        shown.truncate(shown.trim_end().len());
        self.hide(shown)
    }

    /// Puts names where there are ids and cursors, new ones for what has not been seen before.
    fn hide(&mut self, text: String) -> String {
        let mut text = text;
        let mut at = 0;
        while let Some(piece) = text.get(at..at + 36) {
            if uuid::Uuid::try_parse(piece).is_ok() && !self.ids.iter().any(|id| id == piece) {
                self.ids.push(piece.to_owned());
            }
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        for (index, id) in self.ids.iter().enumerate() {
            text = text.replace(id, &numbered("id", index));
        }
        for before in CURSORS {
            let Some((_, rest)) = text.split_once(before) else {
                continue;
            };
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            let cursor = rest[..digits.unwrap_or(rest.len())].to_owned();
            text = text.replace(&format!("{before}{cursor}"), &format!("{before}{{cursor}}"));
            self.cursor = Some(cursor);
        }
        text
    }

    fn tag(&mut self, operation: &str, tag: &str) -> String {
        let known: Vec<_> = self.tags.iter().filter(|(of, _)| of == operation).collect();
        let index = known.iter().position(|(_, known)| known == tag);
        let shown = numbered("tag", index.unwrap_or(known.len()));
        if index.is_none() {
            self.tags.push((operation.to_owned(), tag.to_owned()));
        }
        shown
    }
}

fn length(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(1..) => "{length}".to_owned(),
        _ => value.to_owned(),
    }
}

fn fresh_date(value: &str) -> String {
    let date = httpdate::parse_http_date(value).unwrap();
    let age = SystemTime::now().duration_since(date).unwrap();
    assert!(age < Duration::from_secs(30), "{value} is not now");
    "{now}".to_owned()
}

/// Joins the lines of a body in JSON.
fn join_json(text: &str) -> String {
    let Some((head, body)) = text.split_once("\n\n") else {
        return text.to_owned();
    };
    let json = head.lines().any(|line| {
        let kind = line.strip_prefix("content-type: ").unwrap_or_default();
        kind == "application/json" || kind.ends_with("+json")
    });
    if !json {
        return text.to_owned();
    }
    let body: String = body.lines().map(str::trim_start).collect();
    format!("{head}\n\n{body}")
}

#[test]
fn header_values_of_transcripts_are_visible() {
    // Guards the reader itself: a field line that does not parse must not vanish.
    let fields = parse_fields("a: 1\na: 2\nb: x: y");
    let values: Vec<_> = fields.get_all("a").iter().collect();
    assert_eq!(
        values,
        [
            &HeaderValue::from_static("1"),
            &HeaderValue::from_static("2")
        ]
    );
    assert_eq!(fields["b"], "x: y");
}
