use super::*;

#[tokio::test(start_paused = true)]
async fn get_gives_an_operation_as_it_is_now() {
    let running = Running::new().await;
    let record = running.record().await;
    assert_eq!(record.phase().as_str(), "running");
    assert!(record.started.is_some() && record.ending().is_none());
    assert_eq!(
        (
            record.submission.method.as_str(),
            &*record.submission.target
        ),
        ("POST", "/reports")
    );
    running.handle.progress(0.5, "half");
    assert!(running.record().await.revision > record.revision);
    running.end().await;
    let ended = running.record().await;
    let response = ended.ending().unwrap().response.as_ref().unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body()),
        (200, Content::Inline("done".into()))
    );
    running.operations.forget(ended.id).await.unwrap();
    assert!(running.operations.get(ended.id).await.unwrap().is_none());
    assert!(
        running
            .operations
            .get(OperationId::random())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn changed_gives_each_change_and_the_end() {
    let running = Running::new().await;
    let id = running.handle.id();
    let first = running.record().await;
    let watch = |since| running.operations.changed(id, since);
    // What has changed already is there at once.
    let before = tower_lro::record::Revision(first.revision.0 - 1);
    assert_eq!(
        watch(before).await.unwrap().unwrap().revision,
        first.revision
    );
    assert!(timeout(secs(60), watch(first.revision)).await.is_err());
    assert_eq!(running.operations.usage().readers, 0);

    let says = async {
        sleep(secs(1)).await;
        running.handle.progress(0.5, "half");
    };
    let (changed, ()) = tokio::join!(watch(first.revision), says);
    let changed = changed.unwrap().unwrap();
    assert_eq!(
        changed.report.as_ref().unwrap().message.as_deref(),
        Some("half")
    );

    let ends = async {
        sleep(secs(1)).await;
        running.gate.add_permits(1);
    };
    let (ended, ()) = tokio::join!(watch(changed.revision), ends);
    let ended = ended.unwrap().unwrap();
    assert!(ended.phase().is_ended());
    // It has ended: there is nothing to wait for, whatever is known.
    for since in [ended.revision, tower_lro::record::Revision(u64::MAX)] {
        assert!(watch(since).await.unwrap().unwrap().phase().is_ended());
    }
    running.operations.forget(id).await.unwrap();
    assert!(watch(ended.revision).await.unwrap().is_none());
    let never = running
        .operations
        .changed(OperationId::random(), ended.revision);
    assert!(never.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn programs_that_watch_count_as_readers_and_are_not_refused() {
    let builder = limited(|limits| {
        limits.readers = 1;
        limits.readers_per_operation = 1;
    });
    let running = Running::of(builder.build().unwrap()).await;
    let (id, since) = (running.handle.id(), running.record().await.revision);
    let watching: Vec<_> = (0..3)
        .map(|_| {
            let operations = running.operations.clone();
            tokio::spawn(async move { operations.changed(id, since).await.unwrap().unwrap() })
        })
        .collect();
    settled().await;
    assert_eq!(running.operations.usage().readers, 3);
    let request = Request::get(&running.monitor).header("prefer", "wait=30");
    assert_eq!(running.client.call(request).await.after, Duration::ZERO);
    running.gate.add_permits(1);
    for watcher in watching {
        assert!(watcher.await.unwrap().phase().is_ended());
    }
    assert_eq!(running.operations.usage().readers, 0);
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_what_has_not_ended_and_changes_nothing_else() {
    let running = Running::new().await;
    let id = running.handle.id();
    let Settled::Done(record) = running.operations.cancel(id).await.unwrap() else {
        panic!("it has not ended before")
    };
    assert_eq!(record.ending().unwrap().outcome, Outcome::Cancelled);
    let Settled::Stands(again) = running.operations.cancel(id).await.unwrap() else {
        panic!("it has ended before")
    };
    assert_eq!(again.revision, record.revision);
    assert_eq!(running.client.delete(&running.monitor).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn forget_lets_go_of_what_has_ended_only() {
    let running = Running::new().await;
    let id = running.handle.id();
    assert!(matches!(
        running.operations.forget(id).await,
        Ok(Settled::Stands(_))
    ));
    running.end().await;
    let Settled::Done(record) = running.operations.forget(id).await.unwrap() else {
        panic!("it has ended")
    };
    assert_eq!(record.id, id);
    assert!(matches!(
        running.operations.forget(id).await,
        Ok(Settled::Unknown)
    ));
    running
        .client
        .get(&running.monitor)
        .await
        .is_problem(410, "expired");
    let usage = running.operations.usage();
    assert_eq!(
        (usage.stored, usage.stored_bytes, usage.tombstones),
        (0, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn list_gives_everybodys_or_one_owners_newest_first() {
    let operations = by_user(limited(|limits| limits.running = 1))
        .build()
        .unwrap();
    let (handler, gate) = gated();
    let client = client(&operations, &handler);
    let mut all = Vec::new();
    for user in ["alice", "bob", "alice", "bob", "alice"] {
        let id = client.call(post("/").header("x-user", user)).await.id();
        settled().await;
        all.insert(0, (user, id));
    }
    let ids = |of: Option<&str>| -> Vec<OperationId> {
        let wanted = all
            .iter()
            .filter(|(user, _)| of.is_none_or(|of| *user == of));
        wanted.map(|(_, id)| *id).collect()
    };
    let two = NonZeroU16::new(2).unwrap();
    for (mut query, wanted) in [
        (ListQuery::all(), ids(None)),
        (ListQuery::of(Owner::new("alice")), ids(Some("alice"))),
        (ListQuery::of(Owner::new("carol")), Vec::new()),
    ] {
        query.limit = two;
        let mut seen = Vec::new();
        loop {
            let page = operations.list(&query).await.unwrap();
            assert!(page.records.len() <= 2);
            seen.extend(page.records.iter().map(|record| record.id));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(seen, wanted);
    }
    let in_state = |name: &'static str| {
        let operations = &operations;
        async move {
            let mut query = ListQuery::all();
            query.states = StateSet::default().with_name(name);
            let page = operations.list(&query).await.unwrap();
            for record in &page.records {
                assert_eq!(record.phase().as_str(), name);
            }
            page.records.len()
        }
    };
    assert_eq!(
        (in_state("running").await, in_state("accepted").await),
        (1, 4)
    );
    gate.add_permits(5);
    end_of(&operations, all[0].1).await;
    assert_eq!(
        (in_state("running").await, in_state("succeeded").await),
        (0, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn usage_follows_an_operation_through_its_stages() {
    let operations = limited(|limits| limits.running = 1).build().unwrap();
    let (handler, gate) = gated();
    let client = client(&operations, &handler);
    let usage = || operations.usage();
    assert_eq!(usage(), Usage::default());

    let (sender, body) = sending();
    let uploading = tokio::spawn({
        let client = client.clone();
        async move { client.send(post("/").body(body).unwrap()).await }
    });
    send(&sender, "12345");
    settled().await;
    assert_eq!(
        (usage().uploading, usage().uploading_bytes, usage().stored),
        (1, 5, 0)
    );
    drop(sender);
    let first = uploading.await.unwrap();
    settled().await;
    assert_eq!((usage().uploading, usage().uploading_bytes), (0, 0));
    assert_eq!(
        (usage().running, usage().accepted, usage().stored),
        (1, 0, 1)
    );

    let second = client.submit().await;
    assert_eq!(
        (usage().running, usage().accepted, usage().stored),
        (1, 1, 2)
    );
    let reading = tokio::spawn({
        let (client, monitor) = (client.clone(), second.location());
        async move {
            client
                .call(Request::get(monitor).header("prefer", "wait=30"))
                .await
        }
    });
    settled().await;
    assert_eq!(usage().readers, 1);
    gate.add_permits(2);
    assert_eq!(reading.await.unwrap().body, "done");
    assert_eq!(
        (usage().running, usage().accepted, usage().readers),
        (0, 0, 0)
    );
    assert_eq!(
        (usage().stored, usage().stored_bytes, usage().tombstones),
        (2, 8, 0)
    );
    operations.forget(first.id()).await.unwrap();
    assert_eq!(
        (usage().stored, usage().stored_bytes, usage().tombstones),
        (1, 4, 1)
    );
    sleep(DAY).await;
    sleep(DAY + secs(1)).await;
    assert_eq!(usage(), Usage::default());
}
