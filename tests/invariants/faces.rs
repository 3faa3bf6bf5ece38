//! Layer and monitor, and the URLs between them.
use super::*;

#[tokio::test(start_paused = true)]
async fn layer_and_monitor_agree() {
    let operations = Operations::builder()
        .mount("/a/operations")
        .base_url("https://example.com/api/")
        .build()
        .unwrap();
    let other = operations.also("/b/status", Rfc::see_other()).unwrap();
    assert_eq!(
        operations.also("/b/status", Rfc::new()).unwrap_err().option,
        "mount"
    );
    let faces = [
        (
            &operations,
            "https://example.com/api",
            "/a/operations/",
            200,
        ),
        (&other, "https://example.com/api", "/b/status/", 303),
    ];
    for (face, base, mount, _) in faces {
        let layered = app(face.layer(), handler);
        let monitor = accepted(&layered, post("/work")).await;
        let path = monitor.strip_prefix(base).expect("is absolute");
        assert!(path.starts_with(mount), "{monitor}");
        quiet(&operations).await;
        let id = id_of(&monitor);
        // Every face answers, each in its own way, and points to where it was accepted.
        for (asked, _, mount, status) in faces {
            let app = app(asked.layer(), handler);
            let answer = get(&app, &format!("{mount}{id}")).await;
            assert_eq!(answer.status, status, "{answer}");
            if status == 303 {
                assert_eq!(answer.location(), format!("{monitor}/result"));
            }
            let document = get(&app, &format!("{mount}{id}/status")).await.json();
            assert_eq!(document["links"]["monitor"], monitor);
            // Below a router that has taken the mount away it is the same.
            let nested = asked
                .status_service()
                .oneshot(request("GET", &format!("/{id}")));
            assert_eq!(nested.await.unwrap().status(), status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn urls_are_made_of_what_was_configured_alone() {
    let house = house(|_| {});
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-proto", "evil"),
        ("forwarded", "host=evil.example;proto=evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
    ] {
        for uri in ["/work", "http://evil.example/work"] {
            let answer = house.send(with(post(uri), name, value)).await.unwrap();
            let monitor = answer.location();
            assert_eq!(monitor, format!("/operations/{}", id_of(&monitor)));
            assert!(!answer.to_string().contains("evil"), "{answer}");
            let poll = with(request("GET", &monitor), name, value);
            assert!(!house.send(poll).await.unwrap().to_string().contains("evil"));
        }
    }
    quiet(&house.operations).await;
}
