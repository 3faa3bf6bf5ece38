use crate::{
    defer::{ReplyBody, replay},
    dialect::{Address, Answer, Ask, Head, Links, ListAsk, OptIn, Route, View, entity_tag},
    header::{if_match_holds, if_none_match_holds},
    operations::{Engine, Face, Operations, Reader, Until},
    problem::{Problem, ProblemKind, allow_value},
    record::{OperationId, Record},
    store::{ListQuery, Lookup, Settled, StoreError},
    trace,
};
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The status monitor of one face, with one request before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monitor<'a> {
    operations: &'a Operations,
    route: Route<'a>,
}

impl<'a> Monitor<'a> {
    pub(super) fn new(operations: &'a Operations, route: Route<'a>) -> Self {
        Self { operations, route }
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
            Address::Problem(problem) => self.refusal(problem, head),
            Address::Options(methods) => options(methods),
            Address::Operation(id, ask) if ask.is_read() && self.wait(*ask, head).is_none() => {
                self.found(self.engine().store.find(*id).now().ok()?, *ask, head, None)
            }
            Address::Operation(..) | Address::List(_) => return None,
        };
        Some(complete(response, head))
    }

    /// The answer.
    pub(super) async fn answer(&self, address: Address, head: Head<'_>) -> Response<ReplyBody> {
        let response = match address {
            Address::Problem(problem) => self.refusal(&problem, head),
            Address::Options(methods) => options(methods),
            Address::List(list) => self.list(&list, head).await,
            Address::Operation(id, ask) if ask.is_read() => {
                let (lookup, waited) = self.look_up(id, ask, head).await;
                self.found(lookup, ask, head, waited)
            }
            Address::Operation(id, ask) => self.act(id, ask, head).await,
        };
        complete(response, head)
    }

    /// How long the client wants to wait, cut down to what it may.
    fn wait(&self, ask: Ask, head: Head<'_>) -> Option<Duration> {
        let wait = match ask {
            Ask::Monitor | Ask::Status | Ask::Result => self.face().dialect.opt_in(head).wait?,
            Ask::Cancel | Ask::Forget => return None,
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
    ) -> (Result<Lookup, StoreError>, Option<Duration>) {
        let store = &self.engine().store;
        let first = store.find(id).await;
        let Some(wait) = self.wait(ask, head) else {
            return (first, None);
        };
        if !self.waits_on(&first, ask, head) {
            return (first, Some(wait));
        }
        let Some(reader) = Reader::join(self.engine(), id) else {
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
            let lookup = store.find(id).await;
            if !self.waits_on(&lookup, ask, head) {
                return (lookup, Some(wait));
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                return (store.find(id).await, Some(wait));
            }
        }
    }

    /// Whether what the client waits for has not come.
    fn waits_on(&self, lookup: &Result<Lookup, StoreError>, ask: Ask, head: Head<'_>) -> bool {
        let Ok(Lookup::Found(record)) = lookup else {
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
            || !if_none_match_holds(head.headers, &self.entity_tag(record))
    }

    /// Of the status document as it is now.
    fn entity_tag(&self, record: &Record) -> HeaderValue {
        let sighting = self.engine().sighting(record);
        self.engine()
            .view(self.face(), record, sighting.as_ref(), entity_tag)
    }

    fn found(
        &self,
        lookup: Result<Lookup, StoreError>,
        ask: Ask,
        head: Head<'_>,
        waited: Option<Duration>,
    ) -> Response<ReplyBody> {
        let record = match self.visible(lookup, head) {
            Ok(record) => record,
            Err(problem) => return self.problem(&problem),
        };
        let mut response = self.render(&record, ask, head);
        if waited.is_some() {
            let applied = OptIn {
                asked: false,
                wait: waited,
            };
            self.face().dialect.applied(applied, response.headers_mut());
        }
        response
    }

    /// The record, if there is one and this request may see it. Not yours looks like never was.
    fn visible(
        &self,
        lookup: Result<Lookup, StoreError>,
        head: Head<'_>,
    ) -> Result<Arc<Record>, Problem> {
        let face = self.face();
        match lookup {
            Ok(Lookup::Found(record)) if face.may_see(head, record.submission.owner.as_ref()) => {
                Ok(record)
            }
            Ok(Lookup::Gone { owner }) if face.may_see(head, owner.as_ref()) => {
                Err(Problem::new(ProblemKind::Expired))
            }
            Ok(Lookup::Found(_) | Lookup::Gone { .. } | Lookup::Unknown) => {
                Err(Problem::new(ProblemKind::Unknown))
            }
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    fn unavailable(&self, error: &StoreError) -> Problem {
        trace::store_failed("answer", error);
        Problem::new(ProblemKind::Unavailable).retry_after(self.engine().retry_after())
    }

    /// The dialect's answer with its body: the stored one for a replay, none where the client has it already.
    fn render(&self, record: &Arc<Record>, ask: Ask, head: Head<'_>) -> Response<ReplyBody> {
        let sighting = self.engine().sighting(record);
        let response = self
            .engine()
            .view(self.face(), record, sighting.as_ref(), |view| {
                self.face().dialect.answer(view, ask, head)
            });
        let (mut parts, answer) = response.into_parts();
        let stored = record.ending().and_then(|ending| ending.response.as_ref());
        // What stands for the result where there is one, such as a redirect to it, is not its delivery.
        let is_result = matches!(answer, Answer::Stored) || stored.is_none();
        let mut response = match (answer, stored) {
            (Answer::Stored, Some(stored)) => {
                replay(&self.engine().store, parts, stored, head.version)
            }
            (Answer::Stored, None) => Response::from_parts(parts, ReplyBody::default()),
            (Answer::Bytes(bytes), _) => {
                let tag = parts.headers.get(header::ETAG);
                if tag.is_some_and(|tag| !if_none_match_holds(head.headers, tag)) {
                    parts.status = StatusCode::NOT_MODIFIED;
                    parts.headers.remove(header::CONTENT_TYPE);
                    return Response::from_parts(parts, ReplyBody::default());
                }
                Response::from_parts(parts, ReplyBody::new(bytes))
            }
        };
        let delivers = matches!(ask, Ask::Monitor | Ask::Result) && record.phase().is_ended();
        if delivers && is_result && head.method != Method::HEAD {
            response.body_mut().tell_when_read(self.engine(), record.id);
        }
        response
    }

    /// Cancels or forgets.
    async fn act(&self, id: OperationId, ask: Ask, head: Head<'_>) -> Response<ReplyBody> {
        let record = match self.visible(self.engine().store.find(id).await, head) {
            Ok(record) => record,
            Err(problem) => return self.problem(&problem),
        };
        let current = self.entity_tag(&record);
        if !if_match_holds(head.headers, &current) || !if_none_match_holds(head.headers, &current) {
            return self.problem(&Problem::new(ProblemKind::Precondition));
        }
        let done = match ask {
            Ask::Forget => self.operations.forget(id).await,
            _ => self.operations.cancel(id).await,
        };
        match done {
            Ok(Settled::Done(record) | Settled::Stands(record)) => self.render(&record, ask, head),
            // It went in between: it was there when it was asked for, so it is known to have been.
            Ok(Settled::Unknown) => self.problem(&Problem::new(ProblemKind::Expired)),
            Err(error) => self.problem(&self.unavailable(&error)),
        }
    }

    /// The caller's own operations. Who is nobody has none, and there is nobody without an owner rule.
    async fn list(&self, list: &ListAsk, head: Head<'_>) -> Response<ReplyBody> {
        let Some(owner) = self.face().principal(head) else {
            return self.problem(&Problem::new(ProblemKind::Unknown));
        };
        let mut query = ListQuery::of(owner);
        query.states = list.states;
        query.after = list.after;
        query.limit = list.limit;
        let page = match self.operations.list(&query).await {
            Ok(page) => page,
            Err(error) => return self.problem(&self.unavailable(&error)),
        };
        let (engine, face) = (self.engine(), self.face());
        let faces: Vec<_> = page
            .records
            .iter()
            .map(|record| engine.face_of(face, record))
            .collect();
        let mut views = Vec::with_capacity(page.records.len());
        for (record, accepted_by) in page.records.iter().zip(&faces) {
            let mount = accepted_by.as_ref().map_or(&face.mount, |face| &face.mount);
            let links = Links::new(mount, record.id);
            views.push(View::new(record, None, links, engine.retry_after()));
        }
        face.dialect
            .listed(&views, list, page.next, self.route)
            .map(ReplyBody::new)
    }

    /// What can't be answered, whatever is stored. Where there is no list, there is none with a query to it.
    fn refusal(&self, problem: &Problem, head: Head<'_>) -> Response<ReplyBody> {
        if problem.kind == ProblemKind::QueryInvalid && self.face().principal(head).is_none() {
            return self.problem(&Problem::new(ProblemKind::Unknown));
        }
        self.problem(problem)
    }

    fn problem(&self, problem: &Problem) -> Response<ReplyBody> {
        self.face().dialect.problem(problem).map(ReplyBody::new)
    }
}

/// HEAD gets what GET would, but the body (RFC 9110, section 9.3.2).
fn complete(response: Response<ReplyBody>, head: Head<'_>) -> Response<ReplyBody> {
    if head.method != Method::HEAD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let has_none = matches!(
        parts.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if let (false, Some(length)) = (has_none, body.size_hint().exact()) {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, ReplyBody::default())
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
