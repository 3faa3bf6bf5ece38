use crate::{
    dialect::{Address, Ask, Head, ListAsk, Listing, OptIn, View, entity_tag, last_seen},
    header::{if_match_holds, if_none_match_holds},
    operations::{Engine, Face, Operations, Reader, Seen, Until},
    problem::{Problem, ProblemKind, allow_value},
    record::{OperationId, Record, Sighting},
    reply::{Asked, ReplyBody, render, without_body},
    store::{ListQuery, Lookup, Settled, StoreError},
    trace,
};
use http::{HeaderValue, Method, Response, StatusCode, header};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The status monitor of one face, with one request before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monitor<'a> {
    operations: &'a Operations,
}

impl<'a> Monitor<'a> {
    pub(super) fn new(operations: &'a Operations) -> Self {
        Self { operations }
    }

    fn engine(&self) -> &'a Arc<Engine> {
        &self.operations.engine
    }

    fn face(&self) -> &'a Face {
        &self.operations.face
    }

    /// The answer, where nothing has to be waited for. `None` has done nothing.
    pub(super) fn answer_now(
        &self,
        address: &Address,
        head: Head<'_>,
    ) -> Option<Response<ReplyBody>> {
        let response = match address {
            Address::Problem(problem) => self.problem(problem, head),
            Address::Options(methods) => options(methods),
            Address::Operation(id, ask) if ask.is_read() && self.wait(*ask, head).is_none() => {
                self.found(self.engine().find(*id).now().ok()?, *ask, head, None)
            }
            Address::Operation(..) | Address::List(_) => return None,
        };
        Some(without_body(response, head))
    }

    /// The answer.
    pub(super) async fn answer(&self, address: Address, head: Head<'_>) -> Response<ReplyBody> {
        let response = match address {
            Address::Problem(problem) => self.problem(&problem, head),
            Address::Options(methods) => options(methods),
            Address::List(list) => self.list(list, head).await,
            Address::Operation(id, ask) if ask.is_read() => {
                let (seen, waited) = self.look_up(id, ask, head).await;
                self.found(seen, ask, head, waited)
            }
            Address::Operation(id, Ask::Take) => self.take(id, head).await,
            Address::Operation(id, ask) => self.act(id, ask, head).await,
        };
        without_body(response, head)
    }

    /// How long the client wants to wait, cut down to what it may.
    fn wait(&self, ask: Ask, head: Head<'_>) -> Option<Duration> {
        let wait = match ask {
            Ask::Monitor | Ask::Status | Ask::Result | Ask::Take => {
                self.face().dialect.opt_in(head).wait?
            }
            Ask::Cancel | Ask::Forget | Ask::CancelAndForget | Ask::Dismiss | Ask::Abandon => {
                return None;
            }
        };
        let wait = wait.min(self.engine().limits.wait);
        (!wait.is_zero()).then_some(wait)
    }

    /// Looks the operation up, once it has what the client waits for: its end, or on the status document a change from
    /// what the client has. Also gives how long the client was ready to wait, if it had a place to.
    async fn look_up(
        &self,
        id: OperationId,
        ask: Ask,
        head: Head<'_>,
    ) -> (Result<Seen, StoreError>, Option<Duration>) {
        let engine = self.engine();
        let first = engine.find(id).await;
        let Some(wait) = self.wait(ask, head) else {
            return (first, None);
        };
        if !self.waits_on(&first, ask, head) {
            return (first, Some(wait));
        }
        let Some(reader) = Reader::join(engine, id) else {
            return (first, None);
        };
        let deadline = Instant::now() + wait;
        let until = if ask == Ask::Status {
            Until::Changed
        } else {
            Until::Ended
        };
        loop {
            let mut news = pin!(reader.news(until));
            // From here on no change is missed; one that came before is seen in what is read now.
            news.as_mut().enable();
            let seen = engine.find(id).await;
            if !self.waits_on(&seen, ask, head) {
                return (seen, Some(wait));
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                return (engine.find(id).await, Some(wait));
            }
        }
    }

    /// Whether what the client waits for has not come.
    fn waits_on(&self, seen: &Result<Seen, StoreError>, ask: Ask, head: Head<'_>) -> bool {
        let Ok(Seen {
            lookup: Lookup::Found(record),
            sighting,
        }) = seen
        else {
            return false;
        };
        if record.phase().is_ended()
            || self.engine().is_draining()
            || !self.face().may_see(head, record.submission.owner.as_ref())
        {
            return false;
        }
        // Without a tag there is nothing to compare with: then the status document waits for the end as well.
        ask != Ask::Status
            || !head.headers.contains_key(header::IF_NONE_MATCH)
            || !if_none_match_holds(head.headers, &self.entity_tag(record, sighting.as_ref()))
            || has_seen(head, record, sighting.as_ref())
    }

    /// Of the status document.
    fn entity_tag(&self, record: &Record, sighting: Option<&Sighting>) -> HeaderValue {
        let tag = |view: View<'_>| entity_tag(&view);
        self.engine().view(self.face(), record, sighting, "", tag)
    }

    fn found(
        &self,
        seen: Result<Seen, StoreError>,
        ask: Ask,
        head: Head<'_>,
        waited: Option<Duration>,
    ) -> Response<ReplyBody> {
        let (record, sighting) = match self.visible(seen, head) {
            Ok(visible) => visible,
            Err(problem) => return self.problem(&problem, head),
        };
        let mut response = self.render(&record, sighting.as_ref(), ask, false, head);
        self.mark_wait(waited, &mut response);
        response
    }

    fn mark_wait(&self, waited: Option<Duration>, response: &mut Response<ReplyBody>) {
        if waited.is_some() {
            let applied = OptIn {
                wait: waited,
                ..OptIn::default()
            };
            let headers = response.headers_mut();
            self.face().dialect.applied(&applied, headers);
        }
    }

    fn render(
        &self,
        record: &Record,
        sighting: Option<&Sighting>,
        ask: Ask,
        is_done: bool,
        head: Head<'_>,
    ) -> Response<ReplyBody> {
        let asked = Asked { ask, is_done };
        render(self.engine(), self.face(), record, sighting, asked, head)
    }

    /// The result, once: forgotten in the step that reads it.
    async fn take(&self, id: OperationId, head: Head<'_>) -> Response<ReplyBody> {
        let (seen, waited) = self.look_up(id, Ask::Take, head).await;
        let (record, sighting) = match self.visible(seen, head) {
            Ok(visible) => visible,
            Err(problem) => return self.problem(&problem, head),
        };
        let takes = record.phase().is_ended() && head.method != Method::HEAD;
        let (record, is_done) = match takes {
            false => (record, false),
            true => match self.operations.forget(id).await {
                Ok(Settled::Done(record)) => (record, true),
                Ok(Settled::Stands(record)) => (record, false),
                Ok(Settled::Unknown) => {
                    return self.problem(&Problem::new(ProblemKind::Expired), head);
                }
                Err(error) => return self.problem(&self.unavailable(&error), head),
            },
        };
        let mut response = self.render(&record, sighting.as_ref(), Ask::Take, is_done, head);
        if is_done {
            response.body_mut().remove_at_end();
        }
        self.mark_wait(waited, &mut response);
        response
    }

    /// The record, if there is one and this request may see it. Not yours looks like never was.
    fn visible(
        &self,
        seen: Result<Seen, StoreError>,
        head: Head<'_>,
    ) -> Result<(Arc<Record>, Option<Sighting>), Problem> {
        let face = self.face();
        let Seen { lookup, sighting } = seen.map_err(|error| self.unavailable(&error))?;
        match lookup {
            Lookup::Found(record) if face.may_see(head, record.submission.owner.as_ref()) => {
                Ok((record, sighting))
            }
            Lookup::Gone { owner } if face.may_see(head, owner.as_ref()) => {
                Err(Problem::new(ProblemKind::Expired))
            }
            Lookup::Found(_) | Lookup::Gone { .. } | Lookup::Unknown => {
                Err(Problem::new(ProblemKind::Unknown))
            }
        }
    }

    fn unavailable(&self, error: &StoreError) -> Problem {
        trace::store_failed("answer", error);
        Problem::new(ProblemKind::Unavailable).retry_after(self.engine().retry_after())
    }

    /// Cancels or forgets.
    async fn act(&self, id: OperationId, ask: Ask, head: Head<'_>) -> Response<ReplyBody> {
        let (record, sighting) = match self.visible(self.engine().find(id).await, head) {
            Ok(visible) => visible,
            Err(problem) => return self.problem(&problem, head),
        };
        let current = self.entity_tag(&record, sighting.as_ref());
        if !if_match_holds(head.headers, &current) || !if_none_match_holds(head.headers, &current) {
            return self.problem(&Problem::new(ProblemKind::Precondition), head);
        }
        let done = match ask {
            Ask::Forget => self.operations.forget(id).await,
            // Two steps: what is shown has ended as cancelled.
            Ask::CancelAndForget => match self.operations.cancel(id).await {
                Ok(Settled::Done(_) | Settled::Stands(_)) => self.operations.forget(id).await,
                other => other,
            },
            Ask::Dismiss => match self.operations.cancel(id).await {
                Ok(Settled::Stands(_)) => self.operations.forget(id).await,
                other => other,
            },
            Ask::Abandon => self.operations.abandon(id).await,
            _ => self.operations.cancel(id).await,
        };
        match done {
            Ok(Settled::Done(record)) => self.render(&record, None, ask, true, head),
            Ok(Settled::Stands(record)) => {
                let sighting = self.engine().sighting(&record);
                self.render(&record, sighting.as_ref(), ask, false, head)
            }
            // It went in between: it was there when it was asked for, so it is known to have been.
            Ok(Settled::Unknown) => self.problem(&Problem::new(ProblemKind::Expired), head),
            Err(error) => self.problem(&self.unavailable(&error), head),
        }
    }

    /// The caller's own operations. Who is nobody has none, and there is nobody without an owner rule.
    async fn list(&self, list: Result<ListAsk, Problem>, head: Head<'_>) -> Response<ReplyBody> {
        let Some(owner) = self.face().principal(head) else {
            return self.problem(&Problem::new(ProblemKind::Unknown), head);
        };
        let list = match list {
            Ok(list) => list,
            Err(problem) => return self.problem(&problem, head),
        };
        let (engine, face) = (self.engine(), self.face());
        let mut query = ListQuery::of(owner);
        query.states = list.states;
        query.since = list.since;
        query.until = list.until;
        query.face = list.here.then(|| face.name.clone());
        query.after = list.after;
        query.limit = list.limit;
        let now = engine.clock.wall();
        let filter = face.dialect.filter(head);
        let listed = |record: &Record| filter.as_ref().is_none_or(|wants| wants(record, now));
        let page = match self.operations.list_those(&query, listed).await {
            Ok(page) => page,
            Err(error) => return self.problem(&self.unavailable(&error), head),
        };
        let origin = face.origin(head);
        let accepted: Vec<_> = page
            .records
            .iter()
            .map(|record| engine.accepted_by(face, record))
            .collect();
        let views = page.records.iter().zip(&accepted);
        let views: Vec<_> = views
            .map(|(record, by)| by.view(face, record, None, &origin, engine.retry_after()))
            .collect();
        let listing = Listing::new(&views, &list, page.next, &face.mount).origin(&origin);
        face.dialect.listed(&listing, head).map(ReplyBody::new)
    }

    fn problem(&self, problem: &Problem, head: Head<'_>) -> Response<ReplyBody> {
        let dialect = &self.face().dialect;
        dialect
            .problem(problem, &dialect.opt_in(head))
            .map(ReplyBody::new)
    }
}

/// Whether the client has been shown as much before. Where it has been shown more, by the process that runs the operation, there
/// is no news in what that has not stored yet.
fn has_seen(head: Head<'_>, record: &Record, sighting: Option<&Sighting>) -> bool {
    let known = sighting.map_or(record.revision, |sighting| sighting.revision);
    last_seen(head.headers).is_some_and(|seen| seen >= known)
}

fn options(methods: &[Method]) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, allow_value(methods));
    let no_store = const { HeaderValue::from_static("no-store") };
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
