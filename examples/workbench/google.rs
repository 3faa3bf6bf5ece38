//! `/v1`: jobs as Google's long-running operations, of the service and of a project.

use crate::{jobs, options::Options};
use axum::{Router, body::Body, routing::post_service};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower_lro::{BuildError, GoogleRest, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/v1/jobs:run --json '{\"ms\":400}'      # 200; the operation, whose name is operations/ID
curl -i {base}/v1/operations/ID                     # the operation, with the result once it is done
curl -i '{base}/v1/operations/ID:wait?timeout=9s' -X POST
curl -i '{base}/v1/operations/ID?alt=media'         # the result as it is
curl -i {base}/v1/operations/ID:cancel --json '{}'  # cancels
curl -i {base}/v1/operations/ID -X DELETE           # forgets, and does not cancel
curl -i '{base}/v1/operations?pageSize=5&filter=done%3Dtrue'
curl -i {base}/v1/projects/demo/jobs:run -d ms=400  # the same, whose name is projects/demo/operations/ID
";

/// What lies under `/v1`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/v1/operations", GoogleRest::new())?;
    let project = plain.also("/v1/projects/demo/operations", GoogleRest::new())?;
    let jobs = |operations: &Operations| {
        let layer = jobs::layer(operations, options).check(check);
        let node = options.node.clone();
        let at_most = jobs::request_body(options);
        let jobs = tower::service_fn(move |request: Request<Body>| {
            jobs::run(request, at_most, node.clone())
        });
        post_service(jobs::deferred(&layer, jobs))
    };
    let routes = Router::new()
        .route("/jobs:run", jobs(&operations))
        .route("/projects/demo/jobs:run", jobs(&project))
        .nest_service("/operations", operations.status_service())
        .nest_service("/projects/demo/operations", project.status_service());
    Ok(jobs::open(routes, &operations))
}

/// Refuses at once what is no job, in Google's form.
async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    jobs::check(request).await.map_err(|refusal| {
        let problem: Value = serde_json::from_slice(refusal.body()).unwrap_or_default();
        let status = refusal.status();
        let error = json!({
            "code": status.as_u16(),
            "message": problem["detail"],
            "status": "INVALID_ARGUMENT",
            "details": [],
        });
        let body = json!({"error": error}).to_string();
        jobs::response(status, "application/json", body.into())
    })
}
