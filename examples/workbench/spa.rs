//! `/spa`: jobs for pages that see no `Location`.

use crate::{jobs, options::Options};
use axum::Router;
use tower_lro::{BuildError, Operations, Spa};

pub(crate) const HELP: &str = "\
curl -i {base}/spa/jobs -d ms=400                   # 200; the body has the monitor's URL in `location`
curl -i {base}/spa/runs/ID                          # the run, as Logic Apps have it, always 200
curl -i {base}/spa/runs/ID/cancel -X POST
";

/// What lies under `/spa`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/spa/runs", Spa::new())?;
    let routes = Router::new()
        .route(
            "/jobs",
            jobs::service(&jobs::layer(&operations, options), options),
        )
        .nest_service("/runs", operations.status_service());
    Ok(jobs::open(routes, &operations))
}
