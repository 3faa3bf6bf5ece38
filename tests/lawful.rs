//! Whatever is asked of an operation and whatever becomes of it, in whatever order: what a client sees makes sense, in every
//! dialect but `SameUrl`, where what has failed begins anew.
#![cfg(feature = "testing")]

mod common {
    pub(crate) mod exchange;
}

use bytes::Bytes;
use common::exchange::{Collected, collected, request};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;
use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, task::yield_now};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_lro::{
    ArchitectureCenter, Arm, Azure, Builder, DurableFunctions, Fhir, GoogleRest, OData,
    OgcProcesses, Operations, Owner, Redfish, RestEasy, Rfc, Spa, TwoOhTwo, XOperation,
    dialect::Head,
};

type Ask = Request<Full<Bytes>>;
type Served = BoxCloneSyncService<Ask, Collected, Infallible>;

/// What a client takes an answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Pending,
    Succeeded,
    Failed,
    Cancelled,
    Gone,
}

use Seen::{Cancelled, Failed, Gone, Pending, Succeeded};

impl Seen {
    /// Whether a client that has seen this may see that afterwards.
    fn may_become(self, next: Self) -> bool {
        self == next || self == Pending || next == Gone
    }
}

/// How clients of a dialect go about it.
struct Protocol {
    dialect: fn(Builder) -> Builder,
    submit: fn() -> Ask,
    /// Where the operation is, by the first answer.
    monitor: fn(&Collected) -> String,
    /// How it stands, by an answer from there.
    seen: fn(&Collected) -> Seen,
    cancel: fn(&str) -> Option<Ask>,
    /// Forgets it, if that is a request of its own.
    forget: fn(&str) -> Option<Ask>,
    /// Asks how it stands, and to be told its end within some seconds; if it takes a method or a query of its own.
    wait: fn(&str) -> Ask,
}

/// By `Prefer`: a plain poll to those that don't read it.
fn preferring(monitor: &str) -> Ask {
    request(Method::GET, monitor, &[("prefer", "wait=5")])
}

fn field(answer: &Collected, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

fn json(answer: &Collected) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn delete(monitor: &str) -> Option<Ask> {
    Some(request(Method::DELETE, monitor, &[]))
}

/// By the status, where the monitor replays the result.
fn by_status(answer: &Collected) -> Seen {
    match answer.status() {
        StatusCode::ACCEPTED => Pending,
        StatusCode::NOT_FOUND | StatusCode::GONE => Gone,
        status if status.is_success() => Succeeded,
        _ => Failed,
    }
}

fn rfc() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Rfc::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match &*field(answer, "operation-outcome") {
            "cancelled" => Cancelled,
            _ => by_status(answer),
        },
        cancel: |monitor| delete(monitor),
        forget: |_| None,
        wait: preferring,
    }
}

fn see_other() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Rfc::see_other()),
        // What has failed is there too, and says so.
        seen: |answer| match &*field(answer, "operation-outcome") {
            "succeeded" => Succeeded,
            "failed" => Failed,
            "cancelled" => Cancelled,
            _ => by_status(answer),
        },
        ..rfc()
    }
}

fn see_other_from_ok() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Rfc::see_other_from_ok()),
        seen: |answer| match (
            answer.status().as_u16(),
            &*field(answer, "operation-outcome"),
        ) {
            (200, "") => Pending,
            _ => (see_other().seen)(answer),
        },
        ..rfc()
    }
}

fn failures_as_documents() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Rfc::new().failures_as_documents()),
        seen: |answer| match json(answer)["status"].as_str() {
            Some("failed") if answer.status() == 200 => Failed,
            Some("cancelled") if answer.status() == 200 => Cancelled,
            _ => by_status(answer),
        },
        ..rfc()
    }
}

/// At the monitor that replays.
fn arm_location() -> Protocol {
    Protocol {
        submit: || request(Method::POST, "/things/x/start", &[]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match json(answer)["error"]["code"].as_str() {
            Some("Cancelled" | "Canceled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: |_| None,
        ..arm()
    }
}

fn arm() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Arm::new()),
        submit: || request(Method::PUT, "/things/x", &[]),
        monitor: |accepted| field(accepted, "azure-asyncoperation"),
        seen: |answer| match json(answer)["status"].as_str() {
            Some("InProgress") => Pending,
            Some("Succeeded") => Succeeded,
            Some("Failed") => Failed,
            Some("Canceled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: |monitor| Some(request(Method::POST, &format!("{monitor}/cancel"), &[])),
        forget: |_| None,
        wait: preferring,
    }
}

fn azure() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Azure::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| field(accepted, "operation-location"),
        seen: |answer| match json(answer)["status"].as_str() {
            Some("NotStarted" | "Running") => Pending,
            Some("Succeeded") => Succeeded,
            Some("Failed") => Failed,
            Some("Canceled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: |monitor| Some(request(Method::POST, &format!("{monitor}:cancel"), &[])),
        forget: delete,
        wait: preferring,
    }
}

fn durable_functions() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(DurableFunctions::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match json(answer)["runtimeStatus"].as_str() {
            Some("Completed") => Succeeded,
            Some("Failed") => Failed,
            Some("Terminated") => Cancelled,
            _ => by_status(answer),
        },
        cancel: |monitor| Some(request(Method::POST, &format!("{monitor}/terminate"), &[])),
        forget: delete,
        wait: preferring,
    }
}

fn odata() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(OData::new()),
        submit: || request(Method::POST, "/jobs", &[("prefer", "respond-async")]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match &*field(answer, "asyncresult") {
            "" => by_status(answer),
            "200" => Succeeded,
            _ => Failed,
        },
        cancel: delete,
        forget: |_| None,
        wait: preferring,
    }
}

fn fhir() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Fhir::bulk()),
        submit: || request(Method::GET, "/$export", &[("prefer", "respond-async")]),
        monitor: |accepted| field(accepted, "content-location"),
        seen: |answer| match answer.status() {
            // Polled too fast.
            StatusCode::TOO_MANY_REQUESTS => Pending,
            _ => by_status(answer),
        },
        cancel: delete,
        forget: |_| None,
        wait: preferring,
    }
}

fn fhir_bundle() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Fhir::bundle()),
        seen: |answer| match json(answer)["entry"][0]["response"]["status"].as_str() {
            Some(status) if status.starts_with('2') => Succeeded,
            Some(_) => Failed,
            None => (fhir().seen)(answer),
        },
        ..fhir()
    }
}

fn google() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(GoogleRest::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| format!("/operations/{}", id(accepted)),
        seen: |answer| match (&json(answer)["done"], &json(answer)["error"]["code"]) {
            _ if answer.status() != StatusCode::OK => by_status(answer),
            (Value::Bool(true), Value::Null) => Succeeded,
            (Value::Bool(true), code) if code == 1 => Cancelled,
            (Value::Bool(true), _) => Failed,
            _ => Pending,
        },
        cancel: |monitor| Some(request(Method::POST, &format!("{monitor}:cancel"), &[])),
        forget: delete,
        wait: |monitor| request(Method::POST, &format!("{monitor}:wait?timeout=5s"), &[]),
    }
}

fn architecture_center() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(ArchitectureCenter::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match json(answer)["status"].as_str() {
            Some("Pending" | "Running") => Pending,
            Some("Succeeded") if answer.status() == StatusCode::SEE_OTHER => Succeeded,
            Some("Cancelled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: delete,
        forget: |monitor| delete(&format!("{monitor}/result")),
        wait: preferring,
    }
}

fn dotnet() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(ArchitectureCenter::dotnet()),
        seen: |answer| match (answer.status().as_u16(), &json(answer)["error"]) {
            (200, _) => Pending,
            (302, _) => Succeeded,
            (400, error) if error == "The operation was cancelled." => Cancelled,
            _ => by_status(answer),
        },
        ..architecture_center()
    }
}

/// At the result, where alone a failure is told.
fn two_oh_two() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(TwoOhTwo::new()),
        submit: || request(Method::GET, "/deferredjob", &[]),
        monitor: |accepted| field(accepted, "location").replace("/monitor/", "/result/"),
        seen: |answer| match answer.headers().contains_key(header::RETRY_AFTER) {
            true => Pending,
            false => by_status(answer),
        },
        cancel: |_| None,
        forget: |_| None,
        wait: preferring,
    }
}

fn spa() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Spa::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| json(accepted)["location"].as_str().unwrap().to_owned(),
        seen: |answer| match json(answer)["properties"]["status"].as_str() {
            Some("Waiting" | "Running") => Pending,
            Some("Succeeded") => Succeeded,
            Some("Failed") => Failed,
            Some("Cancelled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: |monitor| Some(request(Method::POST, &format!("{monitor}/cancel"), &[])),
        forget: |_| None,
        wait: preferring,
    }
}

fn x_operation() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(XOperation::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| format!("/{}", field(accepted, "x-operation")),
        seen: |answer| match (json(answer)["state"].as_str(), &json(answer)["success"]) {
            (Some("created"), Value::Bool(false)) => Pending,
            (Some("completed"), Value::Bool(true)) => Succeeded,
            (Some("rejected"), Value::Bool(false)) => Failed,
            _ => by_status(answer),
        },
        cancel: |_| None,
        forget: |_| None,
        wait: preferring,
    }
}

fn id(operation: &Collected) -> String {
    let name = json(operation)["name"].as_str().unwrap().to_owned();
    name.rsplit('/').next().unwrap().to_owned()
}

fn ogc() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(OgcProcesses::new()),
        submit: || {
            let execution = "/ogc/processes/echo/execution";
            request(Method::POST, execution, &[("prefer", "respond-async")])
        },
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match json(answer)["status"].as_str() {
            Some("accepted" | "running") => Pending,
            Some("successful") => Succeeded,
            Some("failed") => Failed,
            Some("dismissed") => Cancelled,
            _ => by_status(answer),
        },
        cancel: delete,
        forget: |_| None,
        wait: preferring,
    }
}

fn ogc_2() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(OgcProcesses::new().version_2()),
        ..ogc()
    }
}

fn redfish() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(Redfish::new()),
        submit: || request(Method::POST, "/jobs", &[]),
        monitor: |accepted| json(accepted)["@odata.id"].as_str().unwrap().to_owned(),
        seen: |answer| match json(answer)["TaskState"].as_str() {
            Some("New" | "Running") => Pending,
            Some("Completed") => Succeeded,
            Some("Exception") => Failed,
            Some("Cancelled") => Cancelled,
            _ => by_status(answer),
        },
        cancel: delete,
        forget: |_| None,
        wait: preferring,
    }
}

fn rest_easy() -> Protocol {
    Protocol {
        dialect: |builder| builder.dialect(RestEasy::new()),
        submit: || request(Method::POST, "/jobs?asynch=true", &[]),
        monitor: |accepted| field(accepted, "location"),
        seen: |answer| match answer.status() {
            // Waited in vain.
            StatusCode::SERVICE_UNAVAILABLE => Pending,
            _ => by_status(answer),
        },
        cancel: |_| None,
        forget: delete,
        wait: |monitor| request(Method::GET, &format!("{monitor}?wait=5000"), &[]),
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Poll,
    Wait,
    Head,
    Cancel,
    Forget,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ok,
    Refuses,
    Panics,
    Never,
}

/// Some clients, each with what it does and how long it rests before, the end of the work, and when that comes.
#[derive(Clone, Debug)]
struct Plan {
    clients: Vec<Vec<(u8, Act)>>,
    end: End,
    at: u8,
}

fn plans() -> impl Strategy<Value = Plan> {
    use Act::*;
    let act = select(vec![Poll, Poll, Poll, Wait, Wait, Head, Cancel, Forget]);
    let client = vec((0..6_u8, act), 1..8);
    let end = select(vec![End::Ok, End::Refuses, End::Panics, End::Never]);
    (vec(client, 1..4), end, 0..30_u8).prop_map(|(clients, end, at)| Plan { clients, end, at })
}

async fn rest(turns: u8) {
    for _ in 0..turns {
        yield_now().await;
    }
}

/// A handler that ends when told, and its monitors beside it.
fn serve(protocol: &Protocol, end: End, told: oneshot::Receiver<()>) -> (Operations, Served) {
    let everybody = |_: Head<'_>| Some(Owner::new("everybody"));
    let builder = Operations::builder().owner(everybody);
    let operations = (protocol.dialect)(builder).build().unwrap();
    let told = Arc::new(Mutex::new(Some(told)));
    let inner = service_fn(move |_: Ask| {
        let told = told.lock().unwrap().take();
        async move {
            match told {
                Some(told) => {
                    let _ = told.await;
                }
                None => pending().await,
            }
            let status = match end {
                End::Ok => 200,
                End::Refuses => 422,
                End::Panics => panic!("of the handler's own"),
                End::Never => return pending().await,
            };
            let response = Response::builder().status(status);
            let response = response.header(header::CONTENT_TYPE, "application/json");
            Ok::<_, Infallible>(response.body(Full::from("{}")).unwrap())
        }
    });
    let wrapped = operations.wrap(inner);
    let service = service_fn(move |request: Ask| {
        let mut wrapped = wrapped.clone();
        async move {
            let answer = wrapped.ready().await?.call(request).await?;
            Ok(collected(answer).await)
        }
    });
    (operations, BoxCloneSyncService::new(service))
}

struct Played {
    /// What each client has seen.
    clients: Vec<Vec<Seen>>,
    /// What everybody who comes later sees.
    last: Seen,
    /// Whether a client has asked to end or forget it, in words that the dialect has.
    is_let_go: bool,
}

async fn play(protocol: &'static Protocol, plan: Plan) -> Played {
    let (tell, told) = oneshot::channel();
    let end = plan.end;
    let (_operations, service) = serve(protocol, end, told);
    let accepted = service.clone().oneshot((protocol.submit)()).await.unwrap();
    let monitor = (protocol.monitor)(&accepted);
    let mut clients = tokio::task::JoinSet::new();
    for (number, acts) in plan.clients.into_iter().enumerate() {
        let (service, monitor) = (service.clone(), monitor.clone());
        clients.spawn(async move {
            let (mut seen, mut is_let_go) = (Vec::new(), false);
            for (turns, act) in acts {
                rest(turns).await;
                let ask = match act {
                    Act::Poll => Some(request(Method::GET, &monitor, &[])),
                    Act::Wait => Some((protocol.wait)(&monitor)),
                    Act::Head => Some(request(Method::HEAD, &monitor, &[])),
                    Act::Cancel => (protocol.cancel)(&monitor),
                    Act::Forget => (protocol.forget)(&monitor),
                };
                let Some(ask) = ask else { continue };
                let answer = service.clone().oneshot(ask).await.unwrap();
                is_let_go |= matches!(act, Act::Cancel | Act::Forget);
                let status = answer.status();
                let is_of_the_work = matches!(end, End::Panics) && status == 500;
                let is_of_the_wait = matches!(act, Act::Wait) && status == 503;
                assert!(
                    !status.is_server_error() || is_of_the_work || is_of_the_wait,
                    "{answer:?}"
                );
                if matches!(act, Act::Poll | Act::Wait) {
                    seen.push((protocol.seen)(&answer));
                }
            }
            (number, seen, is_let_go)
        });
    }
    rest(plan.at).await;
    let _ = tell.send(());
    let mut played = clients.join_all().await;
    played.sort_by_key(|(number, ..)| *number);
    // What never ends is not waited for.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let last = request(Method::GET, &monitor, &[]);
    let last = (protocol.seen)(&service.oneshot(last).await.unwrap());
    Played {
        is_let_go: played.iter().any(|(.., is_let_go)| *is_let_go),
        clients: played.into_iter().map(|(_, seen, _)| seen).collect(),
        last,
    }
}

fn is_lawful(protocol: &'static Protocol, plan: &Plan) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let Played {
        clients,
        last,
        is_let_go,
    } = runtime.block_on(play(protocol, plan.clone()));
    let mut ended: Vec<Seen> = Vec::new();
    for seen in &clients {
        for pair in seen.windows(2) {
            prop_assert!(pair[0].may_become(pair[1]), "{clients:?}");
        }
        let last_seen = seen.last().copied().unwrap_or(Pending);
        prop_assert!(last_seen.may_become(last), "{clients:?}, then {last:?}");
        ended.extend(seen.iter().filter(|seen| !matches!(seen, Pending | Gone)));
    }
    // All see the one end, and it is one that there was cause for.
    prop_assert!(ended.windows(2).all(|two| two[0] == two[1]), "{clients:?}");
    let lawful = |seen: Seen| match seen {
        Pending => matches!(plan.end, End::Never),
        Succeeded => matches!(plan.end, End::Ok),
        Failed => matches!(plan.end, End::Refuses | End::Panics),
        Cancelled | Gone => is_let_go,
    };
    prop_assert!(
        ended.iter().all(|seen| lawful(*seen)) && lawful(last),
        "{clients:?}, then {last:?}"
    );
    Ok(())
}

macro_rules! laws {
    ($($dialect:ident)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
            $(
                #[test]
                fn $dialect(plan in plans()) {
                    static PROTOCOL: std::sync::LazyLock<Protocol> = std::sync::LazyLock::new(super::$dialect);
                    super::is_lawful(&PROTOCOL, &plan)?;
                }
            )*
        }
    };
}

mod what_a_client_sees_is_lawful {
    use super::*;
    laws! {
        architecture_center arm arm_location azure dotnet durable_functions failures_as_documents fhir fhir_bundle google
        odata ogc ogc_2 redfish rest_easy rfc see_other see_other_from_ok spa two_oh_two x_operation
    }
}
