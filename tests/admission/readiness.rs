//! An inner service that is asked whether it is ready.
use super::*;

/// Panics when it is called without having been ready.
#[derive(Debug, Default)]
struct Unready {
    ready: bool,
    polls: u32,
}

impl Clone for Unready {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Unready {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polls += 1;
        if self.polls < 3 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called unready");
        ready(Ok(Response::new(full("ready"))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_called_when_it_is_ready_and_the_layer_always_is() {
    let operations = operations();
    let mut service = operations.layer().layer(Unready::default());
    for _ in 0..3 {
        let ready: &mut _ = ServiceExt::<Request<Body>>::ready(&mut service)
            .await
            .unwrap();
        assert_eq!(ready.get_ref().polls, 0, "the inner service is not asked");
    }
    let client = Client(service);
    assert_eq!(client.send(request("HEAD", "/", &[])).await.body, "ready");
    let answer = client.send(request("POST", "/", &[])).await;
    end_of(&operations, answer.id()).await;
    let monitor = Client(operations.status_service());
    assert_eq!(monitor.get(&answer.location()).await.body, "ready");
    assert_eq!(
        client
            .send(request("POST", "/", &[("prefer", "wait=5")]))
            .await
            .body,
        "ready"
    );
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_never_ready_is_not_started_in_time() {
    let inner = tower::util::BoxCloneSyncService::new(
        tower::ServiceBuilder::new()
            .concurrency_limit(1)
            .service(takes(secs(3600 * 24))),
    );
    let operations = limited(|limits| limits.run_time = secs(3600 * 48))
        .build()
        .unwrap();
    let client = Client(operations.wrap(inner));
    let first = client.submit().await;
    let second = client.submit().await;
    start_of(&operations, first.id()).await;
    // Not even begun: that it waits for the inner service is not running.
    let status = client.get(&format!("{}/status", second.location())).await;
    assert_eq!(status.json()["status"], "accepted");
    end_of(&operations, second.id()).await;
    client
        .get(&second.location())
        .await
        .is_problem(500, "not-started");
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_or_panics_before_it_is_called_ends_its_operation() {
    #[derive(Clone)]
    struct Broken(bool);
    impl Service<Request<Body>> for Broken {
        type Response = Response<Body>;
        type Error = Fault;
        type Future = Ready<Result<Response<Body>, Fault>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
            assert!(!self.0, "the secret");
            Poll::Ready(Err(Fault("the secret")))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    for (panics, kind) in [(false, "errored"), (true, "panicked")] {
        let operations = operations();
        let client = Client(operations.wrap(Broken(panics)));
        let accepted = client.submit().await;
        let record = end_of(&operations, accepted.id()).await;
        assert!(record.started.is_some(), "it was as good as called");
        let answer = client.get(&accepted.location()).await;
        answer.is_problem(500, kind);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        let usage = operations.usage();
        assert_eq!((usage.accepted, usage.running, usage.stored), (0, 0, 1));

        let in_time = request("POST", "/", &[("prefer", "wait=5")]);
        match client.try_send(in_time).await {
            Ok(answer) => answer.is_problem(500, kind),
            Err(error) => assert_eq!((error.0, panics), ("the secret", false)),
        }
    }
}
