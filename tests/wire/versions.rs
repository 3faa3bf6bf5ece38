//! The main road, in every version.

use super::{
    http1::{Connection, ask, ended, submit},
    http2::Client,
    reply::Reply,
    servers::{Server, servers},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use tower::ServiceExt;

const UNKNOWN: &str = "/operations/00000000-0000-4000-8000-000000000000";

/// A 202, to the letter: as it is answered to the initiating request and to a poll.
#[track_caller]
fn is_pending(reply: &Reply, server: &Server, applied: &str) -> String {
    let monitor = reply.field("location").to_owned();
    let id = monitor.strip_prefix("/operations/").unwrap();
    let applied = match applied {
        "" => String::new(),
        applied => format!("preference-applied: {applied}\n"),
    };
    let fields = format!(
        "202\ncache-control: no-store\ncontent-type: application/json\nlocation: {monitor}\n{applied}retry-after: 1\n\
         vary: prefer"
    );
    assert_eq!(reply.shown(true), fields, "{}", server.name);
    let document = reply.json();
    let status = document["status"].as_str().unwrap();
    assert!(["accepted", "running"].contains(&status), "{document}");
    assert_eq!(document["id"], id);
    assert_eq!(document["links"]["monitor"], monitor);
    monitor
}

/// A document, to the letter.
#[track_caller]
fn is_document(reply: &Reply, pending: bool) {
    let tag = reply.field("etag").to_owned();
    let retry_after = if pending { "retry-after: 1\n" } else { "" };
    assert_eq!(
        reply.shown(true),
        format!(
            "200\ncache-control: no-store\ncontent-type: application/json\netag: {tag}\n{retry_after}vary: prefer"
        )
    );
}

const REPLAY: &str =
    "200\ncache-control: no-store\ncontent-type: text/plain\noperation-outcome: succeeded";

#[tokio::test]
async fn http_1_0_clients_are_answered_with_lengths_and_closed() {
    for server in servers().await {
        let mut client = Connection::open(server.at).await;
        let target = server.reports("echo");
        client
            .send(format!(
                "POST {target} HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi"
            ))
            .await;
        let reply = client.reply().await;
        let monitor = is_pending(&reply, &server, "");
        assert_eq!(reply.version, "HTTP/1.0");
        assert!(client.is_closed().await, "{}", server.name);

        let mut client = Connection::open(server.at).await;
        client
            .send(format!("GET {monitor} HTTP/1.0\r\nprefer: wait=10\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        let applied = "operation-outcome: succeeded\npreference-applied: wait=10";
        let wanted = REPLAY.replace("operation-outcome: succeeded", applied);
        assert_eq!(reply.shown(true), wanted, "{}", server.name);
        assert_eq!(reply.text(), "hi");
        assert!(client.is_closed().await, "{}", server.name);

        // Asked to, the connection goes on.
        let mut client = Connection::open(server.at).await;
        for suffix in ["", "/result", "/status"] {
            client
                .send(format!(
                    "GET {monitor}{suffix} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
                ))
                .await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.field("connection"), "keep-alive");
        }
    }
}

#[tokio::test]
async fn one_connection_takes_an_operation_from_its_start_to_its_end() {
    for server in servers().await {
        let mut client = Connection::open(server.at).await;
        let target = server.reports("slow");
        client
            .send(format!(
                "POST {target}?x=1 HTTP/1.1\r\nhost: h\r\nprefer: respond-async\r\n\r\n"
            ))
            .await;
        let accepted = client.reply().await;
        let monitor = is_pending(&accepted, &server, "respond-async");
        assert_eq!(accepted.version, "HTTP/1.1");
        assert_eq!(
            accepted.json()["request"],
            serde_json::json!({"method": "POST", "target": format!("{target}?x=1")}),
            "as the client sent it"
        );
        server.until(|usage| usage.running == 1).await;

        let get = |suffix: &str| format!("GET {monitor}{suffix} HTTP/1.1\r\nhost: h\r\n\r\n");
        client.send(get("")).await;
        assert_eq!(is_pending(&client.reply().await, &server, ""), monitor);
        client.send(get("/status")).await;
        is_document(&client.reply().await, true);
        client.send(get("/result")).await;
        let reply = client.reply().await;
        reply.is_problem(404, "result-not-ready");
        assert_eq!(reply.field("retry-after"), "1");

        server.gate.notify_one();
        client
            .send(format!(
                "GET {monitor} HTTP/1.1\r\nhost: h\r\nprefer: wait=10\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (200, "at last"));
        assert_eq!(reply.field("operation-outcome"), "succeeded");
        client.send(get("/status")).await;
        let reply = client.reply().await;
        is_document(&reply, false);
        assert_eq!(reply.json()["status"], "succeeded");

        client
            .send(format!(
                "DELETE {monitor}/result HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 204);
        assert!(client.is_closed().await);
        ask(server.at, "GET", &monitor, "")
            .await
            .is_problem(410, "expired");
    }
}

/// Java's client and `curl --http2` send such requests. They once passed the layer.
#[tokio::test]
async fn an_offer_of_http_2_is_declined_and_the_request_is_deferred() {
    for server in servers().await {
        let mut client = Connection::open(server.at).await;
        let offer =
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
        for count in 1..3 {
            let target = server.reports("slow");
            client
                .send(format!(
                    "POST {target} HTTP/1.1\r\nhost: h\r\n{offer}content-length: 4\r\n\r\nbody"
                ))
                .await;
            is_pending(&client.reply().await, &server, "");
            server.until(|usage| usage.running == count).await;
        }
    }
}

#[tokio::test]
async fn a_close_is_honoured_after_every_kind_of_answer() {
    for server in servers().await {
        let target = server.reports("echo");
        let monitor = submit(server.at, &target, "hi").await;
        for (method, path, wanted) in [
            ("POST", &*target, 202),
            ("GET", &monitor, 200),
            ("HEAD", &monitor, 200),
            ("PATCH", &monitor, 405),
            ("OPTIONS", &monitor, 204),
            ("GET", UNKNOWN, 404),
        ] {
            if path == monitor {
                let wait = "prefer: wait=10\r\n";
                ask(server.at, "GET", &format!("{monitor}/status"), wait).await;
            }
            let mut client = Connection::open(server.at).await;
            client
                .send(format!(
                    "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
                ))
                .await;
            let reply = client.reply_to(method).await;
            assert_eq!(reply.status, wanted, "{} {method} {path}", server.name);
            assert!(client.is_closed().await, "{} {method} {path}", server.name);
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    for server in servers().await {
        let (echo, slow) = (server.reports("echo"), server.reports("slow"));
        let known = submit(server.at, &slow, "").await;
        let mut client = Connection::open(server.at).await;
        // In one write: two submissions with bodies, chunked and not, between polls, of which one waits.
        let post = format!("POST {echo} HTTP/1.1\r\nhost: h\r\n");
        client
            .send(format!(
                "GET {UNKNOWN} HTTP/1.1\r\nhost: h\r\n\r\n\
                 {post}content-length: 3\r\n\r\none\
                 OPTIONS {known} HTTP/1.1\r\nhost: h\r\n\r\n\
                 GET {known}/status HTTP/1.1\r\nhost: h\r\nif-none-match: *\r\nprefer: wait=1\r\n\r\n\
                 {post}transfer-encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n\
                 DELETE {known} HTTP/1.1\r\nhost: h\r\n\r\n\
                 GET {known} HTTP/1.1\r\nhost: h\r\n\r\n"
            ))
            .await;
        client.reply().await.is_problem(404, "unknown");
        let one = is_pending(&client.reply().await, &server, "");
        let options = client.reply().await;
        let allowed = "204\nallow: GET, HEAD, DELETE, OPTIONS\ncache-control: no-store";
        assert_eq!(options.shown(false), allowed, "{}", server.name);
        assert_eq!(client.reply().await.status, 304);
        let two = is_pending(&client.reply().await, &server, "");
        let cancelled = client.reply().await;
        assert_eq!(
            cancelled.shown(true),
            "200\ncache-control: no-store\ncontent-type: application/json"
        );
        assert_eq!(cancelled.json()["status"], "cancelled");
        let gone = client.reply().await;
        gone.is_problem(410, "cancelled");
        assert_eq!(gone.field("operation-outcome"), "cancelled");

        for (monitor, body) in [(one, "one"), (two, "two")] {
            let reply = ask(server.at, "GET", &monitor, "prefer: wait=10\r\n").await;
            assert_eq!(reply.text(), body, "{}", server.name);
        }
    }
}

#[tokio::test]
async fn http_2_clients_see_the_same_without_connection_fields() {
    for server in servers().await {
        let client = Client::<Full<Bytes>>::open(server.at).await;
        let target = server.reports("slow");
        let accepted = client
            .ask("POST", &target, &[("prefer", "respond-async")])
            .await;
        let monitor = is_pending(&accepted, &server, "respond-async");
        assert_eq!(accepted.json()["request"]["target"], target);
        server.until(|usage| usage.running == 1).await;
        let reply = client.ask("GET", &monitor, &[]).await;
        assert_eq!(is_pending(&reply, &server, ""), monitor);
        let status = format!("{monitor}/status");
        let reply = client.ask("GET", &status, &[]).await;
        is_document(&reply, true);
        let tag = reply.field("etag").to_owned();
        let reply = client.ask("GET", &status, &[("if-none-match", &tag)]).await;
        assert_eq!(
            reply.shown(false),
            format!("304\ncache-control: no-store\netag: {tag}\nretry-after: 1\nvary: prefer")
        );

        // Many streams wait for one end.
        let wait = [("prefer", "wait=10")];
        let waiting = (0..20).map(|_| client.ask("GET", &monitor, &wait));
        let waiting = futures_join(waiting);
        let ended = async {
            server.until(|usage| usage.readers == 20).await;
            server.gate.notify_one();
        };
        let (replies, ()) = tokio::join!(waiting, ended);
        for reply in replies {
            let wanted = "200\ncache-control: no-store\noperation-outcome: succeeded\npreference-applied: wait=10";
            assert_eq!(reply.shown(true), wanted, "{}", server.name);
            assert_eq!(reply.text(), "at last");
        }
        for (method, path, status) in [
            ("DELETE", &*monitor, 200),
            ("HEAD", &monitor, 200),
            ("PUT", &monitor, 405),
            ("GET", UNKNOWN, 404),
            ("DELETE", &format!("{monitor}/result"), 204),
            ("GET", &monitor, 410),
        ] {
            let reply = client.ask(method, path, &[]).await;
            assert_eq!(reply.status, status, "{} {method} {path}", server.name);
            assert!(reply.values("connection").is_empty(), "{reply:?}");
        }
    }
}

async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_body_that_comes_after_its_head_is_waited_for() {
    for server in servers().await {
        let mut client = Connection::open(server.at).await;
        let target = server.reports("echo");
        client
            .send(format!(
                "POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n"
            ))
            .await;
        server.until(|usage| usage.uploading == 1).await;
        client.send("la").await;
        server.until(|usage| usage.uploading_bytes == 2).await;
        client.send("te").await;
        let monitor = is_pending(&client.reply().await, &server, "");
        let reply = ask(server.at, "GET", &monitor, "prefer: wait=10\r\n").await;
        assert_eq!(reply.text(), "late", "{}", server.name);
    }
}

#[tokio::test]
async fn head_gets_what_get_would() {
    for server in servers().await {
        let done = ended(server.at, &server.reports("echo"), "0123456789").await;
        let trailers = ended(server.at, &server.reports("trailers"), "").await;
        let empty = ended(server.at, &server.reports("echo"), "").await;
        let pending = submit(server.at, &server.reports("slow"), "").await;
        server.until(|usage| usage.running == 1).await;
        let client = Client::<Full<Bytes>>::open(server.at).await;
        for monitor in [&done, &empty, &pending, UNKNOWN] {
            let get = client.ask("GET", monitor, &[]).await;
            let head = client.ask("HEAD", monitor, &[]).await;
            assert_eq!(head.status, get.status, "{}", server.name);
            let (told, length) = (head.values("content-length"), get.values("content-length"));
            assert_eq!(told, length, "{} {monitor}", server.name);
        }
        for monitor in [&done, &empty, &trailers, &pending, UNKNOWN] {
            for suffix in ["", "/status", "/result"] {
                let path = format!("{monitor}{suffix}");
                let get = ask(server.at, "GET", &path, "").await;
                let head = ask(server.at, "HEAD", &path, "").await;
                assert!(head.body.is_empty());
                let sorted = |reply: &Reply| {
                    let mut fields = reply.fields.clone();
                    fields.retain(|(name, _)| name != "date");
                    fields.sort();
                    (reply.status, fields)
                };
                let (mut head, mut get) = (sorted(&head), sorted(&get));
                // How a server would frame a body that it does not send is not told.
                let framing = |name: &str| ["transfer-encoding", "trailer"].contains(&name);
                head.1.retain(|(name, _)| !framing(name));
                get.1.retain(|(name, _)| !framing(name));
                assert_eq!(head, get, "{} {path}", server.name);
            }
        }
    }
}

#[tokio::test]
async fn tunnels_and_the_whole_server_belong_to_the_inner_service() {
    let servers = servers().await;
    let server = &servers[0];
    for line in ["OPTIONS *", "CONNECT example.com:443"] {
        let mut client = Connection::open(server.at).await;
        client
            .send(format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        assert_eq!(client.reply().await.text(), "no such route", "{line}");
    }
    // HTTP/2 can tunnel to a path (RFC 8441, section 4), and the mount is no exception.
    let inner = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"inner"))))
    });
    let request = Request::connect(UNKNOWN).body(Full::default()).unwrap();
    let response = server.operations.wrap(inner).oneshot(request).await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "inner");
}
