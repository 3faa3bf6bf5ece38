//! Long bodies, of stores that keep them elsewhere.

use super::{Draft, Make, START_WITHIN, Subject, Wanted, done, request};
use crate::{
    record::{BlobId, Capture, Content, Ending, Queue},
    store::{Blobs, Claimed, Created, Forget, Intent},
};
use bytes::Bytes;
use http::Response;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const CHUNKS: [&[u8]; 3] = [b"one", b"and two", b"and"];

async fn append(blobs: &dyn Blobs, blob: BlobId, index: u32) {
    let chunk = Bytes::from_static(CHUNKS[index as usize]);
    blobs.append(blob, index, chunk).await.unwrap();
}

/// A blob that nothing names yet, and how long it is.
async fn written(blobs: &dyn Blobs) -> (BlobId, u64) {
    let blob = BlobId::random();
    for index in 0..3 {
        append(blobs, blob, index).await;
    }
    (blob, CHUNKS.concat().len() as u64)
}

async fn is_whole(blobs: &dyn Blobs, blob: BlobId) -> bool {
    let mut read = Vec::new();
    while let Some(chunk) = blobs.read(blob, read.len() as u32).await.unwrap() {
        read.push(chunk);
    }
    assert!(read.is_empty() || read == CHUNKS, "{read:?}");
    !read.is_empty()
}

/// An end whose response has its body in a blob.
async fn success_elsewhere(subject: &Subject, blobs: &dyn Blobs) -> (Ending, BlobId) {
    let (blob, _) = written(blobs).await;
    let head = Response::new(()).into_parts().0;
    let mut capture = Capture::begin(&head, "/reports", 0, u64::MAX).unwrap();
    capture.data(&CHUNKS.concat()).unwrap();
    capture.spill(blob);
    let ending = Ending::with_response(capture.end(), false, subject.clock.wall());
    (ending, blob)
}

/// Lets time pass, and has done all that is due then.
async fn pass(subject: &Subject, time: Duration) {
    subject.clock.advance(time);
    while subject.sweep().await.done > 0 {}
}

/// Chunks are read as they were appended, each by its number, and there are no others.
pub async fn a_blob_is_read_as_it_was_written(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    let (one, _) = written(blobs).await;
    let other = BlobId::random();
    blobs.append(other, 0, "else".into()).await.unwrap();
    assert!(is_whole(blobs, one).await);
    assert_eq!(blobs.read(one, 3).await.unwrap(), None);
    assert_eq!(blobs.read(other, 0).await.unwrap().unwrap(), "else");
    assert!(!is_whole(blobs, BlobId::random()).await);
}

/// As after an answer that did not come.
pub async fn a_chunk_that_is_appended_again_is_there_once(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    let blob = BlobId::random();
    for index in [0, 0, 1, 0, 2, 2] {
        append(blobs, blob, index).await;
    }
    assert!(is_whole(blobs, blob).await);
}

/// What is removed is gone whole, and may be removed again.
pub async fn a_blob_that_is_removed_is_gone(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    let (one, _) = written(blobs).await;
    let (other, _) = written(blobs).await;
    for _ in 0..2 {
        blobs.remove(one).await.unwrap();
        assert!(!is_whole(blobs, one).await);
    }
    assert!(is_whole(blobs, other).await);
}

/// It may be being written.
pub async fn a_blob_that_nothing_names_goes_after_an_hour(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    let (blob, _) = written(blobs).await;
    pass(&subject, HOUR - MINUTE).await;
    assert!(is_whole(blobs, blob).await);
    // Its writer is still there.
    append(blobs, blob, 0).await;
    pass(&subject, HOUR - MINUTE).await;
    assert!(is_whole(blobs, blob).await);
    pass(&subject, MINUTE).await;
    assert!(!is_whole(blobs, blob).await);
}

/// The body of a response is kept as long as the operation, and then as long as somebody may be reading it.
pub async fn the_body_of_a_response_is_kept_as_long_as_the_operation(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    for completed in [false, true] {
        let claim = subject.accept(Draft::keep_for(10 * HOUR)).await;
        let (ending, blob) = success_elsewhere(&subject, blobs).await;
        let settled = match completed {
            false => subject.finish(&claim, ending).await,
            true => subject.complete(claim.id(), ending).await,
        };
        assert_eq!(done(settled).ending().and_then(Ending::blob), Some(blob));
        pass(&subject, 3 * HOUR).await;
        assert!(is_whole(blobs, blob).await);
        done(subject.store.forget(claim.id(), Forget::Ended).await);
        pass(&subject, HOUR - MINUTE).await;
        assert!(is_whole(blobs, blob).await);
        pass(&subject, MINUTE).await;
        assert!(!is_whole(blobs, blob).await);
    }
}

/// The body of a request is kept for whoever runs it.
pub async fn the_body_of_a_request_is_kept_until_the_end(make: Make) {
    let subject = make(Wanted::default());
    let Some(blobs) = subject.store.blobs() else {
        return;
    };
    let (id, len) = written(blobs).await;
    let long = request().with_body(Content::Blob { id, len });
    let mut draft = Draft::attempts(1);
    draft.rerun.as_mut().unwrap().start_within = START_WITHIN + 10 * HOUR;
    let record = subject.draw(draft);
    let created = subject.store.create(&record, Intent::Queue(&long)).await;
    assert!(matches!(created, Ok(Created::Queued)), "{created:?}");
    pass(&subject, 3 * HOUR).await;
    let mut claimed = subject.claim_all(&Queue::default()).await;
    let Claimed { claim, request, .. } = claimed.pop().expect("one that waits");
    assert_eq!(*request.body(), Content::Blob { id, len });
    assert!(is_whole(blobs, id).await);
    done(subject.finish(&claim, subject.success(1)).await);
    pass(&subject, HOUR).await;
    assert!(!is_whole(blobs, id).await);
}
