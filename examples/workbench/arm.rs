//! `/subscriptions`: resources as Azure Resource Manager has them. They come, change and go while a job runs; its fields are
//! in their `properties`.

use crate::{jobs, node::Node, options::Options};
use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tower::service_fn;
use tower_lro::{Arm, BuildError, Operations, dialect::Head};

pub(crate) const HELP: &str = "\
curl -i {base}/subscriptions/S/resourceGroups/RG/providers/Demo/things/NAME -X PUT --json '{\"properties\":{\"ms\":400}}'   # 201; Azure-AsyncOperation
curl -i {base}/subscriptions/S/resourceGroups/RG/providers/Demo/things/NAME             # its provisioningState
curl -i {base}/subscriptions/S/resourceGroups/RG/providers/Demo/things                  # all of them
curl -i {base}/subscriptions/S/resourceGroups/RG/providers/Demo/things/NAME/run -d ms=400   # 202; the result is at Location
curl -i '{base}/subscriptions/S/resourceGroups/RG/providers/Demo/things/NAME?ms=400' -X DELETE   # 202; gone when it is done
curl -i {base}/subscriptions/providers/Workbench/operationStatuses/ID                   # the document
curl -i {base}/subscriptions/providers/Workbench/operationResults/ID                    # 202 while pending, then the response
curl -i {base}/subscriptions/providers/Workbench/operationStatuses/ID/cancel -X POST    # cancels
";

/// What of a resource's properties is for the job; the others are its own.
const FIELDS: [&str; 7] = [
    "ms", "steps", "outcome", "echo", "size", "status", "trailers",
];

/// What lies under `/subscriptions`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/subscriptions/providers/Workbench", Arm::new())?;
    let things = Things::default();
    let (reading, checking, making) = (things.clone(), things.clone(), things);

    let layer = jobs::layer(&operations, options).check(move |request: Request<Bytes>| {
        let things = checking.clone();
        async move { check(request, &things).await }
    });
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let made = jobs::deferred(
        &layer,
        service_fn(move |request| run(request, making.clone(), at_most, node.clone())),
    );
    let read = get(async move |request: Request<Body>| {
        let found = reading.read(&path_of(Head::of(&request)));
        // Whether something is there clients ask by HEAD, and expect no content.
        jobs::uncached(match *request.method() {
            Method::HEAD if found.status() == StatusCode::OK => {
                jobs::status(StatusCode::NO_CONTENT)
            }
            _ => found,
        })
    });
    let things = read
        .put_service(made.clone())
        .patch_service(made.clone())
        .post_service(made.clone())
        .delete_service(made);

    let routes = Router::new()
        .route(
            "/{subscription}/resourceGroups/{group}/providers/{*thing}",
            things.clone(),
        )
        .route(
            "/{subscription}/resourcegroups/{group}/providers/{*thing}",
            things,
        )
        .nest_service("/providers/Workbench", operations.status_service());
    Ok(jobs::open(routes, &operations))
}

/// The one spelling of a path. Case does not count in Resource Manager: its own clients say `resourcegroups` as well. So
/// do empty segments not, which they leave where a resource has no parent.
fn path_of(head: Head<'_>) -> String {
    let path = head.target().split('?').next().unwrap_or_default();
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.fold(String::new(), |path, segment| {
        let is_group = segment.eq_ignore_ascii_case("resourceGroups");
        path + "/" + if is_group { "resourceGroups" } else { segment }
    })
}

/// Whether a path ends with a name: below `providers` there is a namespace, then types and names by turns.
fn is_thing(path: &str) -> bool {
    let (_, provided) = path.rsplit_once("/providers/").unwrap_or_default();
    provided.split('/').count() % 2 == 1
}

/// Refuses at once what is no job, and what can't be asked for here.
async fn check(request: Request<Bytes>, things: &Things) -> Result<(), Response<Bytes>> {
    let path = path_of(Head::of(&request));
    let (head, body) = request.into_parts();
    let is_action = head.method == Method::POST;
    let of = if is_action {
        path.rsplit_once('/').map_or("", |(of, _)| of)
    } else {
        &path
    };
    if !is_thing(of) {
        return Err(error(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "There is nothing like that here.",
        ));
    }
    let there = things.all().contains_key(of);
    match head.method {
        // There is nothing to be waited for.
        Method::DELETE if !there => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Err(response);
        }
        Method::PATCH if !there => return Err(not_found()),
        _ => {}
    }
    let (job, _) = job(head, &body).ok_or_else(|| invalid("The body is no JSON object."))?;
    jobs::check(job).await.map_err(|refusal| {
        let problem: Value = serde_json::from_slice(refusal.body()).unwrap_or_default();
        invalid(problem["detail"].as_str().unwrap_or_default())
    })
}

/// The job that a request asks for, and what else is said of the resource.
fn job(mut head: request::Parts, body: &Bytes) -> Option<(Request<Bytes>, Map<String, Value>)> {
    let is_json = body.trim_ascii_start().starts_with(b"{");
    if body.is_empty() || (head.method == Method::POST && !is_json) {
        return Some((Request::from_parts(head, body.clone()), Map::new()));
    }
    let mut told: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut fields = match head.method {
        // An action has its input as it likes.
        Method::POST => told.clone(),
        _ => Map::new(),
    };
    if let Some(properties) = told.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("provisioningState");
        fields.extend(properties.clone());
    }
    fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    let kind = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, kind);
    let job = Value::from(fields).to_string().into();
    Some((Request::from_parts(head, job), told))
}

async fn run(
    request: Request<Body>,
    things: Things,
    at_most: usize,
    node: Node,
) -> Result<Response<Body>, jobs::NoResponse> {
    let path = path_of(Head::of(&request));
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    let body = axum::body::to_bytes(body, at_most).await;
    let Some((job, told)) = job(head, &body.unwrap_or_default()) else {
        return Ok(invalid("The body is no JSON object."));
    };
    let change = match method {
        Method::DELETE => Some(things.change(&path, "Deleting", None)),
        Method::PUT if things.all().contains_key(&path) => {
            Some(things.change(&path, "Updating", Some(told)))
        }
        Method::PUT => Some(things.change(&path, "Creating", Some(told))),
        Method::PATCH => Some(things.change(&path, "Updating", Some(told))),
        _ => None,
    };
    let is_new = change.as_ref().is_some_and(|change| change.is_new);
    let done = jobs::run(job.map(Body::from), at_most, node).await;
    if !done.as_ref().is_ok_and(|done| done.status().is_success()) {
        if let Some(change) = change {
            change.end("Failed");
        }
        let done = done?;
        let status = done.status();
        let problem = axum::body::to_bytes(done.into_body(), at_most).await;
        let problem: Value =
            serde_json::from_slice(&problem.unwrap_or_default()).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or_default();
        return Ok(error(status, "JobFailed", detail));
    }
    match (method, change) {
        (Method::DELETE, Some(change)) => {
            change.remove();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        (_, Some(change)) => {
            change.end("Succeeded");
            let mut made = things.read(&path);
            if is_new {
                *made.status_mut() = StatusCode::CREATED;
            }
            Ok(made)
        }
        (_, None) => done,
    }
}

/// What was put, by path.
#[derive(Clone, Debug, Default)]
struct Things(Arc<Mutex<BTreeMap<String, Value>>>);

impl Things {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them, or those of a type.
    fn read(&self, path: &str) -> Response<Body> {
        let things = self.all();
        if let Some(thing) = things.get(path) {
            let body = thing.to_string().into();
            let mut response = jobs::response(StatusCode::OK, "application/json", body);
            let state = thing["properties"]["provisioningState"].as_str();
            if !matches!(state, Some("Succeeded" | "Failed" | "Canceled")) {
                let soon = HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, soon);
            }
            return response;
        }
        if is_thing(path) {
            return not_found();
        }
        let is_of_type = |name: &str| {
            let name = name
                .strip_prefix(path)
                .and_then(|name| name.strip_prefix('/'));
            name.is_some_and(|name| !name.contains('/'))
        };
        let things = things.iter().filter(|(name, _)| is_of_type(name));
        let things: Vec<_> = things.map(|(_, thing)| thing).collect();
        let body = json!({"value": things});
        jobs::response(StatusCode::OK, "application/json", body.to_string().into())
    }

    /// Begins to change one, to what is told of it.
    fn change(&self, path: &str, state: &str, told: Option<Map<String, Value>>) -> Change {
        let mut things = self.all();
        let before = things.get(path);
        let is_new = before.is_none();
        let mut thing = before.cloned().unwrap_or_else(|| json!({"properties": {}}));
        for (name, value) in told.into_iter().flatten() {
            match (name.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, value) in properties {
                        thing["properties"][name] = value;
                    }
                }
                ("id" | "name" | "type" | "properties", _) => {}
                (name, value) => thing[name] = value,
            }
        }
        let (_, provided) = path.rsplit_once("/providers/").unwrap_or_default();
        let mut segments = provided.split('/');
        let mut kind = segments.next().unwrap_or_default().to_owned();
        for segment in segments.step_by(2) {
            kind.push('/');
            kind.push_str(segment);
        }
        thing["id"] = path.into();
        thing["name"] = path.rsplit('/').next().into();
        thing["type"] = kind.into();
        thing["properties"]["provisioningState"] = state.into();
        things.insert(path.to_owned(), thing);
        drop(things);
        Change {
            things: self.clone(),
            path: path.to_owned(),
            is_new,
            ended: false,
        }
    }
}

/// A change under way. A job that panics or is cancelled leaves the thing as one that failed or was canceled.
struct Change {
    things: Things,
    path: String,
    is_new: bool,
    ended: bool,
}

impl Change {
    fn end(mut self, state: &str) {
        self.leave(state);
    }

    fn remove(mut self) {
        self.ended = true;
        self.things.all().remove(&self.path);
    }

    fn leave(&mut self, state: &str) {
        self.ended = true;
        if let Some(thing) = self.things.all().get_mut(&self.path) {
            thing["properties"]["provisioningState"] = state.into();
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if !self.ended {
            let failed = std::thread::panicking();
            self.leave(if failed { "Failed" } else { "Canceled" });
        }
    }
}

fn not_found<B: From<String>>() -> Response<B> {
    let detail = "There is no such resource.";
    error(StatusCode::NOT_FOUND, "ResourceNotFound", detail)
}

fn invalid<B: From<String>>(detail: &str) -> Response<B> {
    error(StatusCode::BAD_REQUEST, "InvalidJob", detail)
}

fn error<B: From<String>>(status: StatusCode, code: &str, message: &str) -> Response<B> {
    let error = json!({"code": code, "message": message});
    let body = json!({"error": error}).to_string();
    jobs::response(status, "application/json", body.into())
}
