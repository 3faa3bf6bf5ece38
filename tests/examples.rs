//! The examples as programs: each is started, asked what its header says to ask it, and ended by ctrl-c.

#![cfg(all(unix, feature = "full"))]

mod programs;
mod raw;

use programs::path_of;
use raw::{Answer, Ask, PATIENCE};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A server that runs.
struct Program {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Program {
    /// Starts an example, and waits until it listens.
    async fn start(example: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path_of(example));
        command.arg("127.0.0.1:0").args(arguments);
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, said.next_line()).await.unwrap();
        let first = first.unwrap().unwrap();
        let address = first.strip_prefix("listening on http://").unwrap();
        let address = address.parse().unwrap();
        Self {
            child,
            said,
            address,
        }
    }

    async fn ask(&self, ask: Ask) -> Answer {
        ask.send(self.address).await
    }

    /// Asks for the operation's outcome, and waits for it.
    async fn wait_for(&self, monitor: &str) -> Answer {
        self.ask(Ask::get(monitor).field("Prefer", "wait=20")).await
    }

    /// Sees an operation cancelled, and its monitor tell so.
    async fn cancels(&self, monitor: &str) {
        let cancelled = self.ask(Ask::new("DELETE", monitor)).await;
        assert_eq!(
            (cancelled.status, &cancelled.json()["status"]),
            (200, &json!("cancelled"))
        );
        let gone = self.ask(Ask::get(monitor)).await;
        assert_eq!(
            (gone.status, &*gone.problem()),
            (410, "urn:tower-lro:problem:cancelled")
        );
    }

    /// The next line that it says.
    async fn says(&mut self) -> String {
        let line = timeout(PATIENCE, self.said.next_line()).await.unwrap();
        line.unwrap().unwrap()
    }

    /// Presses ctrl-c.
    fn interrupt(&self) {
        let id = self.child.id().unwrap().to_string();
        let mut kill = std::process::Command::new("kill");
        let killed = kill.args(["-INT", &id]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for its end, which has to be a good one, and gives what else it has said.
    async fn end(mut self) -> String {
        let mut rest = String::new();
        let mut said = self.said.into_inner();
        let read = timeout(PATIENCE, said.read_to_string(&mut rest)).await;
        read.unwrap().unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap();
        assert_eq!(status.unwrap().code(), Some(0));
        rest
    }
}

async fn run(example: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(path_of(example));
    command.args(arguments).kill_on_drop(true);
    let output = timeout(2 * PATIENCE, command.output()).await;
    output.expect("ends within a minute").unwrap()
}

/// The first of the lines after it that begin so, without its beginning.
fn line_after<'a>(text: &'a str, marker: &str, beginning: &str) -> &'a str {
    let (_, after) = text
        .split_once(marker)
        .unwrap_or_else(|| panic!("no {marker} in {text}"));
    let mut lines = after.lines();
    lines
        .find_map(|line| line.strip_prefix(beginning))
        .unwrap_or_else(|| panic!("no {beginning} after {marker} in {text}"))
}

#[tokio::test]
async fn tour_goes_the_whole_way_by_itself() {
    let output = run("tour", &[]).await;

    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &*errors),
        (Some(0), ""),
        "after {said}"
    );
    assert_eq!(
        line_after(&said, "> POST /fingerprints?rounds=", "< "),
        "HTTP/1.1 202 Accepted"
    );
    let progress = said.lines().filter(|line| line.contains("% sealing: "));
    assert!(progress.count() >= 3, "no progress in {said}");
    assert_eq!(
        line_after(&said, "> GET /operations/", "< "),
        "HTTP/1.1 200 OK"
    );
    let replay = line_after(&said, "> GET /operations/", "< {");
    let replay: serde_json::Value = serde_json::from_str(&format!("{{{replay}")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tour/main.rs");
    let source = std::fs::read_to_string(source).unwrap();
    assert_eq!(replay["bytes"], source.len());
    assert_eq!(replay["lines"], source.lines().count());
    assert_eq!(replay["words"], source.split_ascii_whitespace().count());

    let saved = line_after(&said, "it is what this program has computed", "saved as ");
    let bytes = std::fs::read(saved).unwrap();
    std::fs::remove_file(saved).unwrap();
    let saved: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(saved, replay);

    let second = "> DELETE /operations/";
    assert_eq!(line_after(&said, second, "< "), "HTTP/1.1 200 OK");
    let gone = said.split_once(second).unwrap().1;
    assert_eq!(
        line_after(gone, "> GET /operations/", "< "),
        "HTTP/1.1 410 Gone"
    );
    for step in ["submitted", "worked on", "replayed", "cancelled"] {
        let steps = said.split_once("== How long it took").unwrap().1;
        let took = steps.lines().find_map(|line| {
            let (name, took) = line.trim().rsplit_once(' ')?;
            (name.trim() == step).then_some(took)
        });
        assert!(took.is_some_and(|took| took.ends_with('s')), "{said}");
    }
}

#[tokio::test]
async fn tour_tells_what_is_wrong_with_the_file() {
    let missing = run("tour", &["/no/such/file"]).await;
    let errors = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(
        (missing.status.code(), &*errors),
        (
            Some(1),
            "tour: /no/such/file: No such file or directory (os error 2)\n"
        )
    );
    assert_eq!(missing.stdout, b"");

    for arguments in [&["one", "two"][..], &["--help"], &["--store", "disk"]] {
        let output = run("tour", arguments).await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), &*errors),
            (
                Some(2),
                "usage: cargo run --example tour [-- [--store memory|sqlite:PATH] [PATH]]\n"
            )
        );
    }
}

#[tokio::test]
async fn tour_goes_the_same_way_with_a_store_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}/operations.db", directory.path().display());

    let output = run("tour", &["--store", &store]).await;

    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "after {said}");
    let saved = line_after(&said, "it is what this program has computed", "saved as ");
    let saved = std::fs::read(saved).and_then(|_| std::fs::remove_file(saved));
    saved.unwrap();
    assert!(directory.path().join("operations.db").exists());
}

#[tokio::test]
async fn sqlite_restart_finishes_what_a_killed_process_has_begun() {
    let output = run("sqlite_restart", &[]).await;

    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &*errors),
        (Some(0), ""),
        "after {said}"
    );
    let asked = "== A report is asked for";
    assert_eq!(line_after(&said, asked, "< HTTP/1.1 "), "202 Accepted");
    let known = "== It is known to the next one";
    assert_eq!(line_after(&said, known, "< HTTP/1.1 "), "202 Accepted");
    let report = line_after(
        &said,
        known,
        "< 10 pages on sales in May, written by process ",
    );
    let (process, attempt) = report.split_once(' ').unwrap();
    assert_eq!(attempt, "at attempt 2");
    let listened = line_after(&said, "== Its process is killed", "process ");
    assert_eq!(listened.split(' ').next(), Some(process));
    let stays = "== That one is killed too";
    assert_eq!(line_after(&said, stays, "< HTTP/1.1 "), "200 OK");
    let again = line_after(
        &said,
        stays,
        "< 10 pages on sales in May, written by process ",
    );
    assert_eq!(again, report);
    let begun = said.matches("begins to write, attempt").count();
    assert_eq!(begun, 2, "{said}");
}

#[tokio::test]
async fn sqlite_restart_serves_alone_and_gives_back_what_has_not_ended() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("operations.db");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(path_of("sqlite_restart"));
        command.arg("serve").arg(&file).args(arguments);
        command
    };
    let first = Program::spawn(command(&["127.0.0.1:0"])).await;
    let monitor = first.ask(Ask::post("/reports", "x")).await.monitor();
    first.interrupt();
    first.end().await;

    let second = Program::spawn(command(&["127.0.0.1:0"])).await;
    let report = second.wait_for(&monitor).await;
    assert_eq!(report.status, 200);
    assert!(report.text().ends_with("at attempt 2\n"), "{report:?}");
    second.interrupt();
    second.end().await;

    let wrong = run("sqlite_restart", &["--help"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

/// A workbench that keeps its operations in a file.
async fn workbench(file: &Path, flags: &[&str]) -> Program {
    let mut command = Command::new(path_of("workbench"));
    command.args(["--listen", "127.0.0.1:0", "--store"]);
    command.arg(format!("sqlite:{}", file.display()));
    command.args(flags);
    Program::spawn(command).await
}

#[tokio::test]
async fn workbench_runs_what_another_has_only_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let (file, witness) = (
        directory.path().join("operations.db"),
        directory.path().join("witness"),
    );
    let web = workbench(&file, &["--accept-only", "--node", "web"]).await;
    let path = |url: &str| url.splitn(4, '/').last().map(|path| format!("/{path}"));
    let submit = async |target: &str, name: &str| {
        let accepted = web.ask(Ask::post(target, "")).await;
        assert_eq!(accepted.status, 202, "{target}: {accepted:?}");
        let monitor = accepted.field(name).unwrap();
        match monitor.starts_with('/') {
            true => monitor.to_owned(),
            false => path(monitor).unwrap(),
        }
    };
    let plain = submit("/plain/jobs?ms=50&echo=x", "location").await;
    let azure = submit("/azure/jobs?ms=50", "operation-location").await;
    let work = submit("/work", "location").await;
    let waiting = web.ask(Ask::get(&plain)).await;
    assert_eq!(
        (waiting.status, &waiting.json()["status"]),
        (202, &json!("accepted"))
    );

    let told = witness.display().to_string();
    let flags = [
        "--node",
        "worker",
        "--lease",
        "1",
        "--attempts",
        "2",
        "--witness",
        &told,
    ];
    let worker = workbench(&file, &flags).await;

    let done = web.wait_for(&plain).await;
    assert_eq!((done.status, done.field("job-node")), (200, Some("worker")));
    assert_eq!(done.text(), r#"{"ok":true,"echo":"x"}"#);
    assert_eq!(web.wait_for(&work).await.body.len(), 1024);
    let azure = timeout(PATIENCE, async {
        loop {
            let document = web.ask(Ask::get(&azure)).await.json();
            if document["status"] == "Succeeded" {
                break document;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(azure.await.unwrap()["result"]["ok"], json!(true));
    let witness = std::fs::read_to_string(witness).unwrap();
    assert_eq!(witness.lines().count(), 4, "{witness}");

    for program in [web, worker] {
        program.interrupt();
        assert_eq!(program.end().await, "");
    }
}

#[tokio::test]
async fn workbench_ends_operations_from_outside() {
    let directory = tempfile::tempdir().unwrap();
    let bench = workbench(&directory.path().join("operations.db"), &[]).await;
    let accepted = bench.ask(Ask::post("/plain/jobs?ms=60000", "")).await;
    let monitor = accepted.monitor();
    let id = monitor.rsplit('/').next().unwrap();
    let complete = |id: &str| {
        let complete = Ask::post(&format!("/plain/complete/{id}"), "by hand\n");
        complete.field("Content-Type", "text/plain")
    };

    assert_eq!(bench.ask(complete(id)).await.status, 204);
    assert_eq!(bench.ask(complete(id)).await.status, 409);
    assert_eq!(bench.ask(complete("x")).await.status, 404);
    let stranger = "6f2c4a52-8f0e-4b7e-9a53-0d7a3c1f9b11";
    assert_eq!(bench.ask(complete(stranger)).await.status, 404);
    let done = bench.ask(Ask::get(&format!("/plain/status/{id}"))).await;
    assert_eq!(
        (done.status, done.text(), done.field("content-type")),
        (200, "by hand\n", Some("text/plain"))
    );
}

#[tokio::test]
async fn workbench_tells_what_is_wrong_with_its_flags() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = format!("sqlite:{}/no/file", directory.path().display());
    for (arguments, said) in [
        (&["--store", "disk"][..], "neither memory nor sqlite:PATH"),
        (&["--store", "sqlite:"], "neither memory nor sqlite:PATH"),
        (&["--lease", "3"], "--lease wants --store sqlite:PATH"),
        (&["--attempts", "2"], "--attempts wants --store sqlite:PATH"),
        (
            &["--accept-only"],
            "--accept-only wants --store sqlite:PATH",
        ),
        (&["--attempts", "0"], "\"0\" is no number"),
        (&["--node", "a\nb"], "can't stand in a field"),
        (&["--witness", "/no/such/file"], "No such file"),
        (&["--store", &nowhere], "its directory does not exist"),
    ] {
        let output = run(
            "workbench",
            &[&["--listen", "127.0.0.1:0"], arguments].concat(),
        )
        .await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
}

#[tokio::test]
async fn axum_defers_two_routes_and_shows_operations_to_their_owner() {
    let mut program = Program::start("axum", &[]).await;
    let alice = |ask: Ask| ask.field("Authorization", "Bearer alice-token");
    let bob = |ask: Ask| ask.field("Authorization", "Bearer bob-token");

    let accepted = program
        .ask(alice(Ask::post("/api/v1/reports/7", "sales in May")))
        .await;
    let monitor = accepted.monitor();
    assert!(monitor.starts_with("/api/v1/operations/"), "{monitor}");
    let exporting = bob(Ask::post("/api/v1/exports/sales", "csv"));
    let exporting = exporting.field("Prefer", "wait=10");
    let waiting = alice(Ask::get(&monitor)).field("Prefer", "wait=10");
    let (export, report) = tokio::join!(program.ask(exporting), program.ask(waiting));

    assert_eq!(
        (report.status, report.text()),
        (201, "Report 7 of The Corner Shop for alice: sales in May\n")
    );
    assert_eq!(report.field("operation-outcome"), Some("succeeded"));
    let stranger = program.ask(bob(Ask::get(&monitor))).await;
    assert_eq!(
        (stranger.status, &*stranger.problem()),
        (404, "urn:tower-lro:problem:unknown")
    );
    assert_eq!(program.ask(Ask::get(&monitor)).await.status, 401);

    assert_eq!(
        (export.status, export.text()),
        (200, "month,sales\nMay,1200\n")
    );
    assert!(export.field("server-timing").is_some());
    assert_eq!(program.says().await, "POST /exports/sales: 200 OK");

    let own = program.ask(alice(Ask::get("/api/v1/operations"))).await;
    let own = own.json();
    assert_eq!(own["operations"].as_array().unwrap().len(), 1);
    assert_eq!(own["operations"][0]["links"]["monitor"], *monitor);
    let quick = program.ask(alice(Ask::get("/api/v1/reports/7"))).await;
    assert_eq!(quick.status, 200);
    let wrong = Ask::new("PUT", "/api/v1/reports/7");
    assert_eq!(program.ask(alice(wrong)).await.status, 405);

    program.interrupt();
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn hyper_defers_a_function_of_incoming() {
    let program = Program::start("hyper", &[]).await;

    let accepted = program.ask(Ask::post("/words", "three little words")).await;
    let wrong = program.ask(Ask::get("/elsewhere")).await;
    let unwanted = program.ask(Ask::post("/words", "x")).await.monitor();
    program.cancels(&unwanted).await;

    let counted = program.wait_for(&accepted.monitor()).await;
    assert_eq!((counted.status, counted.text()), (200, "3 words\n"));
    assert_eq!(counted.field("operation-outcome"), Some("succeeded"));
    let nowhere = program.wait_for(&wrong.monitor()).await;
    assert_eq!(
        (nowhere.status, nowhere.field("operation-outcome")),
        (404, Some("failed"))
    );

    program.interrupt();
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn x_operation_completes_what_the_shop_tells_of() {
    let program = Program::start("x_operation", &[]).await;
    let order = async |what: &str| {
        let accepted = program.ask(Ask::post("/orders", what)).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let field = |name| format!("/{}", accepted.field(name).unwrap());
        (field("x-operation"), field("x-resource"))
    };
    let ended = async |operation: &str| {
        let ended = async {
            loop {
                let document = program.ask(Ask::get(operation)).await.json();
                if document["state"] != "created" {
                    break document;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap()
    };
    let (operation, resource) = order("three apples").await;
    assert_eq!(program.ask(Ask::get(&resource)).await.status, 404);
    let completed = ended(&operation).await;
    assert_eq!(completed["code"], json!("success"));
    assert_eq!(
        format!("/{}", completed["resource"].as_str().unwrap()),
        resource
    );
    let made = program.ask(Ask::get(&resource)).await;
    assert_eq!((made.status, made.text()), (200, "three apples"));

    let (operation, _) = order("three moons").await;
    let rejected = ended(&operation).await;
    assert_eq!(
        (&rejected["state"], &rejected["code"]),
        (&json!("rejected"), &json!("out_of_stock"))
    );
    assert_eq!(program.ask(Ask::post("/orders", "")).await.status, 400);

    program.interrupt();
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn dialect_speaks_as_it_was_written_to() {
    let program = Program::start("dialect", &[]).await;

    let accepted = program.ask(Ask::post("/photos", "")).await;
    assert_eq!(accepted.status, 202);
    let monitor = accepted.field("content-location").unwrap().to_owned();
    let job = accepted.json();
    assert_eq!(job["data"]["type"], json!("queue-jobs"));
    assert_eq!(job["data"]["links"]["self"], json!(monitor));
    let pending = program.ask(Ask::get(&monitor)).await;
    assert_eq!(pending.status, 200);
    assert!(pending.field("retry-after").is_some());

    let unwanted = program.ask(Ask::post("/photos", "")).await;
    let unwanted = unwanted.field("content-location").unwrap().to_owned();
    let cancelled = program.ask(Ask::new("DELETE", &unwanted)).await;
    let status = &cancelled.json()["data"]["attributes"]["status"];
    assert_eq!((cancelled.status, status), (200, &json!("cancelled")));
    let gone = program.ask(Ask::get(&unwanted)).await;
    assert_eq!(
        (gone.status, &gone.json()["errors"][0]["code"]),
        (410, &json!("expired"))
    );

    // This dialect knows no wait.
    let done = timeout(PATIENCE, async {
        loop {
            let polled = program.ask(Ask::get(&monitor)).await;
            if polled.status != 200 {
                break polled;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let done = done.await.unwrap();
    assert_eq!(done.status, 303);
    let result = done.field("location").unwrap().to_owned();
    let result = program.ask(Ask::get(&result)).await;
    assert_eq!((result.status, result.text()), (200, "a photo\n"));

    program.interrupt();
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn store_keeps_what_a_server_has_accepted() {
    let program = Program::start("store", &[]).await;

    let accepted = program.ask(Ask::post("/words", "three little words")).await;
    assert_eq!(accepted.status, 202);
    let unwanted = program.ask(Ask::post("/words", "x")).await.monitor();
    program.cancels(&unwanted).await;

    let counted = program.wait_for(&accepted.monitor()).await;
    assert_eq!((counted.status, counted.text()), (200, "3 words\n"));

    program.interrupt();
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn tonic_defers_the_plain_route_and_lets_grpc_pass() {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use hyper::client::conn::http2::handshake;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let program = Program::start("tonic", &[]).await;
    let stream = tokio::net::TcpStream::connect(program.address).await;
    let io = TokioIo::new(stream.unwrap());
    let (mut client, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let url = |target: &str| format!("http://{}{target}", program.address);
    let mut send = |request: http::request::Builder, body: &'static [u8]| {
        let body = Full::new(Bytes::from_static(body));
        let response = client.send_request(request.body(body).unwrap());
        async move { timeout(PATIENCE, response).await.unwrap().unwrap() }
    };

    let accepted = send(Request::post(url("/reports/7")), b"sales in May").await;
    assert_eq!(accepted.status(), 202);
    let monitor = accepted.headers()["location"].to_str().unwrap();
    let grpc = |method: &str| {
        let request = Request::post(url(method));
        let request = request.header("content-type", "application/grpc");
        request.header("te", "trailers")
    };

    let check = grpc("/grpc.health.v1.Health/Check");
    let checked = send(check, b"\0\0\0\0\0").await;
    let checked = checked.into_body().collect().await.unwrap();
    assert_eq!(checked.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(&checked.to_bytes()[..], b"\0\0\0\0\x02\x08\x01");

    let watch = grpc("/grpc.health.v1.Health/Watch");
    let mut watched = send(watch, b"\0\0\0\0\x09\x0a\x07reports").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame = timeout(PATIENCE, watched.frame()).await.unwrap();
        let data = frame.unwrap().unwrap().into_data().unwrap();
        seen.push(*data.last().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2], "serving, and not serving");

    let waiting = Request::get(url(monitor)).header("prefer", "wait=20");
    let replay = send(waiting, b"").await;
    assert_eq!(replay.status(), 201);
    assert_eq!(replay.headers()["operation-outcome"], "succeeded");
    let report = replay.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(report, "Report 7 of The Corner Shop: sales in May\n");

    // The stream is still open: it is ended in good order with the server.
    program.interrupt();
    let rest = timeout(PATIENCE, watched.collect()).await.unwrap().unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(program.end().await, "");
}

#[tokio::test]
async fn drain_refuses_new_work_and_lets_clients_fetch_the_old() {
    let mut program = Program::start("drain", &["4"]).await;
    let begin = Instant::now();
    let short = program.ask(Ask::post("/reports", "2")).await.monitor();
    let long = program.ask(Ask::post("/reports", "60")).await.monitor();
    let patient = Ask::get(&long).field("Prefer", "wait=30");
    let address = program.address;
    let patient = tokio::spawn(async move { patient.send(address).await });

    program.interrupt();
    assert_eq!(
        program.says().await,
        "draining: 2 pending; new work is refused, 4s to end"
    );
    // Who waits is told how it stands, long before its time.
    let told = patient.await.unwrap();
    assert_eq!(told.monitor(), long);
    assert!(begin.elapsed() < Duration::from_secs(20));

    let refused = program.ask(Ask::post("/reports", "1")).await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (503, "urn:tower-lro:problem:draining")
    );
    assert_eq!(refused.field("retry-after"), Some("1"));

    // Nobody reads while it drains.
    assert_eq!(
        program.says().await,
        "drained: 1 finished, 1 interrupted, 2 outcomes unread"
    );
    assert_eq!(program.says().await, "leaving 3s to fetch them");
    let fetched = program.ask(Ask::get(&short)).await;
    assert_eq!((fetched.status, fetched.text()), (200, "a report of 2 s\n"));
    let interrupted = program.ask(Ask::get(&long)).await;
    assert_eq!(
        (interrupted.status, &*interrupted.problem()),
        (500, "urn:tower-lro:problem:interrupted")
    );
    assert_eq!(program.end().await, "stopping the server\nended\n");
}

#[tokio::test]
async fn drain_ends_at_once_by_a_second_ctrl_c() {
    let mut program = Program::start("drain", &["600"]).await;
    program.ask(Ask::post("/reports", "600")).await.monitor();
    program.interrupt();
    assert_eq!(
        program.says().await,
        "draining: 1 pending; new work is refused, 600s to end"
    );
    program.interrupt();
    assert_eq!(program.end().await, "ctrl-c again: ending at once\n");
}
