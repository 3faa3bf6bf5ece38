use super::{Call, Contestant, Work, work::KIB};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::Full;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tower_lro::header::PREFER;

/// What is there without any operation: static answers, like those of the others. `/inner` is the handler itself.
#[derive(Default)]
pub struct Bare {
    work: Work,
    release: Arc<Notify>,
}

const PENDING: &str = "/operations/0191d3a5-7f00-4c00-8000-000000000000";
const DONE: &str = "/operations/0191d3a5-7f00-4c00-8000-000000000001";
static RUNS: HeaderValue = HeaderValue::from_static(PENDING);
static ENDED: HeaderValue = HeaderValue::from_static(DONE);
const JSON: &str = r#"{"id":"0191d3a5-7f00-4c00-8000-000000000000","status":"running"}"#;

impl Contestant for Bare {
    const RUNS: bool = false;

    type Body = Full<Bytes>;

    fn call(
        &mut self,
        request: Call,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + 'static {
        let (work, release) = (self.work.clone(), self.release.clone());
        async move {
            let path = request.uri().path();
            if path == "/inner" {
                return work.call(request).await;
            }
            let waits = request.headers().contains_key(PREFER);
            if waits {
                let _ = tokio::time::timeout(Duration::from_secs(60), release.notified()).await;
            }
            if waits || path == DONE {
                done()
            } else {
                pending(if path == "/slow" { &RUNS } else { &ENDED })
            }
        }
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn release(&self) {
        self.release.notify_waiters();
    }

    async fn forget(&mut self, _: &[PathAndQuery]) {}
}

fn done() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(&KIB)));
    let kind = const { HeaderValue::from_static("application/octet-stream") };
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn pending(monitor: &'static HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(JSON.as_bytes())));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, monitor.clone());
    headers.insert(header::RETRY_AFTER, const { HeaderValue::from_static("1") });
    let json = const { HeaderValue::from_static("application/json") };
    headers.insert(header::CONTENT_TYPE, json);
    response
}
