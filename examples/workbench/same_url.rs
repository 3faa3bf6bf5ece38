//! `/sameurl`: a report that is polled at its own URL.

use crate::{jobs, options::Options};
use axum::{Router, routing::any_service};
use http::{HeaderValue, StatusCode, header};
use tower::service_fn;
use tower_lro::{BuildError, Operations, SameUrl};

pub(crate) const HELP: &str = "\
curl -i '{base}/sameurl/report?ms=4000&echo=x'      # 202 with an ETag; the same again joins, then has the report
curl -i '{base}/sameurl/report?ms=4000&echo=x' -H 'If-None-Match: ETAG'   # 304 while pending, and from caches later
";

/// What lies under `/sameurl`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/sameurl", SameUrl::new())?;
    let (at_most, node) = (jobs::request_body(options), options.node.clone());
    let report = service_fn(move |request| {
        let run = jobs::run(request, at_most, node.clone());
        async move {
            let mut report = run.await?;
            if report.status() == StatusCode::OK {
                // Everybody is one here, so that caches need not take it for anybody's own.
                let caches = HeaderValue::from_static("no-cache");
                report.headers_mut().insert(header::CACHE_CONTROL, caches);
            }
            Ok(report)
        }
    });
    let report = jobs::deferred(&jobs::layer(&operations, options), report);
    let routes = Router::new().route("/report", any_service(report));
    Ok(jobs::open(routes, &operations))
}
