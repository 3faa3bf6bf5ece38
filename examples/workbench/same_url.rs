//! `/sameurl`: a report that is polled at its own URL.

use crate::{jobs, options::Options};
use axum::{Router, routing::any_service};
use http::{HeaderValue, header};
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
        let node = node.clone();
        async move {
            let mut done = jobs::run(request, at_most, node).await?;
            // The one owner is everybody: what is theirs is nothing that shared caches should leave alone.
            let for_all = HeaderValue::from_static("no-cache");
            done.headers_mut().insert(header::CACHE_CONTROL, for_all);
            Ok(done)
        }
    });
    let report = jobs::deferred(&jobs::layer(&operations, options), report);
    let routes = Router::new().route("/report", any_service(report));
    Ok(jobs::open(routes, &operations))
}
