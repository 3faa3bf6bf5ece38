//! What passes, as it is.
use super::*;

/// A body of nobody's: neither `Sync`, `Clone` nor `Unpin`, with an error of its own.
#[derive(Default)]
struct Odd(PhantomData<(std::cell::Cell<()>, std::marker::PhantomPinned)>);

#[derive(Debug)]
struct OddError;

impl std::fmt::Display for OddError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for OddError {}

impl http_body::Body for Odd {
    type Data = Bytes;
    type Error = OddError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OddError>>> {
        Poll::Ready(Some(Err(OddError)))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(3);
        hint.set_upper(1 << 20);
        hint
    }
}

impl Rebuild for Odd {
    fn rebuild(_: Buffered) -> Rebuilt<Self> {
        panic!("a body that passes is not made again")
    }
}

#[tokio::test]
async fn bodies_and_errors_pass_as_they_are() {
    type Of = Result<Response<Odd>, OddError>;
    let inner = tower::service_fn(|request: Request<Odd>| -> Ready<Of> {
        ready(match request.uri().path() {
            "/fails" => Err(OddError),
            _ => Ok(Response::new(request.into_body())),
        })
    });
    let layer = operations().layer().when(|_: Head<'_>| false);
    let service = layer.layer(inner);
    let call = |path: &'static str| {
        let request = Request::get(path).body(Odd::default()).unwrap();
        service.clone().oneshot(request)
    };
    let error: OddError = call("/fails").await.unwrap_err();
    assert_eq!(error.to_string(), "odd");

    let body = call("/").await.unwrap().into_body();
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (3, Some(1 << 20)));
    assert!(!body.is_end_stream());
    let mut body = Box::pin(body);
    let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    let error = frame.unwrap().unwrap_err();
    assert!(matches!(
        &error,
        tower_lro::defer::BodyError::Inner(OddError)
    ));
    assert_eq!(error.to_string(), "odd");
}
