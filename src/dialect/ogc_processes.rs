use super::{
    Address, Answer, Ask, Dialect, Head, ListAsk, ListFilter, Listing, OptIn, Route,
    STATUS_DOCUMENT, View,
    document::{
        READ_ONLY, Told, VARY_PREFER, as_unknown, asked, asked_of_list, field, is_problem,
        own_json, percent, problem_of, stored, time,
    },
    query::{cursor, date_time, number, pairs, segment},
};
use crate::{
    header::{PREFERENCE_APPLIED, Prefer, remove_preferences, retry_after},
    json,
    problem::{Problem, ProblemKind, TYPE_PREFIX},
    record::{Outcome, Phase, Reason, Record, Timestamp},
    store::{Cursor, StateSet},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    time::{Duration, SystemTime},
};

/// Jobs of OGC API - Processes, Part 1: Core; version 1.0 (OGC 18-062r2), or the draft of 2.0
/// ([`version_2`](Self::version_2)).
///
/// To be mounted at the `jobs` of an API, such as `/ogc/jobs`, with the layer on `…/processes/{processID}/execution`.
///
/// | request | pending | ended |
/// | --- | --- | --- |
/// | execution, with `Prefer: respond-async` | 201, `Location`, statusInfo | the same by a repeated key |
/// | `GET` jobs`/{id}` | 200, statusInfo | the same |
/// | `GET` jobs`/{id}/results` | 404 `result-not-ready` | the stored response, or an exception |
/// | `GET` jobs`/{id}/results/{output}` | 404 `result-not-ready` | one of its members |
/// | `DELETE` jobs`/{id}` | 200, statusInfo: dismissed | 200, statusInfo: dismissed, and forgotten |
/// | `GET` jobs | 200, a page of the caller's jobs | |
///
/// statusInfo, without what is not known:
///
/// ```json
/// {"processID":"echo","type":"process","jobID":"…","status":"accepted|running|successful|failed|dismissed",
///  "message":"…","created":"…","started":"…","finished":"…","updated":"…","progress":40,
///  "links":[{"href":"…","rel":"self","type":"application/json"},{"href":"…","rel":"monitor","type":"…"},
///           {"href":"…/results","rel":"http://www.opengis.net/def/rel/ogc/1.0/results","type":"…"}]}
/// ```
///
/// In 2.0 `jobID` is `id`, `type` is `processingEntityType` (`ogc-api-processes`), `processID` is the URL of the process, and
/// what has failed has its `exception`. `processID` is what follows `/processes/` in the target. A failed job links to its
/// results as `…/1.0/exceptions`.
///
/// Executions without `respond-async` are not deferred, as core says of processes that can be executed either way; with
/// [`only_async`](Self::only_async) all are. `wait` holds answers back: beside `respond-async` that of an execution, which
/// is the result if that is there in time, and else those about a job, until it ends. Pending answers have a `Retry-After`.
///
/// # Results
///
/// The stored response is the results document that the process answers with. It is replayed as it is, any 2xx with a body
/// as 200. One output is cut out of it if it is a JSON object of at most [`View::SMALL`] bytes; else it is 404
/// `result-not-available`. `outputs` is not heeded: results come whole.
///
/// A failure is replayed if it is `application/problem+json`, which is what exceptions are; of any other there is an
/// exception with its status, and its `detail` or `title` if it is JSON as small as that. What was dismissed, and in 2.0
/// what has succeeded without any body, is 404 `result-not-available`.
///
/// # List
///
/// The jobs that were accepted under this mount, newest first, ten at a time; `next` leads on. There is none without an
/// [owner](crate::Builder::owner). It heeds all parameters of the conformance class, lists by commas or by repeats:
///
/// - `status` and `processID`: one of these. `type`: `process` is all there is.
/// - `datetime`: when it was created, in milliseconds as statusInfo has it; a moment, or an interval with both ends in it.
/// - `minDuration`, `maxDuration`: seconds between start and end, or now; what has not started has none.
/// - `limit`: from 1; 1,000 is the most that is given.
///
/// By `processID` and the durations the jobs are looked through, a thousand at a time: such a page may be shorter than its
/// limit, or empty, and still have a `next`. What a parameter can't be is 400 `invalid-query-parameter-value`; others are
/// ignored.
///
/// # Exceptions
///
/// `application/problem+json` with the `type`s of the specification, where it has one, and this crate's where it has not.
/// What is expired or forgotten is as unknown: 404 `no-such-job`.
///
/// Where 1.0 is silent this does as 2.0: what was dismissed can be read until it is dismissed again, or expires. There are no
/// callbacks (`subscriber`). URLs are absolute: see [`Builder::base_url`](crate::Builder::base_url).
#[derive(Clone, Copy, Debug, Default)]
pub struct OgcProcesses {
    version_2: bool,
    only_async: bool,
}

impl OgcProcesses {
    /// Version 1.0, for processes that can be executed either way.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            version_2: false,
            only_async: false,
        }
    }

    /// As the draft of version 2.0 has it.
    #[must_use]
    pub const fn version_2(self) -> Self {
        Self {
            version_2: true,
            ..self
        }
    }

    /// For processes that can only be executed asynchronously: every execution is deferred, with or without `Prefer`.
    #[must_use]
    pub const fn only_async(self) -> Self {
        Self {
            only_async: true,
            ..self
        }
    }
}

const PROBLEM: &str = "application/problem+json";
const RESULTS: &str = "/results";
const EXCEPTIONS: &str = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/";
const RELATIONS: &str = "http://www.opengis.net/def/rel/ogc/1.0/";
const NOT_AVAILABLE: &str = "result-not-available";

const JOB: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

/// As the specification has them, and what they are here.
const STATUSES: [(&str, &str); 5] = [
    ("accepted", "accepted"),
    ("running", "running"),
    ("successful", "succeeded"),
    ("failed", "failed"),
    ("dismissed", "cancelled"),
];

impl Dialect for OgcProcesses {
    fn address(&self, head: Head<'_>, route: Route<'_>) -> Option<Address> {
        let tail = route.tail(head.uri)?;
        let (id, rest) = match tail.strip_prefix('/').unwrap_or(tail).split_once('/') {
            Some((id, rest)) => (id, Some(rest)),
            None => (tail.trim_start_matches('/'), None),
        };
        Some(match (id.parse(), rest) {
            (Err(_), None) if id.is_empty() => asked_of_list(head.method, || {
                Query::read(head.uri.query()).map(|query| query.ask)
            }),
            (Ok(id), None) => {
                let dismiss = (Method::DELETE, Ask::Dismiss);
                asked(head.method, id, Some(Ask::Monitor), Some(dismiss), JOB)
            }
            (Ok(id), Some(rest)) if is_results(rest) => {
                asked(head.method, id, Some(Ask::Result), None, READ_ONLY)
            }
            _ => Address::Problem(Problem::new(ProblemKind::Unknown)),
        })
    }

    fn admits(&self, head: Head<'_>) -> bool {
        self.only_async || Prefer::parse(head.headers).respond_async
    }

    fn reads_prefer(&self) -> bool {
        !self.only_async
    }

    fn opt_in(&self, head: Head<'_>) -> OptIn {
        OptIn::by_prefer(head.headers)
    }

    fn take_out(&self, head: &mut request::Parts) {
        remove_preferences(&mut head.headers, &["respond-async", "wait"]);
    }

    fn applied(&self, opt_in: &OptIn, headers: &mut HeaderMap) {
        opt_in.tell_applied(headers);
    }

    fn accepted(&self, view: &View<'_>, opt_in: &OptIn) -> Response<Answer> {
        let mut response = self.status_info(view, status_name(view.phase()));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, view.links().header(""));
        self.applied(opt_in, headers);
        response
    }

    fn answer(&self, view: &View<'_>, ask: Ask, head: Head<'_>) -> Response<Answer> {
        match ask {
            Ask::Result => {
                let mut response = self.results(view, output_of(head.uri.path()));
                response.headers_mut().insert(header::VARY, VARY_PREFER);
                response
            }
            Ask::Dismiss => self.status_info(view, "dismissed"),
            _ => self.status_info(view, status_name(view.phase())),
        }
    }

    fn filter(&self, head: Head<'_>) -> Option<ListFilter> {
        // What can't be read never comes so far.
        let query = Query::read(head.uri.query()).ok()?;
        Some(Box::new(move |record, now| query.wants(record, now)))
    }

    fn listed(&self, listing: &Listing<'_>, head: Head<'_>) -> Response<Bytes> {
        let query = head.uri.query();
        let mut own = listing.url();
        if let Some(query) = query {
            own = format!("{own}?{query}");
        }
        let mut body = b"{\"jobs\":[".to_vec();
        for (at, view) in listing.views().iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            self.write_status_info(view, status_name(view.phase()), &mut body);
        }
        body.extend_from_slice(b"],\"links\":[");
        link(&mut body, &own, "self", STATUS_DOCUMENT);
        let mut response = own_json(StatusCode::OK, ());
        if let Some(Cursor(after)) = listing.next() {
            let mut next = format!("{}?after={after}", listing.url());
            let others = query.unwrap_or_default().split('&');
            let stays = |pair: &&str| pairs(Some(pair)).any(|(name, _)| name != "after");
            for pair in others.filter(stays) {
                next.push('&');
                next.push_str(pair);
            }
            body.push(b',');
            link(&mut body, &next, "next", STATUS_DOCUMENT);
            if let Ok(link) = HeaderValue::try_from(format!("<{next}>; rel=\"next\"")) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        body.extend_from_slice(b"]}");
        response.map(|()| body.into())
    }

    fn problem(&self, problem: &Problem, _: &OptIn) -> Response<Bytes> {
        let name = match problem.kind {
            ProblemKind::Unknown | ProblemKind::Expired => "no-such-job",
            ProblemKind::ResultNotReady => "result-not-ready",
            ProblemKind::QueryInvalid => "invalid-query-parameter-value",
            _ => return problem.to_response(),
        };
        exception(name, &as_unknown(problem))
    }

    fn header_names(&self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 5] = [
            header::LOCATION,
            header::RETRY_AFTER,
            header::LINK,
            header::ALLOW,
            PREFERENCE_APPLIED,
        ];
        &NAMES
    }

    fn needs_absolute_urls(&self) -> bool {
        true
    }
}

impl OgcProcesses {
    fn status_info(self, view: &View<'_>, status: &str) -> Response<Answer> {
        let body = json::written(|out| self.write_status_info(view, status, out));
        let mut response = own_json(StatusCode::OK, Answer::Bytes(body));
        let headers = response.headers_mut();
        headers.insert(header::VARY, VARY_PREFER);
        if !view.phase().is_ended() {
            headers.insert(header::RETRY_AFTER, retry_after(view.retry_after()));
        }
        response
    }

    fn write_status_info(self, view: &View<'_>, status: &str, out: &mut Vec<u8>) {
        let (phase, target) = (view.phase(), &view.record().submission.target);
        out.push(b'{');
        if let Some(process) = process_of(target) {
            out.extend_from_slice(b"\"processID\":");
            match self.version_2 {
                false => json::string(out, &segment(process.id)),
                true => json::string(out, &view.links().resolve(process.path)),
            }
            out.push(b',');
        }
        out.extend_from_slice(match self.version_2 {
            false => b"\"type\":\"process\",\"jobID\":\"",
            true => b"\"processingEntityType\":\"ogc-api-processes\",\"id\":\"",
        });
        out.extend_from_slice(&view.links().id());
        out.extend_from_slice(b"\",\"status\":");
        json::string(out, status);
        let failure = matches!(phase, Phase::Ended(Outcome::Failed(_))).then(|| failure(view));
        let message = match &failure {
            Some(failure) => Some(&*failure.detail),
            None => view.report().and_then(|report| report.message.as_deref()),
        };
        if let Some(message) = message {
            out.extend_from_slice(b",\"message\":");
            json::string(out, message);
        }
        if let Some(failure) = failure.as_ref().filter(|_| self.version_2) {
            out.extend_from_slice(b",\"exception\":");
            failure.write(out);
        }
        time(out, ",\"created\":", Some(view.record().created));
        time(out, ",\"started\":", view.started());
        time(out, ",\"finished\":", view.ending().map(|ending| ending.at));
        time(out, ",\"updated\":", Some(view.updated()));
        let through = (phase == Phase::Ended(Outcome::Succeeded)).then_some(100);
        if let Some(percent) = percent(view).or(through) {
            out.extend_from_slice(b",\"progress\":");
            json::number(out, percent);
        }
        links(view, status, out);
        out.push(b'}');
    }

    fn results(self, view: &View<'_>, output: Option<&str>) -> Response<Answer> {
        let Some(ending) = view.ending() else {
            let problem = Problem::new(ProblemKind::ResultNotReady);
            let problem = problem.retry_after(view.retry_after());
            return exception("result-not-ready", &problem).map(Answer::Bytes);
        };
        match (ending.outcome, view.replay()) {
            (Outcome::Cancelled, _) => not_available("The job was dismissed."),
            (Outcome::Failed(_), Some(head)) if is_problem(view) => stored(head),
            (Outcome::Failed(_), _) => {
                let failure = failure(view);
                let body = json::written(|out| failure.write(out));
                let mut response = own_json(failure.status, Answer::Instead(body));
                let kind = const { HeaderValue::from_static(PROBLEM) };
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            (Outcome::Succeeded, Some(mut head)) => {
                let is_empty = view.response().is_none_or(|stored| stored.body_len() == 0);
                match output {
                    Some(output) => one_of(view, output),
                    None if is_empty && self.version_2 => not_available("There are no outputs."),
                    None => {
                        if head.status.is_success() && !is_empty {
                            head.status = StatusCode::OK;
                        }
                        stored(head)
                    }
                }
            }
            (Outcome::Succeeded, None) => not_available("There are no outputs."),
        }
    }
}

/// `results`, or `results/{output}`.
fn is_results(rest: &str) -> bool {
    match rest.strip_prefix("results") {
        Some("") => true,
        Some(output) => output
            .strip_prefix('/')
            .is_some_and(|output| !output.is_empty() && !output.contains('/')),
        None => false,
    }
}

/// The output that a path of results names, if it does.
fn output_of(path: &str) -> Option<&str> {
    let mut segments = path.rsplit('/');
    let output = segments.next();
    segments
        .next()
        .filter(|parent| *parent == "results")
        .and(output)
}

fn status_name(phase: Phase) -> &'static str {
    let found = STATUSES.iter().find(|(_, ours)| *ours == phase.as_str());
    found.map_or("running", |(name, _)| name)
}

/// The process that a target executes: its name as it stands there, and its path.
struct Process<'a> {
    id: &'a str,
    path: &'a str,
}

fn process_of(target: &str) -> Option<Process<'_>> {
    const PARENT: &str = "/processes/";
    let path = target.split('?').next()?;
    let begin = path.rfind(PARENT)? + PARENT.len();
    let end = path[begin..].find('/').map_or(path.len(), |at| begin + at);
    (end > begin).then(|| Process {
        id: &path[begin..end],
        path: &path[..end],
    })
}

fn links(view: &View<'_>, status: &str, out: &mut Vec<u8>) {
    let mut monitor = Vec::new();
    view.links().write(&mut monitor, "");
    let monitor = String::from_utf8_lossy(&monitor);
    out.extend_from_slice(b",\"links\":[");
    link(out, &monitor, "self", STATUS_DOCUMENT);
    out.push(b',');
    link(out, &monitor, "monitor", STATUS_DOCUMENT);
    let leads_on = match (status, view.response()) {
        ("successful", Some(stored)) if stored.body_len() > 0 => {
            let kind = field(stored, &header::CONTENT_TYPE);
            Some(("results", kind.unwrap_or_default()))
        }
        ("failed", _) => Some(("exceptions", PROBLEM.to_owned())),
        _ => None,
    };
    if let Some((relation, kind)) = leads_on {
        let href = format!("{monitor}{RESULTS}");
        out.push(b',');
        link(out, &href, &format!("{RELATIONS}{relation}"), &kind);
    }
    out.push(b']');
}

fn link(out: &mut Vec<u8>, href: &str, relation: &str, kind: &str) {
    out.extend_from_slice(b"{\"href\":");
    json::string(out, href);
    out.extend_from_slice(b",\"rel\":");
    json::string(out, relation);
    if !kind.is_empty() {
        out.extend_from_slice(b",\"type\":");
        json::string(out, kind);
    }
    out.push(b'}');
}

/// What a failed job has to say: the members of an exception.
struct Failure {
    kind: String,
    title: String,
    status: StatusCode,
    detail: String,
}

impl Failure {
    fn write(&self, out: &mut Vec<u8>) {
        for (name, text) in [
            ("{\"type\":", &self.kind),
            (",\"title\":", &self.title),
            (",\"detail\":", &self.detail),
        ] {
            out.extend_from_slice(name.as_bytes());
            json::string(out, text);
        }
        out.extend_from_slice(b",\"status\":");
        json::number(out, self.status.as_u16().into());
        out.push(b'}');
    }
}

fn failure(view: &View<'_>) -> Failure {
    let Some(stored) = view.response() else {
        let outcome = view.ending().map(|ending| ending.outcome);
        let problem = problem_of(outcome.unwrap_or(Outcome::Failed(Reason::Lost)));
        return Failure {
            kind: format!("{TYPE_PREFIX}{}", problem.kind.name()),
            title: problem.kind.title().to_owned(),
            status: problem.status,
            detail: problem.detail.into_owned(),
        };
    };
    let (told, status) = (Told::of(view), stored.status());
    let member = |name, otherwise: &str| told.member(name).unwrap_or(otherwise).to_owned();
    Failure {
        kind: member("type", "about:blank"),
        title: member("title", status.canonical_reason().unwrap_or("Error")),
        status,
        detail: told.text(status),
    }
}

/// A member of the results, if they can be taken apart.
fn one_of(view: &View<'_>, output: &str) -> Response<Answer> {
    let body = view.small_json();
    let outputs: Option<BTreeMap<String, &RawValue>> = body
        .as_deref()
        .and_then(|body| serde_json::from_slice(body).ok());
    let Some(outputs) = outputs else {
        return not_available("The outputs of this job can only be had together.");
    };
    match outputs.get(&*segment(output)) {
        Some(value) => {
            let body = value.get().as_bytes().to_vec();
            own_json(StatusCode::OK, Answer::Bytes(body.into()))
        }
        None => {
            let problem = Problem::new(ProblemKind::QueryInvalid);
            let problem = problem.detail("The job has no such output.");
            exception("no-such-output", &problem).map(Answer::Bytes)
        }
    }
}

fn not_available(why: &'static str) -> Response<Answer> {
    let problem = Problem::new(ProblemKind::ResultNotReady).detail(why);
    exception(NOT_AVAILABLE, &problem).map(Answer::Instead)
}

/// A problem by the name that the specification has for it.
fn exception(name: &str, problem: &Problem) -> Response<Bytes> {
    let title = match name {
        "no-such-job" => "No such job",
        "no-such-output" => "No such output",
        NOT_AVAILABLE => "Result not available",
        _ => problem.kind.title(),
    };
    let failure = Failure {
        kind: format!("{EXCEPTIONS}{name}"),
        title: title.to_owned(),
        status: problem.status,
        detail: problem.detail.clone().into_owned(),
    };
    problem.to_response().map(|_| {
        let mut body = Vec::with_capacity(256);
        failure.write(&mut body);
        body.into()
    })
}

/// What a list is asked for.
#[derive(Default)]
struct Query {
    ask: ListAsk,
    /// Each is the name of one, or its URL.
    processes: Vec<String>,
    at_least: Option<Duration>,
    at_most: Option<Duration>,
}

impl Query {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        const LIMIT: NonZeroU16 = NonZeroU16::new(10).unwrap();
        let mut read = Self::default();
        (read.ask.limit, read.ask.here) = (LIMIT, true);
        let mut is_process = None;
        for (name, value) in pairs(query) {
            let (valid, wanted) = match &*name {
                "limit" => (read.limit(&value), "a number from 1"),
                "after" => (read.after(&value), "what the page before has told"),
                "status" => (
                    read.statuses(&value),
                    "a list of accepted, running, successful, failed, dismissed",
                ),
                "type" => {
                    let named = value.split(',').any(|kind| kind == "process");
                    is_process = Some(named || is_process == Some(true));
                    (!value.is_empty(), "a list of types, such as process")
                }
                "processID" => {
                    read.processes.extend(value.split(',').map(str::to_owned));
                    (!value.is_empty(), "a list of processes")
                }
                "datetime" => (
                    read.created(&value),
                    "a date-time of RFC 3339, or an interval of two with `..` for an open end",
                ),
                "minDuration" => {
                    let least = seconds(&value);
                    read.at_least = read.at_least.max(least);
                    (least.is_some(), "a whole number of seconds")
                }
                "maxDuration" => {
                    let most = seconds(&value);
                    read.at_most = read.at_most.into_iter().chain(most).min();
                    (most.is_some(), "a whole number of seconds")
                }
                _ => (true, ""),
            };
            if !valid {
                let detail = format!("`{name}` is {wanted}.");
                return Err(Problem::new(ProblemKind::QueryInvalid).detail(detail));
            }
        }
        if is_process == Some(false) {
            // There are no jobs of other types: none in no state.
            read.ask.states = Some(StateSet::default());
        }
        Ok(read)
    }

    fn limit(&mut self, value: &str) -> bool {
        const MOST: u16 = 1_000;
        number(value)
            .and_then(|limit| NonZeroU16::new(limit.min(MOST.into()) as u16))
            .map(|limit| self.ask.limit = limit)
            .is_some()
    }

    fn after(&mut self, value: &str) -> bool {
        cursor(value)
            .map(|after| self.ask.after = Some(after))
            .is_some()
    }

    fn statuses(&mut self, value: &str) -> bool {
        let state = |states: StateSet, name: &str| {
            let (_, ours) = STATUSES.iter().find(|(known, _)| *known == name)?;
            states.with_name(ours)
        };
        let states = value
            .split(',')
            .try_fold(self.ask.states.unwrap_or_default(), state);
        states
            .map(|states| self.ask.states = Some(states))
            .is_some()
    }

    fn created(&mut self, value: &str) -> bool {
        let ends = match value.split_once('/') {
            Some((first, last)) => (open_end(first), open_end(last)),
            None => {
                let moment = date_time(value).map(Some);
                (moment, moment)
            }
        };
        let ((Some(first), Some(last)), false) = (ends, ends == (Some(None), Some(None))) else {
            return false;
        };
        // What is shown as this millisecond was created within it.
        const SHOWN: Duration = Duration::from_millis(1);
        self.ask.since = first.map(Timestamp::from);
        self.ask.until = last.map(|last| Timestamp::from(last).after(SHOWN));
        true
    }

    fn wants(&self, record: &Record, now: Timestamp) -> bool {
        let process = || process_of(&record.submission.target);
        let by_process = self.processes.is_empty()
            || process().is_some_and(|process| {
                let id = segment(process.id);
                let is_named = |named: &String| *named == id || named.ends_with(process.path);
                self.processes.iter().any(is_named)
            });
        if self.at_least.is_none() && self.at_most.is_none() {
            return by_process;
        }
        let end = record.ending().map_or(now, |ending| ending.at);
        let ran = record.started.map(|started| {
            Duration::from_micros(end.as_micros().saturating_sub(started.as_micros()))
        });
        by_process
            && ran.is_some_and(|ran| {
                self.at_least.is_none_or(|least| ran >= least)
                    && self.at_most.is_none_or(|most| ran <= most)
            })
    }
}

fn seconds(value: &str) -> Option<Duration> {
    number(value).map(Duration::from_secs)
}

/// The end of an interval: `Some(None)` where it is open.
fn open_end(text: &str) -> Option<Option<SystemTime>> {
    match text {
        "" | ".." => Some(None),
        text => date_time(text).map(Some),
    }
}
