//! One server to point clients and load at.
//!
//! ```sh
//! cargo run --release --example workbench --features axum -- --listen 127.0.0.1:8080   # --help lists the flags
//!
//! curl -i http://127.0.0.1:8080/plain/jobs --json '{"ms":5000,"steps":10,"echo":"x"}'   # 202, Location: the monitor
//! curl -i http://127.0.0.1:8080/plain/status/ID                                         # 202 while it runs, then its replay
//! curl -i http://127.0.0.1:8080/plain/status/ID -H 'Prefer: wait=10'                    # held until its end
//! curl -i http://127.0.0.1:8080/plain/status/ID/status                                  # how it stands, always 200
//! curl -i http://127.0.0.1:8080/plain/status/ID -X DELETE                               # cancels it, before its end
//!
//! curl -i 'http://127.0.0.1:8080/plain/jobs?ms=400&outcome=fail&echo=why'               # a query does as well, or a form
//! curl -i http://127.0.0.1:8080/plain/jobs -d ms=400 -H 'Prefer: wait=2'                # in time: 200 at once
//! curl -i http://127.0.0.1:8080/plain/jobs -d size=1000000 -H 'Idempotency-Key: "a"'    # twice: the same operation
//! curl -i http://127.0.0.1:8080/plain/jobs -d ms=soon                                   # refused at once
//!
//! curl -i http://127.0.0.1:8080/openapi.json                                            # all that in OpenAPI's words
//!
//! curl -i http://127.0.0.1:8080/work -d hello                                           # the mode for load: lean, limits lifted
//! ```
//!
//! Several on one file, which runs are told apart by their answers' `Job-Node`:
//!
//! ```sh
//! workbench --listen 127.0.0.1:8080 --store sqlite:/tmp/operations.db --node web --accept-only --attempts 3
//! workbench --listen 127.0.0.1:8081 --store sqlite:/tmp/operations.db --node one --attempts 3 --lease 2
//!
//! curl -i http://127.0.0.1:8080/plain/jobs -d ms=20000                                  # accepted by one, run by the other
//! curl -i http://127.0.0.1:8081/plain/status/ID -H 'Prefer: wait=30'
//! curl -i http://127.0.0.1:8080/plain/complete/ID --json '{"by":"hand"}'                # ends it from outside
//! ```
//!
//! Ctrl-c ends it in order: what runs is given time, then the server stops. A second one ends it at once.
//!
//! Load of 10,000 connections wants as many open files: `ulimit -n 20000`.

mod arm;
mod azure;
mod connections;
mod cors;
mod durable;
mod fhir;
mod google;
mod jobs;
mod node;
mod odata;
mod ogc;
mod openapi;
mod options;
mod redfish;
mod resteasy;
mod same_url;
mod spa;
mod todos;
mod two_oh_two;
mod work;
mod x_operation;

use axum::{
    Json, Router,
    body::Body,
    extract::OriginalUri,
    http::header,
    response::Redirect,
    routing::{MethodRouter, get},
};
use connections::Connections;
use http::{Request, Response, StatusCode};
use http_body_util::Either;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use options::{Command, Options};
use pin_project_lite::pin_project;
use serde_json::json;
use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    process::ExitCode,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket};
use tower::{Service, ServiceExt, util::Oneshot};
use tower_lro::{Operations, Owner, Usage};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Command::Serve(options)) => options,
        Ok(Command::Help) => {
            print!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("workbench: {message}; --help lists the flags");
            return ExitCode::from(2);
        }
    };
    match run(*options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workbench: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<(), BoxError> {
    let listener = listen(&options.listen).await?;
    let address = reachable(listener.local_addr()?);
    let base = options.base_url.clone();
    let base = base.unwrap_or_else(|| format!("http://{address}"));

    let store = options.open()?;
    let mut plain = Operations::builder()
        .mount("/plain/status")
        .base_url(&base)
        .limits(options.limits.clone())
        // Without owners there are no lists.
        .owner(|_| Some(Owner::new("everybody")));
    if let Some(store) = &store {
        plain = plain.store(store.clone());
    }
    let plain = plain.build()?;
    let shares = store.is_some();
    let load = work::operations(options.base_url.as_deref(), store)?;
    // One store for all dialects.
    let prefixes = [
        ("/subscriptions", arm::router(&plain, &options)?, arm::HELP),
        ("/azure", azure::router(&plain, &options)?, azure::HELP),
        (
            "/sameurl",
            same_url::router(&plain, &options)?,
            same_url::HELP,
        ),
        ("/odata", odata::router(&plain, &options)?, odata::HELP),
        ("/ogc/", ogc::router(&plain, &options, &base)?, ogc::HELP),
        (
            "/redfish",
            redfish::router(&plain, &options)?,
            redfish::HELP,
        ),
        (
            "/resteasy",
            resteasy::router(&plain, &options)?,
            resteasy::HELP,
        ),
        ("/fhir", fhir::router(&plain, &options, &base)?, fhir::HELP),
        (
            "/durable",
            durable::router(&plain, &options)?,
            durable::HELP,
        ),
        ("/v1", google::router(&plain, &options)?, google::HELP),
        ("/spa", spa::router(&plain, &options)?, spa::HELP),
        ("/todos", todos::router(&plain, &options)?, todos::HELP),
        (
            "/two",
            two_oh_two::router(&plain, &options)?,
            two_oh_two::HELP,
        ),
        (
            "/xop",
            x_operation::router(&plain, &options)?,
            x_operation::HELP,
        ),
    ];
    let site = site(&base, jobs::router(&plain, &options)?, prefixes)
        .route("/usage", usage(&plain, &load));
    if shares && !options.accept_only {
        // What is run again passes through all layers.
        let jobs = plain.worker::<_, Body>("default", site.clone());
        tokio::spawn(jobs.run());
        tokio::spawn(work::worker(&load));
    }

    // The handler is there before the address is told: whoever reads it may end the server at once.
    let stop = stop_signal()?;
    // Scripts wait for this line, so it must not stay in a buffer.
    writeln!(io::stdout(), "listening on http://{address}")?;
    io::stdout().flush()?;

    let connections = Connections::default();
    let in_order = {
        let accepting = accept(
            &listener,
            &connections,
            work::service(&load, &options),
            site,
        );
        let ending = async {
            stop.await;
            tokio::select! {
                () = drain(&plain, &load, options.drain, shares) => Ok(true),
                () = stop_signal()? => io::Result::Ok(false),
            }
        };
        tokio::select! {
            never = accepting => match never {},
            in_order = ending => in_order?,
        }
    };
    drop(listener);
    if in_order {
        const CLOSE: Duration = Duration::from_secs(5);
        let _ = tokio::time::timeout(CLOSE, connections.close()).await;
    }
    Ok(())
}

/// The first half of the end. The server goes on accepting meanwhile, so that clients that poll can be answered; only
/// then are the connections closed.
async fn drain(plain: &Operations, load: &Operations, deadline: Duration, shares: bool) {
    let (plain, load) = tokio::join!(plain.drain(deadline), load.drain(deadline));
    eprintln!(
        "drained: {} finished, {} handed back, {} interrupted, {} results unread",
        plain.finished + load.finished,
        plain.handed_back + load.handed_back,
        plain.interrupted + load.interrupted,
        if shares {
            plain.unread
        } else {
            plain.unread + load.unread
        },
    );
}

/// Thousands of clients may connect at once, more than the usual backlog holds.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let found = tokio::net::lookup_host(address)
        .await
        .map(|mut all| all.next());
    let address = match found {
        Ok(Some(address)) => address,
        Ok(None) => return Err(io::Error::other(format!("{address} is no address"))),
        Err(error) => return Err(io::Error::other(format!("--listen {address}: {error}"))),
    };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .and_then(|()| socket.listen(4096))
        .map_err(|error| io::Error::other(format!("{address}: {error}")))
}

/// Where this machine reaches a socket that listens at every address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

/// Serves HTTP/1 and HTTP/2.
///
/// What is under load goes from hyper straight into its service, with bodies that are not boxed. The rest is an ordinary
/// axum router.
async fn accept<W, F>(
    listener: &TcpListener,
    connections: &Connections,
    work: W,
    site: Router,
) -> Infallible
where
    W: Service<Request<work::RequestBody>, Response = work::Reply, Error = Infallible, Future = F>,
    W: Clone + Send + Sync + 'static,
    F: Future<Output = Result<work::Reply, Infallible>> + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (work, site) = (work.clone(), site.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            if work::is_for(request.uri()) {
                let future = work.clone().call(request.map(Either::Left));
                Answer::Work { future }
            } else {
                let answer = site.clone().oneshot(request.map(Body::new));
                let future = Box::pin(answer);
                Answer::Site { future }
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service);
        // Fails when the client goes away or speaks no HTTP: nobody's business here.
        tokio::spawn(connections.drive(connection.into_owned()));
    }
}

pin_project! {
    /// An answer from either. As an `async` block it would be more than twice as large, and it is moved with each request.
    #[project = AnswerProj]
    enum Answer<W> {
        Work { #[pin] future: W },
        Site { future: Pin<Box<Oneshot<Router, Request<Body>>>> },
    }
}

impl<W> Future for Answer<W>
where
    W: Future<Output = Result<work::Reply, Infallible>>,
{
    type Output = Result<Response<Either<work::ReplyBody, Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProj::Work { future } => future
                .poll(cx)
                .map_ok(|response| response.map(Either::Left)),
            AnswerProj::Site { future } => future
                .as_mut()
                .poll(cx)
                .map_ok(|response| response.map(Either::Right)),
        }
    }
}

/// A client that is gone already is no reason to wait. Anything else, such as too many open files, would fail again at
/// once.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        eprintln!("accept: {error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Everything that is not under load.
fn site<const N: usize>(
    base: &str,
    jobs: Router,
    prefixes: [(&'static str, Router, &'static str); N],
) -> Router {
    let mut home = format!(
        "Routes, and how to call them:\n\n\
         curl -i {base}/plain/jobs --json '{{\"ms\":400,\"echo\":\"x\"}}'   # 202; Location is the monitor\n\
         \x20   ms        sleeps so long\n\
         \x20   steps     in so many steps, telling the progress\n\
         \x20   outcome   ok | fail (422 problem) | panic | error (no response at all)\n\
         \x20   echo      comes back in the answer, or as the problem's detail\n\
         \x20   size      answers so many bytes instead: the byte at i is i % 251\n\
         \x20   status    answers with this status\n\
         \x20   trailers  true: the answer has a trailer\n\
         curl -i '{base}/plain/jobs?ms=400&outcome=fail&echo=why'   # a query, or a form\n\
         curl -i {base}/plain/status/ID                    # 202 while pending, then the replay\n\
         curl -i {base}/plain/status/ID -H 'Prefer: wait=9'\n\
         curl -i {base}/plain/complete/ID --json '{{}}'     # ends it from outside: what was sent is its result\n\
         curl -i {base}/plain/status/ID -X DELETE          # cancels\n\
         curl -i {base}/plain/status/ID/status             # the status document\n\
         curl -i {base}/plain/status/ID/result -X DELETE   # forgets\n\
         curl -i {base}/plain/see202 -d ms=400             # 202 while pending, then 303 to the result\n\
         curl -i {base}/plain/seeother -d ms=400           # 200 with an ETag while pending, then 303\n\
         curl -i {base}/work -d hello                      # for load; monitors under /operations/ID\n\
         curl -i {base}/openapi.json                       # /plain as an OpenAPI document\n\
         curl -i {base}/usage                              # what is held now\n\
         curl -i {base}/healthz\n"
    );
    for (_, _, help) in &prefixes {
        home.push('\n');
        home.push_str(&help.replace("{base}", base));
    }
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let openapi = openapi::document(base);
    let site = Router::new()
        .route("/", get(move || async move { (text, home) }))
        .route("/ogc", get(|| async { Redirect::permanent("/ogc/") }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/openapi.json", get(move || async move { Json(openapi) }))
        .nest("/plain", jobs)
        .fallback(unknown);
    prefixes
        .into_iter()
        .fold(site, |site, (path, router, _)| site.nest(path, router))
}

/// What both engines hold: all but what is stored goes back to zero once nothing is going on.
fn usage(plain: &Operations, load: &Operations) -> MethodRouter {
    let (plain, load) = (plain.clone(), load.clone());
    let members = |usage: Usage| {
        json!({
            "uploading": usage.uploading,
            "uploading_bytes": usage.uploading_bytes,
            "accepted": usage.accepted,
            "running": usage.running,
            "readers": usage.readers,
            "stored": usage.stored,
            "stored_bytes": usage.stored_bytes,
            "tombstones": usage.tombstones,
        })
    };
    get(move || async move {
        let (plain, work) = (members(plain.usage()), members(load.usage()));
        Json(json!({"plain": plain, "work": work}))
    })
}

async fn unknown(OriginalUri(uri): OriginalUri) -> Response<Body> {
    let detail = format!(
        "There is nothing at {}; GET / lists what there is.",
        uri.path()
    );
    jobs::problem(
        "unknown-route",
        "Unknown route",
        StatusCode::NOT_FOUND,
        &detail,
    )
}

/// Ctrl-c, or a service manager's wish. From the call on, not from the first poll, the signal no longer kills.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async { drop(tokio::signal::ctrl_c().await) })
    }
}
