//! Whose an operation is: for everybody else it never was.
#![cfg(feature = "testing")]

mod harness;

use harness::*;
use http::Request;
use std::{collections::BTreeSet, time::Duration};
use tower_lro::{OperationId, Operations, Wrapped};

const OWNED: &str = "alice";

/// What can be asked of an operation, and how.
fn asks(monitor: &str) -> Vec<http::request::Builder> {
    let mut asks = Vec::new();
    for path in ["", "/status", "/result"] {
        for method in ["GET", "HEAD"] {
            asks.push(
                Request::builder()
                    .method(method)
                    .uri(format!("{monitor}{path}")),
            );
        }
    }
    for path in ["", "/result"] {
        asks.push(Request::delete(format!("{monitor}{path}")));
    }
    asks
}

async fn submit_as(client: &Client<Wrapped<Handler>>, user: &str) -> Answer {
    let request = post("/reports").header("x-user", user).body(empty());
    let answer = client.send(request.unwrap()).await;
    assert_eq!(answer.status, 202);
    answer
}

/// Asserts that strangers get, for everything, what they get for an id that never was, and at once.
async fn is_hidden(client: &Client<Wrapped<Handler>>, monitor: &str) {
    let never = format!("/operations/{}", OperationId::random());
    for stranger in [None, Some("bob"), Some("Alice"), Some("alice "), Some("")] {
        for (mine, other) in asks(monitor).into_iter().zip(asks(&never)) {
            let with = |mut ask: http::request::Builder| {
                if let Some(user) = stranger {
                    ask = ask.header("x-user", user);
                }
                // Nothing that makes the answer depend on how the operation stands shows that there is one.
                ask.header("prefer", "wait=10")
                    .header("if-match", "\"1\"")
                    .header("if-none-match", "*")
            };
            let what = format!(
                "{:?} {:?} as {stranger:?}",
                mine.method_ref(),
                mine.uri_ref()
            );
            let (mine, other) = (
                client.call(with(mine)).await,
                client.call(with(other)).await,
            );
            assert_eq!(mine.status, 404, "{what}");
            assert_eq!(mine.after, Duration::ZERO, "{what}");
            assert_eq!(
                (mine.headers, mine.body),
                (other.headers, other.body),
                "{what}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn to_another_owner_an_operation_never_was_whatever_its_state() {
    let (handler, gate) = gated();
    let limited = limited(|limits| limits.running = 1);
    let operations = by_user(limited).build().unwrap();
    let client = client(&operations, &handler);

    let first = submit_as(&client, OWNED).await;
    let second = submit_as(&client, OWNED).await;
    start_of(&operations, first.id()).await;
    is_hidden(&client, &first.location()).await;
    is_hidden(&client, &second.location()).await;
    assert_eq!(operations.usage().readers, 0);
    // Least of all was it cancelled.
    assert!(
        !operations
            .get(first.id())
            .await
            .unwrap()
            .unwrap()
            .phase()
            .is_ended()
    );

    gate.add_permits(2);
    end_of(&operations, second.id()).await;
    is_hidden(&client, &first.location()).await;
    // Or forgotten.
    assert_eq!(operations.usage().stored, 2);

    operations.forget(first.id()).await.unwrap();
    is_hidden(&client, &first.location()).await;
    tokio::time::sleep(DAY).await;
    is_hidden(&client, &second.location()).await;
    let gone = Request::get(second.location()).header("x-user", OWNED);
    client.call(gone).await.is_problem(410, "expired");
}

#[tokio::test(start_paused = true)]
async fn its_owner_sees_all_of_it() {
    let (handler, gate) = gated();
    let operations = by_user(Operations::builder()).build().unwrap();
    let client = client(&operations, &handler);
    let monitor = submit_as(&client, OWNED).await.location();
    let ask = |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{monitor}{path}"));
        client.call(request.header("x-user", OWNED))
    };
    assert_eq!(ask("GET", "").await.status, 202);
    assert_eq!(ask("HEAD", "").await.status, 202);
    assert_eq!(ask("GET", "/status").await.status, 200);
    ask("GET", "/result")
        .await
        .is_problem(404, "result-not-ready");
    ask("DELETE", "/result")
        .await
        .is_problem(409, "result-not-ready");
    gate.add_permits(1);
    settled().await;
    assert_eq!(ask("GET", "").await.body, "done");
    assert_eq!(ask("GET", "/result").await.body, "done");
    assert_eq!(ask("DELETE", "").await.status, 200);
    assert_eq!(ask("DELETE", "/result").await.status, 204);
    for path in ["", "/status", "/result"] {
        ask("GET", path).await.is_problem(410, "expired");
    }
    ask("DELETE", "").await.is_problem(410, "expired");
    ask("DELETE", "/result").await.is_problem(410, "expired");
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_nobody_is_seen_by_whoever_knows_its_id() {
    let operations = by_user(Operations::builder()).build().unwrap();
    let client = client(&operations, &takes(secs(60)));
    let monitor = client.submit().await.location();
    assert_eq!(client.get(&monitor).await.status, 202);
    let known = Request::get(&monitor).header("x-user", "bob");
    assert_eq!(client.call(known).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_rule_whoever_knows_the_id_sees_it() {
    let operations = Operations::builder().build().unwrap();
    let client = client(&operations, &takes(secs(60)));
    let monitor = submit_as(&client, OWNED).await.location();
    let other = Request::get(&monitor).header("x-user", "bob");
    assert_eq!(client.call(other).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn another_face_of_the_engine_knows_the_same_owners() {
    let operations = by_user(Operations::builder()).build().unwrap();
    let other = operations.also("/other", tower_lro::Rfc::new()).unwrap();
    let client = client(&operations, &takes(secs(60)));
    let id = submit_as(&client, OWNED).await.id();
    let monitor = format!("/other/{id}");
    let through = Client(other.wrap(takes(secs(60))));
    let mine = through
        .call(Request::get(&monitor).header("x-user", OWNED))
        .await;
    assert_eq!(
        (mine.status.as_u16(), mine.location()),
        (202, format!("/operations/{id}"))
    );
    through.get(&monitor).await.is_problem(404, "unknown");
}

#[tokio::test(start_paused = true)]
async fn a_principal_is_kept_as_a_hash_and_shown_to_nobody() {
    let operations = by_user(Operations::builder()).build().unwrap();
    let client = client(&operations, &takes(secs(60)));
    let answer = submit_as(&client, "alice@example.com").await;
    let record = operations.get(answer.id()).await.unwrap().unwrap();
    for text in [
        format!("{record:?}"),
        format!("{operations:?}"),
        String::from_utf8(answer.body.to_vec()).unwrap(),
    ] {
        assert!(!text.contains("alice"), "{text}");
    }
    let id = answer.id().to_string();
    assert!(!format!("{record:?}").contains(&id), "ids are secrets");
}

struct Lists {
    operations: Operations,
    client: Client<Wrapped<Handler>>,
}

impl Lists {
    fn new() -> Self {
        let operations = by_user(Operations::builder()).build().unwrap();
        let client = client(&operations, &takes(secs(1)));
        Self { operations, client }
    }

    async fn get(&self, user: &str, target: &str) -> Answer {
        self.client
            .call(Request::get(target).header("x-user", user))
            .await
    }

    async fn submit(&self, user: &str) -> String {
        let answer = submit_as(&self.client, user).await;
        answer.id().to_string()
    }
}

fn ids(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("content-type"), Some("application/json"));
    let json = page.json();
    let documents = json["operations"].as_array().unwrap().iter();
    documents
        .map(|document| document["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The next page, which body and `Link` must agree on.
fn next(page: &Answer) -> Option<String> {
    let json = page.json();
    let next = json
        .get("next")
        .map(|next| next.as_str().unwrap().to_owned());
    let link = next.as_ref().map(|next| format!("<{next}>; rel=\"next\""));
    assert_eq!(page.header("link"), link.as_deref());
    next
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_the_callers_own_newest_first_page_by_page() {
    let lists = Lists::new();
    let (mut alice, mut bob) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        alice.push(lists.submit("alice").await);
        bob.push(lists.submit("bob").await);
    }
    alice.reverse();
    bob.reverse();
    for (user, own) in [("alice", &alice), ("bob", &bob)] {
        for limit in [1, 2, 3, 7, 8] {
            let (mut seen, mut pages) = (Vec::new(), 0);
            let mut target = Some(format!("/operations?limit={limit}"));
            while let Some(page) = target {
                let page = lists.get(user, &page).await;
                seen.extend(ids(&page));
                assert!(ids(&page).len() <= limit);
                pages += 1;
                target = next(&page);
            }
            assert_eq!(&seen, own, "{user} by {limit}");
            assert_eq!(pages, 7_usize.div_ceil(limit), "{user} by {limit}");
        }
    }
    assert_eq!(ids(&lists.get("alice", "/operations").await), alice);
    assert_eq!(ids(&lists.get("alice", "/operations/").await), alice);
    assert_eq!(ids(&lists.get("carol", "/operations").await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_page_has_twenty() {
    let lists = Lists::new();
    for _ in 0..21 {
        lists.submit("alice").await;
    }
    let page = lists.get("alice", "/operations").await;
    assert_eq!(ids(&page).len(), 20);
    assert_eq!(
        ids(&lists.get("alice", &next(&page).unwrap()).await).len(),
        1
    );
    let whole = lists.get("alice", "/operations?limit=100").await;
    assert_eq!((ids(&whole).len(), next(&whole)), (21, None));
}

#[tokio::test(start_paused = true)]
async fn pages_stand_still_while_operations_come_and_go() {
    let lists = Lists::new();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(lists.submit("alice").await);
    }
    let first = lists.get("alice", "/operations?limit=2").await;
    assert_eq!(ids(&first), [all[3].clone(), all[2].clone()]);
    lists.submit("alice").await;
    settled().await;
    end_of(&lists.operations, all[3].parse().unwrap()).await;
    lists
        .operations
        .forget(all[3].parse().unwrap())
        .await
        .unwrap();
    let second = lists.get("alice", &next(&first).unwrap()).await;
    assert_eq!(ids(&second), [all[1].clone(), all[0].clone()]);
}

#[tokio::test(start_paused = true)]
async fn each_entry_is_the_status_document() {
    let lists = Lists::new();
    let id = lists.submit("alice").await;
    let page = lists.get("alice", "/operations").await;
    let document = lists
        .get("alice", &format!("/operations/{id}/status"))
        .await;
    assert_eq!(page.json()["operations"][0], document.json());
    end_of(&lists.operations, id.parse().unwrap()).await;
    let page = lists.get("alice", "/operations").await;
    let document = lists
        .get("alice", &format!("/operations/{id}/status"))
        .await;
    assert_eq!(page.json()["operations"][0], document.json());
}

/// One operation of alice's in each state.
async fn in_each_state() -> (Lists, Vec<(&'static str, String)>) {
    let handler = handler(|request| async move {
        match request.headers()["x-end"].to_str().unwrap() {
            "succeeded" => http::Response::new(full("done")),
            "failed" => http::Response::builder()
                .status(500)
                .body(full(""))
                .unwrap(),
            _ => std::future::pending().await,
        }
    });
    let limited = limited(|limits| limits.running = 1);
    let operations = by_user(limited).build().unwrap();
    let client = client(&operations, &handler);
    let mut all = Vec::new();
    for state in ["succeeded", "failed", "cancelled", "running", "accepted"] {
        let request = post("/reports")
            .header("x-user", "alice")
            .header("x-end", state);
        let id = client.call(request).await.id();
        if state == "cancelled" {
            operations.cancel(id).await.unwrap();
        }
        settled().await;
        all.push((state, id.to_string()));
    }
    (Lists { operations, client }, all)
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_only_the_states_that_are_asked_for() {
    let (lists, all) = in_each_state().await;
    let id = |wanted: &str| {
        all.iter()
            .find(|(state, _)| *state == wanted)
            .unwrap()
            .1
            .clone()
    };
    for (state, _) in &all {
        let page = lists
            .get("alice", &format!("/operations?status={state}"))
            .await;
        assert_eq!(ids(&page), [id(state)], "{state}");
        assert_eq!(page.json()["operations"][0]["status"], *state);
    }
    for several in [
        "status=failed,running",
        "status=running%2Cfailed",
        "st%61tus=%72unning,failed",
        "status=failed&status=running",
        "status=failed&page=7&status=running",
    ] {
        let page = lists.get("alice", &format!("/operations?{several}")).await;
        assert_eq!(ids(&page), [id("running"), id("failed")], "{several}");
    }
    assert_eq!(
        ids(&lists.get("bob", "/operations?status=failed").await),
        [""; 0]
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_page_keeps_filter_and_limit() {
    let lists = Lists::new();
    for _ in 0..3 {
        let id = lists.submit("alice").await;
        end_of(&lists.operations, id.parse().unwrap()).await;
        let pending = lists.submit("alice").await;
        lists
            .operations
            .cancel(pending.parse().unwrap())
            .await
            .unwrap();
    }
    let mut target = Some("/operations?limit=1&status=cancelled".to_owned());
    let mut seen = BTreeSet::new();
    while let Some(page) = target {
        let page = lists.get("alice", &page).await;
        assert!(ids(&page).len() <= 1);
        for document in page.json()["operations"].as_array().unwrap() {
            assert_eq!(document["status"], "cancelled");
            seen.insert(document["id"].to_string());
        }
        target = next(&page);
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_cannot_be_is_400() {
    let lists = Lists::new();
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit",
        "limit=99999999999999999999",
        "after=x",
        "after=",
        "after=-1",
        "status=done",
        "status=",
        "status=failed,",
        "status=Failed",
        "status=succeeded&status=nothing",
        "limit=5&limit=0",
        "limit=+5",
        "%6Cimit=0",
        "limit=%30",
        "status=%ff",
    ] {
        let answer = lists.get("alice", &format!("/operations?{query}")).await;
        assert_eq!(answer.problem(), "query-invalid", "{query}");
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_that_nobody_knows_are_tolerated() {
    let lists = Lists::new();
    let id = lists.submit("alice").await;
    for query in [
        "api-version=2",
        "$alt=json;enum-encoding=int",
        "&&",
        "a=b=c&limit=9",
    ] {
        let page = lists.get("alice", &format!("/operations?{query}")).await;
        assert_eq!(ids(&page), [id.as_str()], "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_in_anothers_list_is_a_place_in_ones_own() {
    let lists = Lists::new();
    for _ in 0..3 {
        lists.submit("alice").await;
    }
    let bobs = lists.submit("bob").await;
    lists.submit("alice").await;
    let page = lists.get("alice", "/operations?limit=1").await;
    let seen = ids(&lists.get("bob", &next(&page).unwrap()).await);
    assert_eq!(seen, [bobs]);
    for after in ["0", "1", "18446744073709551615"] {
        let page = lists
            .get("carol", &format!("/operations?after={after}"))
            .await;
        assert_eq!((ids(&page), next(&page)), (Vec::new(), None), "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_nobody_has_no_list() {
    let with_rule = Lists::new();
    with_rule.client.submit().await;
    with_rule.submit("alice").await;
    with_rule
        .client
        .get("/operations")
        .await
        .is_problem(404, "unknown");

    let without_rule = Operations::builder().build().unwrap();
    let client = client(&without_rule, &takes(secs(1)));
    client.submit().await;
    let asks = Request::get("/operations").header("x-user", "alice");
    client.call(asks).await.is_problem(404, "unknown");
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_or_was_forgotten_is_in_no_list() {
    let lists = Lists::new();
    let expiring = lists.submit("alice").await;
    end_of(&lists.operations, expiring.parse().unwrap()).await;
    tokio::time::sleep(DAY / 2).await;
    let kept = lists.submit("alice").await;
    let forgotten = lists.submit("alice").await;
    end_of(&lists.operations, forgotten.parse().unwrap()).await;
    lists
        .operations
        .forget(forgotten.parse().unwrap())
        .await
        .unwrap();
    tokio::time::sleep(DAY / 2).await;
    assert_eq!(ids(&lists.get("alice", "/operations").await), [kept]);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_read_only() {
    let lists = Lists::new();
    lists.submit("alice").await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = Request::builder().method(method).uri("/operations");
        let answer = lists.client.call(request.header("x-user", "alice")).await;
        answer.is_problem(405, "method");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let head = Request::head("/operations").header("x-user", "alice");
    let head = lists.client.call(head).await;
    let get = lists.get("alice", "/operations").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length").unwrap(),
        get.body.len().to_string()
    );
}

#[tokio::test(start_paused = true)]
async fn pages_are_found_under_the_base_url() {
    let builder = Operations::builder()
        .base_url("https://example.com/api")
        .mount("/ops");
    let operations = by_user(builder).build().unwrap();
    let client = client(&operations, &takes(secs(1)));
    for _ in 0..2 {
        submit_as(&client, "alice").await;
    }
    let page = client
        .call(Request::get("/ops?limit=1").header("x-user", "alice"))
        .await;
    let next = next(&page).unwrap();
    assert!(next.starts_with("https://example.com/api/ops?"), "{next}");
}
