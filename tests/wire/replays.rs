//! Section 6 of the page.

use super::{
    http1::{Connection, ask, ended, in_time},
    http2::Client,
    servers::servers,
};
use bytes::Bytes;
use http_body_util::Full;

#[tokio::test]
async fn a_replay_follows_its_table() {
    for server in servers().await {
        let target = server.reports("table");
        let monitor = ended(server.at, &format!("{target}?x=1"), "").await;
        let base = server.prefix;
        let wanted = format!(
            "200
cache-control: no-store
content-encoding: x-none
content-location: {target}?y=2
etag: \"theirs\"
link: <{base}/style.css>; rel=preload
link: <https://example.com/>; rel=next
location: {base}/reports/7
operation-outcome: succeeded
set-cookie: b=1; Path=/
set-cookie: a=2
set-cookie: b=3
vary: accept"
        );
        let client = Client::<Full<Bytes>>::open(server.at).await;
        for suffix in ["", "/result"] {
            let path = format!("{monitor}{suffix}");
            let replies = [
                ask(server.at, "GET", &path, "").await,
                ask(
                    server.at,
                    "GET",
                    &path,
                    "range: bytes=0-1\r\nif-none-match: \"theirs\"\r\n",
                )
                .await,
                client.ask("GET", &path, &[]).await,
            ];
            for reply in replies {
                assert_eq!(
                    reply.shown(true),
                    wanted,
                    "{} {}",
                    server.name,
                    reply.version
                );
                assert_eq!(reply.text(), "none of this");
            }
        }
        // Nothing of the first connection is told to a later one.
        let mut client = Connection::open(server.at).await;
        for _ in 0..2 {
            client
                .send(format!("GET {monitor} HTTP/1.1\r\nhost: h\r\n\r\n"))
                .await;
            assert_eq!(client.reply().await.shown(true), wanted);
        }
    }
}

#[tokio::test]
async fn a_replay_is_the_same_a_hundred_times_and_at_once() {
    for server in servers().await {
        let body = "0123456789".repeat(2_000);
        let monitor = ended(server.at, &server.reports("echo"), &body).await;
        let mut client = Connection::open(server.at).await;
        let mut first = None;
        for _ in 0..100 {
            client
                .send(format!("GET {monitor} HTTP/1.1\r\nhost: h\r\n\r\n"))
                .await;
            let reply = client.reply().await;
            let shown = (reply.shown(true), reply.body);
            assert_eq!(shown.1, body.as_bytes());
            assert_eq!(*first.get_or_insert_with(|| shown.clone()), shown);
        }
        let first = first.unwrap();
        let (at, multiplexed) = (server.at, Client::<Full<Bytes>>::open(server.at).await);
        let multiplexed = std::sync::Arc::new(multiplexed);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let (monitor, multiplexed) = (monitor.clone(), multiplexed.clone());
            tasks.spawn(async move {
                let reply = match n % 2 {
                    0 => ask(at, "GET", &monitor, "").await,
                    _ => multiplexed.ask("GET", &monitor, &[]).await,
                };
                (reply.shown(true), reply.body)
            });
        }
        for reply in in_time(tasks.join_all()).await {
            assert_eq!(reply, first, "{}", server.name);
        }
    }
}

#[tokio::test]
async fn trailers_come_where_they_can() {
    for server in servers().await {
        let monitor = ended(server.at, &server.reports("trailers"), "").await;
        let wanted =
            "200\ncache-control: no-store\noperation-outcome: succeeded\ntrailer: x-sum, x-more";
        let told = [("x-sum", "9"), ("x-more", "a"), ("x-more", "b")];
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));

        let asked = ask(server.at, "GET", &monitor, "te: trailers\r\n").await;
        let chunked = wanted.replace(
            "trailer:",
            "trailer: x-sum, x-more\ntransfer-encoding: chunked",
        );
        let chunked = chunked.strip_suffix(" x-sum, x-more").unwrap();
        assert_eq!(asked.shown(false), chunked, "{}", server.name);
        assert_eq!(
            (asked.text(), &*asked.trailers),
            ("with trailers", &told[..])
        );

        let unasked = ask(server.at, "GET", &monitor, "").await;
        assert_eq!(unasked.shown(false), chunked, "{}", server.name);
        assert_eq!(
            (unasked.text(), &*unasked.trailers),
            ("with trailers", &[][..])
        );

        // HTTP/1.0 has no chunks: the end of the connection is the end of the body.
        let mut client = Connection::open(server.at).await;
        client
            .send(format!("GET {monitor} HTTP/1.0\r\nte: trailers\r\n\r\n"))
            .await;
        let old = client.reply().await;
        // No trailers, and so nothing that announces them.
        let untold = wanted.strip_suffix("\ntrailer: x-sum, x-more").unwrap();
        assert_eq!(old.shown(false), untold, "{}", server.name);
        assert_eq!((old.text(), old.chunked), ("with trailers", false));

        let client = Client::<Full<Bytes>>::open(server.at).await;
        let new = client.ask("GET", &monitor, &[]).await;
        assert_eq!(new.shown(true), wanted, "{}", server.name);
        assert_eq!((new.text(), &*new.trailers), ("with trailers", &told[..]));
    }
}

#[tokio::test]
async fn results_without_a_body_have_none_and_parts_stay_parts() {
    for server in servers().await {
        // Each with what is replayed beyond what every replay has, its length, and its body.
        for (what, field, length, body) in [
            ("204", Some(("x-a", "1")), None, ""),
            ("205", Some(("x-a", "1")), Some("0"), ""),
            (
                "206",
                Some(("content-range", "bytes 0-11/99")),
                Some("12"),
                "none of this",
            ),
            ("304", Some(("etag", "\"x\"")), Some("1234"), ""),
            ("503", None, Some("12"), "none of this"),
        ] {
            let monitor = ended(server.at, &server.reports(what), "").await;
            let outcome = if what == "503" { "failed" } else { "succeeded" };
            let mut wanted = vec![
                ("cache-control", "no-store"),
                ("operation-outcome", outcome),
            ];
            wanted.extend(field);
            let http2 = Client::<Full<Bytes>>::open(server.at).await;
            let mut http1 = Connection::open(server.at).await;
            for version in ["HTTP/1.1", "HTTP/1.1 again", "HTTP/2"] {
                let reply = if version == "HTTP/2" {
                    http2.ask("GET", &monitor, &[]).await
                } else {
                    // Kept alive: a body where there is none, or the other way round, would spoil the next answer.
                    http1
                        .send(format!("GET {monitor} HTTP/1.1\r\nhost: h\r\n\r\n"))
                        .await;
                    http1.reply().await
                };
                let place = format!("{} {version} {what}", server.name);
                assert_eq!(reply.status.to_string(), what, "{place}");
                let fields = reply.fields.iter().map(|(n, v)| (&**n, &**v));
                let mut fields: Vec<_> = fields.filter(|(name, _)| *name != "date").collect();
                fields.sort();
                // HTTP/2 ends the stream with the head instead of saying that nothing follows.
                // And hyper's HTTP/1 leaves the length out of a 304.
                let length = length.filter(|length| match version {
                    "HTTP/2" => *length != "0",
                    _ => what != "304",
                });
                let mut wanted = wanted.clone();
                wanted.extend(length.map(|length| ("content-length", length)));
                wanted.sort();
                assert_eq!(fields, wanted, "{place}");
                assert_eq!(reply.text(), body, "{place}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_of_a_panic_is_told() {
    for server in servers().await {
        let monitor = ended(server.at, &server.reports("panic"), "").await;
        for suffix in ["", "/result"] {
            let reply = ask(server.at, "GET", &format!("{monitor}{suffix}"), "").await;
            reply.is_problem(500, "panicked");
            assert_eq!(reply.field("operation-outcome"), "failed");
            assert!(reply.values("retry-after").is_empty());
            assert!(!reply.text().contains("secret"));
        }
        // The server lives.
        let monitor = ended(server.at, &server.reports("echo"), "alive").await;
        assert_eq!(ask(server.at, "GET", &monitor, "").await.text(), "alive");
    }
}
