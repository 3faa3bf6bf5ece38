//! `/two`: jobs as the project two-oh-two has them.

use crate::{jobs, options::Options};
use axum::Router;
use tower_lro::{BuildError, Operations, TwoOhTwo};

pub(crate) const HELP: &str = "\
curl -i '{base}/two/jobs?ms=400&echo=x'             # 202; Location is the monitor
curl -i {base}/two/monitor/ID                       # 200 while it works, then 201; Location is the result
curl -i {base}/two/result/ID                        # 200, or 422 if it failed
";

/// What lies under `/two`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/two", TwoOhTwo::new())?;
    let jobs = jobs::service(&jobs::layer(&operations, options), options);
    // Below both, what the dialect reads is the whole path.
    let routes = Router::new()
        .route("/jobs", jobs)
        .route_service("/monitor/{*id}", operations.status_service())
        .route_service("/result/{*id}", operations.status_service());
    Ok(jobs::open(routes, &operations))
}
