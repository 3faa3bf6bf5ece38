//! What an operator reads, with the feature `tracing`.

mod common {
    pub(crate) mod drive;
}

use common::drive::*;
use http::{Request, Response};
use std::{
    fmt::{Debug, Write},
    future::pending,
    sync::{Arc, Mutex},
};
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
