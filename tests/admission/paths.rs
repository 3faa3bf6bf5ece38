//! Which paths are the monitor's, and which the inner service's.
use super::*;

fn shapes(id: OperationId) -> Vec<String> {
    let id = id.to_string();
    let upper = id.to_uppercase();
    let upper = if upper == id {
        id.replace(|c: char| c.is_ascii_digit(), "A")
    } else {
        upper
    };
    vec![
        upper,
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("urn:uuid:{id}"),
        format!("%20{id}"),
        format!("{id}%20"),
        id.replacen('-', "%2D", 1),
        format!("{id}0"),
        id[1..].to_owned(),
        format!("/{id}"),
        format!("{id}/"),
        format!("{id}//status"),
        format!("{id}/status/"),
        format!("{id}/Status"),
        format!("{id}/%73tatus"),
        format!("{id}/events"),
        format!("{id}/status/x"),
        format!("{id}/../{id}"),
        format!("x/{id}"),
        "-".to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
    ]
}

#[tokio::test(start_paused = true)]
async fn only_the_canonical_text_of_an_id_names_an_operation() {
    let handler = takes(secs(60));
    let operations = operations();
    let client = client(&operations, &handler);
    let id = client.submit().await.id();
    for shape in shapes(id) {
        for method in ["GET", "HEAD", "DELETE"] {
            let target = format!("/operations/{shape}");
            let answer = client.send(request(method, &target, &[])).await;
            assert_eq!(answer.status, 404, "{method} {target}");
            if method != "HEAD" {
                assert_eq!(answer.problem(), "unknown");
            }
        }
    }
    settled().await;
    assert_eq!(handler.calls(), 1);
    for target in [
        format!("/operations/{id}"),
        format!("/operations/{id}?api-version=1&x=/y"),
        format!("http://elsewhere.example/operations/{id}"),
    ] {
        assert_eq!(client.get(&target).await.status, 202, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_mount_matches_whole_segments_of_the_raw_path() {
    let operations = Operations::builder().mount("/a/ops").build().unwrap();
    let (handler, seen) = seeing();
    // Whatever is not the monitor's passes.
    let layer = operations.layer().when(|_: Head<'_>| false);
    let client = Client(layer.wrap(handler));
    let id = OperationId::random();
    for target in [
        "/".to_owned(),
        "/a".to_owned(),
        "/ops".to_owned(),
        format!("/ops/{id}"),
        format!("/{id}"),
        format!("/a/opsx/{id}"),
        format!("/a/ops-x/{id}"),
        format!("/a/%6fps/{id}"),
        format!("/a%2Fops/{id}"),
        format!("/A/ops/{id}"),
        format!("//a/ops/{id}"),
        format!("/a//ops/{id}"),
        format!("/x/a/ops/{id}"),
        format!("/a/./ops/{id}"),
        format!("/x?/a/ops/{id}"),
    ] {
        assert_eq!(client.get(&target).await.body, "passed", "{target}");
        assert_eq!(only(&seen).uri(), &target.parse::<Uri>().unwrap());
    }
    for target in ["/a/ops", "/a/ops/", "/a/ops/x", "/a/ops?x", "/a/ops//"] {
        client.get(target).await.is_problem(404, "unknown");
    }
    assert_eq!(
        client.get(&format!("/a/ops/{id}")).await.problem(),
        "unknown"
    );
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn through_wrap_connect_and_asterisk_are_the_inner_services() {
    let operations = operations();
    let (handler, seen) = seeing();
    let client = client(&operations, &handler);
    for (method, uri) in [
        ("CONNECT", "operations:443"),
        ("OPTIONS", "*"),
        ("GET", "*"),
    ] {
        assert_eq!(client.send(request(method, uri, &[])).await.body, "passed");
        assert_eq!(only(&seen).method().as_str(), method);
    }
}

#[tokio::test(start_paused = true)]
async fn alone_the_status_service_has_no_inner_service_to_ask() {
    let client = Client(operations().status_service());
    for (method, uri) in [
        ("CONNECT", "operations:443"),
        ("OPTIONS", "*"),
        ("GET", "/elsewhere"),
        ("POST", "/elsewhere"),
    ] {
        client
            .send(request(method, uri, &[]))
            .await
            .is_problem(404, "unknown");
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_service_answers_with_and_without_its_prefix_for_any_body() {
    let operations = operations();
    let id = client(&operations, &takes(secs(60))).submit().await.id();
    struct NoBody;
    for target in [format!("/operations/{id}"), format!("/{id}")] {
        let request = Request::get(&target).body(NoBody).unwrap();
        let answer: Result<_, Infallible> = operations.status_service().oneshot(request).await;
        assert_eq!(answer.unwrap().status(), 202, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrap_with_options_answers_under_the_mount_and_defers_by_them() {
    let operations = operations();
    let layer = operations.layer().when(admit::unsafe_methods());
    let client = Client(layer.wrap(takes(secs(60))));
    let accepted = client.submit().await;
    assert_eq!(client.get(&accepted.location()).await.status, 202);
    assert_eq!(client.get("/reports").await.body, "done");
    // A deferred request is not the monitor's because a monitor is asked for in it.
    let unsafe_ = client
        .send(request("POST", &accepted.location(), &[]))
        .await;
    unsafe_.is_problem(405, "method");
}

#[cfg(feature = "axum")]
mod under_axum {
    use super::*;
    use axum::{Router, body::Body, middleware::map_request, routing::post};
    use http::StatusCode;

    async fn slow(path: axum::extract::MatchedPath) -> String {
        path.as_str().to_owned()
    }

    async fn call(app: &Router, method: &str, target: &str) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(target);
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap();
        Response::from_parts(head, body.to_bytes())
    }

    /// The monitor as `Location` names it, and the app.
    async fn submitted(operations: &Operations, app: &Router) -> String {
        let answer = call(app, "POST", "/api/reports/7").await;
        assert_eq!(answer.status(), 202);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let (_, id) = location.rsplit_once('/').unwrap();
        end_of(operations, id.parse().unwrap()).await;
        location
    }

    fn app(operations: &Operations) -> Router {
        let route = post(slow).route_layer(operations.layer());
        Router::new().nest("/api", Router::new().route("/reports/{id}", route))
    }

    #[tokio::test(start_paused = true)]
    async fn nested_routed_and_as_a_fallback_it_is_found_where_location_says() {
        for mount in ["/operations", "/api/v1/operations"] {
            let operations = Operations::builder().mount(mount).build().unwrap();
            let status = operations.status_service();
            let apps = [
                app(&operations).nest_service(mount, status.clone()),
                app(&operations).route_service(&format!("{mount}/{{*rest}}"), status.clone()),
                app(&operations).fallback_service(status),
            ];
            for app in apps {
                let location = submitted(&operations, &app).await;
                assert!(location.starts_with(&format!("{mount}/")));
                for path in ["", "/result"] {
                    let answer = call(&app, "GET", &format!("{location}{path}")).await;
                    assert_eq!(answer.body(), "/api/reports/{id}");
                }
                let answer = call(&app, "GET", &format!("{location}/status")).await;
                let document: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
                // As the client sent it, and not as the router left it.
                assert_eq!(document["request"]["target"], "/api/reports/7");
                assert_eq!(document["links"]["monitor"], location);
                let answer = call(&app, "DELETE", &format!("{location}/result")).await;
                assert_eq!(answer.status(), 204);
            }
        }
    }

    /// The router has taken `/api` away, which is a part of the mount.
    #[tokio::test(start_paused = true)]
    async fn below_a_part_of_its_mount_it_is_found_where_location_says() {
        let mount = "/api/operations";
        let operations = Operations::builder().mount(mount).build().unwrap();
        let status = operations.status_service();
        let report = || Router::new().route("/reports/{id}", post(slow));
        let reports = || report().route_layer(operations.layer());
        let wrapped = Client(
            operations
                .layer()
                .when(admit::unsafe_methods())
                .wrap(report()),
        );
        for app in [
            Router::new().nest(
                "/api",
                reports().nest_service("/operations", status.clone()),
            ),
            Router::new().nest(
                "/api",
                reports().route_service("/operations/{*rest}", status.clone()),
            ),
            Router::new().nest("/api", reports().fallback_service(status)),
            Router::new().nest_service("/api", map_body(wrapped.0)),
        ] {
            let location = submitted(&operations, &app).await;
            assert!(location.starts_with("/api/operations/"), "{location}");
            let answer = call(&app, "GET", &location).await;
            assert!(answer.body().ends_with(b"/reports/{id}"), "{answer:?}");
            let answer = call(&app, "DELETE", &format!("{location}/result")).await;
            assert_eq!(answer.status(), 204);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_layer_behind_the_router_makes_of_a_path_counts() {
        let operations = operations();
        let id = client(&operations, &takes(secs(60))).submit().await.id();
        let trimmed = map_request(async |mut request: Request<Body>| {
            *request.uri_mut() = request.uri().path().trim_end_matches('/').parse().unwrap();
            request
        });
        let app = Router::new().nest_service("/operations", operations.status_service());
        let answer = call(&app.layer(trimmed), "GET", &format!("/operations/{id}/")).await;
        assert_eq!(answer.status(), 202);
    }

    /// Clients know its monitors as `/jobs/jobs/{id}`, since the base URL has the prefix that is taken away.
    #[tokio::test(start_paused = true)]
    async fn what_is_wrapped_below_a_prefix_like_its_mount_is_deferred() {
        let builder = Operations::builder().mount("/jobs");
        let operations = builder
            .base_url("https://example.com/jobs")
            .build()
            .unwrap();
        let inner = Router::new().route("/reports/{id}", post(slow));
        let wrapped = map_body(operations.wrap(inner));
        let app = Router::new().nest_service("/jobs", wrapped);
        let accepted = call(&app, "POST", "/jobs/reports/7").await;
        assert_eq!(accepted.status(), 202);
        let location = accepted.headers()["location"].to_str().unwrap();
        let monitor = location.strip_prefix("https://example.com").unwrap();
        assert!(monitor.starts_with("/jobs/jobs/"), "{monitor}");
        assert_eq!(call(&app, "GET", monitor).await.status(), 202);
    }

    fn map_body<S, R>(
        inner: S,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = S::Error, Future: Send>
    + Clone
    + Send
    + Sync
    where
        S: Service<Request<Body>, Response = Response<R>, Future: Send> + Clone + Send + Sync,
        R: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        inner.map_response(|response: Response<R>| response.map(Body::new))
    }

    #[tokio::test(start_paused = true)]
    async fn a_layer_around_its_monitors_too_leaves_them_alone() {
        let operations = operations();
        let app = Router::new()
            .route("/api/reports/{id}", post(slow))
            .nest_service("/operations", operations.status_service())
            .layer(operations.layer());
        let location = submitted(&operations, &app).await;
        let answer = call(&app, "GET", &location).await;
        assert_eq!(
            (answer.status(), &answer.body()[..]),
            (StatusCode::OK, &b"/api/reports/{id}"[..])
        );
        assert_eq!(call(&app, "DELETE", &location).await.status(), 200);
        assert_eq!(
            call(&app, "DELETE", &format!("{location}/result"))
                .await
                .status(),
            204
        );
        assert_eq!(operations.usage().stored, 0);
    }

    /// As where `POST /jobs` makes what `/jobs/{id}` shows.
    #[tokio::test(start_paused = true)]
    async fn the_mount_itself_and_what_is_no_operation_below_it_may_be_deferred() {
        let operations = Operations::builder().mount("/jobs").build().unwrap();
        let jobs = post(slow).route_layer(operations.layer());
        let app = Router::new()
            .route("/jobs", jobs.clone())
            .route("/jobs/all", jobs)
            .route_service("/jobs/{*rest}", operations.status_service());
        for target in ["/jobs", "/jobs/all"] {
            let accepted = call(&app, "POST", target).await;
            assert_eq!(accepted.status(), 202);
            let location = accepted.headers()["location"].to_str().unwrap();
            let waits = call(&app, "GET", location).await;
            assert_eq!(waits.status(), 202);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_path_or_method_is_refused_at_once() {
        let operations = operations();
        let app = app(&operations).nest_service("/operations", operations.status_service());
        assert_eq!(call(&app, "GET", "/api/reports/7").await.status(), 405);
        assert_eq!(call(&app, "POST", "/api/other").await.status(), 404);
        assert_eq!(call(&app, "POST", "/operations/x/y/z").await.status(), 404);
        assert_eq!(operations.usage(), Usage::default());
    }

    #[tokio::test(start_paused = true)]
    async fn wrapped_around_a_router_it_leaves_the_router_the_rest() {
        let operations = operations();
        let router = Router::new().route("/reports/{id}", post(slow));
        let layer = operations.layer().when(admit::unsafe_methods());
        let service = Client(layer.wrap(router));
        let send = |method: &str, target: &str| {
            let request = Request::builder().method(method).uri(target);
            service
                .0
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
        };
        let accepted = send("POST", "/reports/7").await.unwrap();
        assert_eq!(accepted.status(), 202);
        let location = accepted.headers()["location"].to_str().unwrap().to_owned();
        assert!([200, 202].contains(&send("GET", &location).await.unwrap().status().as_u16()));
        assert_eq!(send("GET", "/nowhere").await.unwrap().status(), 404);
    }
}
