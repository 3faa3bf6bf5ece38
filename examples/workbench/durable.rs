//! `/durable`: jobs as orchestrations of Durable Functions.

use crate::{jobs, options::Options};
use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower::service_fn;
use tower_lro::{BuildError, DurableFunctions, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/durable/jobs --json '{\"ms\":400}'     # 202; the management URLs
curl -i '{base}/durable/jobs?timeout=9&pollingInterval=1' -d ms=400   # held: the output itself
curl -i {base}/durable/instances/ID                 # 202 while pending, then the output in a document
curl -i '{base}/durable/instances/ID?returnInternalServerErrorOnFailure=true'   # 500 if it failed
curl -i '{base}/durable/instances/ID/terminate?reason=enough' -X POST   # 202; 410 after the end
curl -i {base}/durable/instances/ID -X DELETE       # purges what has ended
curl -i '{base}/durable/instances?top=5&runtimeStatus=Running,Failed'   # x-ms-continuation-token if there are more
";

/// What lies under `/durable`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/durable/instances", DurableFunctions::new())?;
    let layer = jobs::layer(&operations, options).check(check);
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let jobs = jobs::deferred(
        &layer,
        service_fn(move |request| jobs::run(request, at_most, node.clone())),
    );
    let routes = Router::new()
        .route_service("/jobs", jobs.clone())
        .route_service("/orchestrators/{function}", jobs)
        .nest_service("/instances", operations.status_service());
    Ok(jobs::open(routes, &operations))
}

/// Refuses at once what is no job, with a message.
async fn check(request: Request<Bytes>) -> Result<(), Response<Bytes>> {
    jobs::check(request).await.map_err(|refusal| {
        let problem: Value = serde_json::from_slice(refusal.body()).unwrap_or_default();
        let detail = &problem["detail"];
        // The Python client reads the second.
        let body = json!({"Message": detail, "ExceptionMessage": detail}).to_string();
        jobs::response(refusal.status(), "application/json", body.into())
    })
}
