//! `/xop`: jobs as commands and queries.

use crate::{jobs, options::Options};
use axum::{Router, body::Body};
use http::Request;
use tower::{ServiceExt, service_fn};
use tower_lro::{BuildError, Operations, XOperation};

pub(crate) const HELP: &str = "\
curl -i {base}/xop/jobs -d ms=400                   # 202; X-Operation is relative to {base}/xop/
curl -i '{base}/xop/jobs?forget=when-read' -d ms=400   # its record goes with whoever reads its end
curl -i '{base}/xop/jobs?ms=400'                    # a query: takes its time
curl -i {base}/xop/operations/ID                    # created, then completed or rejected
";

/// What lies under `/xop`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let kept = plain.also("/xop/operations", XOperation::new())?;
    let once = plain.also("/xop/once", XOperation::new().forget_when_read())?;
    let for_audit = jobs::service(&jobs::layer(&kept, options), options);
    let to_be_read = jobs::service(&jobs::layer(&once, options), options);
    let either = service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let wants = query.split('&').any(|pair| pair == "forget=when-read");
        let jobs = if wants { &to_be_read } else { &for_audit };
        jobs.clone().oneshot(request)
    });
    let routes = Router::new()
        .route_service("/jobs", either)
        .nest_service("/operations", kept.status_service())
        .nest_service("/once", once.status_service());
    Ok(jobs::open(routes, &kept))
}
