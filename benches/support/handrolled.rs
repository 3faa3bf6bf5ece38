use super::{Call, Contestant, Work};
use bytes::Bytes;
use dashmap::DashMap;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tower_lro::header::PREFER;
use uuid::Uuid;

/// What a competent user writes without this crate: a table of what runs and what is done, and a task for each.
///
/// No bounds, no cancel, no owner, no panics caught; polls that wait share one bell.
#[derive(Clone, Default)]
pub struct Handrolled {
    table: Arc<DashMap<Uuid, Status>>,
    ended: Arc<Notify>,
    work: Work,
}

enum Status {
    Running,
    Done {
        /// For the sweep, which no bench runs.
        _at: Instant,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

impl Handrolled {
    async fn submit(self, request: Call) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let id = random_id();
        self.table.insert(id, Status::Running);
        tokio::spawn(async move {
            let request = Call::from_parts(head, Full::new(body));
            let (head, body) = self.work.call(request).await.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let done = Status::Done {
                _at: Instant::now(),
                status: head.status,
                headers: head.headers,
                body,
            };
            self.table.insert(id, done);
            self.ended.notify_waiters();
        });
        let mut response = running(id);
        let location = HeaderValue::try_from(format!("/operations/{id}")).unwrap();
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    async fn status(self, request: Call) -> Response<Full<Bytes>> {
        let id = request.uri().path().strip_prefix("/operations/");
        let Some(id) = id.and_then(|id| Uuid::try_parse(id).ok()) else {
            return status_only(StatusCode::NOT_FOUND);
        };
        if request.headers().contains_key(PREFER) {
            let wait = async {
                loop {
                    let ended = self.ended.notified();
                    tokio::pin!(ended);
                    ended.as_mut().enable();
                    if !matches!(self.table.get(&id).as_deref(), Some(Status::Running)) {
                        return;
                    }
                    ended.await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(60), wait).await;
        }
        match self.table.get(&id).as_deref() {
            None => status_only(StatusCode::NOT_FOUND),
            Some(Status::Running) => running(id),
            Some(Status::Done {
                status,
                headers,
                body,
                ..
            }) => {
                let mut response = Response::new(Full::new(body.clone()));
                *response.status_mut() = *status;
                *response.headers_mut() = headers.clone();
                response
            }
        }
    }
}

/// What `Uuid::new_v4` does.
fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn running(id: Uuid) -> Response<Full<Bytes>> {
    let json = json!({ "id": id.to_string(), "status": "running" });
    let mut response = Response::new(Full::new(Bytes::from(json.to_string())));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, const { HeaderValue::from_static("1") });
    let json = const { HeaderValue::from_static("application/json") };
    headers.insert(header::CONTENT_TYPE, json);
    response
}

fn status_only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Contestant for Handrolled {
    type Body = Full<Bytes>;

    fn call(
        &mut self,
        request: Call,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + 'static {
        let this = self.clone();
        async move {
            if request.method() == Method::POST {
                this.submit(request).await
            } else {
                this.status(request).await
            }
        }
    }

    fn work(&self) -> &Work {
        &self.work
    }

    async fn forget(&mut self, locations: &[PathAndQuery]) {
        for location in locations {
            let id = location.path().strip_prefix("/operations/").unwrap();
            let id: Uuid = id.parse().unwrap();
            assert!(self.table.remove(&id).is_some());
        }
    }
}
