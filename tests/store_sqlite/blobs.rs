//! Long bodies.

use super::support::{
    ALL, Place, Running, accept, child, file_of_child, find, record, request, started,
    success_elsewhere, totals_are_true,
};
use bytes::Bytes;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tower_lro::{
    Store,
    record::{BlobId, Content},
    store::{
        Blobs, Clock, Created, Forget, Intent, Settled, SqliteOptions, SqliteStore, StoreErrorKind,
    },
};

const CHUNK: usize = 256 << 10;
const HOUR: Duration = Duration::from_secs(60 * 60);

fn open(place: &Place) -> (SqliteStore, Clock) {
    let clock = Clock::manual(SystemTime::now());
    (
        place.open_with(SqliteOptions::default().clock(clock.clone())),
        clock,
    )
}

async fn write(store: &SqliteStore, chunks: u32) -> BlobId {
    let blob = BlobId::random();
    for index in 0..chunks {
        let chunk = Bytes::from(vec![index as u8; CHUNK]);
        store.append(blob, index, chunk).await.unwrap();
    }
    blob
}

async fn count(store: &SqliteStore, blob: BlobId) -> u32 {
    let mut index = 0;
    while let Some(chunk) = store.read(blob, index).await.unwrap() {
        assert!(chunk.len() == CHUNK && chunk.iter().all(|byte| *byte == index as u8));
        index += 1;
    }
    index
}

async fn sweep(store: &SqliteStore) {
    while store.sweep(ALL).await.unwrap().done > 0 {}
}

/// So many are in the file.
fn chunks(place: &Place) -> i64 {
    let count = "SELECT count(*) FROM chunks";
    place.sql().query_row(count, [], |row| row.get(0)).unwrap()
}

/// An operation whose result is a blob of so many chunks.
async fn ended(store: &SqliteStore, chunks: u32) -> (tower_lro::OperationId, BlobId) {
    let claim = accept(store, 1).await;
    let blob = write(store, chunks).await;
    let len = u64::from(chunks) * CHUNK as u64;
    let mut ending = Some(success_elsewhere(blob, len));
    let done = store.finish(&claim, &started(5), &mut ending).await;
    assert!(matches!(done, Ok(Settled::Done(_))), "{done:?}");
    (claim.id(), blob)
}

#[tokio::test]
async fn who_is_refused_for_a_blob_that_is_gone_leaves_nothing() {
    let place = Place::new();
    let (store, _) = open(&place);
    let before = store.usage();
    let (id, len) = (BlobId::random(), CHUNK as u64);
    let late = store.append(id, 1, Bytes::from_static(b"the rest")).await;
    assert_eq!(late.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let (new, gone) = (
        record(1),
        request(Content::Blob {
            id: BlobId::random(),
            len,
        }),
    );
    for intent in [Intent::Run(Some(&gone)), Intent::Queue(&gone)] {
        let refused = store.create(&new, intent).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Corrupt);
        assert!(find(&store, new.id).await.is_none());
    }
    assert_eq!(store.usage(), before);
    assert!(super::support::claim(&store).await.is_empty());

    let claim = accept(&store, 2).await;
    let before = store.usage();
    let mut ending = Some(success_elsewhere(BlobId::random(), len));
    let refused = store.finish(&claim, &started(5), &mut ending).await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!(store.usage(), before);
}

#[tokio::test]
async fn a_result_in_chunks_outlives_the_process() {
    let place = Place::new();
    let (id, blob) = ended(&open(&place).0, 5).await;
    let store = place.open();
    let record = find(&store, id).await.unwrap();
    let response = record.ending().unwrap().response.as_ref().unwrap();
    assert_eq!(
        response.body(),
        Content::Blob {
            id: blob,
            len: 5 * CHUNK as u64
        }
    );
    assert_eq!(count(&store, blob).await, 5);
}

#[tokio::test]
async fn a_chunk_that_is_appended_twice_is_there_once() {
    let place = Place::new();
    let (store, _) = open(&place);
    let blob = write(&store, 2).await;
    let again = Bytes::from(vec![1; CHUNK]);
    store.append(blob, 1, again).await.unwrap();
    assert_eq!(count(&store, blob).await, 2);
    assert_eq!(store.usage().bytes, 2 * CHUNK as u64);
}

#[tokio::test]
async fn what_nothing_names_goes_after_an_hour() {
    let place = Place::new();
    let (store, clock) = open(&place);
    let unnamed = write(&store, 40).await;
    let (_, named) = ended(&store, 3).await;
    clock.advance(HOUR - Duration::from_millis(1));
    sweep(&store).await;
    assert_eq!(count(&store, unnamed).await, 40);
    clock.advance(Duration::from_millis(1));
    sweep(&store).await;
    assert_eq!(count(&store, unnamed).await, 0);
    // The result has expired meanwhile, and may still be being read.
    assert_eq!(count(&store, named).await, 3);
    clock.advance(HOUR);
    sweep(&store).await;
    assert_eq!(count(&store, named).await, 0);
    let usage = store.usage();
    assert_eq!((usage.operations, usage.bytes), (0, 0));
    assert_eq!(chunks(&place), 0);
}

#[tokio::test]
async fn what_is_in_use_stays_when_orphans_go() {
    let place = Place::new();
    let (store, clock) = open(&place);
    let orphan = write(&store, 2).await;
    clock.advance(HOUR / 2);
    let being_written = write(&store, 1).await;
    let to_be_run = write(&store, 1).await;
    let body = Content::Blob {
        id: to_be_run,
        len: CHUNK as u64,
    };
    let queued = record(1);
    let created = store.create(&queued, Intent::Queue(&request(body))).await;
    assert!(matches!(created, Ok(Created::Queued)), "{created:?}");
    // It is let go of while somebody reads it.
    let (id, being_read) = ended(&store, 2).await;
    let forgotten = store.forget(id, Forget::Ended).await;
    assert!(matches!(forgotten, Ok(Settled::Done(_))), "{forgotten:?}");
    let counts = async || {
        [
            count(&store, orphan).await,
            count(&store, being_written).await,
            count(&store, to_be_run).await,
            count(&store, being_read).await,
        ]
    };
    clock.advance(HOUR / 2);
    sweep(&store).await;
    assert_eq!(counts().await, [0, 1, 1, 2]);
    let chunk = Bytes::from(vec![1; CHUNK]);
    store.append(being_written, 1, chunk).await.unwrap();
    clock.advance(HOUR / 2);
    sweep(&store).await;
    assert_eq!(counts().await, [0, 2, 1, 0]);
}

#[tokio::test]
async fn what_is_named_is_kept_as_long_as_the_operation() {
    let place = Place::new();
    let (store, clock) = open(&place);
    let mut kept = tower_lro::Record::clone(&record(1));
    Arc::make_mut(&mut kept.submission).keep_for = HOUR * 100;
    let claim = match store.create(&kept.into(), Intent::Run(None)).await {
        Ok(Created::New(claim)) => claim,
        other => panic!("expected a new operation, got {other:?}"),
    };
    let blob = write(&store, 2).await;
    let mut ending = Some(success_elsewhere(blob, 2 * CHUNK as u64));
    store
        .finish(&claim, &started(5), &mut ending)
        .await
        .unwrap();
    // Late, as after an uncertain answer.
    store
        .append(blob, 1, Bytes::from(vec![1; CHUNK]))
        .await
        .unwrap();
    clock.advance(HOUR * 99);
    sweep(&store).await;
    assert_eq!(count(&store, blob).await, 2);
    // Nor can it be removed while it is named.
    store.remove(blob).await.unwrap();
    assert_eq!(count(&store, blob).await, 2);
}

#[tokio::test]
async fn what_is_removed_is_gone_at_once_and_counts_no_longer() {
    let place = Place::new();
    let (store, _) = open(&place);
    let blob = write(&store, 40).await;
    store.remove(blob).await.unwrap();
    store.remove(blob).await.unwrap();
    assert_eq!(store.read(blob, 0).await.unwrap(), None);
    assert_eq!(store.usage().bytes, 0);
    // Nothing is left to a sweep, of which there is none where nothing is stored.
    assert_eq!(chunks(&place), 0);
}

#[tokio::test]
async fn the_body_of_a_request_goes_with_its_end() {
    let place = Place::new();
    let (store, clock) = open(&place);
    let body = write(&store, 2).await;
    let request = request(Content::Blob {
        id: body,
        len: 2 * CHUNK as u64,
    });
    let created = store.create(&record(2), Intent::Run(Some(&request))).await;
    let Ok(Created::New(claim)) = created else {
        panic!("expected a new operation, got {created:?}")
    };
    clock.advance(HOUR * 2);
    renew_and_sweep(&store, &claim).await;
    assert_eq!(count(&store, body).await, 2);
    super::support::finish(&store, &claim, b"").await;
    clock.advance(HOUR);
    sweep(&store).await;
    assert_eq!(count(&store, body).await, 0);
    assert_eq!(store.usage().bytes, 0);
}

async fn renew_and_sweep(store: &SqliteStore, claim: &tower_lro::store::Claim) {
    assert!(super::support::renew(store, &[claim]).await.is_empty());
    sweep(store).await;
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let place = Place::new();
    let options = SqliteOptions::default().bytes(3 * CHUNK as u64);
    let store = place.open_with(options);
    let blob = write(&store, 3).await;
    let refused = store
        .append(blob, 3, Bytes::from(vec![3; CHUNK]))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Full);
    assert_eq!(count(&store, blob).await, 3);
}

#[tokio::test]
async fn a_result_that_was_read_makes_room_with_its_blob() {
    let place = Place::new();
    let options = SqliteOptions::default().bytes(4 * CHUNK as u64 + 100);
    let store = place.open_with(options);
    let (id, _) = ended(&store, 3).await;
    let blob = BlobId::random();
    let append = async |index| store.append(blob, index, Bytes::from(vec![0; CHUNK])).await;
    append(0).await.unwrap();
    assert_eq!(append(1).await.unwrap_err().kind(), StoreErrorKind::Full);
    store.mark_read(id);
    append(1).await.unwrap();
    assert!(find(&store, id).await.is_none());
    assert_eq!(store.usage().bytes, 2 * CHUNK as u64);
    sweep(&store).await;
    assert_eq!(store.usage().bytes, 2 * CHUNK as u64);
}

#[tokio::test]
async fn what_was_left_makes_room_once_its_readers_have_had_time() {
    for (minutes, left_goes_first) in [(4, false), (5, true)] {
        let place = Place::new();
        let clock = Clock::manual(SystemTime::now());
        let options = SqliteOptions::default().clock(clock.clone());
        let store = place.open_with(options.bytes(6 * CHUNK as u64 + 100));
        let (read, result) = ended(&store, 2).await;
        store.mark_read(read);
        let (forgotten, left) = ended(&store, 3).await;
        let done = store.forget(forgotten, Forget::Ended).await;
        assert!(matches!(done, Ok(Settled::Done(_))), "{done:?}");
        clock.advance(Duration::from_secs(60 * minutes));
        let counts = async || {
            let all = [count(&store, left).await, count(&store, result).await];
            sweep(&store).await;
            all.map(|count| count > 0)
        };
        let blob = BlobId::random();
        let append = async |index| store.append(blob, index, Bytes::from(vec![0; CHUNK])).await;
        append(0).await.unwrap();
        assert_eq!(counts().await, [true, true]);
        append(1).await.unwrap();
        sweep(&store).await;
        assert_eq!(counts().await, [!left_goes_first, left_goes_first]);
        totals_are_true(&place.sql());
        for index in 2..6 {
            append(index).await.unwrap();
        }
        sweep(&store).await;
        assert_eq!(counts().await, [false, false]);
        assert_eq!(append(6).await.unwrap_err().kind(), StoreErrorKind::Full);
        assert_eq!(store.usage().bytes, 6 * CHUNK as u64);
        totals_are_true(&place.sql());
    }
}

#[tokio::test]
async fn what_a_dead_writer_has_left_makes_room_without_a_sweep() {
    let place = Place::new();
    let clock = Clock::manual(SystemTime::now());
    let options = SqliteOptions::default().clock(clock.clone());
    let store = place.open_with(options.bytes(3 * CHUNK as u64));
    let dead = write(&store, 3).await;
    let blob = BlobId::random();
    let append = async || store.append(blob, 0, Bytes::from(vec![0; CHUNK])).await;
    clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(append().await.unwrap_err().kind(), StoreErrorKind::Full);
    clock.advance(Duration::from_millis(1));
    append().await.unwrap();
    assert_eq!(count(&store, dead).await, 0);
    // Who comes back late has lost it all, and is told.
    let late = store.append(dead, 3, Bytes::from_static(b"rest")).await;
    assert_eq!(late.unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!(store.usage().bytes, CHUNK as u64);
    totals_are_true(&place.sql());
}

/// Found by filling a store with long results, each of which was forgotten once it was read: the next was too large.
#[tokio::test]
async fn what_was_left_is_no_reason_to_refuse_what_is_to_come() {
    let place = Place::new();
    let options = SqliteOptions::default().bytes(4 * CHUNK as u64 + 100);
    let store = place.open_with(options);
    let (id, left) = ended(&store, 3).await;
    let forgotten = store.forget(id, Forget::Ended).await;
    assert!(matches!(forgotten, Ok(Settled::Done(_))), "{forgotten:?}");
    assert!(!store.set_aside(5 * CHUNK as u64));
    assert_eq!(count(&store, left).await, 3);
    assert!(store.set_aside(2 * CHUNK as u64));
    let (_, next) = ended(&store, 1).await;
    assert_eq!(
        (count(&store, left).await, count(&store, next).await),
        (0, 1)
    );
    store.give_back(2 * CHUNK as u64);
    totals_are_true(&place.sql());
}

#[tokio::test]
async fn a_long_body_takes_little_memory() {
    if let Some(path) = file_of_child() {
        return streams_a_long_body(&path).await;
    }
    let place = Place::new();
    let mut other = Running::start(child(
        "blobs::a_long_body_takes_little_memory",
        &place.path(),
    ));
    let most: u64 = other.hear("most").parse().unwrap();
    assert!(most < 64 << 10, "{most} KiB");
}

/// 256 MiB, in and out.
async fn streams_a_long_body(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let (_, blob) = ended(&store, 1_024).await;
    let mut index = 0;
    while let Some(chunk) = store.read(blob, index).await.unwrap() {
        assert_eq!(chunk.len(), CHUNK);
        index += 1;
    }
    assert_eq!(index, 1_024);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("most {}", most.unwrap().trim().trim_end_matches(" kB"));
}

/// As what is left where the sweep came between two chunks, and the first was appended again after it.
#[tokio::test]
async fn a_blob_with_a_hole_is_named_by_nobody() {
    let place = Place::new();
    let (store, _) = open(&place);
    let claim = accept(&store, 1).await;
    let blob = write(&store, 1).await;
    let last = Bytes::from(vec![0; CHUNK]);
    store.append(blob, 2, last).await.unwrap();
    let whole = 3 * CHUNK as u64;
    let mut ending = Some(success_elsewhere(blob, whole));
    let refused = store.finish(&claim, &started(5), &mut ending).await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let holed = request(Content::Blob {
        id: blob,
        len: whole,
    });
    let refused = store.create(&record(2), Intent::Queue(&holed)).await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_body_whose_beginning_was_swept_away_is_no_body() {
    let place = Place::new();
    let (store, clock) = open(&place);
    let claim = accept(&store, 1).await;
    let blob = write(&store, 1).await;
    // So long that nobody can be writing it any more.
    for _ in 0..900 {
        clock.advance(Duration::from_secs(5));
        assert!(super::support::renew(&store, &[&claim]).await.is_empty());
        store.sweep(ALL).await.unwrap();
    }
    let more = store.append(blob, 1, Bytes::from_static(b"more")).await;
    assert_eq!(more.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let unknown = success_elsewhere(BlobId::random(), 2000);
    let finished = store.finish(&claim, &started(5), &mut Some(unknown)).await;
    assert_eq!(finished.unwrap_err().kind(), StoreErrorKind::Corrupt);
}
