//! What a request must be to become an operation: decided from its head, then from its body, then from both.

use super::Desk;
use crate::{
    defer::{
        layer::Checked,
        rebuild::Buffered,
        upload::{self, Extent, Upload},
    },
    dialect::{Ask, Head},
    operations::Place,
    problem::{Problem, ProblemKind},
    record::{Fingerprint, KeyUse, Outcome, Owner, Record, UniqueKey},
    reply::{Asked, ReplyBody, render, without_body},
    store::{Forget, Lookup, Settled, StoreError},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request};
use http_body::Body;
use std::{borrow::Cow, pin::Pin, sync::Arc};

/// A request that may become an operation.
pub(super) struct Received {
    pub(super) body: Buffered,
    pub(super) place: Place,
    pub(super) owner: Option<Owner>,
    pub(super) key: Option<Box<KeyUse>>,
}

/// Why it may not.
pub(super) enum Refusal {
    Problem(Problem),
    /// The layer's own check says so.
    Checked(Box<Response<Bytes>>),
    /// It is a repeat of this one.
    Repeat(Arc<Record>),
    /// It is a poll of this one.
    Poll(Arc<Record>),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Desk<'_> {
    /// Decides from the head, then reads the body, then decides by both.
    pub(super) async fn receive<B: Body<Data = Bytes>>(
        &self,
        head: &request::Parts,
        body: Pin<&mut Upload<B>>,
        read: &mut Extent,
    ) -> Result<Received, Refusal> {
        let (engine, limit) = (self.engine, self.options.request_body);
        if engine.is_draining() {
            return Err(upload::draining(engine).into());
        }
        let longest = engine.limits.target;
        if Head::from(head).target().len() > longest {
            return Err(upload::target_too_long(longest).into());
        }
        let owner = self.face.principal(head.into());
        let key = self.key(head.into(), owner.as_ref())?;
        if upload::declared(head.into(), &*body) > limit {
            return Err(upload::too_large(limit).into());
        }
        // The place is taken before the body is read. A repeat needs none; whether it is one shows at its end, but only
        // with a key that is known it can be.
        let place = Place::take(engine);
        if place.is_none() {
            let known = match &key {
                Some(key) => engine.store.find_key(key).await,
                None => Ok(Lookup::Unknown),
            };
            match known {
                Ok(Lookup::Unknown) => return Err(upload::full(engine).into()),
                Ok(Lookup::Found(_) | Lookup::Gone { .. }) => {}
                Err(error) => return Err(self.unavailable(&error).into()),
            }
        }
        *read = Extent::Some;
        let body = upload::read(engine, body, limit).await;
        *read = match &body {
            Ok(_) => Extent::Whole,
            Err(problem) if problem.kind == ProblemKind::UploadFailed => Extent::Broken,
            Err(_) => Extent::Some,
        };
        let body = body?;
        let key = match key {
            Some(key) if self.face.is_named_by_request => {
                Box::pin(self.refuse_poll(&key)).await?;
                let fingerprint = None;
                Some(Box::new(KeyUse { key, fingerprint }))
            }
            Some(key) => {
                let fingerprint = Some(fingerprint(head, body.bytes()));
                let found = engine.store.find_key(&key).await;
                self.refuse_repeat(found, fingerprint.as_ref())?;
                Some(Box::new(KeyUse { key, fingerprint }))
            }
            None => None,
        };
        let mut place = place.ok_or_else(|| upload::full(engine))?;
        if let Some(checked) = self.check(head, body.bytes()) {
            checked
                .await
                .map_err(|refusal| Refusal::Checked(Box::new(refusal)))?;
        }
        if !place.accept() {
            return Err(upload::draining(engine).into());
        }
        Ok(Received {
            body,
            place,
            owner,
            key,
        })
    }

    /// Asks the layer's own check. Not `async`: the copy of the request is not to take room in who waits for it.
    fn check(&self, head: &request::Parts, body: &Bytes) -> Option<Checked> {
        let check = self.options.check.as_ref()?;
        Some(check(Request::from_parts(head.clone(), body.clone())))
    }

    /// The name of the request, where names count.
    fn key(&self, head: Head<'_>, owner: Option<&Owner>) -> Result<Option<UniqueKey>, Problem> {
        if owner.is_none() && !self.face.shared_keys {
            return Ok(None);
        }
        let rule = self.options.key.as_ref();
        let key: Option<Cow<'_, str>> = match rule {
            Some(rule) if !self.face.is_named_by_request => rule(head),
            rule => match rule.and_then(|rule| rule(head)) {
                Some(key) => Some(key),
                None => self.face.dialect.key(head)?,
            },
        };
        let key = match key {
            // Not to be met by an idempotency key, in which there can be no such character.
            Some(key) if self.face.is_named_by_request => Some(Cow::Owned(format!("\0{key}"))),
            None if self.face.is_named_by_request => {
                return Err(Problem::new(ProblemKind::KeyInvalid));
            }
            key => key,
        };
        Ok(key.map(|key| match owner {
            Some(owner) => UniqueKey::of(owner, &key),
            None => UniqueKey::shared(&key),
        }))
    }

    /// The answer to HEAD, if an operation has the name that the GET would have.
    pub(super) async fn look(&self, head: &request::Parts) -> Option<Response<ReplyBody>> {
        let head = Head::from(head);
        let owner = self.face.principal(head);
        let as_get = Head {
            method: &Method::GET,
            ..head
        };
        let key = self.key(as_get, owner.as_ref()).ok()??;
        let response = match self.engine.store.find_key(&key).await {
            Ok(Lookup::Found(record)) => {
                let asked = Asked {
                    ask: Ask::Monitor,
                    is_done: false,
                };
                let sighting = self.engine.sighting(&record);
                render(
                    self.engine,
                    self.face,
                    &record,
                    sighting.as_ref(),
                    asked,
                    head,
                )
            }
            Ok(Lookup::Gone { .. } | Lookup::Unknown) => return None,
            Err(error) => {
                let problem = self.unavailable(&error);
                let response = self.face.dialect.problem(&problem, &self.opt_in);
                response.map(ReplyBody::new)
            }
        };
        Some(without_body(response, head))
    }

    /// A request that names its operation is a poll of it, unless it is gone, or has failed and somebody knows.
    async fn refuse_poll(&self, key: &UniqueKey) -> Result<(), Refusal> {
        let store = &self.engine.store;
        match store.find_key(key).await {
            Ok(Lookup::Found(record)) => self.refuse_poll_of(record).await,
            Ok(Lookup::Gone { .. } | Lookup::Unknown) => Ok(()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    async fn refuse_poll_of(&self, record: Arc<Record>) -> Result<(), Refusal> {
        let Some(ending) = record
            .ending()
            .filter(|it| it.outcome != Outcome::Succeeded)
        else {
            return Err(Refusal::Poll(record));
        };
        let is_told = ending.answered;
        let id = record.id;
        drop(record);
        match self.engine.store.forget(id, Forget::Ended).await {
            Ok(Settled::Done(record)) if !is_told => Err(Refusal::Poll(record)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    fn refuse_repeat(
        &self,
        found: Result<Lookup, StoreError>,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<(), Refusal> {
        match found {
            Ok(Lookup::Unknown) => Ok(()),
            Ok(Lookup::Found(record)) => Err(self.repeat(record, fingerprint)),
            Ok(Lookup::Gone { .. }) => Err(Problem::new(ProblemKind::Expired).into()),
            Err(error) => Err(self.unavailable(&error).into()),
        }
    }

    pub(super) fn repeat(&self, record: Arc<Record>, fingerprint: Option<&Fingerprint>) -> Refusal {
        let same = record
            .submission
            .key
            .as_ref()
            .is_some_and(|used| used.fingerprint.as_ref() == fingerprint);
        if !same {
            Problem::new(ProblemKind::KeyReused).into()
        } else if fingerprint.is_none() {
            Refusal::Poll(record)
        } else if self.options.strict_keys && !record.phase().is_ended() {
            let problem = Problem::new(ProblemKind::KeyInUse);
            problem.retry_after(self.engine.retry_after()).into()
        } else {
            Refusal::Repeat(record)
        }
    }
}

fn fingerprint(head: &request::Parts, body: &Bytes) -> Fingerprint {
    let kind = head
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    Fingerprint::of(
        &head.method,
        Head::from(head).target(),
        kind.unwrap_or_default(),
        body,
    )
}
