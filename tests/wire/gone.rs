//! Unknown, gone, unknown again.

use super::{
    http1::{ask, ended, in_time, submit},
    http2::Client,
    servers::{Server, limits, servers, servers_on},
};
use bytes::Bytes;
use http_body_util::Full;
use std::time::Duration;
use tower_lro::store::Clock;

/// Follows one resource from its result, over its tombstone, to nothing; no stage may be left out or come back.
async fn follow(server: &Server, method: &'static str, path: &str, first: u16) {
    const STAGES: [(u16, &str); 2] = [(410, "expired"), (404, "unknown")];
    let client = Client::<Full<Bytes>>::open(server.at).await;
    let mut before = first;
    for turn in 0.. {
        let reply = match turn % 3 {
            0 => ask(server.at, method, path, "").await,
            1 => ask(server.at, method, path, "prefer: wait=5\r\n").await,
            _ => client.ask(method, path, &[]).await,
        };
        let place = format!("{} {} {method} {path}", server.name, reply.version);
        let next = match before {
            410 => 404,
            _ => 410,
        };
        assert!(
            [before, next].contains(&reply.status),
            "{place}: {before}, then {}",
            reply.status
        );
        before = reply.status;
        let Some((status, problem)) = STAGES.iter().find(|(status, _)| *status == before) else {
            continue;
        };
        reply.is_problem(*status, problem);
        let wanted =
            format!("{status}\ncache-control: no-store\ncontent-type: application/problem+json");
        assert_eq!(reply.shown(true), wanted, "{place}");
        if before == 404 {
            return;
        }
    }
}

#[tokio::test]
async fn what_expires_is_gone_and_then_unknown() {
    // Long enough that no stage can fall between two requests.
    let mut brief = limits();
    brief.keep_for = Duration::from_secs(2);
    brief.tombstone_for = Duration::from_secs(2);
    let mut tasks = tokio::task::JoinSet::new();
    for server in servers_on(Clock::system(), brief).await {
        tasks.spawn(async move {
            let never = "/operations/00000000-0000-4000-8000-000000000000";
            for suffix in ["", "/status", "/result"] {
                let reply = ask(server.at, "GET", &format!("{never}{suffix}"), "").await;
                reply.is_problem(404, "unknown");
            }
            let monitor = ended(server.at, &server.reports("echo"), "hi").await;
            let (status, result) = (format!("{monitor}/status"), format!("{monitor}/result"));
            tokio::join!(
                follow(&server, "GET", &monitor, 200),
                follow(&server, "GET", &status, 200),
                follow(&server, "GET", &result, 200),
                follow(&server, "DELETE", &monitor, 200),
            );
        });
    }
    in_time(tasks.join_all()).await;
}

#[tokio::test]
async fn a_pending_operation_does_not_expire() {
    for server in servers().await {
        let monitor = submit(server.at, &server.reports("slow"), "").await;
        server.until(|usage| usage.running == 1).await;
        server.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
        assert_eq!(ask(server.at, "GET", &monitor, "").await.status, 202);
        server.gate.notify_one();
        let reply = ask(server.at, "GET", &monitor, "prefer: wait=10\r\n").await;
        assert_eq!(
            (reply.status, reply.text()),
            (200, "at last"),
            "{}",
            server.name
        );
    }
}
