//! `/fhir`: bulk data export of what little there is, and single interactions.

use crate::{jobs, node::Node, options::Options};
use axum::{
    Router,
    body::Body,
    extract::Path,
    routing::{get, get_service},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use serde_json::{Value, json};
use std::{sync::Arc, time::SystemTime};
use tower::service_fn;
use tower_lro::{BuildError, Fhir, Operations, dialect::Head};

pub(crate) const HELP: &str = "\
curl -i '{base}/fhir/$export'                       # 202; Content-Location is the polling location
curl -i '{base}/fhir/Group/slow/$export?_type=Patient'   # takes 4 s; `fail` fails, and any job's fields do as above
curl -i {base}/fhir/bulk/ID                         # 202 with X-Progress, then the manifest; 429 if asked too often
curl -i {base}/fhir/bulk/ID -X DELETE               # cancels or forgets: 404 from then on
curl -i {base}/fhir/files/Patient.ndjson
curl -i '{base}/fhir/Patient/1/$everything?ms=400' -H 'Prefer: respond-async'   # the result is a Bundle
curl -i {base}/fhir/metadata
";

/// What is there, by type: lines of resources.
const FILES: [(&str, &str); 2] = [
    (
        "Patient",
        "{\"resourceType\":\"Patient\",\"id\":\"1\",\"gender\":\"female\"}\n\
         {\"resourceType\":\"Patient\",\"id\":\"2\",\"gender\":\"male\"}\n",
    ),
    (
        "Observation",
        "{\"resourceType\":\"Observation\",\"id\":\"3\",\"status\":\"final\",\"code\":{\"text\":\"pulse\"},\
         \"subject\":{\"reference\":\"Patient/1\"},\"valueQuantity\":{\"value\":61}}\n",
    ),
];

/// What lies under `/fhir`.
pub(crate) fn router(
    plain: &Operations,
    options: &Options,
    base: &str,
) -> Result<Router, BuildError> {
    let bulk = plain.also("/fhir/bulk", Fhir::bulk())?;
    let single = plain.also("/fhir/async", Fhir::bundle())?;
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let base: Arc<str> = base.into();

    let layer = jobs::layer(&bulk, options).check(check);
    let export = service_fn(move |request| export(request, at_most, node.clone(), base.clone()));
    let export = jobs::deferred(&layer, export);
    let export = get_service(export.clone()).post_service(export);

    let layer = jobs::layer(&single, options).check(check);
    let everything = jobs::run_then(options, |_| {
        let (kind, lines) = FILES[0];
        let patient = lines.lines().next().unwrap_or(kind);
        fhir(StatusCode::OK, patient.to_owned())
    });

    let routes = Router::new()
        .route("/$export", export.clone())
        .route("/Patient/$export", export.clone())
        .route("/Group/{group}/$export", export)
        .route(
            "/Patient/1/$everything",
            get_service(jobs::deferred(&layer, everything)),
        )
        .route("/files/{file}", get(file))
        .route("/metadata", get(async || capabilities()))
        .nest_service("/bulk", bulk.status_service())
        .nest_service("/async", single.status_service());
    Ok(jobs::open(routes, &bulk))
}

/// Refuses at once what is no export.
async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    let (head, body) = request.into_parts();
    let Some(job) = job(&head, &body) else {
        return Err(no_parameters());
    };
    jobs::check(job).await.map_err(|refusal| {
        let problem: Value = serde_json::from_slice(refusal.body()).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or_default();
        outcome(refusal.status(), "invalid", detail)
    })
}

async fn export(
    request: Request<Body>,
    at_most: usize,
    node: Node,
    base: Arc<str>,
) -> Result<Response<Body>, jobs::NoResponse> {
    let target = Head::of(&request).target().to_owned();
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, at_most).await;
    let Some(job) = job(&head, &body.unwrap_or_default()) else {
        return Ok(no_parameters());
    };
    let started = humantime::format_rfc3339_millis(SystemTime::now());
    let wanted = wanted(job.uri().query().unwrap_or_default());
    let done = jobs::run(job.map(Body::from), at_most, node).await?;
    if done.status() != StatusCode::OK {
        return Ok(done);
    }
    let files = FILES
        .iter()
        .filter(|(kind, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == kind));
    let output: Vec<_> = files
        .map(|(kind, lines)| {
            let url = format!("{base}/fhir/files/{kind}.ndjson");
            json!({"type": kind, "url": url, "count": lines.lines().count()})
        })
        .collect();
    let manifest = json!({
        "transactionTime": started.to_string(),
        "request": format!("{base}{target}"),
        "requiresAccessToken": false,
        "output": output,
        "deleted": [],
        "error": [],
    });
    let body = manifest.to_string().into();
    Ok(jobs::response(StatusCode::OK, "application/json", body))
}

/// An export as a job: what its query says, its `Parameters`, and its group. `None`: they are none.
fn job(head: &request::Parts, body: &Bytes) -> Option<Request<Bytes>> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = head.uri.query().unwrap_or_default();
    query.extend_pairs(form_urlencoded::parse(given.as_bytes()));
    if head.method == Method::POST && !body.is_empty() {
        let parameters: Value = serde_json::from_slice(body).ok()?;
        if parameters["resourceType"] != "Parameters" {
            return None;
        }
        for parameter in parameters["parameter"].as_array().into_iter().flatten() {
            let members = parameter.as_object()?;
            let value = members.iter().find(|(name, _)| name.starts_with("value"));
            let text = match value {
                Some((_, Value::String(text))) => text.clone(),
                Some((_, value)) => value.to_string(),
                None => continue,
            };
            query.append_pair(members.get("name")?.as_str()?, &text);
        }
    }
    let of_group: &[_] = match head.uri.path().rsplit('/').nth(1) {
        Some("slow") => &[("ms", "4000"), ("steps", "4")],
        Some("fail") => &[
            ("outcome", "fail"),
            ("echo", "This group can't be exported."),
        ],
        _ => &[],
    };
    query.extend_pairs(of_group);
    let mut job = Request::new(Bytes::new());
    *job.uri_mut() = format!("/?{}", query.finish()).parse().ok()?;
    *job.extensions_mut() = head.extensions.clone();
    Some(job)
}

/// The types that are asked for; none is all.
fn wanted(query: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let types = pairs.filter(|(name, _)| name == "_type");
    types
        .flat_map(|(_, types)| types.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

async fn file(Path(name): Path<String>) -> Response<Body> {
    let kind = name.strip_suffix(".ndjson").unwrap_or_default();
    match FILES.iter().find(|(known, _)| *known == kind) {
        Some((_, lines)) => {
            jobs::response(StatusCode::OK, "application/fhir+ndjson", (*lines).into())
        }
        None => outcome(StatusCode::NOT_FOUND, "not-found", "There is no such file."),
    }
}

fn capabilities() -> Response<Body> {
    let operation = |name: &str, of: &str| {
        let definition = format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{of}");
        json!({"name": name, "definition": definition})
    };
    let statement = json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-21",
        "kind": "instance",
        "instantiates": ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"],
        "implementation": {"description": "A workbench"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{
            "mode": "server",
            "resource": [
                {"type": "Group", "operation": [operation("export", "group-export")]},
                {"type": "Observation"},
                {"type": "Patient", "operation": [operation("export", "patient-export")]},
            ],
            "operation": [operation("export", "export")],
        }],
    });
    fhir(StatusCode::OK, statement.to_string())
}

fn no_parameters<B: From<String>>() -> Response<B> {
    let detail = "The body is no Parameters resource in JSON.";
    outcome(StatusCode::BAD_REQUEST, "structure", detail)
}

fn outcome<B: From<String>>(status: StatusCode, code: &str, detail: &str) -> Response<B> {
    let issue = json!({"severity": "error", "code": code, "diagnostics": detail});
    let outcome = json!({"resourceType": "OperationOutcome", "issue": [issue]});
    fhir(status, outcome.to_string())
}

fn fhir<B: From<String>>(status: StatusCode, body: String) -> Response<B> {
    let mut response = jobs::response(status, "application/fhir+json", body.into());
    let caches = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, caches);
    response
}
