//! HTTP/1.1 by hand over a socket: what servers really say, and bodies that come late.

// Each test crate uses what it needs.
#![allow(dead_code)]

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long nothing that is awaited here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the body stays behind its head, when it is late.
const LATE: Duration = Duration::from_millis(100);

/// A request on a connection of its own.
#[derive(Clone)]
pub(crate) struct Ask {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            line: format!("{method} {target} HTTP/1.1\r\n"),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut ask = Self::new("POST", target);
        ask.body = body.into();
        let length = ask.body.len().to_string();
        ask.field("Content-Length", &length)
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends head and body in one go.
    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        self.try_send(to).await.unwrap()
    }

    /// As [`send`](Self::send), to a server that may die meanwhile.
    pub(crate) async fn try_send(&self, to: SocketAddr) -> io::Result<Answer> {
        let mut stream = self.begin(to).await?;
        stream.write_all(&self.body).await?;
        Answer::read(stream).await
    }

    /// Sends the body a while after the head, and makes sure that nothing is answered in between.
    pub(crate) async fn send_late(&self, to: SocketAddr) -> Answer {
        assert!(!self.body.is_empty());
        let mut stream = self.begin(to).await.unwrap();
        let early = timeout(LATE, stream.peek(&mut [0])).await;
        assert!(early.is_err(), "answered before the body: {early:?}");
        stream.write_all(&self.body).await.unwrap();
        Answer::read(stream).await.unwrap()
    }

    /// Sends the head.
    pub(crate) async fn begin(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let mut head = format!("{}Host: {to}\r\nConnection: close\r\n", self.line);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Fails when the connection ends before the answer does.
    async fn read(mut stream: TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        read.expect("an answer in time")?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let answer = Self {
            status: status.unwrap().parse().unwrap(),
            fields: lines.map(field).collect(),
            body: bytes[end + 4..].to_vec(),
        };
        if answer.status != 204 && answer.status != 304 {
            let length = answer.field("content-length").map(str::parse);
            let Some(Ok(length)) = length else {
                panic!("no length: {answer:?}");
            };
            if answer.body.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            assert_eq!(answer.body.len(), length, "{answer:?}");
        }
        Ok(answer)
    }

    /// The only field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(other, _)| other == name);
        let (first, second) = (found.next(), found.next());
        assert_eq!(second, None, "{name} twice");
        first.map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The monitor's target, of a 202 as the default dialect has it.
    pub(crate) fn monitor(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        assert_eq!(self.field("retry-after"), Some("1"));
        assert_eq!(self.field("cache-control"), Some("no-store"));
        assert_eq!(self.field("operation-outcome"), None);
        let monitor = self.field("location").unwrap();
        assert_eq!(self.json()["links"]["monitor"], monitor);
        monitor.to_owned()
    }

    /// The type of the problem that it tells.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        self.json()["type"].as_str().unwrap().to_owned()
    }
}
