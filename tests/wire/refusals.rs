//! Refusals are heard, and leave nothing behind.

use super::{
    http1::{Connection, ask, in_time, submit},
    http2::Client,
    servers::{Server, limits, servers, servers_with},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

const MIB: usize = 1 << 20;
const EIGHT: usize = 8 * MIB;

fn announced(server: &Server, length: usize, fields: &str) -> String {
    let target = server.reports("echo");
    format!("POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n{fields}\r\n")
}

fn chunked(server: &Server, fields: &str) -> String {
    let target = server.reports("echo");
    format!("POST {target} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n{fields}\r\n")
}

/// `length` bytes in chunks of 64 KiB, and the last chunk.
fn chunks(length: usize) -> Vec<u8> {
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65_536], b"\r\n"].concat();
    [chunk.repeat(length / 65_536), b"0\r\n\r\n".to_vec()].concat()
}

/// Writes everything first, and then reads: a client that is not heard loses its connection in its write, or its answer
/// to a reset.
async fn written_then_read(
    server: &Server,
    head: &str,
    body: &[u8],
) -> (Connection, super::reply::Reply) {
    let mut client = Connection::open(server.at).await;
    client.send(head).await;
    client.send(body).await;
    let reply = client.reply().await;
    (client, reply)
}

/// The connection goes on.
async fn goes_on(server: &Server, client: &mut Connection) {
    client
        .send("OPTIONS /operations HTTP/1.1\r\nhost: h\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 204, "{}", server.name);
}

#[tokio::test]
async fn an_upload_over_the_bound_hears_its_413_twenty_times_of_twenty() {
    let (plain, in_chunks) = (vec![b'x'; EIGHT], chunks(EIGHT));
    for server in servers().await {
        for _ in 0..20 {
            let head = announced(&server, EIGHT, "");
            let (mut client, reply) = written_then_read(&server, &head, &plain).await;
            reply.is_problem(413, "too-large");
            assert_eq!(
                reply.shown(true),
                "413\ncache-control: no-store\ncontent-type: application/problem+json"
            );
            goes_on(&server, &mut client).await;

            let head = chunked(&server, "");
            let (mut client, reply) = written_then_read(&server, &head, &in_chunks).await;
            reply.is_problem(413, "too-large");
            goes_on(&server, &mut client).await;
        }
        server.is_empty().await;
    }
}

#[tokio::test]
async fn a_refusal_waits_for_an_old_client_to_finish() {
    let plain = vec![b'x'; EIGHT];
    for server in servers().await {
        let target = server.reports("echo");
        let head = format!("POST {target} HTTP/1.0\r\ncontent-length: {EIGHT}\r\n\r\n");
        let (mut client, reply) = written_then_read(&server, &head, &plain).await;
        reply.is_problem(413, "too-large");
        assert!(client.is_closed().await);
        server.is_empty().await;
    }
}

#[tokio::test]
async fn a_body_of_just_the_bound_is_accepted() {
    for server in servers().await {
        let head = announced(&server, MIB, "");
        let (_, reply) = written_then_read(&server, &head, &vec![b'x'; MIB]).await;
        assert_eq!(reply.status, 202, "{}", server.name);
        let (_, reply) = written_then_read(&server, &chunked(&server, ""), &chunks(MIB)).await;
        assert_eq!(reply.status, 202, "{}", server.name);
        let head = announced(&server, MIB + 1, "");
        let (_, reply) = written_then_read(&server, &head, &vec![b'x'; MIB + 1]).await;
        reply.is_problem(413, "too-large");
    }
}

#[tokio::test]
async fn who_would_send_more_than_is_thrown_away_is_told_and_cut_off() {
    for server in servers().await {
        let mut client = Connection::open(server.at).await;
        client.send(announced(&server, 64 * MIB, "")).await;
        let piece = vec![b'x'; MIB];
        let mut sent = 0;
        // The socket's own buffers take some more.
        while sent < 64 && client.try_send(&piece).await.is_ok() {
            sent += 1;
        }
        assert!((16..64).contains(&sent), "{} took {sent} MiB", server.name);
        server.is_empty().await;
    }
}

#[tokio::test]
async fn without_a_place_an_upload_hears_its_503() {
    let mut few = limits();
    (few.running, few.accepted) = (1, 0);
    few.request_body = 16 << 20;
    let (plain, in_chunks) = (vec![b'x'; EIGHT], chunks(EIGHT));
    for server in servers_with(few).await {
        let slow = submit(server.at, &server.reports("slow"), "").await;
        for _ in 0..20 {
            for (head, body) in [
                (announced(&server, EIGHT, ""), &plain),
                (chunked(&server, ""), &in_chunks),
            ] {
                let (mut client, reply) = written_then_read(&server, &head, body).await;
                reply.is_problem(503, "full");
                assert_eq!(
                    reply.shown(true),
                    "503\ncache-control: no-store\ncontent-type: application/problem+json\nretry-after: 1"
                );
                goes_on(&server, &mut client).await;
            }
        }
        assert_eq!(server.operations.usage().stored, 1);
        server.gate.notify_one();
        ask(server.at, "GET", &slow, "prefer: wait=10\r\n").await;
        // The place is free again.
        let (_, reply) = written_then_read(&server, &announced(&server, 2, ""), b"hi").await;
        assert_eq!(reply.status, 202, "{}", server.name);
    }
}

#[tokio::test]
async fn without_room_for_uploads_one_hears_its_503_in_its_midst() {
    let mut few = limits();
    few.request_body = 16 << 20;
    few.uploading_bytes = MIB as u64;
    let plain = vec![b'x'; EIGHT];
    for server in servers_with(few).await {
        let head = announced(&server, EIGHT, "");
        let (mut client, reply) = written_then_read(&server, &head, &plain).await;
        reply.is_problem(503, "full");
        goes_on(&server, &mut client).await;
        server.is_empty().await;
    }
}

#[tokio::test]
async fn a_draining_server_is_heard_by_uploads_that_begin_and_that_have_begun() {
    let plain = vec![b'x'; MIB];
    for server in servers().await {
        let mut begun = Connection::open(server.at).await;
        begun.send(announced(&server, MIB, "")).await;
        begun.send(&plain[..MIB / 2]).await;
        server.until(|usage| usage.uploading_bytes > 0).await;
        let operations = server.operations.clone();
        let drain = tokio::spawn(async move { operations.drain(Duration::from_secs(5)).await });
        // Refused from its first byte on.
        let refused = loop {
            let (_, reply) = written_then_read(&server, &announced(&server, MIB, ""), &plain).await;
            if reply.status != 202 {
                break reply;
            }
        };
        refused.is_problem(503, "draining");
        assert_eq!(refused.field("retry-after"), "1");
        begun.send(&plain[MIB / 2..]).await;
        begun.reply().await.is_problem(503, "draining");
        goes_on(&server, &mut begun).await;
        in_time(drain).await.unwrap();
        server
            .until(|usage| (usage.uploading, usage.running, usage.accepted) == (0, 0, 0))
            .await;
    }
}

#[tokio::test]
async fn who_waits_to_be_told_to_continue_is_refused_unread() {
    let mut few = limits();
    (few.running, few.accepted) = (1, 0);
    for server in servers_with(few).await {
        let expect = "expect: 100-continue\r\n";
        for (busy, status, problem) in [(false, 413, "too-large"), (true, 503, "full")] {
            if busy {
                submit(server.at, &server.reports("slow"), "").await;
            }
            let length = if busy { 2 } else { EIGHT };
            let mut client = Connection::open(server.at).await;
            client.send(announced(&server, length, expect)).await;
            // The first thing to come is the answer: there was no 100 before it.
            let reply = client.reply().await;
            reply.is_problem(status, problem);
            assert_eq!(reply.field("connection"), "close");
            assert!(client.is_closed().await, "{}", server.name);
        }
        server.gate.notify_one();
        server
            .until(|usage| (usage.running, usage.accepted) == (0, 0))
            .await;

        // Who is not refused is told.
        let mut client = Connection::open(server.at).await;
        client.send(announced(&server, 2, expect)).await;
        assert_eq!(client.reply().await.status, 100, "{}", server.name);
        client.send("hi").await;
        assert_eq!(client.reply().await.status, 202, "{}", server.name);
    }
}

#[tokio::test]
async fn who_was_told_to_continue_is_heard_like_anybody() {
    let in_chunks = chunks(EIGHT);
    for server in servers().await {
        for _ in 0..5 {
            let mut client = Connection::open(server.at).await;
            let head = chunked(&server, "expect: 100-continue\r\n");
            client.send(head).await;
            assert_eq!(client.reply().await.status, 100, "{}", server.name);
            client.send(&in_chunks).await;
            client.reply().await.is_problem(413, "too-large");
            goes_on(&server, &mut client).await;
        }
        server.is_empty().await;
    }
}

#[tokio::test]
async fn an_upload_that_ends_wrongly_is_a_400_and_leaves_nothing() {
    for server in servers().await {
        // Cut off: the client has said all it will, and listens.
        let mut client = Connection::open(server.at).await;
        client.send(announced(&server, 10, "")).await;
        client.send("short").await;
        client.half_close().await;
        let reply = client.reply().await;
        reply.is_problem(400, "upload-failed");
        assert_eq!(reply.field("connection"), "close", "{}", server.name);
        assert!(client.is_closed().await);
        server.is_empty().await;

        let mut client = Connection::open(server.at).await;
        client.send(chunked(&server, "")).await;
        client.send("5\r\nshort\r\n").await;
        client.half_close().await;
        client.reply().await.is_problem(400, "upload-failed");
        assert!(client.is_closed().await);
        server.is_empty().await;

        // Framed wrongly: no size, a chunk longer than it says, a size that no machine holds.
        for broken in [
            "5\r\nshort\r\nnot a size\r\n",
            "2\r\nshort\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nx",
        ] {
            let mut client = Connection::open(server.at).await;
            client.send(chunked(&server, "")).await;
            server.until(|usage| usage.uploading == 1).await;
            client.send(broken).await;
            let reply = client.reply().await;
            reply.is_problem(400, "upload-failed");
            assert_eq!(
                reply.field("connection"),
                "close",
                "{} {broken}",
                server.name
            );
            assert!(client.is_closed().await);
            server.is_empty().await;
        }
    }
}

#[tokio::test]
async fn an_upload_that_takes_too_long_is_a_408_and_leaves_nothing() {
    let mut brief = limits();
    brief.upload_time = Duration::from_millis(500);
    for server in servers_with(brief).await {
        // In time for what is thrown away: the connection goes on.
        let mut client = Connection::open(server.at).await;
        client.send(announced(&server, 10, "")).await;
        client.send("first").await;
        server.until(|usage| usage.uploading == 1).await;
        server.is_empty().await;
        client.send("after").await;
        let reply = client.reply().await;
        reply.is_problem(408, "upload-timeout");
        assert!(reply.values("retry-after").is_empty());
        goes_on(&server, &mut client).await;
        server.is_empty().await;
    }
}

#[tokio::test]
async fn an_upload_that_never_ends_is_given_up() {
    let mut brief = limits();
    brief.upload_time = Duration::from_millis(50);
    let mut tasks = tokio::task::JoinSet::new();
    for server in servers_with(brief).await {
        tasks.spawn(async move {
            let mut client = Connection::open(server.at).await;
            client.send(announced(&server, 10, "")).await;
            let reply = client.reply().await;
            reply.is_problem(408, "upload-timeout");
            assert_eq!(reply.field("connection"), "close", "{}", server.name);
            assert!(client.is_closed().await);

            let client = Client::open(server.at).await;
            let endless = Endless {
                left: 16_384,
                after: After::Waits,
            };
            let target = server.reports("echo");
            let reply = client.send("POST", &target, &[], endless).await;
            reply.is_problem(408, "upload-timeout");
            assert_eq!(
                reply.shown(true),
                "408\ncache-control: no-store\ncontent-type: application/problem+json"
            );
            server.is_empty().await;
        });
    }
    tasks.join_all().await;
}

/// An upload of which a client has no end in sight.
struct Endless {
    left: usize,
    after: After,
}

#[derive(Clone, Copy, PartialEq)]
enum After {
    Ends,
    Waits,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 16_384] = [b'x'; 16_384];
        if self.left == 0 {
            return match self.after {
                After::Ends => Poll::Ready(None),
                After::Waits => Poll::Pending,
            };
        }
        self.left -= PIECE.len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test]
async fn on_http_2_the_stream_alone_is_refused() {
    for server in servers().await {
        let client = Client::<Endless>::open(server.at).await;
        let target = server.reports("echo");
        let send = |left, after, fields: &'static [(&str, &str)]| {
            client.send("POST", &target, fields, Endless { left, after })
        };
        let fields = "cache-control: no-store\ncontent-type: application/problem+json";
        for _ in 0..20 {
            let reply = send(EIGHT, After::Ends, &[]).await;
            reply.is_problem(413, "too-large");
            assert_eq!(reply.shown(true), format!("413\n{fields}"));
        }
        // Told by its head, before a byte is sent; the client is not made to send the rest.
        let reply = send(0, After::Waits, &[("content-length", "8388608")]).await;
        reply.is_problem(413, "too-large");
        // The connection and its other streams are well.
        let reply = send(65_536, After::Ends, &[]).await;
        assert_eq!(reply.status, 202, "{}", server.name);
        server
            .until(|usage| usage.stored == 1 && usage.running == 0 && usage.uploading == 0)
            .await;
        server.operations.drain(Duration::from_secs(5)).await;
        let reply = send(EIGHT, After::Ends, &[]).await;
        reply.is_problem(503, "draining");
        assert_eq!(reply.shown(true), format!("503\n{fields}\nretry-after: 1"));
        let ask = Client::<Full<Bytes>>::open(server.at).await;
        assert_eq!(ask.ask("OPTIONS", "/operations", &[]).await.status, 204);
    }
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field, literal and not indexed (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| [u8::try_from(text.len()).unwrap()];
    [
        &[0],
        &length(name)[..],
        name.as_bytes(),
        &length(value),
        value.as_bytes(),
    ]
    .concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END: u8 = 1;
const END_HEADERS: u8 = 4;

/// Begins an upload on HTTP/2, on the first stream of a new connection.
async fn begin_upload(server: &Server, length: Option<&str>, data: &[u8]) -> Connection {
    let mut client = Connection::open(server.at).await;
    let path = server.reports("echo");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &*path),
        (":authority", "h"),
    ];
    let length = length.map(|length| ("content-length", length));
    let fields = fields.into_iter().chain(length);
    let fields: Vec<u8> = fields.flat_map(|(n, v)| literal(n, v)).collect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(SETTINGS, 0, 0, &[])).await;
    client.send(frame(HEADERS, END_HEADERS, 1, &fields)).await;
    client.send(frame(DATA, 0, 1, data)).await;
    client
}

#[tokio::test]
async fn on_http_2_no_reset_comes_between_an_upload_and_its_refusal() {
    for server in servers().await {
        let mut client = begin_upload(&server, Some("8388608"), &[b'x'; 16_384]).await;
        let mut seen = Vec::new();
        loop {
            let (kind, flags, stream) = client.frame().await;
            seen.push((kind, stream));
            match (kind, flags & END) {
                // The whole answer is there: what follows it at once comes before this comes back.
                (DATA, END) => client.send(frame(PING, 0, 0, &[0; 8])).await,
                (PING, END) => break,
                _ => {}
            }
        }
        assert!(seen.contains(&(HEADERS, 1)), "{}: {seen:?}", server.name);
        assert!(!seen.contains(&(RESET, 1)), "{}: {seen:?}", server.name);
    }
}

#[tokio::test]
async fn on_http_2_an_upload_that_is_given_up_leaves_nothing() {
    const NO_ERROR: [u8; 4] = [0; 4];
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    for server in servers().await {
        for (length, reason) in [(Some("10"), NO_ERROR), (None, NO_ERROR), (None, CANCEL)] {
            let mut client = begin_upload(&server, length, b"short").await;
            server.until(|usage| usage.uploading_bytes > 0).await;
            client.send(frame(RESET, 0, 1, &reason)).await;
            server.until(|usage| usage.uploading == 0).await;
            server.is_empty().await;
        }
    }
}
