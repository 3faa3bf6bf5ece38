//! HTTP/2 from the first byte, with bodies that are fed by hand.

use crate::raw::PATIENCE;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{
    BodyExt,
    channel::{Channel, Sender},
};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

pub(crate) type Client = SendRequest<Channel<Bytes>>;

pub(crate) async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (client, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Sends the head, feeds the body when `response` is still waited for, and reads the answer.
pub(crate) async fn late(client: &mut Client, head: Request<()>, body: &'static str) -> Read {
    let (mut feed, response) = open(client, head);
    tokio::pin!(response);
    let early = timeout(Duration::from_millis(100), &mut response).await;
    assert!(early.is_err(), "answered before the body: {early:?}");
    feed.send_data(body.into()).await.unwrap();
    drop(feed);
    read(timeout(PATIENCE, response).await.unwrap()).await
}

/// Sends the head, and gives what feeds the body and what comes back.
pub(crate) fn open(
    client: &mut Client,
    head: Request<()>,
) -> (
    Sender<Bytes>,
    impl Future<Output = Response<Incoming>> + use<>,
) {
    let (feed, body) = Channel::new(1);
    let response = client.send_request(head.map(|()| body));
    (feed, async move { response.await.unwrap() })
}

pub(crate) async fn read(response: Response<Incoming>) -> Read {
    let (mut head, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    head.headers.remove(header::DATE);
    let trailers = body.trailers().cloned();
    Read {
        status: head.status,
        headers: head.headers,
        data: body.to_bytes().to_vec(),
        trailers,
    }
}

/// The next data of a body that goes on.
pub(crate) async fn next(body: &mut Incoming) -> Bytes {
    let frame = timeout(PATIENCE, body.frame()).await.unwrap();
    frame.unwrap().unwrap().into_data().unwrap()
}
