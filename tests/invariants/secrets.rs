//! Ids, owners and keys.
use super::*;

#[tokio::test(start_paused = true)]
async fn an_id_is_a_secret() {
    let house = house(|_| {});
    let monitor = house.accepted(post("/work")).await;
    let id = id_of(&monitor);
    assert_eq!(id.as_uuid().get_version_num(), 4);
    let record = house.operations.get(id).await.unwrap().unwrap();
    let found = house.operations.list(&ListQuery::all()).await.unwrap();
    let cancelled = house.operations.cancel(id).await.unwrap();
    let whole = id.to_string();
    let document = || Bytes::from(format!("{{\"id\":\"{whole}\"}}"));
    let around = Answer::Around {
        before: document(),
        after: document(),
    };
    for shown in [
        format!("{:?}", Answer::Bytes(document())),
        format!("{:?}", Answer::Instead(document())),
        format!("{around:?}"),
        format!("{id:?}"),
        format!("{record:?}"),
        format!("{found:?}"),
        format!("{cancelled:?}"),
        format!("{:?}", house.operations),
        format!("{:?}", house.operations.layer()),
        format!("{:?}", house.operations.status_service()),
    ] {
        assert!(!shown.contains(&whole), "{shown}");
    }

    let shown = Arc::new(Mutex::new(String::new()));
    let show = shown.clone();
    let inner = move |request: Request<Body>| {
        *show.lock().unwrap() = format!("{request:?} {:?}", handle(&request));
        ready(Ok(ok("done")))
    };
    let app = app(house.operations.layer(), inner);
    let monitor = accepted(&app, post("/work")).await;
    outcome(&app, &monitor).await;
    let shown = shown.lock().unwrap();
    assert!(!shown.is_empty() && !shown.contains(&id_of(&monitor).to_string()));
}

/// Whatever can be asked of an operation, as one text, with its id taken out.
async fn everything(app: &App, id: OperationId, who: Option<&str>) -> String {
    let mut all = String::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"] {
        for suffix in ["", "/status", "/result", "/other"] {
            for wait in ["", "wait=5"] {
                let mut ask = request(method, &format!("/operations/{id}{suffix}"));
                ask = with(ask, "prefer", wait);
                if let Some(who) = who {
                    ask = with(ask, "x-who", who);
                }
                let before = Instant::now();
                let answer = send(app, ask).await.unwrap();
                all += &format!("{method} {suffix} {:?} {answer}", before.elapsed());
            }
        }
    }
    all.replace(&id.to_string(), "{id}")
}

#[tokio::test(start_paused = true)]
async fn for_others_an_operation_never_was() {
    let operations = Operations::builder()
        .owner(|head| Some(Owner::new(head.headers.get("x-who")?)))
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    let never = everything(&app, OperationId::random(), Some("mallory")).await;
    for uri in ["/never", "/work", "/panic"] {
        for forgotten in [false, true] {
            let monitor = accepted(&app, with(post(uri), "x-who", "alice")).await;
            let id = id_of(&monitor);
            let page = operations.list(&ListQuery::all()).await.unwrap();
            assert!(
                !format!("{page:?}").contains("alice"),
                "principals are hashed"
            );
            let alice = |method| with(request(method, &monitor), "x-who", "alice");
            assert_eq!(send(&app, alice("GET")).await.unwrap().status, 202);
            tokio::time::sleep(seconds(2)).await;
            if forgotten {
                operations.cancel(id).await.unwrap();
                operations.forget(id).await.unwrap();
                let gone = send(&app, alice("GET")).await.unwrap();
                assert_eq!(gone.refusal(), (410, "expired".into()));
            }
            for who in [Some("mallory"), None] {
                assert_eq!(everything(&app, id, who).await, never, "{uri} {forgotten}");
            }
            operations.cancel(id).await.unwrap();
        }
    }
    let list = |who| with(request("GET", "/operations"), "x-who", who);
    let theirs = send(&app, list("mallory")).await.unwrap();
    assert_eq!(theirs.json()["operations"], serde_json::json!([]));
    let hers = send(&app, list("alice")).await.unwrap();
    assert_eq!(hers.json()["operations"].as_array().unwrap().len(), 3);
    quiet(&operations).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_its_owners_own() {
    let operations = Operations::builder()
        .owner(|head| Some(Owner::new(head.headers.get("x-who")?)))
        .build()
        .unwrap();
    let app = app(operations.layer(), handler);
    let keyed = |who: Option<&str>| {
        let submit = with(post("/work"), "idempotency-key", "\"1\"");
        who.map_or(submit.clone_head(), |who| {
            with(submit.clone_head(), "x-who", who)
        })
    };
    let alice = accepted(&app, keyed(Some("alice"))).await;
    assert_eq!(accepted(&app, keyed(Some("alice"))).await, alice);
    let mallory = accepted(&app, keyed(Some("mallory"))).await;
    assert_ne!(mallory, alice);
    // Who is nobody has no keys.
    let nobody = accepted(&app, keyed(None)).await;
    let again = accepted(&app, keyed(None)).await;
    assert!(nobody != again && nobody != alice && nobody != mallory);
    quiet(&operations).await;
}

/// The same request again; bodies can't be cloned.
trait CloneHead {
    fn clone_head(&self) -> Request<Body>;
}

impl CloneHead for Request<Body> {
    fn clone_head(&self) -> Request<Body> {
        let mut request = post(&self.uri().to_string());
        *request.headers_mut() = self.headers().clone();
        request
    }
}
