use crate::{
    json,
    operations::{Detach, Live},
    record::OperationId,
};
use http::Uri;
use serde::Serialize;
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// A deferred handler's connection to its operation: it reports progress, hears of cancels, and can hand the end over.
///
/// It is in the request's extensions. With the feature `axum` it is an extractor as well, and so is an `Option` of it, for
/// handlers that also serve requests that are not deferred. A handler need not take it.
///
/// A handle may be kept after the end of its operation: it keeps nothing alive, and what it is told has no effect.
///
/// ```
/// use tower_lro::OperationHandle;
/// # fn pages() -> Vec<u8> { vec![1, 2] }
/// # fn render(page: u8) -> u8 { page }
///
/// async fn report(request: http::Request<axum::body::Body>) -> String {
///     let operation = request.extensions().get::<OperationHandle>().cloned();
///     let pages = pages();
///     let mut done = 0_u16;
///     for page in &pages {
///         render(*page);
///         done += 1;
///         if let Some(operation) = &operation {
///             operation.progress(f32::from(done) / pages.len() as f32, "rendering");
///         }
///     }
///     format!("{done} pages")
/// }
/// ```
#[derive(Clone, Debug)]
pub struct OperationHandle {
    live: Arc<Live>,
}

/// Bytes of metadata that an operation may have.
const METADATA: usize = 4096;

/// Bytes of a message about its progress.
const MESSAGE: usize = 4096;

/// As much of a message as is kept, in whole characters.
fn cut(message: &str) -> &str {
    let mut ends = (0..=MESSAGE.min(message.len())).rev();
    let end = ends.find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or_default()]
}

impl OperationHandle {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    /// The operation's id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.live.id()
    }

    /// Which attempt at running the operation this is; the first is 1. See [`DeferLayer::attempts`](crate::DeferLayer::attempts).
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.live.attempt()
    }

    /// Reports progress: how much is done, from 0 to 1 (other values are clamped, NaN means unknown), and a message for
    /// people about what is being done. The message is cut at 4 KiB; an empty one removes the last.
    ///
    /// Never waits and never fails; each report replaces the one before. Clients that poll this process see it at once.
    pub fn progress(&self, fraction: f32, message: impl Into<Cow<'static, str>>) {
        let message = message.into();
        self.live.report(|report| {
            report.fraction = (!fraction.is_nan()).then_some(fraction.clamp(0.0, 1.0));
            report.message = (!message.is_empty()).then(|| cut(&message).into());
        });
    }

    /// Attaches data of the handler's own for clients, as JSON of at most 4 KiB, in place of what was attached before.
    ///
    /// # Errors
    ///
    /// [`MetadataError`] when it is longer, or is no JSON; what was attached before stays.
    pub fn metadata(&self, value: &(impl Serialize + ?Sized)) -> Result<(), MetadataError> {
        let json = serde_json::value::to_raw_value(value).map_err(MetadataError::Json)?;
        let json = json::without_space(json);
        if json.get().len() > METADATA {
            return Err(MetadataError::TooLong);
        }
        self.live
            .report(|report| report.metadata = Some(json.into()));
        Ok(())
    }

    /// Tells which resource the operation makes or changes, as soon as it is known. Status documents show it as it is given
    /// here.
    pub fn resource(&self, target: &Uri) {
        let target = target.to_string();
        self.live
            .report(|report| report.resource = Some(target.into()));
    }

    /// Sets how long clients should wait before they ask again: in whole seconds, rounded up, from one to a day.
    pub fn retry_after(&self, delay: Duration) {
        self.live.report(|report| report.retry_after = Some(delay));
    }

    /// Whether the handler should stop: the operation was cancelled, completed from elsewhere, or ran out of time; the server
    /// shuts down; or the operation is simply over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.live.signal().is_some()
    }

    /// Waits until the handler should stop: see [`is_cancelled`](Self::is_cancelled).
    ///
    /// The handler's own future is dropped at that moment, unless [`Limits::cancel_grace`](crate::Limits::cancel_grace)
    /// gives it time (there is none after a time limit). So this is mainly for tasks that it has spawned.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn cancelled(&self) {
        self.live.stopped().await;
    }

    /// Leaves the end of the operation to somebody else: from here on only
    /// [`Operations::complete`](crate::Operations::complete), a cancel or a limit ends it, and the handler's own response is
    /// dropped. For handlers that only put a command on a bus.
    ///
    /// When this returns, the operation is stored, and the client has been answered 202 if it was still waiting. The
    /// handle goes on working until the operation's end, for tasks that the handler has spawned.
    ///
    /// The operation's [`run_time`](crate::Limits::run_time) begins anew; if it runs out, what was reported after the detach
    /// is not kept. For the handler itself the time does not begin anew.
    ///
    /// # Errors
    ///
    /// [`DetachError`] when the operation has ended or can't be stored: then it still ends with the handler's response.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it may or may not have handed the end over.
    pub async fn detach(&self) -> Result<(), DetachError> {
        match self.live.detach().await {
            Detach::Done => Ok(()),
            _ => Err(DetachError),
        }
    }
}

/// The operation has ended or can't be stored, so its end can't be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachError;

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operation has ended or can't be stored")
    }
}

impl std::error::Error for DetachError {}

/// The metadata can't be attached.
#[derive(Debug)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is longer than 4 KiB.
    TooLong,
    /// It can't be written as JSON.
    Json(serde_json::Error),
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the metadata is longer than 4 KiB",
            Self::Json(_) => "the metadata can't be written as JSON",
        })
    }
}

impl std::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong => None,
            Self::Json(error) => Some(error),
        }
    }
}

#[cfg(feature = "axum")]
mod extract {
    use super::OperationHandle;
    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use http::{StatusCode, request::Parts};
    use std::convert::Infallible;

    /// Refused with 500 where the request was not deferred: take an `Option` where that can be.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> FromRequestParts<S> for OperationHandle {
        type Rejection = (StatusCode, &'static str);

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
            let found = parts.extensions.get::<Self>().cloned();
            found.ok_or((
                StatusCode::INTERNAL_SERVER_ERROR,
                "the request was not deferred",
            ))
        }
    }

    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> OptionalFromRequestParts<S> for OperationHandle {
        type Rejection = Infallible;

        async fn from_request_parts(
            parts: &mut Parts,
            _: &S,
        ) -> Result<Option<Self>, Self::Rejection> {
            Ok(parts.extensions.get::<Self>().cloned())
        }
    }
}
