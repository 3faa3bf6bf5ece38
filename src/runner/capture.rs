use crate::{
    operations::CompleteError,
    record::{Capture, StoredResponse, TooLarge},
    store::Store,
};
use bytes::{Buf, Bytes};
use http_body::Body;
use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
};
use tokio::task::coop;

/// Takes the rest of a response in, within the limit and what room the store has.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice"
)]
pub(crate) fn capture<R>(
    store: &dyn Store,
    mut capture: Capture,
    body: R,
) -> impl Future<Output = Result<StoredResponse, CompleteError>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async move {
        let mut body = pin!(body);
        let mut room = Room { store, bytes: 0 };
        while !capture.is_bodiless() && !body.is_end_stream() {
            // A body that is always ready must let others have their turn, and its own limits.
            let frame = coop::cooperative(poll_fn(|cx| body.as_mut().poll_frame(cx)));
            let Some(frame) = frame.await else { break };
            match frame
                .map_err(|error| CompleteError::Body(error.into()))?
                .into_data()
            {
                Ok(data) => {
                    room.set_aside(data.remaining() as u64)?;
                    capture.data(&data)?;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        capture.trailers(&trailers)?;
                    }
                }
            }
        }
        Ok(capture.end())
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
        self.store.give_back(self.bytes);
    }
}

impl From<TooLarge> for CompleteError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}
