//! `/ogc`: an API of OGC API - Processes, with one process.

use crate::{jobs, options::Options};
use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    routing::{MethodRouter, get, post_service},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use serde_json::{Value, json};
use tower::service_fn;
use tower_lro::{BuildError, OgcProcesses, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/ogc/                                 # the landing page, which links to all there is
curl -i {base}/ogc/processes/echo/execution --json '{\"inputs\":{\"ms\":400,\"echo\":\"x\"}}' -H 'Prefer: respond-async'
curl -i {base}/ogc/processes/echo/execution --json '{\"inputs\":{\"echo\":\"x\"}}'   # 200: the results at once
curl -i {base}/ogc/jobs/ID                          # 200, statusInfo
curl -i {base}/ogc/jobs/ID/results                  # the results, or the exception
curl -i {base}/ogc/jobs/ID -X DELETE                # dismisses; once more removes
curl -i '{base}/ogc/jobs?status=running,failed&processID=echo&minDuration=1&limit=5'
";

const PROCESS: &str = "echo";
const RELATIONS: &str = "http://www.opengis.net/def/rel/ogc/1.0";

/// What lies under `/ogc`.
pub(crate) fn router(
    plain: &Operations,
    options: &Options,
    base: &str,
) -> Result<Router, BuildError> {
    let operations = plain.also("/ogc/jobs", OgcProcesses::new())?;
    let layer = jobs::layer(&operations, options).check(check);
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let execution = service_fn(move |request| {
        let node = node.clone();
        async move {
            let (head, body) = Request::into_parts(request);
            let body = axum::body::to_bytes(body, at_most).await;
            match job(head, &body.unwrap_or_default()) {
                Ok(job) => results(jobs::run(job.map(Body::from), at_most, node).await?).await,
                Err(refusal) => Ok(refusal),
            }
        }
    });
    let base = format!("{base}/ogc");
    let routes = Router::new()
        .route("/", document(landing(&base)))
        .route("/api", document_of(api(&base), OPENAPI))
        .route("/conformance", document(conformance()))
        .route("/processes", document(processes(&base)))
        .route("/processes/{id}", known(process(&base)))
        .route(
            "/processes/{id}/execution",
            post_service(jobs::deferred(&layer, execution)),
        )
        .nest_service("/jobs", operations.status_service());
    Ok(jobs::open(routes, &operations))
}

const JSON: &str = "application/json";
const OPENAPI: &str = "application/vnd.oai.openapi+json;version=3.0";

fn document(value: Value) -> MethodRouter {
    document_of(value, JSON)
}

fn document_of(value: Value, kind: &'static str) -> MethodRouter {
    let kind = HeaderValue::from_static(kind);
    get(async move || ([(header::CONTENT_TYPE, kind.clone())], value.to_string()))
}

fn known(process: Value) -> MethodRouter {
    get(async move |Path(id): Path<String>| match &*id {
        PROCESS => Ok(Json(process.clone())),
        _ => Err(no_such_process::<Body>()),
    })
}

async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    let (head, body) = request.into_parts();
    jobs::check(job(head, &body)?).await
}

/// The inputs of an execution as the fields of a job.
fn job<B: From<String>>(
    mut head: request::Parts,
    body: &[u8],
) -> Result<Request<Bytes>, Response<B>> {
    if !head.uri.path().ends_with("/processes/echo/execution") {
        return Err(no_such_process());
    }
    let execute: Value = match body {
        b"" => json!({}),
        body => serde_json::from_slice(body).unwrap_or_default(),
    };
    let inputs = match (&execute, execute.get("inputs")) {
        (Value::Object(_), None) => serde_json::Map::new(),
        (_, Some(Value::Object(inputs))) => inputs.clone(),
        _ => return Err(invalid("The body is no execute request in JSON.")),
    };
    let values = inputs.into_iter().map(|(name, value)| match value {
        // Qualified: with a media type, say.
        Value::Object(mut qualified) => (name, qualified.remove("value").unwrap_or_default()),
        value => (name, value),
    });
    let values = values.map(|(name, value)| (name, whole(value)));
    let fields = Value::Object(values.collect());
    let kind = HeaderValue::from_static(JSON);
    head.headers.insert(header::CONTENT_TYPE, kind);
    Ok(Request::from_parts(head, fields.to_string().into()))
}

/// Clients that know one type of numbers send 100 as 100.0.
fn whole(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => {
            Value::from(number as u64)
        }
        _ => value,
    }
}

/// What a job answers, as results: its echo. Freight and failures are what they are.
async fn results(done: Response<Body>) -> Result<Response<Body>, jobs::NoResponse> {
    let kind = done.headers().get(header::CONTENT_TYPE);
    if done.status() != StatusCode::OK || kind.is_none_or(|kind| kind != JSON) {
        return Ok(done);
    }
    let (mut head, body) = done.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let answer: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    head.headers.remove(header::TRAILER);
    let results = json!({PROCESS: answer["echo"]}).to_string();
    Ok(Response::from_parts(head, results.into()))
}

fn invalid<B: From<String>>(detail: &str) -> Response<B> {
    let status = StatusCode::BAD_REQUEST;
    jobs::problem("invalid-execution", "Invalid execution", status, detail)
}

fn no_such_process<B: From<String>>() -> Response<B> {
    let exception = json!({
        "type": "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/no-such-process",
        "title": "No such process",
        "status": 404,
        "detail": "There is one process: echo.",
    });
    let body = exception.to_string().into();
    jobs::response(StatusCode::NOT_FOUND, "application/problem+json", body)
}

fn link(href: &str, relation: &str, kind: &str, title: &str) -> Value {
    json!({"href": href, "rel": relation, "type": kind, "title": title})
}

fn landing(base: &str) -> Value {
    let relation = |name| format!("{RELATIONS}/{name}");
    json!({
        "title": "Workbench",
        "description": "One process that does as it is told.",
        "links": [
            link(&format!("{base}/"), "self", JSON, "This document"),
            link(&format!("{base}/api"), "service-desc", OPENAPI, "The API"),
            link(&format!("{base}/conformance"), &relation("conformance"), JSON, "Conformance classes"),
            link(&format!("{base}/conformance"), "conformance", JSON, "Conformance classes"),
            link(&format!("{base}/processes"), &relation("processes"), JSON, "Processes"),
            link(&format!("{base}/jobs"), &relation("job-list"), JSON, "Jobs"),
        ],
    })
}

fn conformance() -> Value {
    let classes = [
        "core",
        "json",
        "ogc-process-description",
        "job-list",
        "dismiss",
    ];
    let classes = classes
        .map(|class| format!("http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/{class}"));
    json!({"conformsTo": classes})
}

fn summary(base: &str) -> Value {
    json!({
        "id": PROCESS,
        "version": "1.0.0",
        "title": "Echo",
        "description": "Sleeps, and then succeeds with its input, or fails as it is told.",
        "keywords": ["echo"],
        "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
        "outputTransmission": ["value"],
        "links": [
            link(&format!("{base}/processes/echo"), "self", JSON, "Description"),
            link(&format!("{base}/processes/echo/execution"), &format!("{RELATIONS}/execute"), JSON, "Execution"),
        ],
    })
}

fn processes(base: &str) -> Value {
    let own = link(&format!("{base}/processes"), "self", JSON, "This document");
    json!({"processes": [summary(base)], "links": [own]})
}

fn process(base: &str) -> Value {
    let input = |title: &str, schema: Value| json!({"title": title, "schema": schema, "minOccurs": 0, "maxOccurs": 1});
    let outcomes =
        json!({"type": "string", "enum": ["ok", "fail", "panic", "error"], "default": "ok"});
    let mut process = summary(base);
    process["inputs"] = json!({
        "ms": input("Sleeps so many milliseconds", json!({"type": "integer", "minimum": 0, "default": 0})),
        "steps": input("In so many steps", json!({"type": "integer", "minimum": 1, "default": 1})),
        "outcome": input("How it ends", outcomes),
        "echo": input("What comes back", json!({"type": "string", "default": ""})),
        "size": input("Answers so many bytes instead", json!({"type": "integer", "minimum": 0})),
        "status": input("Answers with this status", json!({"type": "integer", "minimum": 200, "maximum": 599})),
    });
    process["outputs"] = json!({PROCESS: {"title": "What was sent", "schema": {"type": "string"}}});
    process
}

fn api(base: &str) -> Value {
    let operation = |id: &str, summary: &str, statuses: &[&str]| {
        let responses = statuses.iter().map(|status| {
            (
                (*status).to_owned(),
                json!({"description": if *status < "300" { "As asked" } else { "An exception" }}),
            )
        });
        let responses = Value::Object(responses.collect());
        json!({"operationId": id, "summary": summary, "responses": responses})
    };
    let at = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let read = |id, summary| json!({"get": operation(id, summary, &["200"])});
    let mut execute = operation(
        "execute",
        "Execute a process",
        &["200", "201", "400", "404"],
    );
    execute["requestBody"] =
        json!({"required": true, "content": {JSON: {"schema": {"type": "object"}}}});
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Workbench", "version": "1.0.0"},
        "servers": [{"url": base}],
        "paths": {
            "/": read("getLandingPage", "Landing page"),
            "/conformance": read("getConformanceClasses", "Conformance classes"),
            "/processes": read("getProcesses", "Processes"),
            "/processes/{processID}": {
                "parameters": [at("processID")],
                "get": operation("getProcessDescription", "A process", &["200", "404"]),
            },
            "/processes/{processID}/execution": {"parameters": [at("processID")], "post": execute},
            "/jobs": {"get": operation("getJobs", "Jobs", &["200", "400"])},
            "/jobs/{jobId}": {
                "parameters": [at("jobId")],
                "get": operation("getStatus", "A job", &["200", "404"]),
                "delete": operation("dismiss", "Dismiss a job", &["200", "404"]),
            },
            "/jobs/{jobId}/results": {
                "parameters": [at("jobId")],
                "get": operation("getResult", "Its results", &["200", "404"]),
            },
        },
    })
}
