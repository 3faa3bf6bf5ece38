//! `GET /openapi.json`: what lies under `/plain`, as an OpenAPI document.
//!
//! A job may be told to answer with any status, so what `docs/wire.md` says of each status stands beside what is the job's
//! own, and `default` is the job's alone. What never replays, such as status documents and the monitors that answer 303,
//! is strict.

use serde_json::{Map, Value, json};

const JOB_FAILED: &str = "urn:example:workbench:job-failed";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The document; `base` is where the server is found.
pub(crate) fn document(base: &str) -> Value {
    let mut paths = Map::new();
    for style in [Style::Replay, Style::SeeOther, Style::SeeOtherFromOk] {
        style.describe(&mut paths);
    }
    paths.insert("/plain/complete/{id}".into(), complete());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tower-lro workbench",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Jobs that do as they are told, deferred by tower-lro's default dialect. \
                `docs/wire.md` tells the same in words.\n\n\
                A job may be told to answer with any `status`; a stored answer has `Operation-Outcome` where it is replayed, \
                which tells it from the monitor's own.\n\n\
                Methods that a path does not list are answered 405, a problem of the type \
                `urn:tower-lro:problem:method` with `Allow`; but jobs run by every method that is a token, `TRACE` and \
                `CONNECT` excepted, and under `/plain/complete` 405 has no content. Every answer has the fields that let \
                pages of any origin read it.",
        },
        "servers": [{"url": base}],
        "tags": [
            {"name": "jobs", "description": "202, then the monitor replays the response"},
            {"name": "see202", "description": "202 while pending, then 303 to the result"},
            {"name": "seeother", "description": "200 with an ETag while pending, then 303 to the result"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "headers": headers(),
            "parameters": parameters(),
        },
    })
}

/// How a monitor answers, and with that all that lies below one initiating path.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Replay,
    SeeOther,
    SeeOtherFromOk,
}

impl Style {
    fn describe(self, paths: &mut Map<String, Value>) {
        let (jobs, mount) = match self {
            Self::Replay => ("/plain/jobs", "/plain/status"),
            Self::SeeOther => ("/plain/see202", "/plain/see202/status"),
            Self::SeeOtherFromOk => ("/plain/seeother", "/plain/seeother/status"),
        };
        paths.insert(jobs.into(), self.jobs());
        paths.insert(mount.into(), self.list());
        paths.insert(format!("{mount}/{{id}}"), self.monitor());
        paths.insert(format!("{mount}/{{id}}/status"), self.status());
        paths.insert(format!("{mount}/{{id}}/result"), self.result());
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Replay => "jobs",
            Self::SeeOther => "see202",
            Self::SeeOtherFromOk => "seeother",
        }
    }

    fn operation(self, name: &str, summary: &str, responses: Map<String, Value>) -> Value {
        let mut operation = json!({
            "operationId": self.id(name),
            "tags": [self.tag()],
            "summary": summary,
        });
        operation["responses"] = responses.into();
        operation
    }

    fn id(self, name: &str) -> String {
        format!("{}-{name}", self.tag())
    }

    fn links(self, names: &[&str]) -> Value {
        let mut links = Map::new();
        for name in names {
            let link = json!({
                "operationId": self.id(name),
                "parameters": {"id": "$response.body#/id"},
            });
            links.insert((*name).into(), link);
        }
        if names.contains(&"monitor") {
            let link = json!({
                "operationId": "complete",
                "parameters": {"id": "$response.body#/id"},
            });
            links.insert("complete".into(), link);
        }
        links.into()
    }

    /// By every method the same, but for those that are never deferred.
    fn jobs(self) -> Value {
        let mut path = Map::new();
        for method in ["get", "post", "put", "patch", "delete"] {
            let mut operation = self.operation(method, "Runs a job", self.deferred());
            operation["parameters"] =
                refs(&[JOB, &["Prefer", "IdempotencyKey"]].concat(), "parameters");
            if matches!(method, "post" | "put" | "patch") {
                operation["requestBody"] = json!({
                    "description": "Stands over the query, where it is JSON or a form. Of another type it is freight.",
                    "content": {
                        "application/json": {"schema": schema("Job")},
                        "application/x-www-form-urlencoded": {"schema": schema("JobForm")},
                        "application/octet-stream": {},
                    },
                });
            }
            path.insert(method.into(), operation);
        }
        let told = [
            ("200", "What GET would answer, had it waited"),
            ("204", "What the job was told to answer"),
            ("205", "What the job was told to answer"),
            ("304", "What the job was told to answer"),
            ("400", "No job"),
            ("500", "The job ended without a response"),
            ("default", "What the job was told to answer"),
        ];
        let told = told.map(|(status, what)| (status, response(what, Fields::Job)));
        let mut head = self.operation("head", "Runs a job and waits for it", gathered(told));
        // `ms` as well, but who asks so is not answered before.
        head["parameters"] = refs(&JOB[1..], "parameters");
        path.insert("head".into(), head);
        let methods = gathered([("204", response("The methods", Fields::Allow(METHODS)))]);
        path.insert(
            "options".into(),
            self.operation("options", "Tells the methods", methods),
        );
        path.into()
    }

    /// The answers to an initiating request.
    fn deferred(self) -> Map<String, Value> {
        let own = |what, status, types: &[&str]| {
            let fields = if matches!(status, Some(409 | 503)) {
                Fields::JobLater
            } else {
                Fields::Job
            };
            let mut response = response(what, fields);
            response["content"] = json!({
                "application/json": {"schema": schema("JobAnswer")},
                "application/octet-stream": {},
                "application/problem+json": {"schema": problem(status, types, &[JOB_FAILED])},
            });
            response
        };
        let mut accepted = own("Accepted; or the job's own answer", Some(202), &[]);
        accepted["headers"] = Fields::Accepted.value();
        accepted["content"]["application/json"]["schema"] =
            json!({"anyOf": [schema("StatusDocument"), schema("JobAnswer")]});
        accepted["links"] = self.links(&["monitor", "status", "result", "cancel", "forget"]);
        let bare = response("What the job was told to answer", Fields::Job);
        let mut invalid = own(
            "No job, no key, or a body that did not arrive",
            Some(400),
            &[],
        );
        invalid["content"]["application/problem+json"]["schema"] = problem(
            Some(400),
            &["key-invalid", "upload-failed"],
            &["urn:example:workbench:invalid-job", JOB_FAILED],
        );
        let mut ended = own("The job ended without a response", Some(500), &[]);
        ended["content"]["application/problem+json"]["schema"] = problem(
            Some(500),
            FAILED,
            &["urn:example:workbench:no-response", JOB_FAILED],
        );
        gathered([
            ("200", own("What the job answered, in time", Some(200), &[])),
            ("202", accepted),
            ("204", bare.clone()),
            ("205", bare.clone()),
            ("304", bare),
            ("400", invalid),
            (
                "408",
                own(
                    "The body did not arrive in time",
                    Some(408),
                    &["upload-timeout"],
                ),
            ),
            (
                "409",
                own(
                    "With --strict-keys: the key's operation has not ended",
                    Some(409),
                    &["key-in-use"],
                ),
            ),
            (
                "410",
                own(
                    "The key's operation is gone, or was cancelled",
                    Some(410),
                    &["expired", "cancelled"],
                ),
            ),
            (
                "413",
                own("The body is too long", Some(413), &["too-large"]),
            ),
            (
                "414",
                own("The target is too long", Some(414), &["target-too-long"]),
            ),
            (
                "422",
                own(
                    "The key was used for another request; or the job failed",
                    Some(422),
                    &["key-reused"],
                ),
            ),
            ("500", ended),
            (
                "503",
                own(
                    "No place, no store, or shutting down",
                    Some(503),
                    &["full", "draining", "unavailable"],
                ),
            ),
            (
                "504",
                own("It ran longer than it may", Some(504), &["timed-out"]),
            ),
            ("default", own("What the job was told to answer", None, &[])),
        ])
    }

    fn list(self) -> Value {
        let answers = || {
            gathered([
                ("200", document_of("Newest first", "List", Fields::List)),
                (
                    "400",
                    refusal("A parameter that can't be", 400, &["query-invalid"]),
                ),
                (
                    "503",
                    refusal("The store does not answer", 503, &["unavailable"]),
                ),
            ])
        };
        let mut path = self.resource("list", "Lists operations", answers(), "GET, HEAD, OPTIONS");
        path["parameters"] = json!([]);
        let asked = refs(&["Limit", "After", "Status"], "parameters");
        path["get"]["parameters"] = asked.clone();
        path["head"]["parameters"] = asked;
        // Whatever the query: there is no id that could be unknown.
        if let Some(responses) = path["options"]["responses"].as_object_mut() {
            responses.remove("404");
        }
        path
    }

    fn monitor(self) -> Value {
        let mut answers = ended_without();
        match self {
            Self::Replay => {
                answers.append(&mut replays());
                let mut pending = replay("Pending; or a stored 202", Some(202), &[]);
                pending["headers"] = Fields::PendingOrStored.value();
                pending["content"]["application/json"]["schema"] =
                    json!({"anyOf": [schema("PendingDocument"), {}]});
                pending["links"] = self.links(&["status", "result", "cancel"]);
                answers.insert("202".into(), pending);
            }
            Self::SeeOther => {
                let mut pending = document_of("Pending", "PendingDocument", Fields::Pending);
                pending["links"] = self.links(&["status", "result", "cancel"]);
                answers.insert("202".into(), pending);
                answers.insert("303".into(), self.to_result());
            }
            Self::SeeOtherFromOk => {
                let mut pending = document_of("Pending", "PendingDocument", Fields::PendingTagged);
                pending["links"] = self.links(&["status", "result", "cancel"]);
                answers.insert("200".into(), pending);
                let unchanged = response("Pending, and not changed", Fields::PendingTagged);
                answers.insert("304".into(), unchanged);
                answers.insert("412".into(), precondition());
                answers.insert("303".into(), self.to_result());
            }
        }
        let mut path = self.resource("monitor", "Shows its end, once it has ended", answers, ALL);
        let mut asked = vec!["Prefer"];
        if self == Self::SeeOtherFromOk {
            asked.extend(["IfMatch", "IfNoneMatch"]);
        }
        path["get"]["parameters"] = refs(&asked, "parameters");
        path["head"]["parameters"] = refs(&asked, "parameters");
        let deleted = gathered([
            (
                "200",
                document_of(
                    "As it has ended: cancelled, or before that",
                    "EndedDocument",
                    Fields::NoStore,
                ),
            ),
            (
                "404",
                refusal("There is no such operation", 404, &["unknown"]),
            ),
            (
                "410",
                refusal("There was such an operation", 410, &["expired"]),
            ),
            ("412", precondition()),
            (
                "503",
                refusal("The store does not answer", 503, &["unavailable"]),
            ),
        ]);
        path["delete"] = self.operation("cancel", "Cancels it", deleted);
        path["delete"]["parameters"] = refs(&["IfMatch", "IfNoneMatch"], "parameters");
        path
    }

    fn status(self) -> Value {
        let mut shown = document_of("How it stands", "StatusDocument", Fields::Status);
        shown["links"] = self.links(&["monitor", "result", "cancel"]);
        let answers = gathered([
            ("200", shown),
            ("304", response("Not changed", Fields::Status)),
            (
                "404",
                refusal("There is no such operation", 404, &["unknown"]),
            ),
            (
                "410",
                refusal("There was such an operation", 410, &["expired"]),
            ),
            ("412", precondition()),
            (
                "503",
                refusal("The store does not answer", 503, &["unavailable"]),
            ),
        ]);
        let mut path = self.resource(
            "status",
            "Tells how it stands",
            answers,
            "GET, HEAD, OPTIONS",
        );
        let asked = refs(&["Prefer", "IfMatch", "IfNoneMatch"], "parameters");
        path["get"]["parameters"] = asked.clone();
        path["head"]["parameters"] = asked;
        path
    }

    fn result(self) -> Value {
        let mut answers = ended_without();
        answers.append(&mut replays());
        let mut pending = replay(
            "Not ended, or no such operation",
            Some(404),
            &["unknown", "result-not-ready"],
        );
        pending["headers"] = Fields::NotReady.value();
        answers.insert("404".into(), pending);
        let mut path = self.resource("result", "Replays the response", answers, ALL);
        path["get"]["parameters"] = refs(&["Prefer"], "parameters");
        path["head"]["parameters"] = refs(&["Prefer"], "parameters");
        let mut early = refusal("It has not ended", 409, &["result-not-ready"]);
        early["headers"] = Fields::Later.value();
        let forgotten = gathered([
            ("204", response("Forgotten", Fields::NoStore)),
            (
                "404",
                refusal("There is no such operation", 404, &["unknown"]),
            ),
            ("409", early),
            (
                "410",
                refusal("There was such an operation", 410, &["expired"]),
            ),
            ("412", precondition()),
            (
                "503",
                refusal("The store does not answer", 503, &["unavailable"]),
            ),
        ]);
        path["delete"] = self.operation("forget", "Forgets it and its result", forgotten);
        path["delete"]["parameters"] = refs(&["IfMatch", "IfNoneMatch"], "parameters");
        path
    }

    /// GET, HEAD and OPTIONS of a resource.
    fn resource(
        self,
        name: &str,
        summary: &str,
        answers: Map<String, Value>,
        allow: &'static str,
    ) -> Value {
        let mut bare = answers.clone();
        for response in bare.values_mut() {
            if let Some(response) = response.as_object_mut() {
                response.remove("content");
                response.remove("links");
            }
        }
        let methods = gathered([
            ("204", response("The methods", Fields::Allow(allow))),
            ("404", refusal("What can't be an id", 404, &["unknown"])),
        ]);
        json!({
            "parameters": refs(&["Id"], "parameters"),
            "get": self.operation(name, summary, answers),
            "head": self.operation(&format!("{name}-head"), summary, bare),
            "options": self.operation(&format!("{name}-options"), "Tells the methods", methods),
        })
    }

    fn to_result(self) -> Value {
        let mut response = document_of(
            "Ended with a response, which is at `Location`",
            "EndedDocument",
            Fields::SeeOther,
        );
        response["links"] = self.links(&["result", "status", "forget"]);
        response
    }
}

const ALL: &str = "GET, HEAD, DELETE, OPTIONS";

/// How an operation may end without a response, but for 410 and 504.
const FAILED: &[&str] = &[
    "panicked",
    "errored",
    "result-too-large",
    "not-started",
    "interrupted",
    "lost",
];

/// What there is where no response is kept, by the monitor's own word.
fn ended_without() -> Map<String, Value> {
    let ended = |what, status, types, fields: Fields| {
        let mut response = refusal(what, status, types);
        response["headers"] = fields.value();
        response
    };
    gathered([
        (
            "404",
            refusal("There is no such operation", 404, &["unknown"]),
        ),
        (
            "410",
            ended(
                "There was such an operation, or it was cancelled",
                410,
                &["expired", "cancelled"],
                Fields::Gone,
            ),
        ),
        (
            "500",
            ended("It ended without a response", 500, FAILED, Fields::Ended),
        ),
        (
            "503",
            refusal("The store does not answer", 503, &["unavailable"]),
        ),
        (
            "504",
            ended(
                "It ran longer than it may",
                504,
                &["timed-out"],
                Fields::Ended,
            ),
        ),
    ])
}

/// What stored responses look like: jobs answer with any status, and what is completed from outside is of any type.
fn replays() -> Map<String, Value> {
    let mut succeeded = replay("The response", Some(200), &[]);
    succeeded["content"]["application/json"]["schema"] =
        json!({"anyOf": [schema("JobAnswer"), {}]});
    let mut replays = gathered([
        ("200", succeeded),
        ("204", response("The response", Fields::Replay)),
        ("205", response("The response", Fields::Replay)),
        ("304", response("The response", Fields::Replay)),
        (
            "404",
            replay(
                "No such operation; or the response",
                Some(404),
                &["unknown"],
            ),
        ),
        (
            "410",
            replay(
                "Gone or cancelled; or the response",
                Some(410),
                &["expired", "cancelled"],
            ),
        ),
        ("422", replay("The job failed", Some(422), &[])),
        (
            "500",
            replay(
                "It ended without a response; or the response",
                Some(500),
                FAILED,
            ),
        ),
        (
            "503",
            replay(
                "The store does not answer; or the response",
                Some(503),
                &["unavailable"],
            ),
        ),
        (
            "504",
            replay(
                "It ran longer than it may; or the response",
                Some(504),
                &["timed-out"],
            ),
        ),
        ("default", replay("The response", None, &[])),
    ]);
    for certain in ["200", "204", "205", "304", "422", "500", "504", "default"] {
        replays[certain]["headers"]["Operation-Outcome"] = header_required("OperationOutcome");
    }
    replays
}

fn replay(what: &str, status: Option<u16>, types: &[&str]) -> Value {
    let mut response = response(what, Fields::Replay);
    if status == Some(503) {
        response["headers"] = Fields::ReplayLater.value();
    }
    // What jobs say is not the library's.
    let mut problems =
        vec![json!({"properties": {"type": {"not": {"pattern": "^urn:tower-lro:"}}}})];
    if !types.is_empty() {
        problems.push(problem(status, types, &[]));
    }
    response["content"] = json!({
        "application/json": {},
        "application/problem+json": {"schema": {"anyOf": problems}},
        "*/*": {},
    });
    response
}

fn complete() -> Value {
    let bare = |what| response(what, Fields::None);
    json!({
        "parameters": refs(&["Id"], "parameters"),
        "post": {
            "operationId": "complete",
            "tags": ["jobs", "see202", "seeother"],
            "summary": "Ends it from outside: what was sent is its result",
            "requestBody": {
                "description": "Of any type.",
                "content": {"application/json": {}, "application/octet-stream": {}, "text/plain": {}},
            },
            "responses": gathered([
                ("204", bare("It has ended so")),
                ("404", bare("There is no such operation")),
                ("409", bare("It had ended before")),
                ("413", bare("Longer than a result may be")),
                ("503", bare("The store does not answer")),
            ]),
        },
    })
}

/// The fields of an answer.
#[derive(Clone, Copy)]
enum Fields {
    None,
    NoStore,
    Allow(&'static str),
    Later,
    /// Of a job's own answer, which is sent as it came.
    Job,
    JobLater,
    Accepted,
    Pending,
    PendingTagged,
    PendingOrStored,
    NotReady,
    Status,
    List,
    Replay,
    ReplayLater,
    Gone,
    Ended,
    SeeOther,
    ConditionFailed,
}

impl Fields {
    /// Those with an exclamation mark are always there.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::NoStore => &["CacheControl!"],
            Self::Allow(_) => &["CacheControl"],
            Self::Later => &["CacheControl!", "RetryAfter!"],
            Self::Job => &["CacheControl", "PreferenceApplied", "JobNode"],
            Self::JobLater => &["CacheControl", "PreferenceApplied", "JobNode", "RetryAfter"],
            Self::Accepted => &[
                "CacheControl",
                "VaryPrefer!",
                "PreferenceApplied",
                "JobNode",
                "Location",
                "RetryAfter",
            ],
            Self::Pending => &[
                "CacheControl!",
                "VaryPrefer!",
                "PreferenceApplied",
                "Location!",
                "RetryAfter!",
            ],
            Self::PendingTagged => &[
                "CacheControl!",
                "VaryPrefer!",
                "PreferenceApplied",
                "Location!",
                "RetryAfter!",
                "ETag!",
            ],
            Self::PendingOrStored => &[
                "CacheControl!",
                "PreferenceApplied",
                "JobNode",
                "Location",
                "RetryAfter",
                "OperationOutcome",
            ],
            Self::NotReady => &[
                "CacheControl!",
                "PreferenceApplied",
                "JobNode",
                "RetryAfter",
                "OperationOutcome",
            ],
            Self::Status => &[
                "CacheControl!",
                "VaryPrefer!",
                "PreferenceApplied",
                "RetryAfter",
                "ETag!",
            ],
            Self::List => &["CacheControl!", "Link"],
            Self::Replay => &[
                "CacheControl!",
                "PreferenceApplied",
                "JobNode",
                "OperationOutcome",
            ],
            Self::ReplayLater => &[
                "CacheControl!",
                "PreferenceApplied",
                "JobNode",
                "OperationOutcome",
                "RetryAfter",
            ],
            Self::Gone => &["CacheControl!", "PreferenceApplied", "OperationOutcome"],
            Self::Ended => &["CacheControl!", "PreferenceApplied", "OperationOutcome!"],
            Self::SeeOther => &[
                "CacheControl!",
                "PreferenceApplied",
                "Location!",
                "OperationOutcome!",
            ],
            Self::ConditionFailed => &["CacheControl!", "PreferenceApplied"],
        }
    }

    fn value(self) -> Value {
        let mut headers = Map::new();
        for name in self.names() {
            let (name, header) = match name.strip_suffix('!') {
                Some(name) => (name, header_required(name)),
                None => (*name, header(name)),
            };
            headers.insert(hyphenated(name), header);
        }
        // Pages of some origins may read it.
        let vary = headers.entry("Vary");
        vary.or_insert_with(|| header_required("Vary"));
        if let Self::Allow(methods) = self {
            let allow = json!({"required": true, "schema": {"type": "string", "const": methods}});
            headers.insert("Allow".into(), allow);
        }
        headers.into()
    }
}

fn response(what: &str, fields: Fields) -> Value {
    json!({"description": what, "headers": fields.value()})
}

fn document_of(what: &str, name: &str, fields: Fields) -> Value {
    let mut response = response(what, fields);
    response["content"] = json!({"application/json": {"schema": schema(name)}});
    response
}

fn precondition() -> Value {
    let what = "It is not as the condition wants it";
    let mut response = refusal(what, 412, &["precondition"]);
    response["headers"] = Fields::ConditionFailed.value();
    response
}

/// A problem of the library's, and nothing else.
fn refusal(what: &str, status: u16, types: &[&str]) -> Value {
    let fields = if status == 503 {
        Fields::Later
    } else {
        Fields::NoStore
    };
    let mut response = response(what, fields);
    response["content"] =
        json!({"application/problem+json": {"schema": problem(Some(status), types, &[])}});
    response
}

/// Problem details of these types: the library's by their names, others in full.
fn problem(status: Option<u16>, names: &[&str], others: &[&str]) -> Value {
    let mut types: Vec<_> = names
        .iter()
        .map(|name| format!("urn:tower-lro:problem:{name}"))
        .collect();
    types.extend(others.iter().map(|name| (*name).to_owned()));
    let mut members = json!({"type": {"enum": types}});
    if let Some(status) = status {
        members["status"] = json!({"const": status});
    }
    json!({"allOf": [schema("Problem"), {"properties": members}]})
}

fn gathered<const N: usize>(responses: [(&str, Value); N]) -> Map<String, Value> {
    let named = responses.map(|(status, response)| (status.to_owned(), response));
    named.into_iter().collect()
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn header_required(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}Required")})
}

fn refs(names: &[&str], kind: &str) -> Value {
    names
        .iter()
        .map(|name| json!({"$ref": format!("#/components/{kind}/{name}")}))
        .collect()
}

/// Of the document's name for a field, the field's own.
fn hyphenated(name: &str) -> String {
    if name == "VaryPrefer" {
        return "Vary".into();
    }
    let mut field = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && field.ends_with(|last: char| last.is_ascii_lowercase()) {
            field.push('-');
        }
        field.push(letter);
    }
    field
}

/// Each twice: some answers always have what others may have.
fn headers() -> Value {
    let all = [
        (
            "CacheControl",
            "Everything but a job's own answer in time is for no cache.",
            json!({"type": "string"}),
        ),
        (
            "ETag",
            "Of the status document, strong.",
            json!({"type": "string", "pattern": "^\"(accepted|running|succeeded|failed|cancelled)-[0-9]+\"$"}),
        ),
        (
            "JobNode",
            "With --node: which process ran the job.",
            json!({"type": "string"}),
        ),
        (
            "Link",
            "The next page of a list, `rel=\"next\"`.",
            json!({"type": "string", "pattern": "^<[^>]+>; rel=\"next\"$"}),
        ),
        (
            "Location",
            "The monitor while pending, the result with a 303.",
            json!({"type": "string", "format": "uri-reference", "minLength": 1}),
        ),
        (
            "OperationOutcome",
            "How it ended; there where the monitor or the result tells of an end.",
            json!({"enum": ["succeeded", "failed", "cancelled"]}),
        ),
        (
            "PreferenceApplied",
            "What was applied of `Prefer`.",
            json!({"type": "string", "pattern": "^(respond-async|(respond-async, )?wait=[0-9]+)$"}),
        ),
        (
            "RetryAfter",
            "Seconds.",
            json!({"type": "integer", "minimum": 1, "maximum": 86_400}),
        ),
        (
            "Vary",
            "Fields that the answer depends on, `Origin` at least.",
            json!({"type": "string"}),
        ),
        (
            "VaryPrefer",
            "Fields that the answer depends on, `Prefer` and `Origin` at least.",
            json!({"type": "string", "pattern": "(^|, *)prefer(,|$)"}),
        ),
    ];
    let mut headers = Map::new();
    for (name, what, schema) in all {
        headers.insert(name.into(), json!({"description": what, "schema": schema}));
        let required = json!({"description": what, "required": true, "schema": schema});
        headers.insert(format!("{name}Required"), required);
    }
    headers.into()
}

/// What may be told to a job, as in [`schemas`].
const JOB: &[&str] = &[
    "Ms",
    "Steps",
    "Outcome",
    "Echo",
    "Size",
    "JobStatus",
    "Trailers",
];

const MEMBERS: [(&str, &str); 7] = [
    ("Ms", "ms"),
    ("Steps", "steps"),
    ("Outcome", "outcome"),
    ("Echo", "echo"),
    ("Size", "size"),
    ("JobStatus", "status"),
    ("Trailers", "trailers"),
];

fn parameters() -> Value {
    let form = job_members();
    let mut parameters = Map::new();
    for (parameter, member) in MEMBERS {
        let schema = form[member].clone();
        let what = schema["description"].clone();
        let told = json!({"name": member, "in": "query", "description": what, "schema": schema});
        parameters.insert(parameter.into(), told);
    }
    let others = [
        (
            "Id",
            json!({
                "name": "id", "in": "path", "required": true,
                "description": "The operation's id.",
                "schema": schema("Id"),
            }),
        ),
        (
            "Limit",
            json!({
                "name": "limit", "in": "query",
                "description": "Operations on a page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            }),
        ),
        (
            "After",
            json!({
                "name": "after", "in": "query",
                "description": "Where the page before has ended: from its `next`.",
                "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
            }),
        ),
        (
            "Status",
            json!({
                "name": "status", "in": "query", "style": "form", "explode": false,
                "description": "Only these.",
                "schema": {"type": "array", "minItems": 1, "items": schema("State")},
            }),
        ),
        // Whatever is in it, it is no error.
        (
            "Prefer",
            json!({
                "name": "Prefer", "in": "header",
                "description": "RFC 7240. `wait=n`: the answer is held back up to `n` seconds for the end, of a status \
                    document with `If-None-Match` for a change. `respond-async`: a job is answered at once.",
                "schema": {"type": "string"},
                "examples": {
                    "wait": {"value": "wait=1"},
                    "respond-async": {"value": "respond-async"},
                    "both": {"value": "respond-async, wait=1"},
                },
            }),
        ),
        (
            "IdempotencyKey",
            json!({
                "name": "Idempotency-Key", "in": "header",
                "description": "Quoted or bare, 1 to 255 visible characters. A repeat is answered with the first one's operation.",
                "schema": {
                    "type": "string",
                    "pattern": r#"^([!#-~][!-~]{0,254}|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#,
                },
            }),
        ),
        (
            "IfMatch",
            json!({
                "name": "If-Match", "in": "header",
                "description": "Tags of the status document, or `*`.",
                "schema": {"type": "string"},
                "examples": {"any": {"value": "*"}, "stale": {"value": "\"running-0\""}},
            }),
        ),
        (
            "IfNoneMatch",
            json!({
                "name": "If-None-Match", "in": "header",
                "description": "Tags of the status document, or `*`.",
                "schema": {"type": "string"},
                "examples": {"any": {"value": "*"}, "stale": {"value": "\"running-0\""}},
            }),
        ),
    ];
    for (name, parameter) in others {
        parameters.insert(name.into(), parameter);
    }
    parameters.into()
}

/// What may be told to a job, as it is read from text.
fn job_members() -> Value {
    json!({
        "ms": {"type": "integer", "minimum": 0, "maximum": 86_400_000, "default": 0, "description": "Sleeps so long."},
        "steps": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1, "description": "In so many steps, telling the progress."},
        "outcome": {
            "type": "string", "enum": ["ok", "fail", "panic", "error"], "default": "ok",
            "description": "`fail` is a problem, 422 unless `status` says otherwise; `panic` and `error` end without a response.",
        },
        "echo": {"type": "string", "description": "Comes back in the answer, or as the problem's detail."},
        "size": {"type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "Answers so many bytes instead: the byte at i is i % 251."},
        "status": {"type": "integer", "minimum": 200, "maximum": 599, "description": "Answers with this status."},
        "trailers": {"type": "boolean", "default": false, "description": "The answer has a trailer, `Job-Trailer`."},
    })
}

fn schemas() -> Value {
    let form = job_members();
    let mut json = form.clone();
    // Digits do as well as numbers.
    let digits = [
        (
            "ms",
            r"^\+?0*([0-9]{1,7}|[1-7][0-9]{7}|8[0-5][0-9]{6}|86[0-3][0-9]{5}|86400000)$",
        ),
        ("steps", r"^\+?0*([1-9][0-9]{0,3}|10000)$"),
        ("size", r"^\+?0*[0-9]{1,19}$"),
        ("status", r"^\+?0*[2-5][0-9]{2}$"),
    ];
    for (member, pattern) in digits {
        json[member] = json!({"anyOf": [form[member], {"type": "string", "pattern": pattern}]});
    }
    json["trailers"] =
        json!({"anyOf": [form["trailers"], {"type": "string", "enum": ["true", "false"]}]});
    let time = json!({
        "type": "string", "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    });
    json!({
        "Id": {
            "type": "string", "format": "uuid",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        },
        "State": {"type": "string", "enum": ["accepted", "running", "succeeded", "failed", "cancelled"]},
        "Job": {"type": "object", "properties": json, "additionalProperties": false},
        "JobForm": {"type": "object", "properties": form, "additionalProperties": false},
        "JobAnswer": {
            "type": "object",
            "properties": {"ok": {"const": true}, "echo": {"type": "string"}},
            "required": ["ok", "echo"],
            "additionalProperties": false,
        },
        "Problem": {
            "description": "RFC 9457. Rely on `type` and `status` only.",
            "type": "object",
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 200, "maximum": 599},
                "detail": {"type": "string"},
            },
            "required": ["type", "title", "status", "detail"],
            "additionalProperties": false,
        },
        "StatusDocument": {
            "type": "object",
            "properties": {
                "id": schema("Id"),
                "status": schema("State"),
                "created": time,
                "started": time,
                "updated": time,
                "ended": time,
                "expires": time,
                "attempt": {"type": "integer", "minimum": 1},
                "progress": {
                    "type": "object",
                    "properties": {
                        "fraction": {"type": "number", "minimum": 0, "maximum": 1},
                        "message": {"type": "string"},
                    },
                    "minProperties": 1,
                    "additionalProperties": false,
                },
                "metadata": {"description": "Any JSON."},
                "request": {
                    "type": "object",
                    "properties": {"method": {"type": "string"}, "target": {"type": "string"}},
                    "required": ["method", "target"],
                    "additionalProperties": false,
                },
                "resource": {"type": "string", "format": "uri-reference"},
                "result": {
                    "type": "object",
                    "properties": {
                        "status": {"type": "integer", "minimum": 200, "maximum": 599},
                        "type": {"type": "string"},
                        "length": {"type": "integer", "minimum": 0},
                    },
                    "required": ["status", "length"],
                    "additionalProperties": false,
                },
                "problem": schema("Problem"),
                "links": {
                    "type": "object",
                    "properties": {
                        "monitor": {"type": "string", "format": "uri-reference"},
                        "status": {"type": "string", "format": "uri-reference"},
                        "result": {"type": "string", "format": "uri-reference"},
                    },
                    "required": ["monitor", "status", "result"],
                    "additionalProperties": false,
                },
            },
            "required": ["id", "status", "created", "updated", "attempt", "request", "links"],
            "additionalProperties": false,
            "if": {"properties": {"status": {"enum": ["accepted", "running"]}}},
            "then": {"properties": {"ended": false, "expires": false, "result": false, "problem": false}},
            "else": {"required": ["ended", "expires"]},
        },
        "PendingDocument": {
            "allOf": [schema("StatusDocument"), {"properties": {"status": {"enum": ["accepted", "running"]}}}],
        },
        "EndedDocument": {
            "allOf": [schema("StatusDocument"), {"properties": {"status": {"enum": ["succeeded", "failed", "cancelled"]}}}],
        },
        "List": {
            "type": "object",
            "properties": {
                "operations": {"type": "array", "items": schema("StatusDocument"), "maxItems": 100},
                "next": {"type": "string", "format": "uri-reference"},
            },
            "required": ["operations"],
            "additionalProperties": false,
        },
    })
}
