//! A plain hyper server with an existing `async fn(Request<Incoming>)`, answered 202 by adding lines.
//!
//! No router, no framework: one function behind hyper's own server, for HTTP/1 and HTTP/2. The lines marked `// +` are
//! what makes it asynchronous: `operations.wrap` is one service that answers under `/operations` and defers the rest.
//!
//! ```text
//! cargo run --example hyper                 # or on another address: -- 127.0.0.1:8080
//!
//! # 202, and where to look for the outcome.
//! curl -i --data-binary @README.md http://127.0.0.1:3000/words
//!
//! # How it stands (put the `Location` in): 202 while it is pending, then the function's own answer.
//! curl -i http://127.0.0.1:3000/operations/ID
//! curl -i -H 'Prefer: wait=10' http://127.0.0.1:3000/operations/ID
//!
//! # A client that wants to wait is answered in one go; HTTP/2 does as well.
//! curl -i -H 'Prefer: wait=10' --data-binary 'three little words' http://127.0.0.1:3000/words
//! curl -i --http2-prior-knowledge -d 'two words' http://127.0.0.1:3000/words
//!
//! # No more interest. Cancelled, and from then on 410, if it has not ended: submit another first.
//! curl -i -X DELETE http://127.0.0.1:3000/operations/ID
//! ```
//!
//! All that the function answers is deferred, a 404 for a wrong path too. Where it also answers quick requests, say which
//! are slow: `operations.layer().when(admit::unsafe_methods().or(admit::asked())).wrap(inner)`.
//!
//! Ends on ctrl-c.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{convert::Infallible, error::Error, pin::pin, time::Duration};
use tokio::net::TcpListener;
use tower::service_fn;
use tower_lro::Operations;

/// Counts the words of what is posted to `/words`, at leisure.
async fn handler(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if (request.method(), request.uri().path()) != (&Method::POST, "/words") {
        return Ok(answer(StatusCode::NOT_FOUND, "POST something to /words\n"));
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(answer(StatusCode::BAD_REQUEST, "That was not all\n"));
    };
    let text = body.to_bytes();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    Ok(answer(StatusCode::OK, format!("{} words\n", words.count())))
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let operations = Operations::builder().build()?; // +
    let service = service_fn(handler);
    let service = operations.wrap(service); // +
    let service = TowerToHyperService::new(service);

    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut end = pin!(async {
        tokio::signal::ctrl_c().await?;
        operations.drain(Duration::from_secs(5)).await; // +
        Ok::<(), std::io::Error>(())
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that is gone before it is taken is no reason to end.
                let Ok((stream, _)) = accepted else { continue };
                let connection = server.serve_connection(TokioIo::new(stream), service.clone());
                let connection = connections.watch(connection.into_owned());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        eprintln!("a connection failed: {error}");
                    }
                });
            }
            ended = &mut end => break ended?,
        }
    }
    drop(listener);
    // Clients that are slow to take their answer do not hold up the end for ever.
    let _ = tokio::time::timeout(Duration::from_secs(5), connections.shutdown()).await;
    Ok(())
}
