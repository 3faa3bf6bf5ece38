use super::*;

#[tokio::test(start_paused = true)]
async fn progress_is_seen_at_once_and_stays_after_the_end() {
    let running = Running::new().await;
    assert!(running.document().await.get("progress").is_none());
    let cases = [
        (
            0.4,
            "rendering",
            serde_json::json!({"fraction": 0.4, "message": "rendering"}),
        ),
        (1.5, "", serde_json::json!({"fraction": 1.0})),
        (-1.0, "", serde_json::json!({"fraction": 0.0})),
        (f32::INFINITY, "", serde_json::json!({"fraction": 1.0})),
        (f32::NEG_INFINITY, "", serde_json::json!({"fraction": 0.0})),
        (
            f32::NAN,
            "no idea",
            serde_json::json!({"message": "no idea"}),
        ),
        (0.5, "\"quoted\" \\ \u{1} ä", {
            serde_json::json!({"fraction": 0.5, "message": "\"quoted\" \\ \u{1} ä"})
        }),
    ];
    for (fraction, message, shown) in cases {
        running.handle.progress(fraction, message);
        let progress = running.document().await["progress"].clone();
        assert_eq!(progress["message"], shown["message"]);
        assert_eq!(
            progress["fraction"]
                .as_f64()
                .map(|fraction| fraction as f32),
            shown["fraction"].as_f64().map(|fraction| fraction as f32)
        );
    }
    running.handle.progress(f32::NAN, String::new());
    assert!(running.document().await.get("progress").is_none());
    running.handle.progress(0.75, String::from("last words"));
    running.end().await;
    let document = running.document().await;
    assert_eq!(document["status"], "succeeded");
    assert_eq!(document["progress"]["message"], "last words");
}

#[tokio::test(start_paused = true)]
async fn each_word_is_a_change() {
    let running = Running::new().await;
    let mut tags = vec![running.status().await.header("etag").unwrap().to_owned()];
    let mut revision = running.record().await.revision;
    let words: [fn(&OperationHandle); 4] = [
        |handle| handle.progress(0.5, "half"),
        |handle| handle.metadata(&7).unwrap(),
        |handle| handle.resource(&Uri::from_static("/reports/7")),
        |handle| handle.retry_after(secs(5)),
    ];
    for word in words {
        word(&running.handle);
        let tag = running.status().await.header("etag").unwrap().to_owned();
        assert!(!tags.contains(&tag));
        tags.push(tag);
        let record = running.record().await;
        assert!(record.revision > revision);
        revision = record.revision;
    }
    running.end().await;
    let tag = running.status().await.header("etag").unwrap().to_owned();
    assert!(!tags.contains(&tag));
}

#[tokio::test(start_paused = true)]
async fn metadata_is_any_json_of_at_most_4_kib() {
    let running = Running::new().await;
    let pages = BTreeMap::from([("pages", 7), ("of", 9)]);
    running.handle.metadata(&pages).unwrap();
    let shown = serde_json::json!({"pages": 7, "of": 9});
    assert_eq!(running.document().await["metadata"], shown);
    // Two quotes and the text.
    running.handle.metadata(&"x".repeat(4094)).unwrap();
    assert_eq!(running.document().await["metadata"], "x".repeat(4094));
    let error = running.handle.metadata(&"x".repeat(4095)).unwrap_err();
    assert!(matches!(error, MetadataError::TooLong), "{error:?}");
    assert!(std::error::Error::source(&error).is_none());
    // Escapes count as they are written.
    let error = running.handle.metadata(&"\"".repeat(2048)).unwrap_err();
    assert!(matches!(error, MetadataError::TooLong), "{error:?}");
    let unwritable = BTreeMap::from([((1, 2), 3)]);
    let error = running.handle.metadata(&unwritable).unwrap_err();
    assert!(matches!(error, MetadataError::Json(_)), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
    // What was attached before stays.
    assert_eq!(running.document().await["metadata"], "x".repeat(4094));
    running.handle.metadata(&()).unwrap();
    assert!(running.document().await["metadata"].is_null());
    running.end().await;
    assert!(running.document().await["metadata"].is_null());
    assert!(
        running
            .document()
            .await
            .as_object()
            .unwrap()
            .contains_key("metadata")
    );
}

#[tokio::test(start_paused = true)]
async fn the_resource_is_shown_as_it_is_given() {
    let running = Running::new().await;
    for uri in [
        "/reports/7?x=1",
        "https://example.com/reports/7",
        "reports:443",
    ] {
        running.handle.resource(&uri.parse().unwrap());
        assert_eq!(running.document().await["resource"], uri);
    }
    running.end().await;
    assert_eq!(running.document().await["resource"], "reports:443");
}

#[tokio::test(start_paused = true)]
async fn the_retry_delay_is_on_every_pending_answer_and_on_no_other() {
    let running = Running::new().await;
    for (delay, told) in [
        (Duration::ZERO, "1"),
        (Duration::from_millis(1500), "2"),
        (secs(90), "90"),
        (Duration::MAX, "86400"),
    ] {
        running.handle.retry_after(delay);
        for answer in [
            running.client.get(&running.monitor).await,
            running.status().await,
            running
                .client
                .get(&format!("{}/result", running.monitor))
                .await,
            running
                .client
                .delete(&format!("{}/result", running.monitor))
                .await,
        ] {
            assert_eq!(answer.header("retry-after"), Some(told), "{answer:?}");
        }
    }
    running.end().await;
    for path in ["", "/status", "/result"] {
        let answer = running
            .client
            .get(&format!("{}{path}", running.monitor))
            .await;
        assert_eq!(answer.header("retry-after"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn words_do_not_take_each_others_place() {
    let running = Running::new().await;
    running.handle.metadata(&1).unwrap();
    running.handle.resource(&Uri::from_static("/r"));
    running.handle.retry_after(secs(9));
    running.handle.progress(0.5, "half");
    let report = running.record().await.report.unwrap();
    assert_eq!(report.metadata.as_ref().unwrap().get(), "1");
    assert_eq!(
        (report.resource.as_deref(), report.retry_after),
        (Some("/r"), Some(secs(9)))
    );
    assert_eq!(
        (report.fraction, report.message.as_deref()),
        (Some(0.5), Some("half"))
    );
    assert_eq!(
        running.end().await.report.unwrap().message.as_deref(),
        Some("half")
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_is_1_and_shown() {
    let running = Running::new().await;
    assert_eq!(
        (
            running.handle.attempt(),
            running.document().await["attempt"].as_u64()
        ),
        (1, Some(1))
    );
}

#[tokio::test(start_paused = true)]
async fn after_the_end_nothing_is_heard() {
    let running = Running::new().await;
    running.handle.progress(0.5, "half");
    running.end().await;
    settled().await;
    let before = (running.document().await, running.status().await.headers);
    running.handle.progress(0.9, "too late");
    running.handle.metadata(&7).unwrap();
    assert_eq!(
        (running.document().await, running.status().await.headers),
        before
    );
    assert!(running.handle.is_cancelled());
    running.handle.cancelled().await;
    assert!(running.handle.detach().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn last_words_are_heard_however_it_ends() {
    for end in ["cancel", "complete", "panic", "drain"] {
        let operations = operations();
        let handler = with_handle(move |handle| async move {
            handle.progress(0.5, "last words");
            match end {
                "panic" => panic!("the secret"),
                _ => std::future::pending().await,
            }
        });
        let client = client(&operations, &handler);
        let id = client.submit().await.id();
        settled().await;
        match end {
            "cancel" => drop(operations.cancel(id).await.unwrap()),
            "complete" => drop(
                operations
                    .complete(id, Response::new(empty()))
                    .await
                    .unwrap(),
            ),
            "drain" => drop(operations.drain(secs(1)).await),
            _ => {}
        }
        let record = end_of(&operations, id).await;
        let message = record
            .report
            .as_ref()
            .and_then(|report| report.message.as_deref());
        assert_eq!(message, Some("last words"), "{end}");
        assert!(record.started.is_some(), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_winds_up_for_a_shutdown_is_heard_to_its_end() {
    let operations = limited(|limits| limits.cancel_grace = secs(10));
    let operations = operations.build().unwrap();
    let handler = with_handle(|handle| async move {
        handle.cancelled().await;
        handle.progress(0.7, "winding up");
    });
    let id = client(&operations, &handler).submit().await.id();
    settled().await;
    assert_eq!(operations.drain(secs(1)).await.finished, 1);
    let report = end_of(&operations, id).await.report.unwrap();
    assert_eq!(report.message.as_deref(), Some("winding up"));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_the_tag_of_a_last_word_hears_of_the_end() {
    // A word that comes while the end is written is shown and then lost; its tag must not be the end's.
    let store = Faulty::remote();
    let running = Running::of(Operations::builder().store(store.clone()).build().unwrap()).await;
    store.set_all(&How::Late(secs(2)));
    let cancelling = tokio::spawn({
        let (operations, id) = (running.operations.clone(), running.handle.id());
        async move { operations.cancel(id).await.unwrap() }
    });
    sleep(secs(1)).await;
    running.handle.progress(0.9, "a last word");
    store.heal();
    let word = running.status().await;
    assert_eq!(word.json()["progress"]["message"], "a last word");
    cancelling.await.unwrap();
    let request = Request::get(format!("{}/status", running.monitor));
    let tag = word.header("etag").unwrap();
    let answer = running
        .client
        .call(request.header("if-none-match", tag))
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (200, &"cancelled".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_is_cut_to_four_kilobytes_in_whole_characters() {
    let running = Running::new().await;
    for (message, kept) in [
        ("x".repeat(4096), 4096),
        ("x".repeat(1 << 20), 4096),
        (format!("x{}", "ä".repeat(4096)), 4095),
    ] {
        running.handle.progress(0.5, message.clone());
        let shown = running.document().await["progress"]["message"].clone();
        assert_eq!(shown, message[..kept]);
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_is_json_already_has_no_white_space_either() {
    let running = Running::new().await;
    let raw = "{ \"a b\" :\n [ 1,\t\"x \\\" \\\\\" , 1e99 ] }";
    let raw = serde_json::value::RawValue::from_string(raw.into()).unwrap();
    running.handle.metadata(&raw).unwrap();
    let status = running.status().await;
    let text = String::from_utf8(status.body.to_vec()).unwrap();
    let metadata = "\"metadata\":{\"a b\":[1,\"x \\\" \\\\\",1e99]}";
    assert!(text.contains(metadata), "{text}");
}
