//! What an operator reads, with the feature `tracing`.
#![cfg(feature = "tracing")]

mod common {
    pub(crate) mod drive;
}

use common::drive::*;
use http::{Request, Response};
use std::{
    fmt::{Debug, Write},
    future::pending,
    num::NonZeroU16,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};
use tower::service_fn;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Lines of what is logged in this thread, each with its level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_lro")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

async fn never(_: Request<Body>) -> Result<Response<Body>, Fault> {
    pending().await
}

/// Detached, and ended by nobody.
async fn given_away(request: Request<Body>) -> Result<Response<Body>, Fault> {
    handle(&request).detach().await.unwrap();
    Ok(ok("for nobody"))
}

#[tokio::test]
async fn a_request_that_finds_the_store_full_is_logged_once() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let operations = operations(|limits| limits.stored = 1);
    let app = app(operations.layer(), never);
    accepted(&app, post("/")).await;
    assert_eq!(log.lines(), [""; 0]);
    let refused = send(&app, post("/")).await.unwrap();
    assert_eq!(refused.refusal(), (503, "full".into()));
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_its_client_waits_is_logged_with_its_cause() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let wait = Duration::from_secs(10);
    let operations = operations(|limits| limits.run_time = wait / 2);
    let app = app(
        operations.layer().wait(wait),
        async |request| match request.uri().path() {
            "/broken" => {
                let broken = pour(|_| Poll::Ready(Some(Err(Fault::other("broke off")))));
                Ok(Response::new(broken))
            }
            _ => pending().await,
        },
    );
    let ends = [
        ("/broken", 500, "stop=Errored cause=broke off"),
        ("/endless", 504, "stop=TimedOut"),
    ];
    for (path, status, stop) in ends {
        let answer = send(&app, post(path)).await.unwrap();
        assert_eq!(answer.status, status, "{answer}");
        let lines = log.lines();
        let is_told = lines.last().is_some_and(|line| line.ends_with(stop));
        assert!(is_told, "{stop}: {lines:?}");
    }
    assert_eq!(log.lines().len(), ends.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_has_not_ended_and_is_not_logged() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let operations = operations(|_| {});
    let attempts = NonZeroU16::new(2).unwrap();
    for layer in [operations.layer(), operations.layer().attempts(attempts)] {
        accepted(&app(layer.accept_only(), never), post("/")).await;
    }
    tokio::spawn(operations.worker("default", service_fn(never)).run());
    until("both run", || operations.usage().running == 2).await;
    let drained = operations.drain(Duration::ZERO).await;
    assert_eq!((drained.handed_back, drained.interrupted), (1, 1));
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("stop=Interrupted"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_ends_without_a_task_is_logged() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let minute = Duration::from_secs(60);
    let operations = operations(|limits| {
        (limits.run_time, limits.start_within) = (minute, minute);
    });
    let [detached, queued] = [
        app(operations.layer(), given_away),
        app(operations.layer().accept_only(), never),
    ];
    for (app, stop) in [(detached, "TimedOut"), (queued, "NotStarted")] {
        let monitor = accepted(&app, post("/")).await;
        tokio::time::sleep(2 * minute).await;
        let id = id_of(&monitor);
        let ended = format!("WARN message=operation stopped operation={id:?} stop={stop}");
        assert_eq!(log.lines().last(), Some(&ended), "{:?}", log.lines());
    }
    assert_eq!(log.lines().len(), 2);
}

#[test]
fn what_ends_with_its_runtime_is_logged() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let operations = operations(|_| {});
    let app = app(operations.layer(), never);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let monitor = runtime.block_on(accepted(&app, post("/")));
    drop(runtime);
    let id = id_of(&monitor);
    let ended = format!("WARN message=operation stopped operation={id:?} stop=Interrupted");
    assert_eq!(log.lines(), [ended]);
}
