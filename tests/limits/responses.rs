use super::*;

/// Answers `length` bytes in pieces of ten, without telling how many there are.
fn long(length: usize) -> Handler {
    handler(move |_| {
        let (sender, body) = sending();
        for piece in vec![b'x'; length].chunks(10) {
            send(&sender, piece.to_vec());
        }
        async { Response::new(body) }
    })
}

async fn outcome_of(client: &Client<Wrapped<Handler>>, operations: &Operations) -> Answer {
    let accepted = client.submit().await;
    end_of(operations, accepted.id()).await;
    client.get(&accepted.location()).await
}

#[tokio::test(start_paused = true)]
async fn a_response_over_its_bound_fails_as_too_large() {
    let operations = limited(|limits| limits.response_body = 95).build().unwrap();
    let told = |length| handler(move |_| async move { Response::new(full(vec![b'x'; length])) });
    for (handler, fits) in [
        (long(95), true),
        (long(96), false),
        (told(95), true),
        (told(96), false),
    ] {
        let answer = outcome_of(&with(&operations, &handler), &operations).await;
        if fits {
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 95));
        } else {
            answer.is_problem(500, "result-too-large");
            assert_eq!(answer.header("operation-outcome"), Some("failed"));
        }
    }
    let layer = operations.layer().response_body(96);
    let answer = outcome_of(&Client(layer.wrap(long(96))), &operations).await;
    assert_eq!(answer.body.len(), 96);
    assert_eq!(operations.usage().running, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_is_cut_off_at_the_bound() {
    let operations = limited(|limits| limits.response_body = 95).build().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    let handler = handler(move |_| {
        let (sender, body) = sending();
        let flag = flag.clone();
        tokio::spawn(async move {
            while sender
                .send(Ok(Frame::data(Bytes::from_static(b"x"))))
                .is_ok()
            {
                sleep(secs(1)).await;
            }
            flag.store(true, SeqCst);
        });
        async { Response::new(body) }
    });
    let answer = outcome_of(&with(&operations, &handler), &operations).await;
    answer.is_problem(500, "result-too-large");
    sleep(secs(2)).await;
    assert!(stopped.load(SeqCst));
    assert_eq!(operations.usage().stored_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn trailers_count_with_the_body_of_a_response() {
    let operations = limited(|limits| limits.response_body = 95).build().unwrap();
    let handler = handler(|_| {
        let (sender, body) = sending();
        sender.send(Ok(Frame::data(vec![b'x'; 50].into()))).unwrap();
        let value = HeaderValue::try_from("x".repeat(46)).unwrap();
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), value)]);
        sender.send(Ok(Frame::trailers(trailers))).unwrap();
        async { Response::new(body) }
    });
    let answer = outcome_of(&with(&operations, &handler), &operations).await;
    answer.is_problem(500, "result-too-large");
}

#[tokio::test(start_paused = true)]
async fn what_is_completed_from_outside_has_the_bound_too() {
    let operations = limited(|limits| limits.response_body = 95).build().unwrap();
    let client = with(&operations, &takes(secs(60)));
    let accepted = client.submit().await;
    let complete =
        |length| operations.complete(accepted.id(), Response::new(full(vec![b'x'; length])));
    let error = complete(96).await.unwrap_err();
    assert!(
        matches!(error, tower_lro::CompleteError::TooLarge),
        "{error:?}"
    );
    // And the operation goes on as before.
    assert_eq!(client.get(&accepted.location()).await.status, 202);
    assert!(matches!(complete(95).await.unwrap(), Settled::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_replayed_counts_in_no_bound() {
    for status in [204, 205, 304] {
        let operations = limited(|limits| limits.response_body = 10).build().unwrap();
        let answer = move || {
            let response = Response::builder().status(status);
            response.body(full("longer than ten bytes")).unwrap()
        };
        let client = with(&operations, &handler(move |_| async move { answer() }));
        let replay = outcome_of(&client, &operations).await;
        assert_eq!((replay.status.as_u16(), replay.body.len()), (status, 0));

        let client = with(&operations, &takes(secs(60)));
        let id = client.submit().await.id();
        let settled = operations.complete(id, answer()).await.unwrap();
        assert!(matches!(settled, Settled::Done(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_of_many_lines_is_replayed_or_too_large_but_never_a_panic() {
    let operations = limited(|_| {}).build().unwrap();
    let lines = handler(|_| async {
        let mut response = Response::new(full("x"));
        for _ in 0..30_000 {
            let line = HeaderValue::from_static("a=1");
            response.headers_mut().append("set-cookie", line);
        }
        response
    });
    let replay = outcome_of(&with(&operations, &lines), &operations).await;
    assert_eq!(replay.headers.get_all("set-cookie").iter().count(), 30_000);

    for (names, kept) in [(24_000, true), (24_001, false), (24_576, false)] {
        let handler = handler(move |_| async move {
            let mut response = Response::new(full("x"));
            for index in 0..names {
                let name = HeaderName::try_from(format!("x-{index}")).unwrap();
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(""));
            }
            response
        });
        let answer = outcome_of(&with(&operations, &handler), &operations).await;
        match kept {
            true => assert!(answer.headers.contains_key("x-23999")),
            false => answer.is_problem(500, "result-too-large"),
        }
    }
}
