//! `/resteasy`: jobs as RESTEasy's Asynchronous Job Service has them.

use crate::{jobs, options::Options};
use axum::Router;
use tower_lro::{BuildError, Operations, RestEasy};

pub(crate) const HELP: &str = "\
curl -i '{base}/resteasy/jobs?asynch=true' -d ms=400   # 202; without the parameter it takes its time
curl -i '{base}/resteasy/jobs?oneway=true' -d ms=400   # 202, and nothing to ask for
curl -i {base}/resteasy/asynch/jobs/ID              # 202 while pending, then the replay
curl -i '{base}/resteasy/asynch/jobs/ID?wait=2000'  # held so many milliseconds, then 503
curl -i {base}/resteasy/asynch/jobs/ID -X POST      # the same, once
curl -i {base}/resteasy/asynch/jobs/ID -X DELETE    # removes it; the work goes on
";

/// What lies under `/resteasy`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/resteasy/asynch/jobs", RestEasy::new())?;
    let jobs = jobs::service(&jobs::layer(&operations, options), options);
    let routes = Router::new()
        .route("/jobs", jobs)
        .nest_service("/asynch/jobs", operations.status_service());
    Ok(jobs::open(routes, &operations))
}
