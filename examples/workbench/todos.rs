//! `/todos`: the .NET to-do article. A to-do is there once its job is done.

use crate::{jobs, options::Options};
use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    response::IntoResponse,
    routing::{get, post_service},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tower::service_fn;
use tower_lro::{ArchitectureCenter, BuildError, OperationHandle, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/todos --json '{\"title\":\"Write an article\",\"ms\":400}'   # 202; Location is the job
curl -i {base}/todos/jobs/ID                        # 200 with the job, then 302 to the to-do; 400 if it failed
curl -i {base}/todos/ID                             # the to-do itself
curl -i {base}/todos
";

/// What lies under `/todos`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let dialect = ArchitectureCenter::dotnet().target("/todos/{id}");
    let operations = plain.also("/todos/jobs", dialect)?;
    let (at_most, node) = (jobs::request_body(options), options.node.clone());

    let todos = Todos::default();
    let (all, one) = (todos.clone(), todos.clone());
    let make = service_fn(move |request: Request<Body>| {
        let (todos, node) = (todos.clone(), node.clone());
        async move {
            let (head, body) = request.into_parts();
            let operation = head.extensions.get::<OperationHandle>().cloned();
            let body = axum::body::to_bytes(body, at_most).await;
            let request = Request::from_parts(head, body.unwrap_or_default());
            // It was checked before it was accepted.
            let Ok((todo, job)) = split(request) else {
                return Err(jobs::NoResponse);
            };
            let done = jobs::run(job.map(Body::from), at_most, node.clone()).await?;
            if done.status() != StatusCode::OK {
                return Ok(done);
            }
            let mut made = todos.make(operation.as_ref(), &todo);
            node.mark(&mut made);
            Ok(made)
        }
    });
    let layer = jobs::layer(&operations, options).check(check);
    let make = post_service(jobs::deferred(&layer, make));

    let routes = Router::new()
        .route(
            "/",
            make.get(async move || jobs::uncached(Json(all.all()).into_response())),
        )
        .route(
            "/{id}",
            get(async move |Path(id): Path<String>| jobs::uncached(one.one(&id))),
        )
        .nest_service("/jobs", operations.status_service());
    Ok(jobs::open(routes, &operations))
}

async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    let (_, job) = split(request).map_err(|invalid| invalid.response())?;
    jobs::check(job).await
}

type Asked = Map<String, Value>;

/// The to-do, and the job that is left without it.
fn split(request: Request<Bytes>) -> Result<(Asked, Request<Bytes>), jobs::Invalid> {
    let (mut head, body) = request.into_parts();
    let fields = jobs::fields(&head, &body)?;
    let Some(fields) = fields else {
        return Ok((Asked::new(), Request::from_parts(head, body)));
    };
    let (todo, job): (Asked, Asked) = fields
        .into_iter()
        .partition(|(name, _)| ["title", "dueBy", "isComplete"].contains(&name.as_str()));
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    let job = Value::from(job).to_string();
    Ok((todo, Request::from_parts(head, job.into())))
}

/// What was made, by id.
#[derive(Clone, Debug, Default)]
struct Todos(Arc<Mutex<BTreeMap<String, Value>>>);

impl Todos {
    fn all(&self) -> Vec<Value> {
        let todos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        todos.values().cloned().collect()
    }

    fn one(&self, id: &str) -> Response<Body> {
        let todos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match todos.get(id) {
            Some(todo) => {
                jobs::response(StatusCode::OK, "application/json", todo.to_string().into())
            }
            None => jobs::status(StatusCode::NOT_FOUND),
        }
    }

    /// Its id is the operation's: that is what the job has told from the first.
    fn make(&self, operation: Option<&OperationHandle>, asked: &Asked) -> Response<Body> {
        let id = operation.map(|operation| operation.id().to_string());
        let id = id.unwrap_or_default();
        let complete = asked.get("isComplete").and_then(Value::as_bool);
        let todo = json!({
            "id": id,
            "title": asked.get("title"),
            "dueBy": asked.get("dueBy"),
            "isComplete": complete.unwrap_or_default(),
        });
        let body = todo.to_string().into();
        let mut todos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        todos.insert(id, todo);
        jobs::response(StatusCode::CREATED, "application/json", body)
    }
}
