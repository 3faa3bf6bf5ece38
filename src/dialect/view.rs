use super::Links;
use crate::{
    header::whole_seconds,
    record::{
        Content, Ending, OperationId, Phase, Record, Report, Revision, Sighting, StoredResponse,
        Timestamp,
    },
};
use bytes::Bytes;
use http::{HeaderMap, Response, header, response};
use serde_json::value::RawValue;
use std::time::Duration;

/// How often an operation was polled, as far as this process knows. A HEAD is no poll. The count is bounded: it may be
/// forgotten once many other operations have been polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polls {
    /// Polls before this one.
    pub before: u32,
    /// Time since the last of them.
    pub since_last: Option<Duration>,
    /// How often its result was given before.
    pub results: u32,
}

impl Polls {
    /// `before` polls, the last of them so long ago.
    #[must_use]
    pub const fn new(before: u32, since_last: Option<Duration>) -> Self {
        Self {
            before,
            since_last,
            results: 0,
        }
    }

    /// With how often the result was given before.
    #[must_use]
    pub const fn with_results(self, results: u32) -> Self {
        Self { results, ..self }
    }
}

/// One operation as a dialect sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    record: &'a Record,
    sighting: Option<&'a Sighting>,
    links: Links<'a>,
    retry_after: u32,
    polls: Option<Polls>,
    is_done: bool,
    has_note: bool,
}

impl<'a> View<'a> {
    /// `sighting` is what the running process knows beyond the record; `retry_after` is in seconds.
    ///
    /// The engine makes them; for a dialect's own transcripts they can be made by hand:
    ///
    /// ```
    /// use http::Method;
    /// use std::time::Duration;
    /// use tower_lro::{
    ///     Dialect, OperationId, Operations, Record, Rfc,
    ///     dialect::{Links, OptIn, View},
    ///     record::{Submission, Timestamp},
    /// };
    ///
    /// let operations = Operations::builder().mount("/jobs").build()?;
    /// let submission = Submission::new(Method::POST, "/reports".into(), "/jobs".into(), Duration::from_secs(60));
    /// let record = Record::new(OperationId::random(), submission, Timestamp::from_micros(0));
    /// let links = Links::new(operations.mount(), record.id);
    ///
    /// let accepted = Rfc::new().accepted(&View::new(&record, None, links, 1), &OptIn::default());
    /// assert_eq!(accepted.status(), 202);
    /// assert_eq!(accepted.headers()["location"], format!("/jobs/{}", record.id).as_str());
    /// # Ok::<_, tower_lro::BuildError>(())
    /// ```
    #[must_use]
    pub fn new(
        record: &'a Record,
        sighting: Option<&'a Sighting>,
        links: Links<'a>,
        retry_after: u32,
    ) -> Self {
        let news = sighting
            .filter(|sighting| !record.phase().is_ended() && sighting.revision > record.revision);
        Self {
            record,
            sighting: news,
            links,
            retry_after,
            polls: None,
            is_done: false,
            has_note: true,
        }
    }

    /// Another dialect has noted what there is.
    pub(crate) fn without_note(self) -> Self {
        Self {
            has_note: false,
            ..self
        }
    }

    /// With how often the operation was polled.
    #[must_use]
    pub fn with_polls(self, polls: Option<Polls>) -> Self {
        Self { polls, ..self }
    }

    /// With whether what the request asks for was done.
    #[must_use]
    pub fn with_done(self, is_done: bool) -> Self {
        Self { is_done, ..self }
    }

    /// How often it was polled: for dialects that [ask for it](super::Dialect::counts_polls), in answers to polls.
    #[must_use]
    pub fn polls(&self) -> Option<Polls> {
        self.polls
    }

    /// Whether this very request has done what it asked for. If not, the operation had ended before, or it was pending and
    /// [stays](super::Ask::Forget) as it is.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What [`Dialect::opt_in`](super::Dialect::opt_in) noted of the initiating request. `None` where another dialect accepted
    /// that, or a mount that is not here: its note could be mistaken for one of this dialect's own.
    #[must_use]
    pub fn note(&self) -> Option<&'a str> {
        let note = self.record.submission.note.as_deref();
        note.filter(|_| self.has_note)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.record.id
    }

    /// The record as it is stored. What changes while an operation runs is told by this view's own methods.
    #[must_use]
    pub fn record(&self) -> &'a Record {
        self.record
    }

    /// How it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.record.phase() {
            Phase::Accepted if self.started().is_some() => Phase::Running,
            phase => phase,
        }
    }

    /// Counts its visible changes.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.sighting
            .map_or(self.record.revision, |sighting| sighting.revision)
    }

    /// When the inner service was called.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.sighting
            .and_then(|sighting| sighting.started)
            .or(self.record.started)
    }

    /// When it last changed.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        self.sighting.map_or(self.record.updated, |sighting| {
            sighting.at.max(self.record.updated)
        })
    }

    /// What the handler last said about it.
    #[must_use]
    pub fn report(&self) -> Option<&'a Report> {
        let told = self
            .sighting
            .and_then(|sighting| sighting.report.as_deref());
        told.or(self.record.report.as_deref())
    }

    /// What it left behind, once it has ended.
    #[must_use]
    pub fn ending(&self) -> Option<&'a Ending> {
        self.record.ending()
    }

    /// Its addresses.
    #[must_use]
    pub fn links(&self) -> Links<'a> {
        self.links
    }

    /// Seconds after which a client should ask again: what the handler says, or else what is set. Never 0, which clients take
    /// for "not given", nor more than a day, as [`retry_after`](crate::header::retry_after) tells it.
    #[must_use]
    pub fn retry_after(&self) -> u32 {
        let told = self.report().and_then(|report| report.retry_after);
        told.map_or(self.retry_after, whole_seconds)
    }

    /// The inner service's response, if it ended with one.
    #[must_use]
    pub fn response(&self) -> Option<&'a StoredResponse> {
        self.record.response()
    }

    /// The head of the stored response as it is to be replayed, if there is one.
    #[must_use]
    pub fn replay(&self) -> Option<response::Parts> {
        let stored = self.response()?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = stored.status();
        // Room for what is added: outcome, cache control, perhaps length. Not for thousands of lines, which may all have
        // one name, and be more than a map can have room for.
        head.headers = HeaderMap::with_capacity(stored.fields().count().min(64) + 3);
        for (name, value) in stored.fields() {
            head.headers.append(name, value);
        }
        Some(head)
    }

    /// Whether the body of the stored response can stand in a JSON document: it is not empty, its `Content-Type` is JSON, and
    /// it has no `Content-Encoding`. A body of at most [`SMALL`](Self::SMALL) bytes is checked to be JSON, in UTF-8; a longer
    /// one is not looked at.
    ///
    /// Where it can't, a dialect that embeds results tells where the result is instead.
    #[must_use]
    pub fn embeds_json(&self) -> bool {
        self.response().is_some_and(|response| {
            response.body_len() > 0
                && response
                    .fields()
                    .any(|(name, value)| name == header::CONTENT_TYPE && is_json(value.as_bytes()))
                && !response
                    .fields()
                    .any(|(name, _)| name == header::CONTENT_ENCODING)
                && match response.body() {
                    // In a list it would spoil what is told of all the others.
                    Content::Inline(bytes) if bytes.len() <= Self::SMALL => {
                        serde_json::from_slice::<&RawValue>(&bytes).is_ok()
                    }
                    _ => true,
                }
        })
    }

    /// The body of the stored response where that [is JSON](Self::embeds_json) of at most
    /// [`SMALL`](Self::SMALL) bytes, for dialects that have to look into it: an error's code, say.
    #[must_use]
    pub fn small_json(&self) -> Option<Bytes> {
        let response = self.response()?;
        match response.body() {
            Content::Inline(bytes) if bytes.len() <= Self::SMALL && self.embeds_json() => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Bytes of a body that a dialect may look into. Stores keep bodies as small as that in their records.
    pub const SMALL: usize = 4 << 10;
}

/// Whether a media type is JSON's, or by its suffix built upon it (RFC 6839, section 3.1).
fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    essence == b"application/json" || essence == b"text/json" || essence.ends_with(b"+json")
}
