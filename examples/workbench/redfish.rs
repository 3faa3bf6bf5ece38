//! `/redfish`: jobs as tasks, and the little of a service around them that clients need to log in.

use crate::{jobs, options::Options};
use axum::{
    Json, Router,
    extract::Path,
    http::HeaderName,
    routing::{MethodRouter, delete, get},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tower_lro::{BuildError, Operations, Redfish};

pub(crate) const HELP: &str = "\
curl -i {base}/redfish/v1/                          # the service root; any name and password log in
curl -i {base}/redfish/jobs --json '{\"ms\":400}'     # 202; Location is the task monitor
curl -i {base}/redfish/v1/TaskService/Tasks/ID/Monitor   # 202 while pending, then the response, once
curl -i {base}/redfish/v1/TaskService/Tasks/ID      # the task
curl -i {base}/redfish/v1/TaskService/Tasks/ID -X DELETE   # cancels; once more removes
curl -i '{base}/redfish/v1/TaskService/Tasks?$top=5'
";

/// What lies under `/redfish`.
pub(crate) fn router(plain: &Operations, options: &Options) -> Result<Router, BuildError> {
    let operations = plain.also("/redfish/v1/TaskService/Tasks", Redfish::new())?;
    let run = jobs::service(&jobs::layer(&operations, options), options);
    let mut routes = Router::new()
        .route("/jobs", run)
        .nest_service("/v1/TaskService/Tasks", operations.status_service());
    for (path, resource) in [
        ("", json!({"v1": "/redfish/v1/"})),
        ("/v1", root()),
        ("/v1/TaskService", task_service()),
        ("/v1/SessionService", session_service()),
    ] {
        // With a slash at the end or without.
        routes = match path {
            "" => routes.route("/", read(resource)),
            path => routes
                .route(path, read(resource.clone()))
                .route(&format!("{path}/"), read(resource)),
        };
    }
    let sessions = read(sessions()).post(log_in);
    let routes = routes
        .route("/v1/SessionService/Sessions", sessions)
        .route("/v1/SessionService/Sessions/{id}", delete(log_out));
    Ok(jobs::open(routes, &operations))
}

const ODATA_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("odata-version"),
    HeaderValue::from_static("4.0"),
);

fn read(resource: Value) -> MethodRouter {
    get(async move || ([ODATA_VERSION], Json(resource.clone())))
}

fn root() -> Value {
    json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_16_1.ServiceRoot",
        "Id": "RootService",
        "Name": "Workbench",
        "RedfishVersion": "1.20.0",
        "Tasks": {"@odata.id": "/redfish/v1/TaskService"},
        "SessionService": {"@odata.id": "/redfish/v1/SessionService"},
        "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
    })
}

fn task_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/TaskService",
        "@odata.type": "#TaskService.v1_2_1.TaskService",
        "Id": "TaskService",
        "Name": "Tasks",
        "ServiceEnabled": true,
        "CompletedTaskOverWritePolicy": "Oldest",
        "LifeCycleEventOnTaskStateChange": false,
        "Tasks": {"@odata.id": "/redfish/v1/TaskService/Tasks"},
    })
}

fn session_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/SessionService",
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "Id": "SessionService",
        "Name": "Sessions",
        "ServiceEnabled": true,
        "Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"},
    })
}

fn sessions() -> Value {
    json!({
        "@odata.id": "/redfish/v1/SessionService/Sessions",
        "@odata.type": "#SessionCollection.SessionCollection",
        "Name": "Sessions",
        "Members": [],
        "Members@odata.count": 0,
    })
}

/// Nobody is kept out, so there is nothing to remember.
async fn log_in(
    Json(login): Json<Value>,
) -> (StatusCode, [(HeaderName, HeaderValue); 3], Json<Value>) {
    let path = "/redfish/v1/SessionService/Sessions/1";
    let session = json!({
        "@odata.id": path,
        "@odata.type": "#Session.v1_7_0.Session",
        "Id": "1",
        "Name": "Session",
        "UserName": login["UserName"],
    });
    let token = HeaderName::from_static("x-auth-token");
    let fields = [
        ODATA_VERSION,
        (header::LOCATION, HeaderValue::from_static(path)),
        (token, HeaderValue::from_static("everybody")),
    ];
    (StatusCode::CREATED, fields, Json(session))
}

async fn log_out(Path(_): Path<String>) -> StatusCode {
    StatusCode::NO_CONTENT
}
