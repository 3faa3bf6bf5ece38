//! Bodies that are kept beside their records, written and read chunk by chunk.

use crate::{
    record::{BlobId, Content, StoredRequest},
    store::{Blobs, Store, StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;

/// Bytes that go into one chunk.
pub(crate) const CHUNK: usize = 256 << 10;

/// Appends a chunk, again while it is uncertain whether that was done.
pub(crate) async fn append(
    blobs: &dyn Blobs,
    id: BlobId,
    index: u32,
    chunk: Bytes,
) -> Result<(), StoreError> {
    const TRIES: u32 = 3;
    let mut appended = blobs.append(id, index, chunk.clone()).await;
    for _ in 1..TRIES {
        match &appended {
            Err(error) if error.kind() == StoreErrorKind::Uncertain => {}
            _ => break,
        }
        appended = blobs.append(id, index, chunk.clone()).await;
    }
    appended
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
        if let Err(error) = append(blobs, id, index, chunk).await {
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
