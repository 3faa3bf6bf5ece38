//! An `async fn(Request<Incoming>)`.

use crate::{
    Gate, as_it_was, assert_nothing_is_held, assert_replays, deferred, http2, listen,
    raw::{Ask, PATIENCE},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{cors::CorsLayer, validate_request::ValidateRequestHeaderLayer};
use tower_lro::{OperationHandle, Operations};

static GATE: Gate = Gate::new();

async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    GATE.pass().await;
    let text = format!("{} {} {}", head.method, head.uri, body.len());
    let response = Response::builder()
        .status(StatusCode::UNPROCESSABLE_ENTITY)
        .header(
            "x-sum",
            body.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
        );
    Ok(response.body(Full::new(text.into())).unwrap())
}

async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let (listener, address) = listen().await;
    let service = TowerToHyperService::new(service);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // How clients go away is their affair.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_async_fn_of_incoming_is_deferred_by_adding_lines() {
    let service = service_fn(handler);
    let plain = serve(service).await;

    let operations = Operations::builder().build().unwrap();
    let service = service_fn(handler);
    let service = operations.wrap(service);
    let wrapped = serve(service).await;

    // More than one read of the connection, so that it comes in several frames.
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let ask = Ask::post("/sums?x=1", body.clone());
    let original = as_it_was(plain, &ask, &GATE).await;
    assert_eq!(
        (original.status, original.text()),
        (422, "POST /sums?x=1 300000")
    );
    let [accepted, _, replay] = deferred(wrapped, &ask, |ask| ask, &GATE).await;
    assert_eq!(accepted.json()["request"]["target"], "/sums?x=1");
    assert_replays(&replay, &original, "failed");
    assert_nothing_is_held(&operations);

    // The same server speaks HTTP/2, and another request is another operation.
    let mut client = http2::connect(wrapped).await;
    let request = Request::post(format!("http://{wrapped}/sums"));
    let late = http2::late(&mut client, request.body(()).unwrap(), "late").await;
    assert_eq!(late.status, 202);
    let second = late.headers[header::LOCATION].to_str().unwrap().to_owned();
    assert_ne!(Some(&*second), accepted.field("location"));
    GATE.let_one_go();
    let waiting = Ask::get(&second).field("Prefer", "wait=20");
    let replay = waiting.send(wrapped).await;
    // Over HTTP/2 a server knows the URI with its authority, and so does the handler.
    let text = format!("POST http://{wrapped}/sums 4");
    assert_eq!((replay.status, replay.text()), (422, &*text));
}

/// hyper's body is driven from outside: it once broke off where its handler had returned.
#[tokio::test]
async fn a_body_that_a_handler_has_given_away_is_read_to_its_end() {
    let operations = Operations::builder().build().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let may_read = Arc::new(Semaphore::new(0));
    let service = service_fn({
        let may_read = may_read.clone();
        move |request: Request<Incoming>| {
            let (tell, may_read) = (tell.clone(), may_read.clone());
            async move {
                let handle = request.extensions().get::<OperationHandle>().cloned();
                if request.uri().path() == "/detached" {
                    handle.unwrap().detach().await.unwrap();
                }
                let body = request.into_body();
                tokio::spawn(async move {
                    may_read.acquire().await.unwrap().forget();
                    let read = body.collect().await.map(|body| body.to_bytes().len());
                    tell.send(read).unwrap();
                });
                Ok(Response::new(Full::<Bytes>::default()))
            }
        }
    });
    let address = serve(operations.wrap(service)).await;
    for (target, prefer) in [("/", ""), ("/", "wait=10"), ("/detached", "")] {
        for length in [1, 9_000, 1_000_000] {
            let ask = Ask::post(target, vec![b'x'; length]).field("prefer", prefer);
            let status = ask.send(address).await.status;
            assert_eq!(status, if prefer.is_empty() { 202 } else { 200 });
            while operations.usage().accepted + operations.usage().running > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            may_read.add_permits(1);
            let read = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap();
            assert_eq!(read.unwrap().unwrap(), length, "{target} {prefer}");
        }
    }
}

#[tokio::test]
async fn layers_with_answers_of_their_own_go_around_what_is_wrapped() {
    let operations = Operations::builder().build().unwrap();
    let slow = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
    });
    let service = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(ValidateRequestHeaderLayer::accept("text/plain"))
        .service(operations.wrap(slow));
    let ask = async |method: Method, field: (&'static str, &'static str)| {
        let request = Request::builder().method(method).uri("/slow");
        let request = request.header(field.0, field.1).body(Full::default());
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    };
    let (status, headers) = ask(Method::OPTIONS, ("access-control-request-method", "POST")).await;
    assert_eq!(status, 200);
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(ask(Method::POST, ("accept", "image/png")).await.0, 406);
    assert_eq!(ask(Method::POST, ("accept", "text/*")).await.0, 202);
}
