//! What the engine does for dialects of other kinds than the crate's own, seen through one that shows just that.
#![cfg(feature = "testing")]

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_lro::{
    Dialect, Head, Operations, Owner,
    dialect::{Address, Answer, Ask, ListAsk, ListFilter, Listing, OptIn, Route, View},
    problem::{Problem, ProblemKind},
    record::Timestamp,
    store::Clock,
};

/// Asks by the last segment of the path, and answers in words.
#[derive(Debug)]
struct Words;

impl Dialect for Words {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let mut segments = route.tail(head.uri)?.split('/').skip(1);
        let unknown = Address::Problem(Problem::new(ProblemKind::Unknown));
        let Some(Ok(id)) = segments.next().map(str::parse) else {
            let mut ask = ListAsk::default();
            for word in head.uri.query().unwrap_or_default().split('&') {
                match word.split_once('=') {
                    Some(("since", micros)) => {
                        ask.since = micros.parse().ok().map(Timestamp::from_micros);
                    }
                    Some(("until", micros)) => {
                        ask.until = micros.parse().ok().map(Timestamp::from_micros);
                    }
                    _ => ask.here |= word == "here",
                }
            }
            return Some(Address::List(Ok(ask)));
        };
        let ask = match segments.next() {
            None => Ask::Monitor,
            Some("take") => Ask::Take,
            Some("drop") => Ask::CancelAndForget,
            Some("result") => Ask::Result,
            Some("dismiss") => Ask::Dismiss,
            Some("abandon") => Ask::Abandon,
            Some("cancel") => Ask::Cancel,
            Some(_) => return Some(unknown),
        };
        Some(Address::Operation(id, ask))
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        let mut opt_in = OptIn::default();
        let note = head
            .headers
            .get("x-note")
            .and_then(|note| note.to_str().ok());
        opt_in.note = note.map(Into::into);
        opt_in.asked = note.is_some();
        opt_in.one_way = head.headers.contains_key("x-one-way");
        opt_in
    }

    fn take_out(&self, head: &mut http::request::Parts) {
        head.headers.remove("x-note");
    }

    fn admits(&self, head: Head<'_>) -> bool {
        head.headers.contains_key("x-slow")
    }

    fn reads_prefer(&self) -> bool {
        true
    }

    fn accepted(&self, view: &View<'_>, _: &OptIn) -> Response<Answer> {
        Response::new(Answer::Bytes(view.id().to_string().into()))
    }

    fn answer(&self, view: &View<'_>, ask: Ask, _: Head<'_>) -> Response<Answer> {
        if ask == Ask::Result {
            return Response::new(Answer::Stored);
        }
        if ask == Ask::Take && view.response().is_some() {
            let (before, after) = (Bytes::from_static(b"<"), Bytes::from_static(b">"));
            return Response::new(Answer::Around { before, after });
        }
        let mut words = view.phase().as_str().to_owned();
        if view.is_done() {
            words += " now";
        }
        if let Some(note) = view.note() {
            words = format!("{words}, {note}");
        }
        if let Some(polls) = view.polls() {
            let since = polls.since_last.map_or(0, |since| since.as_secs());
            words = format!("{words}, {} before, {since} s ago", polls.before);
            if polls.results > 0 {
                words = format!("{words}, {} results", polls.results);
            }
        }
        Response::new(Answer::Bytes(words.into()))
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let ids = listing.views().iter().map(|view| view.id().to_string());
        Response::new(ids.collect::<Vec<_>>().join(" ").into())
    }

    fn filter(&self, head: Head<'_>) -> Option<ListFilter> {
        if head.uri.query() != Some("old") {
            return None;
        }
        Some(Box::new(|record, now| {
            now.as_micros() - record.created.as_micros() >= 2_000_000
        }))
    }

    fn problem(&self, problem: &Problem, opt_in: &OptIn) -> Response<Bytes> {
        let note = opt_in.note.as_deref().unwrap_or_default();
        let mut response = Response::new(format!("{} {note}", problem.kind.name()).into());
        *response.status_mut() = problem.status;
        response
    }

    fn counts_polls(&self) -> bool {
        true
    }
}

fn operations() -> (Operations, Clock) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let builder = Operations::builder().clock(clock.clone()).dialect(Words);
    let operations = builder.owner(|head| Some(Owner::new(head.headers.get("x-user")?.as_bytes())));
    (operations.build().unwrap(), clock)
}

async fn text<B>(response: Response<B>) -> (StatusCode, String)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.into()).unwrap())
}

fn request(method: Method, target: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header("x-user", "alice").header("x-slow", "1");
    request.body(Full::default()).unwrap()
}

/// Accepts an operation that runs so long; gives its id.
async fn accept(operations: &Operations, run: Duration, ran: &Arc<AtomicU32>) -> String {
    let ran = ran.clone();
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let ran = ran.clone();
        async move {
            assert!(!request.headers().contains_key("x-note"));
            tokio::time::sleep(run).await;
            ran.fetch_add(1, SeqCst);
            Ok::<_, Infallible>(Response::new(Full::from("result")))
        }
    });
    let mut submit = request(Method::POST, "/reports");
    submit
        .headers_mut()
        .insert("x-note", "noted".parse().unwrap());
    let response = operations
        .layer()
        .layer(inner)
        .oneshot(submit)
        .await
        .unwrap();
    let (_, id) = text(response).await;
    while operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    id
}

async fn ask(operations: &Operations, path: &str) -> (u16, String) {
    ask_by(operations, Method::GET, path).await
}

async fn ask_by(operations: &Operations, method: Method, path: &str) -> (u16, String) {
    let request = request(method, &format!("/operations/{path}"));
    let response = operations.status_service().oneshot(request).await.unwrap();
    let (status, text) = text(response).await;
    (status.as_u16(), text)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_result_is_taken_once_and_head_takes_nothing() {
    let (operations, _) = operations();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    let take = format!("{id}/take");
    assert!(
        ask(&operations, &take)
            .await
            .1
            .starts_with("running, noted")
    );
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(
        ask_by(&operations, Method::HEAD, &take).await,
        (200, String::new())
    );
    let (first, second) = tokio::join!(ask(&operations, &take), ask(&operations, &take));
    assert_eq!(first, (200, "<result>".into()));
    assert_eq!(second, (410, "expired ".into()));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_forgets_stops_the_work() {
    let (operations, _) = operations();
    let ran = Arc::default();
    let id = accept(&operations, SECOND, &ran).await;
    let (status, told) = ask(&operations, &format!("{id}/drop")).await;
    assert_eq!((status, &*told), (200, "cancelled now, noted"));
    assert_eq!(ask(&operations, &id).await.0, 410);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((ran.load(SeqCst), operations.usage().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_dismissed_ends_first_and_is_gone_then() {
    let (operations, _) = operations();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    let dismiss = format!("{id}/dismiss");
    assert_eq!(ask(&operations, &dismiss).await.1, "cancelled now, noted");
    assert_eq!(
        ask(&operations, &id).await.1,
        "cancelled, noted, 0 before, 0 s ago"
    );
    assert_eq!(ask(&operations, &dismiss).await.1, "cancelled now, noted");
    assert_eq!(ask(&operations, &dismiss).await.0, 410);

    let id = accept(&operations, SECOND, &Arc::default()).await;
    tokio::time::sleep(2 * SECOND).await;
    let dismissed = ask(&operations, &format!("{id}/dismiss")).await;
    assert_eq!(dismissed, (200, "succeeded now, noted".into()));
    assert_eq!(ask(&operations, &id).await.0, 410);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_abandoned_goes_on_unheard() {
    let (operations, _) = operations();
    let ran = Arc::default();
    let id = accept(&operations, SECOND, &ran).await;
    assert_eq!(ask(&operations, &format!("{id}/abandon")).await.0, 200);
    assert_eq!(ask(&operations, &id).await.0, 410);
    assert_eq!((ran.load(SeqCst), operations.usage().running), (0, 1));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((ran.load(SeqCst), operations.usage().running), (1, 0));
    assert_eq!(ask(&operations, &id).await.0, 410);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_will_hear_of_is_gone_with_its_end() {
    let (operations, clock) = operations();
    let release = Arc::new(tokio::sync::Notify::new());
    let released = release.clone();
    let inner = service_fn(move |_: Request<Full<Bytes>>| {
        let released = released.clone();
        async move {
            released.notified().await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("result")))
        }
    });
    let mut one_way = request(Method::POST, "/reports");
    one_way
        .headers_mut()
        .insert("x-one-way", "1".parse().unwrap());
    let accepted = operations.layer().layer(inner).oneshot(one_way).await;
    let (_, id) = text(accepted.unwrap()).await;
    assert_eq!(
        (ask(&operations, &id).await.0, operations.usage().stored),
        (200, 1)
    );
    release.notify_one();
    while operations.usage().running + operations.usage().accepted > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&operations, &id).await.0, 410);
    clock.advance(SECOND);
    tokio::time::sleep(SECOND).await;
    let usage = operations.usage();
    assert_eq!(
        (usage.stored, usage.stored_bytes, usage.tombstones),
        (0, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_like_it_and_is_not_one_way_stays() {
    let (operations, clock) = operations();
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("result")))
    });
    let service = operations.layer().layer(inner);
    for (is_one_way, status) in [(true, 410), (false, 200)] {
        let mut submit = request(Method::POST, "/reports");
        if is_one_way {
            let value = "1".parse().unwrap();
            submit.headers_mut().insert("x-one-way", value);
        }
        let accepted = service.clone().oneshot(submit).await;
        let (_, id) = text(accepted.unwrap()).await;
        while operations.usage().running + operations.usage().accepted > 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(SECOND);
        assert_eq!(ask(&operations, &id).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialect_learns_whether_a_cancel_came_in_time() {
    let (operations, _) = operations();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    let cancel = format!("{id}/cancel");
    assert_eq!(ask(&operations, &cancel).await.1, "cancelled now, noted");
    assert_eq!(ask(&operations, &cancel).await.1, "cancelled, noted");
}

#[tokio::test(start_paused = true)]
async fn polls_are_counted_and_timed() {
    let (operations, clock) = operations();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    assert_eq!(
        ask(&operations, &id).await.1,
        "running, noted, 0 before, 0 s ago"
    );
    clock.advance(7 * SECOND);
    assert_eq!(
        ask(&operations, &id).await.1,
        "running, noted, 1 before, 7 s ago"
    );
}

#[tokio::test(start_paused = true)]
async fn results_that_were_given_are_counted_and_head_counts_for_nothing() {
    let (operations, _) = operations();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    ask(&operations, &id).await;
    tokio::time::sleep(2 * SECOND).await;
    let result = format!("{id}/result");
    ask_by(&operations, Method::HEAD, &result).await;
    assert_eq!(ask(&operations, &result).await.1, "result");
    assert_eq!(ask(&operations, &result).await.1, "result");
    assert_eq!(
        ask(&operations, &id).await.1,
        "succeeded, noted, 3 before, 0 s ago, 2 results"
    );
}

#[tokio::test(start_paused = true)]
async fn lists_go_by_time_and_mount() {
    let (operations, clock) = operations();
    let elsewhere = operations.also("/elsewhere", Words).unwrap();
    let mut ids = Vec::new();
    for face in [&operations, &elsewhere, &operations] {
        ids.push(accept(face, SECOND, &Arc::default()).await);
        clock.advance(SECOND);
    }
    let list = async |query: String| ask(&operations, &query).await.1;
    assert_eq!(
        list(String::new()).await,
        format!("{} {} {}", ids[2], ids[1], ids[0])
    );
    assert_eq!(list("?here".into()).await, format!("{} {}", ids[2], ids[0]));
    let second = 1_000_001_000_000_u64;
    assert_eq!(
        list(format!("?since={second}")).await,
        format!("{} {}", ids[2], ids[1])
    );
    assert_eq!(list(format!("?until={second}")).await, ids[0]);
}

#[tokio::test(start_paused = true)]
async fn a_dialect_may_pass_over_what_is_listed() {
    let (operations, clock) = operations();
    let mut ids = Vec::new();
    // More than a page of those that are passed over.
    for _ in 0..30 {
        ids.push(accept(&operations, SECOND, &Arc::default()).await);
        clock.advance(SECOND / 10);
    }
    let old = ids[..11].iter().rev().map(String::as_str);
    assert_eq!(
        ask(&operations, "?old").await,
        (200, old.collect::<Vec<_>>().join(" "))
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_dialect_does_not_admit_passes_and_caches_are_told() {
    let (operations, _) = operations();
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("at once")))
    });
    let mut quick = request(Method::POST, "/reports");
    quick.headers_mut().remove("x-slow");
    let response = operations
        .layer()
        .layer(inner)
        .oneshot(quick)
        .await
        .unwrap();
    assert_eq!(response.headers()["vary"], "prefer");
    assert_eq!(text(response).await.1, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_problem_is_told_with_what_was_noted() {
    let (operations, _) = operations();
    let mut poll = request(
        Method::GET,
        "/operations/00000000-0000-4000-8000-000000000000",
    );
    poll.headers_mut()
        .insert("x-note", "noted".parse().unwrap());
    let response = operations.status_service().oneshot(poll).await.unwrap();
    assert_eq!(text(response).await.1, "unknown noted");
}

/// The same words in another language, for all that the engine knows.
#[derive(Debug)]
struct Foreign(Words);

impl Dialect for Foreign {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        self.0.address(head, route)
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        self.0.accepted(view, opt_in)
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        self.0.answer(view, ask, head)
    }

    fn listed(&self, listing: &Listing<'_>, _: Head<'_>) -> Response<Bytes> {
        let notes = listing
            .views()
            .iter()
            .map(|view| view.note().unwrap_or("-"));
        Response::new(notes.collect::<Vec<_>>().join(" ").into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_dialect_has_noted_no_other_is_told() {
    let (operations, _) = operations();
    let alike = operations.also("/alike", Words).unwrap();
    let foreign = operations.also("/foreign", Foreign(Words)).unwrap();
    let id = accept(&operations, SECOND, &Arc::default()).await;
    let told = async |face: &Operations, path: &str| {
        let poll = request(Method::GET, path);
        let response = face.status_service().oneshot(poll).await.unwrap();
        text(response).await.1
    };
    let noted = told(&operations, &format!("/operations/{id}")).await;
    assert!(noted.starts_with("running, noted"), "{noted}");
    let noted = told(&alike, &format!("/alike/{id}")).await;
    assert!(noted.starts_with("running, noted"), "{noted}");
    assert_eq!(told(&foreign, &format!("/foreign/{id}")).await, "running");
    assert_eq!(told(&foreign, "/foreign").await, "-");
}
