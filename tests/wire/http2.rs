//! A client in HTTP/2 with prior knowledge.

use super::{http1::in_time, reply::Reply};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{error::Error, net::SocketAddr};
use tokio::net::TcpStream;

pub(crate) struct Client<B> {
    sender: SendRequest<B>,
    to: SocketAddr,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(crate) async fn open(to: SocketAddr) -> Self {
        let stream = in_time(TcpStream::connect(to)).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender, to }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: B,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.to));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone();
        let response = async {
            sender.ready().await.unwrap();
            let response = sender.send_request(request.body(body).unwrap()).await;
            read(response.unwrap()).await
        };
        in_time(response).await
    }
}

impl Client<Full<Bytes>> {
    pub(crate) async fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(method, target, fields, Full::default()).await
    }
}

async fn read(response: Response<Incoming>) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let text = |headers: &http::HeaderMap| {
        let fields = headers.iter();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        fields
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    };
    Reply {
        version: "HTTP/2",
        status: parts.status.as_u16(),
        fields: text(&parts.headers),
        trailers: body.trailers().map(text).unwrap_or_default(),
        body: body.to_bytes().to_vec(),
        chunked: false,
    }
}
