//! What passes.
use super::*;

/// A service that can only be compared, so that nothing but itself could stand in its place.
#[derive(Debug)]
struct Plain {
    clones: Arc<AtomicUsize>,
}

impl Clone for Plain {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self {
            clones: self.clones.clone(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct PlainError(u8);

impl std::fmt::Display for PlainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("plain")
    }
}

impl std::error::Error for PlainError {}

impl Service<Request<Body>> for Plain {
    type Response = Response<Body>;
    type Error = PlainError;
    type Future = std::future::Ready<Result<Response<Body>, PlainError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PlainError>> {
        Poll::Ready(Ok(()))
    }

    /// Answers with the request's own body, unread.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(request.extensions().get::<OperationHandle>().is_none());
        if request.uri().path() == "/error" {
            return ready(Err(PlainError(7)));
        }
        let prefer = request.headers().get("prefer").cloned();
        let mut response = Response::new(request.into_body());
        response
            .headers_mut()
            .extend(prefer.map(|value| (http::header::WARNING, value)));
        ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn pass_through_adds_nothing_of_its_own() {
    let operations = operations(|_| {});
    for (layer, varies) in [
        (operations.layer().when(admit::unsafe_methods()), false),
        (operations.layer().when(admit::asked()), true),
        (
            operations
                .layer()
                .when(admit::unsafe_methods().and(admit::asked().not())),
            true,
        ),
    ] {
        let clones = Arc::new(AtomicUsize::new(0));
        let inner = Plain {
            clones: clones.clone(),
        };
        let mut service = layer.layer(inner);
        // A body of which nothing more comes is no reason to wait.
        let bytes = Bytes::from_static(b"the very same bytes");
        let mut first = Some(bytes.clone());
        let body = pour(move |_| match first.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        });
        let passing = Request::get("/work")
            .header("prefer", "wait=5, x=1")
            .body(body)
            .unwrap();
        let response = service.ready().await.unwrap().call(passing).await.unwrap();
        assert_eq!(clones.load(Ordering::SeqCst), 1);
        let vary = response.headers().get("vary").map(HeaderValue::as_bytes);
        assert_eq!(vary, varies.then_some(&b"prefer"[..]));
        assert_eq!(
            response.headers()["warning"],
            "wait=5, x=1",
            "what passes is left as it is"
        );
        assert_eq!(response.headers().len(), 1 + usize::from(varies));
        let frame = response.into_body().frame().await.unwrap().unwrap();
        let same = frame.into_data().unwrap();
        assert_eq!((same.as_ptr(), same.len()), (bytes.as_ptr(), bytes.len()));

        let failing = service
            .ready()
            .await
            .unwrap()
            .call(request("GET", "/error"));
        assert_eq!(failing.await.unwrap_err(), PlainError(7));
        assert_eq!(clones.load(Ordering::SeqCst), 2);
        let usage = operations.usage();
        assert_eq!((held(usage), usage.stored), ([0; 5], 0));
    }
}
