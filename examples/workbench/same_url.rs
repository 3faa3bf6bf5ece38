//! `/sameurl`: a report that is polled at its own URL.

use crate::{jobs, options::Options};
use axum::Router;
use tower_lro::{BuildError, Operations, SameUrl};

pub(crate) const HELP: &str = "\
curl -i '{base}/sameurl/report?ms=4000&echo=x'      # 202 with an ETag; the same again joins, then has the report
curl -i '{base}/sameurl/report?ms=4000&echo=x' -H 'If-None-Match: ETAG'   # 304 while pending, and from caches later
";

/// What lies under `/sameurl`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/sameurl", SameUrl::new())?;
    let report = jobs::service(&jobs::layer(&operations, options), options);
    let routes = Router::new().route("/report", report);
    Ok(jobs::open(routes, &operations))
}
