use crate::{
    json,
    operations::{Detach, Live},
    record::OperationId,
};
use http::Uri;
use serde::Serialize;
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// What a deferred handler may take to know of its operation, and to tell how far it is.
///
/// It lies in the request's extensions; with the feature `axum` it is an extractor too, and an `Option` of it where
/// the handler also serves requests that are not deferred. Handlers that take nothing work the same.
///
/// A handle that is kept after the end, or for ever, keeps nothing alive; what it says is no longer heard.
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

    /// The operation's name.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.live.id()
    }

    /// How often the operation has been given to a process to run; the first is 1.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.live.attempt()
    }

    /// Says how much is done, from 0 to 1 (what lies outside is taken for the nearest, and NaN for unknown), and what
    /// is being done, for people: at most 4 KiB, the rest is cut off. An empty message takes the last one away.
    ///
    /// Never waits, never fails; the last word counts. Readers at this process see it at once.
    pub fn progress(&self, fraction: f32, message: impl Into<Cow<'static, str>>) {
        let message = message.into();
        self.live.report(|report| {
            report.fraction = (!fraction.is_nan()).then_some(fraction.clamp(0.0, 1.0));
            report.message = (!message.is_empty()).then(|| cut(&message).into());
        });
    }

    /// Attaches anything that clients can use, as JSON of at most 4 KiB.
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

    /// Tells the resource that the operation makes or changes, as soon as it is known. Status documents show it as it is
    /// given here.
    pub fn resource(&self, target: &Uri) {
        let target = target.to_string();
        self.live
            .report(|report| report.resource = Some(target.into()));
    }

    /// Tells how long clients should wait before they ask again, in whole seconds, rounded up, from one to a day.
    pub fn retry_after(&self, delay: Duration) {
        self.live.report(|report| report.retry_after = Some(delay));
    }

    /// Whether the handler should stop: the operation was cancelled, completed from outside, ran out of time, the server
    /// shuts down, or it is simply over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.live.signal().is_some()
    }

    /// Waits until [`is_cancelled`](Self::is_cancelled).
    ///
    /// The handler's own future is dropped at that moment, unless [`Limits::cancel_grace`](crate::Limits::cancel_grace)
    /// gives it time (there is none after a time limit): this is for what it has spawned.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn cancelled(&self) {
        self.live.stopped().await;
    }

    /// Hands the end of the operation over: from here on only [`Operations::complete`](crate::Operations::complete), a
    /// cancel or a limit ends it, and the handler's own response is dropped. For a handler that only puts a command on
    /// a bus.
    ///
    /// When this returns the operation is stored, and the client has been answered 202 if it was still waiting. The
    /// handle goes on to work until the operation's end, for what the handler has spawned. The operation has its
    /// [`run_time`](crate::Limits::run_time) once more from now on, and where that ends it, what was told after the detach
    /// is not kept; the handler has what is left of its own.
    ///
    /// # Errors
    ///
    /// [`DetachError`] when the operation has ended or can't be stored: the handler's response is still its end.
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
