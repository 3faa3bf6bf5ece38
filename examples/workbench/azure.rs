//! `/azure`: jobs as Azure's clients follow them, and things that are made and then looked at.

use crate::{jobs, options::Options};
use axum::{Router, body::Body, extract::Path, routing::get};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tower::{ServiceExt, service_fn};
use tower_lro::{Azure, BuildError, Operations};

pub(crate) const HELP: &str = "\
curl -i {base}/azure/jobs -d ms=400                 # 202; Operation-Location is the monitor
curl -i '{base}/azure/jobs?final=location' -d ms=400   # with Location: the result
curl -i {base}/azure/operations/ID                  # the document, with the result once it is there
curl -i {base}/azure/operations/ID:cancel -X POST   # cancels
curl -i '{base}/azure/things/NAME?ms=400' -X PUT    # 202; the thing is there when it is done
curl -i {base}/azure/things/NAME
";

/// What lies under `/azure`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/azure/operations", Azure::new())?;
    let located = plain.also("/azure/located", Azure::new().final_location())?;

    let by_operation = jobs::service(&jobs::layer(&operations, options), options);
    let by_location = jobs::service(&jobs::layer(&located, options), options);
    let either = service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let wants = query.split('&').any(|pair| pair == "final=location");
        let jobs = if wants { &by_location } else { &by_operation };
        jobs.clone().oneshot(request)
    });

    let things = Things::default();
    let all = things.clone();
    let read = get(async move |Path(name): Path<String>| jobs::uncached(all.read(&name)));
    let made = jobs::run_then(options, move |head| {
        let name = head.uri.path().rsplit('/').next().unwrap_or_default();
        things.make(name)
    });
    let layer = jobs::layer(&operations, options);
    let things = read.put_service(jobs::deferred(&layer, made));

    let routes = Router::new()
        .route_service("/jobs", either)
        .route("/things/{name}", things)
        .nest_service("/operations", operations.status_service())
        .nest_service("/located", located.status_service());
    Ok(jobs::open(routes, &operations))
}

/// What was put, by name.
#[derive(Clone, Debug, Default)]
struct Things(Arc<Mutex<BTreeMap<String, Value>>>);

impl Things {
    fn read(&self, name: &str) -> Response<Body> {
        let things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, body) = match things.get(name) {
            Some(thing) => (StatusCode::OK, thing.clone()),
            None => {
                let error = json!({"code": "ThingNotFound", "message": "There is no such thing."});
                (StatusCode::NOT_FOUND, json!({"error": error}))
            }
        };
        jobs::response(status, "application/json", body.to_string().into())
    }

    fn make(&self, name: &str) -> Response<Body> {
        let thing = json!({"name": name, "made": true});
        let body = thing.to_string();
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match things.insert(name.to_owned(), thing) {
            Some(_) => StatusCode::OK,
            None => StatusCode::CREATED,
        };
        jobs::response(status, "application/json", body.into())
    }
}
