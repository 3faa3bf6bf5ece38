use super::{BlobId, StoredResponse, Timestamp};
use std::fmt;

/// How an operation stands. "Ended without an ending" cannot be built.
#[derive(Clone, Debug)]
pub enum State {
    /// Stored, and waiting for its turn to run.
    Accepted,
    /// The inner service has been called.
    Running,
    /// Over, once and for all.
    Ended(Ending),
}

impl State {
    /// The state without what the operation left behind.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Accepted => Phase::Accepted,
            Self::Running => Phase::Running,
            Self::Ended(ending) => Phase::Ended(ending.outcome),
        }
    }
}

/// A [`State`] stripped to what decides which moves are lawful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// See [`State::Accepted`].
    Accepted,
    /// See [`State::Running`].
    Running,
    /// See [`State::Ended`].
    Ended(Outcome),
}

/// What can happen to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The inner service is called.
    Start,
    /// The handler says how far it is, or hands its end over to [`Operations::complete`](crate::Operations::complete).
    Report,
    /// The right to run it is given back, or has lapsed, and it may be run anew.
    Release,
    /// It is over: finished, completed from outside, cancelled, or ended by a limit.
    End(Outcome),
}

impl Phase {
    /// The phase after `event`, or `None` where the move is not lawful.
    ///
    /// The only place that knows which moves are: every write of every store goes through it, or, where the store
    /// decides in a language of its own, is compared with it by the conformance suite.
    #[must_use]
    pub fn after(self, event: Event) -> Option<Self> {
        use Outcome::{Cancelled, Failed, Succeeded};
        match (self, event) {
            (Self::Ended(_), _) => None,
            (Self::Accepted, Event::Start) => Some(Self::Running),
            (Self::Running, Event::Start) | (Self::Accepted, Event::Report) => None,
            (Self::Running, Event::Report) => Some(self),
            (Self::Accepted | Self::Running, Event::Release) => Some(Self::Accepted),
            (Self::Accepted, Event::End(outcome)) => match outcome {
                // Whoever completes an operation from outside need not know whether it began.
                Succeeded | Failed(Reason::Response) | Cancelled => Some(Self::Ended(outcome)),
                Failed(Reason::NotStarted | Reason::Interrupted | Reason::Lost) => {
                    Some(Self::Ended(outcome))
                }
                Failed(
                    Reason::Panicked | Reason::Errored | Reason::TimedOut | Reason::TooLarge,
                ) => None,
            },
            (Self::Running, Event::End(Failed(Reason::NotStarted))) => None,
            (Self::Running, Event::End(outcome)) => Some(Self::Ended(outcome)),
        }
    }

    /// Whether nothing can happen to the operation any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// The word for it in status documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a response that the verdict takes for a success.
    Succeeded,
    /// Otherwise, for this reason.
    Failed(Reason),
    /// By request.
    Cancelled,
}

impl Outcome {
    /// The word for it in status documents and in `Operation-Outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The inner service answered, and the verdict takes the response for a failure.
    Response,
    /// The inner service panicked.
    Panicked,
    /// The inner service, or the body of its response, returned an error.
    Errored,
    /// It ran longer than it may.
    TimedOut,
    /// The response is longer than may be stored.
    TooLarge,
    /// It did not get its turn in time.
    NotStarted,
    /// The server shut down.
    Interrupted,
    /// The process that ran it is gone.
    Lost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Response => "the response is a failure",
            Self::Panicked => "panicked",
            Self::Errored => "errored",
            Self::TimedOut => "timed out",
            Self::TooLarge => "the response is too large",
            Self::NotStarted => "not started in time",
            Self::Interrupted => "interrupted",
            Self::Lost => "lost",
        })
    }
}

/// What an operation left behind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Timestamp,
    /// The inner service's response. There always is one when the outcome is [`Outcome::Succeeded`] or
    /// [`Reason::Response`], and never otherwise.
    pub response: Option<StoredResponse>,
    /// The client got the response at once, within its wait: a repeat of its idempotency key gets it again.
    pub answered: bool,
}

impl Ending {
    /// The end of an operation whose inner service answered.
    #[must_use]
    pub fn with_response(response: StoredResponse, is_failure: bool, at: Timestamp) -> Self {
        let outcome = if is_failure {
            Outcome::Failed(Reason::Response)
        } else {
            Outcome::Succeeded
        };
        Self {
            outcome,
            at,
            response: Some(response),
            answered: false,
        }
    }

    /// The blob that holds the response's body, if it is in one.
    #[must_use]
    pub fn blob(&self) -> Option<BlobId> {
        self.response.as_ref()?.body_blob()
    }

    /// The end of an operation that has no response to show.
    #[must_use]
    pub fn without_response(stop: Stop, at: Timestamp) -> Self {
        Self {
            outcome: stop.outcome(),
            at,
            response: None,
            answered: false,
        }
    }
}

/// An end other than by a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// See [`Outcome::Cancelled`].
    Cancelled,
    /// See [`Reason::Panicked`].
    Panicked,
    /// See [`Reason::Errored`].
    Errored,
    /// See [`Reason::TimedOut`].
    TimedOut,
    /// See [`Reason::TooLarge`].
    TooLarge,
    /// See [`Reason::NotStarted`].
    NotStarted,
    /// See [`Reason::Interrupted`].
    Interrupted,
    /// See [`Reason::Lost`].
    Lost,
}

impl Stop {
    /// The outcome of an operation that ended so.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        Outcome::Failed(match self {
            Self::Cancelled => return Outcome::Cancelled,
            Self::Panicked => Reason::Panicked,
            Self::Errored => Reason::Errored,
            Self::TimedOut => Reason::TimedOut,
            Self::TooLarge => Reason::TooLarge,
            Self::NotStarted => Reason::NotStarted,
            Self::Interrupted => Reason::Interrupted,
            Self::Lost => Reason::Lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STOPS: [Stop; 8] = [
        Stop::Cancelled,
        Stop::Panicked,
        Stop::Errored,
        Stop::TimedOut,
        Stop::TooLarge,
        Stop::NotStarted,
        Stop::Interrupted,
        Stop::Lost,
    ];

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Report),
            Just(Event::Release),
            Just(Event::End(Outcome::Succeeded)),
            Just(Event::End(Outcome::Failed(Reason::Response))),
            proptest::sample::select(&STOPS[..]).prop_map(|stop| Event::End(stop.outcome())),
        ]
    }

    proptest! {
        #[test]
        fn an_operation_ends_at_most_once_and_starts_at_most_once_between_releases(
            events in proptest::collection::vec(event(), 0..20)
        ) {
            let (mut phase, mut starts, mut ends) = (Phase::Accepted, 0, 0);
            for event in events {
                let Some(next) = phase.after(event) else { continue };
                starts += u32::from(event == Event::Start);
                if event == Event::Release {
                    starts = 0;
                }
                ends += u32::from(matches!(event, Event::End(_)));
                prop_assert!(!phase.is_ended());
                prop_assert_eq!(next.is_ended(), matches!(event, Event::End(_)));
                phase = next;
                prop_assert!(starts <= 1);
            }
            prop_assert!(ends <= 1);
        }
    }

    #[test]
    fn every_reason_has_a_state_it_can_be_reached_from() {
        for stop in STOPS {
            let end = Event::End(stop.outcome());
            let from = [Phase::Accepted, Phase::Running].map(|phase| phase.after(end).is_some());
            assert!(from.contains(&true), "{stop:?}");
        }
    }

    #[test]
    fn what_never_ran_cannot_have_panicked() {
        let panicked = Event::End(Stop::Panicked.outcome());
        assert_eq!(Phase::Accepted.after(panicked), None);
        let not_started = Event::End(Stop::NotStarted.outcome());
        assert_eq!(Phase::Running.after(not_started), None);
    }
}
