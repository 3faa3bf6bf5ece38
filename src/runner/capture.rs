use super::{
    BoxError,
    blob::{self, Unnamed},
};
use crate::{
    operations::CompleteError,
    record::{Capture, StoredResponse, TooLarge},
    store::{Blobs, Store, StoreErrorKind},
};
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::task::coop;

type Boxed<F> = Pin<Box<F>>;

/// Takes the rest of a response in, within the limit and what room the store has. A store that can't answer is given
/// `patience` with each chunk.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice"
)]
pub(crate) fn capture<R>(
    store: &Arc<dyn Store>,
    mut capture: Capture,
    body: R,
    patience: Duration,
) -> impl Future<Output = Result<StoredResponse, CompleteError>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    async move {
        let mut body = pin!(body);
        let mut room = Room {
            store: &**store,
            bytes: 0,
        };
        let mut spill = store
            .blobs()
            .map(|blobs| Box::new(Spill::new(store, blobs, patience)));
        while !capture.is_bodiless() && !body.is_end_stream() {
            // A body that is always ready must let others have their turn, and its own limits.
            let frame = coop::cooperative(poll_fn(|cx| body.as_mut().poll_frame(cx)));
            let Some(frame) = frame.await else { break };
            let spilling = take_in(frame, &mut capture, &mut room, &mut spill)?;
            if let Some(spilling) = spilling {
                spilling.await?;
            }
        }
        if capture.is_cut_off() {
            let why = "the body ended before the length that its head tells";
            return Err(CompleteError::Body(why.into()));
        }
        if let Some(spill) = &mut spill {
            Box::pin(spill.rest(&mut capture)).await?;
            spill.name();
        }
        Ok(capture.end())
    }
}

/// Takes a frame in. What is given back is to be waited for: the body may be on its way into a blob.
///
/// A function, since an `async` block would hold room for the frame for as long as the body takes.
fn take_in<'a, E: Into<BoxError>>(
    frame: Result<Frame<Bytes>, E>,
    capture: &'a mut Capture,
    room: &mut Room<'_>,
    spill: &'a mut Option<Box<Spill<'_>>>,
) -> Result<Option<Boxed<impl Future<Output = Result<(), CompleteError>>>>, CompleteError> {
    let frame = frame.map_err(|error| CompleteError::Body(error.into()))?;
    if let Some(spill) = spill {
        return Ok(Some(Box::pin(spill.take_in(frame, capture))));
    }
    match frame.into_data() {
        Ok(data) => {
            room.set_aside(data.remaining() as u64)?;
            capture.data(&data)?;
        }
        Err(frame) => take_in_trailers(frame, capture)?,
    }
    Ok(None)
}

fn take_in_trailers(frame: Frame<Bytes>, capture: &mut Capture) -> Result<(), TooLarge> {
    match frame.into_trailers() {
        Ok(trailers) => capture.trailers(&trailers),
        Err(_unknown) => Ok(()),
    }
}

/// A body on its way into a blob, once it is longer than is kept in a record.
struct Spill<'a> {
    store: &'a Arc<dyn Store>,
    blobs: &'a dyn Blobs,
    blob: Option<Unnamed>,
    chunks: u32,
    patience: Duration,
}

impl<'a> Spill<'a> {
    fn new(store: &'a Arc<dyn Store>, blobs: &'a dyn Blobs, patience: Duration) -> Self {
        Self {
            store,
            blobs,
            blob: None,
            chunks: 0,
            patience,
        }
    }

    async fn take_in(
        &mut self,
        frame: Frame<Bytes>,
        capture: &mut Capture,
    ) -> Result<(), CompleteError> {
        match frame.into_data() {
            Ok(mut data) => {
                while !data.is_empty() {
                    let next = data.split_to(data.len().min(blob::CHUNK));
                    capture.data(&next)?;
                    self.some(capture).await?;
                }
            }
            Err(frame) => take_in_trailers(frame, capture)?,
        }
        Ok(())
    }

    /// Writes what is held, if it is more than is to be.
    async fn some(&mut self, capture: &mut Capture) -> Result<(), CompleteError> {
        let enough = match self.blob {
            None => capture.held() > self.blobs.inline_limit().max(blob::CHUNK),
            Some(_) => capture.held() >= blob::CHUNK,
        };
        if enough {
            self.all(capture).await?;
        }
        Ok(())
    }

    /// Writes what is left: the body is whole.
    async fn rest(&mut self, capture: &mut Capture) -> Result<(), CompleteError> {
        let fits = self.blob.is_none() && capture.held() <= self.blobs.inline_limit();
        if !fits && capture.held() > 0 {
            self.all(capture).await?;
        }
        Ok(())
    }

    async fn all(&mut self, capture: &mut Capture) -> Result<(), CompleteError> {
        let blob = self
            .blob
            .get_or_insert_with(|| Unnamed::draw(self.store.clone()));
        let chunk = capture.spill(blob.id());
        let appended = blob::append(self.blobs, blob.id(), self.chunks, chunk, self.patience).await;
        self.chunks += 1;
        appended.map_err(|error| match error.kind() {
            StoreErrorKind::Full => CompleteError::TooLarge,
            _ => CompleteError::Store(error),
        })
    }

    /// From here on a response names it.
    fn name(&mut self) {
        if let Some(blob) = self.blob.take() {
            blob.named();
        }
    }
}

/// What has been set aside for a response that is coming in. Given back at its end: the store counts what it keeps.
struct Room<'a> {
    store: &'a dyn Store,
    bytes: u64,
}

impl Room<'_> {
    fn set_aside(&mut self, bytes: u64) -> Result<(), TooLarge> {
        if !self.store.set_aside(bytes) {
            return Err(TooLarge);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // A store that panics may be why this is dropped.
        let give_back = || self.store.give_back(self.bytes);
        drop(catch_unwind(AssertUnwindSafe(give_back)));
    }
}

impl From<TooLarge> for CompleteError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use http_body_util::Full;

    #[test]
    fn a_response_that_comes_in_takes_little_room() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let head = http::Response::new(()).into_parts().0;
        let begun = Capture::begin(&head, "/", 0, 10).unwrap();
        let captured = capture(&store, begun, Full::<Bytes>::default(), Duration::ZERO);
        assert!(size_of_val(&captured) <= 256, "{}", size_of_val(&captured));
    }
}
