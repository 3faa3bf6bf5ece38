//! Bodies that are kept beside their records, written and read chunk by chunk.

use super::backoff::Backoff;
use crate::{
    operations::Engine,
    record::{BlobId, Content, Ending, StoredRequest},
    store::{Blobs, Settled, Store, StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// Bytes that go into one chunk.
pub(crate) const CHUNK: usize = 256 << 10;

/// How long a store is waited for that can't take a chunk in, at least: whoever has the response may have it once more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Appends a chunk, again and again for so long while the store can't answer: what it is part of can't be had once more.
pub(crate) async fn append(
    blobs: &dyn Blobs,
    id: BlobId,
    index: u32,
    chunk: Bytes,
    patience: Duration,
) -> Result<(), StoreError> {
    let deadline = Instant::now().checked_add(patience);
    let mut backoff = Backoff::new();
    let mut wanted = Wanted::new((index > 0).then_some(id));
    loop {
        let error = match blobs.append(id, index, chunk.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        trace::store_failed("append", &error);
        let may_pass = matches!(
            error.kind(),
            StoreErrorKind::Unavailable | StoreErrorKind::Uncertain
        );
        if !may_pass || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(error);
        }
        backoff.pause(Duration::MAX).await;
        wanted.still(blobs).await;
    }
}

/// What is there already of a blob that can't be written on, or named, just now: the sweep is kept from it.
pub(super) struct Wanted {
    blob: Option<BlobId>,
    /// When the store last heard of it.
    since: Instant,
}

impl Wanted {
    pub(super) fn new(blob: Option<BlobId>) -> Self {
        Self {
            blob,
            since: Instant::now(),
        }
    }

    /// Appends the first chunk again, if it is time to.
    pub(super) async fn still(&mut self, blobs: &dyn Blobs) {
        const EVERY: Duration = Duration::from_secs(10 * 60);
        // Later the sweep may be at it: a first chunk without the others would pass for the whole.
        const AT_LATEST: Duration = Duration::from_secs(50 * 60);
        let Some(blob) = self.blob else { return };
        if !(EVERY..AT_LATEST).contains(&self.since.elapsed()) {
            return;
        }
        let first = blobs.read(blob, 0).await;
        if let Ok(Some(first)) = first
            && blobs.append(blob, 0, first).await.is_ok()
        {
            self.since = Instant::now();
        }
    }
}

/// A blob that no record names: removed when it is dropped, or by the sweep where nothing can be spawned any more.
pub(crate) struct Unnamed {
    store: Arc<dyn Store>,
    id: BlobId,
    named: bool,
}

impl Unnamed {
    pub(crate) fn draw(store: Arc<dyn Store>) -> Self {
        Self::new(store, BlobId::random())
    }

    pub(crate) fn new(store: Arc<dyn Store>, id: BlobId) -> Self {
        Self {
            store,
            id,
            named: false,
        }
    }

    pub(crate) fn id(&self) -> BlobId {
        self.id
    }

    /// It is somebody else's now.
    pub(crate) fn named(mut self) {
        self.named = true;
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, id) = (self.store.clone(), self.id);
            runtime.spawn(async move { discard(&*store, id).await });
        }
    }
}

impl Engine {
    /// Nobody needs a blob any more.
    pub(crate) fn discard(&self, blob: Option<BlobId>) {
        drop(blob.map(|blob| Unnamed::new(self.store.clone(), blob)));
    }

    /// A blob was written for an end that another has come before. Where nobody knows, the sweep will.
    pub(crate) fn discard_unless_named(&self, blob: Option<BlobId>, settled: &Settled) {
        if let (Some(blob), Settled::Done(record) | Settled::Stands(record)) = (blob, settled)
            && record.ending().and_then(Ending::blob) != Some(blob)
        {
            self.discard(Some(blob));
        }
    }
}

/// Removes a blob that is of no use; the sweep does what fails here.
pub(crate) async fn discard(store: &dyn Store, id: BlobId) {
    if let Some(blobs) = store.blobs()
        && let Err(error) = blobs.remove(id).await
    {
        trace::store_failed("remove", &error);
    }
}

/// Moves the body of a request into a blob.
pub(super) async fn stow_request(
    store: &dyn Store,
    request: Box<StoredRequest>,
) -> Result<Box<StoredRequest>, StoreError> {
    let (Some(blobs), Content::Inline(body)) = (store.blobs(), request.body()) else {
        return Ok(request);
    };
    let (id, len) = (BlobId::random(), body.len() as u64);
    let mut rest = body.clone();
    for index in 0.. {
        if rest.is_empty() {
            break;
        }
        let chunk = rest.split_to(rest.len().min(CHUNK));
        // Somebody waits to hear whether the request is accepted, and can send it again.
        if let Err(error) = blobs.append(id, index, chunk).await {
            discard(store, id).await;
            return Err(error);
        }
    }
    Ok(Box::new(request.with_body(Content::Blob { id, len })))
}

/// The whole of a body.
pub(super) async fn read_whole(store: &dyn Store, body: &Content) -> Result<Bytes, StoreError> {
    let (id, len) = match body {
        Content::Inline(bytes) => return Ok(bytes.clone()),
        Content::Blob { id, len } => (*id, *len),
    };
    let corrupt = || StoreError::new(StoreErrorKind::Corrupt);
    let blobs = store.blobs().ok_or_else(corrupt)?;
    let len = usize::try_from(len).map_err(|_| corrupt())?;
    let mut whole = Vec::with_capacity(len);
    for index in 0.. {
        if whole.len() >= len {
            break;
        }
        let chunk = blobs.read(id, index).await?.ok_or_else(corrupt)?;
        whole.extend_from_slice(&chunk);
    }
    if whole.len() == len {
        Ok(whole.into())
    } else {
        Err(corrupt())
    }
}

/// Reads the chunks of a blob one after the other, and holds one at most.
pub(crate) struct BlobReader {
    store: Arc<dyn Store>,
    id: BlobId,
    index: u32,
    left: u64,
    reading: Option<Reading>,
    /// Removes it at the end.
    _unnamed: Option<Unnamed>,
}

/// In a lock that is never taken: so bodies may be shared by threads, as some boxes for them ask.
type Reading = Mutex<Pin<Box<dyn Future<Output = Result<Option<Bytes>, StoreError>> + Send>>>;

impl BlobReader {
    pub(crate) fn new(store: Arc<dyn Store>, id: BlobId, len: u64) -> Self {
        Self {
            store,
            id,
            index: 0,
            left: len,
            reading: None,
            _unnamed: None,
        }
    }

    /// Removes the blob when it is dropped: no record names it.
    pub(crate) fn remove_at_end(&mut self) {
        self._unnamed = Some(Unnamed::new(self.store.clone(), self.id));
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next chunk; `None` at the end.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StoreError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (store, id, index) = (&self.store, self.id, self.index);
        let reading = self.reading.get_or_insert_with(|| {
            let store = store.clone();
            Mutex::new(Box::pin(async move {
                match store.blobs() {
                    Some(blobs) => blobs.read(id, index).await,
                    None => Ok(None),
                }
            }))
        });
        let reading = reading.get_mut().unwrap_or_else(PoisonError::into_inner);
        let read = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Some(chunk)) if !chunk.is_empty() && chunk.len() as u64 <= self.left => {
                self.left -= chunk.len() as u64;
                self.index += 1;
                Ok(chunk)
            }
            // It was removed meanwhile, or is not what was written.
            Ok(_) => Err(StoreError::new(StoreErrorKind::Corrupt)),
            Err(error) => Err(error),
        }))
    }
}
