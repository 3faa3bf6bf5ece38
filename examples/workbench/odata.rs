//! `/odata`: jobs for OData's clients.

use crate::{jobs, options::Options};
use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::service_fn;
use tower_lro::{BuildError, OData, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/odata/Jobs -d ms=400 -H 'Prefer: respond-async'   # 202; without Prefer it takes its time
curl -i '{base}/odata/$async/ID'                    # 202 while pending, then the result with AsyncResult
curl -i '{base}/odata/$async/ID' -H 'Accept: application/http'   # the result as a whole message
curl -i '{base}/odata/$async/ID' -X DELETE          # cancels
";

/// What lies under `/odata`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/odata/$async", OData::new())?;
    let layer = jobs::layer(&operations, options).check(check);
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let jobs = service_fn(move |request| {
        let node = node.clone();
        async move { told(jobs::run(request, at_most, node).await?, at_most).await }
    });
    let routes = Router::new()
        .route_service("/Jobs", jobs::deferred(&layer, jobs))
        .nest_service("/$async", operations.status_service());
    Ok(jobs::open(routes, &operations))
}

async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    let checked = jobs::check(request).await;
    checked.map_err(|refusal| error(refusal.status(), "InvalidJob", refusal.body()))
}

/// What a job answers, as OData has it: in a version, and failures as error objects.
async fn told(
    response: Response<Body>,
    at_most: usize,
) -> Result<Response<Body>, jobs::NoResponse> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let problem = axum::body::to_bytes(response.into_body(), at_most).await;
        return Ok(error(status, "JobFailed", &problem.unwrap_or_default()));
    }
    Ok(versioned(response))
}

fn error<B: From<String>>(status: StatusCode, code: &str, problem: &[u8]) -> Response<B> {
    let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
    let error = json!({"code": code, "message": problem["detail"]});
    let body = json!({"error": error}).to_string();
    versioned(jobs::response(status, "application/json", body.into()))
}

fn versioned<B>(mut response: Response<B>) -> Response<B> {
    const VERSION: HeaderName = HeaderName::from_static("odata-version");
    let version = HeaderValue::from_static("4.01");
    response.headers_mut().insert(VERSION, version);
    response
}
