//! A client that sends what it is told to, byte by byte, and reads by RFC 9112.

use super::reply::Reply;
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A server that does not answer is a failure, not a hang.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("an answer in time")
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> Self {
        let stream = in_time(TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time(self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// Sends what it can: a server may have enough before it has all.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        in_time(self.stream.write_all(bytes.as_ref())).await
    }

    /// Will send no more, and still listens.
    pub(crate) async fn half_close(&mut self) {
        in_time(self.stream.shutdown()).await.unwrap();
    }

    /// Whether the server has closed, after all that has been read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && in_time(self.fill()).await == 0
    }

    async fn fill(&mut self) -> usize {
        // A reset is a close that came too early for somebody.
        self.stream.read_buf(&mut self.read).await.unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn reply(&mut self) -> impl Future<Output = Reply> {
        self.reply_to("GET")
    }

    /// The next response, to a request with this method.
    #[track_caller]
    pub(crate) fn reply_to(&mut self, method: &'static str) -> impl Future<Output = Reply> {
        let place = std::panic::Location::caller();
        async move {
            let reply = in_time(self.read_reply(method)).await;
            reply.unwrap_or_else(|why| panic!("{place}: {why}"))
        }
    }

    async fn read_reply(&mut self, method: &str) -> Result<Reply, String> {
        let head = self.until(b"\r\n\r\n").await?;
        let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let fields = parse_fields(fields)?;
        let (version, status) = match line.split_once(' ') {
            Some(("HTTP/1.0", rest)) => ("HTTP/1.0", rest),
            Some(("HTTP/1.1", rest)) => ("HTTP/1.1", rest),
            _ => return Err(format!("no status line: {line}")),
        };
        let status = status.get(..3).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status: {line}"))?;
        let mut reply = Reply {
            version,
            status,
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            chunked: false,
        };
        reply.chunked = reply.values("transfer-encoding") == ["chunked"];
        let length = reply.values("content-length").first().map(|v| v.parse());
        // RFC 9112, section 6.3, in its order.
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        } else if reply.chunked {
            (reply.body, reply.trailers) = self.chunks().await?;
        } else if let Some(length) = length {
            let length: usize = length.map_err(|_| format!("{reply:?}"))?;
            reply.body = self.exactly(length).await?;
        } else {
            while self.fill().await > 0 {}
            reply.body = std::mem::take(&mut self.read);
        }
        Ok(reply)
    }

    async fn chunks(&mut self) -> Result<(Vec<u8>, Vec<(String, String)>), String> {
        let mut body = Vec::new();
        loop {
            let size = self.until(b"\r\n").await?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("no chunk: {size}"))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
        let mut trailers = Vec::new();
        loop {
            match &*self.until(b"\r\n").await? {
                "" => return Ok((body, trailers)),
                line => trailers.extend(parse_fields(line)?),
            }
        }
    }

    /// Kind, flags and stream of the next frame of HTTP/2, from a server that speaks it.
    pub(crate) async fn frame(&mut self) -> (u8, u8, u32) {
        let frame = async {
            let head = self.exactly(9).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.exactly(length as usize).await?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Ok::<_, String>((head[3], head[4], stream))
        };
        in_time(frame).await.unwrap()
    }

    /// What comes before `mark`, which is read too.
    async fn until(&mut self, mark: &[u8]) -> Result<String, String> {
        loop {
            let found = self.read.windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                let text = self.read.drain(..at + mark.len()).collect::<Vec<_>>();
                return String::from_utf8(text[..at].to_vec()).map_err(|e| e.to_string());
            }
            if self.fill().await == 0 {
                let read = String::from_utf8_lossy(&self.read);
                return Err(format!("closed in the midst of a response: {read}"));
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.read.len() < length {
            if self.fill().await == 0 {
                return Err(format!("closed after {} of {length}", self.read.len()));
            }
        }
        Ok(self.read.drain(..length).collect())
    }
}

fn parse_fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once(':').ok_or(format!("no field: {line}"))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    lines.map(field).collect()
}

/// One request on a connection of its own, in HTTP/1.1.
pub(crate) async fn ask(to: SocketAddr, method: &'static str, target: &str, fields: &str) -> Reply {
    let mut connection = Connection::open(to).await;
    let request = format!("{method} {target} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
    connection.send(request).await;
    connection.reply_to(method).await
}

/// Submits, and gives the monitor's path.
pub(crate) async fn submit(to: SocketAddr, target: &str, body: &str) -> String {
    let mut connection = Connection::open(to).await;
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n");
    connection.send(head + body).await;
    let reply = connection.reply().await;
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.field("location").to_owned()
}

/// Submits, and waits until it has ended.
pub(crate) async fn ended(to: SocketAddr, target: &str, body: &str) -> String {
    let monitor = submit(to, target, body).await;
    let status = ask(
        to,
        "GET",
        &format!("{monitor}/status"),
        "prefer: wait=10\r\n",
    )
    .await;
    assert_ne!(
        status.json()["ended"],
        serde_json::Value::Null,
        "{status:?}"
    );
    monitor
}
