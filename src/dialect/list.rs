//! Lists of operations: what is asked for, and what is shown.

use super::{Mount, View};
use crate::{
    record::{Record, Timestamp},
    store::{Cursor, StateSet},
};
use std::num::NonZeroU16;

/// Which part of the list is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ListAsk {
    /// Only those in one of these states.
    pub states: Option<StateSet>,
    /// Only those created at this moment or later.
    pub since: Option<Timestamp>,
    /// Only those created before this moment.
    pub until: Option<Timestamp>,
    /// Only those accepted under the mount of the list. Default: of all mounts of the engine.
    pub here: bool,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// At most as many.
    pub limit: NonZeroU16,
}

impl Default for ListAsk {
    /// The newest twenty.
    fn default() -> Self {
        Self {
            states: None,
            since: None,
            until: None,
            here: false,
            after: None,
            limit: const { NonZeroU16::new(20).unwrap() },
        }
    }
}

/// Whether an operation, as it is at this moment, is wanted in a list. See [`Dialect::filter`](super::Dialect::filter).
pub type ListFilter = Box<dyn Fn(&Record, Timestamp) -> bool + Send + Sync>;

/// A page of a list, as a dialect sees it.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    views: &'a [View<'a>],
    ask: &'a ListAsk,
    next: Option<Cursor>,
    mount: &'a Mount,
    origin: &'a str,
}

impl<'a> Listing<'a> {
    /// `next` is where the next page begins, if there is more.
    #[must_use]
    pub fn new(
        views: &'a [View<'a>],
        ask: &'a ListAsk,
        next: Option<Cursor>,
        mount: &'a Mount,
    ) -> Self {
        Self {
            views,
            ask,
            next,
            mount,
            origin: "",
        }
    }

    pub(crate) fn origin(self, origin: &'a str) -> Self {
        Self { origin, ..self }
    }

    /// The operations.
    #[must_use]
    pub fn views(&self) -> &'a [View<'a>] {
        self.views
    }

    /// What was asked for.
    #[must_use]
    pub fn ask(&self) -> &'a ListAsk {
        self.ask
    }

    /// Where the next page begins, if there is more: for [`ListAsk::after`].
    #[must_use]
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    /// The URL of the mount.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.mount.url())
    }
}
