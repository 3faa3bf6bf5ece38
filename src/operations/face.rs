//! How one dialect, under one mount, shows what the engine does.

use super::{BuildError, Engine, builder::OwnerRule};
use crate::{
    dialect::{self, Address, Dialect, Head, Links, Mount, Route, View},
    record::{OperationId, Owner, Record, Sighting},
    sync::lock,
};
use http::Uri;
use std::{any::Any, sync::Arc};

pub(crate) struct Face {
    /// The mount's path: what records remember.
    pub(crate) name: Arc<str>,
    pub(crate) mount: Mount,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) owner: Option<OwnerRule>,
    pub(crate) shared_keys: bool,
    needs_origin: bool,
    pub(crate) is_named_by_request: bool,
    pub(crate) counts_polls: bool,
}

impl Face {
    pub(super) fn new(
        mount: Mount,
        dialect: Arc<dyn Dialect>,
        owner: Option<OwnerRule>,
        shared_keys: bool,
    ) -> Result<Self, BuildError> {
        let is_named_by_request = dialect.is_named_by_request();
        if is_named_by_request && owner.is_none() && !shared_keys {
            return Err(BuildError {
                option: "dialect",
                message: "names operations by their requests: it needs an `owner` rule to tell whose, or `shared_keys`"
                    .into(),
            });
        }
        Ok(Self {
            name: mount.path().into(),
            needs_origin: dialect.needs_absolute_urls() && !mount.is_absolute(),
            is_named_by_request,
            counts_polls: dialect.counts_polls(),
            mount,
            dialect,
            owner,
            shared_keys,
        })
    }

    /// Whether its dialect lets the request be deferred. Where requests name their operations, nobody's have no name.
    pub(crate) fn admits(&self, head: Head<'_>) -> bool {
        self.dialect.admits(head)
            && (!self.is_named_by_request || self.shared_keys || self.principal(head).is_some())
    }

    /// What the request asks of operations, if it is addressed to any. A router may have taken the mount away where it is
    /// `nested`; where it has taken a part of it, as from what is wrapped below `/api`, what the client asked for counts.
    pub(crate) fn address(&self, nested: bool, head: Head<'_>) -> Option<Address> {
        let is_below = |uri: &Uri| Route::new(&self.mount, false).tail(uri).is_some();
        let is_part_taken = |original: &Uri| {
            let taken = original.path().strip_suffix(head.uri.path());
            taken.is_some_and(|taken| !taken.is_empty() && taken.len() < self.mount.path().len())
        };
        let original = head.original();
        let uri = if is_part_taken(original) && !is_below(head.uri) && is_below(original) {
            original
        } else {
            head.uri
        };
        let route = Route::new(&self.mount, nested);
        self.dialect.address(Head { uri, ..head }, route)
    }

    /// What stands before the mount in URLs that answer this request. Mostly nothing.
    pub(crate) fn origin(&self, head: Head<'_>) -> String {
        if self.needs_origin {
            dialect::origin(head)
        } else {
            String::new()
        }
    }

    pub(crate) fn links<'a>(&'a self, id: OperationId, origin: &'a str) -> Links<'a> {
        Links::new(&self.mount, id).origin(origin)
    }

    fn speaks_as(&self, other: &Self) -> bool {
        let kind = |face: &Self| {
            let dialect: &dyn Any = &*face.dialect;
            dialect.type_id()
        };
        kind(self) == kind(other)
    }

    /// Whose the request is.
    pub(crate) fn principal(&self, head: Head<'_>) -> Option<Owner> {
        self.owner.as_ref().and_then(|rule| rule(head))
    }

    /// Whether the request may see what belongs to `owner`.
    pub(crate) fn may_see(&self, head: Head<'_>, owner: Option<&Owner>) -> bool {
        match (&self.owner, owner) {
            (None, _) | (_, None) => true,
            (Some(rule), Some(owner)) => rule(head).as_ref() == Some(owner),
        }
    }
}

/// Where a record was accepted, as one face sees it.
pub(crate) enum AcceptedBy {
    /// There.
    This,
    /// Under another mount of the same dialect.
    Alike(Arc<Face>),
    /// In another dialect, or under a mount that is not here.
    Other,
}

impl AcceptedBy {
    /// The view of a record that was accepted so. Its links are those of the face that accepted it, where that speaks the
    /// same dialect: another's URLs would mean nothing to this one, nor would what another has noted.
    pub(crate) fn view<'a>(
        &'a self,
        face: &'a Face,
        record: &'a Record,
        sighting: Option<&'a Sighting>,
        origin: &'a str,
        retry_after: u32,
    ) -> View<'a> {
        let (face, is_noted) = match self {
            Self::This => (face, true),
            Self::Alike(other) => (&**other, true),
            Self::Other => (face, false),
        };
        let view = View::new(record, sighting, face.links(record.id, origin), retry_after);
        if is_noted { view } else { view.without_note() }
    }
}

impl Engine {
    /// Where a record was accepted, as `face` sees it.
    pub(crate) fn accepted_by(&self, face: &Face, record: &Record) -> AcceptedBy {
        if Arc::ptr_eq(&face.name, &record.submission.face) || face.name == record.submission.face {
            return AcceptedBy::This;
        }
        let faces = lock(&self.faces);
        let alike = faces
            .iter()
            .find(|other| other.name == record.submission.face && other.speaks_as(face));
        alike.map_or(AcceptedBy::Other, |face| AcceptedBy::Alike(face.clone()))
    }
}
