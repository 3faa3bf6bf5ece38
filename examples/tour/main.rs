//! The whole journey in one command: a file is submitted to a slow handler, followed, and its result fetched; a second
//! one is cancelled.
//!
//! ```text
//! cargo run --example tour                  # with its own source as the file
//! cargo run --example tour -- PATH          # with another: at most 64 MiB
//! cargo run --example tour -- --store sqlite:/tmp/operations.db   # operations are kept in a file, not in memory
//! ```
//!
//! It starts an axum server on a free port of the loopback interface whose handler really works on the bytes it is sent
//! (`server.rs`: an ordinary handler that also reports its progress), and talks to it over a socket as any client
//! would (`client.rs`), so that what is shown is what was on the wire. It ends by itself, with 0 if all went as it
//! should, 1 if not, 2 if it was called wrongly. While it runs, the port that it prints can also be asked with
//!
//! ```text
//! curl -i --data-binary @README.md 'http://127.0.0.1:PORT/fingerprints?rounds=20000'
//! curl -i -H 'Prefer: wait=10' http://127.0.0.1:PORT/operations/ID
//! curl -i http://127.0.0.1:PORT/operations/ID/status
//! curl -i -X DELETE http://127.0.0.1:PORT/operations/ID
//! ```

mod check;
mod client;
mod server;
mod show;

use client::{Answer, Client};
use serde_json::Value;
use show::{Bar, Steps};
use std::{
    error::Error,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long the handler should have to work, on this machine.
const WORK: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> ExitCode {
    let (path, store) = match named_by(std::env::args_os().skip(1)) {
        Ok(named) => named,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    match tour(&path, store.as_deref()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The file to submit, and that of the store where there is one.
fn named_by(
    mut arguments: impl Iterator<Item = OsString>,
) -> std::result::Result<(PathBuf, Option<PathBuf>), &'static str> {
    const OWN_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tour/main.rs");
    const USAGE: &str = "usage: cargo run --example tour [-- [--store memory|sqlite:PATH] [PATH]]";
    let (mut path, mut store) = (None, None);
    while let Some(argument) = arguments.next() {
        if argument == "--store" {
            let named = arguments.next().and_then(|store| store.into_string().ok());
            let named = named.ok_or(USAGE)?;
            store = match named.strip_prefix("sqlite:") {
                Some(path) if !path.is_empty() => Some(path.into()),
                None if named == "memory" => None,
                _ => return Err(USAGE),
            };
        } else if path.is_none() && !argument.as_encoded_bytes().starts_with(b"-") {
            path = Some(argument.into());
        } else {
            return Err(USAGE);
        }
    }
    Ok((path.unwrap_or_else(|| OWN_SOURCE.into()), store))
}

async fn tour(path: &Path, store: Option<&Path>) -> Result<()> {
    let mut steps = Steps::default();

    let file = steps.time("read the file", || read(path))?;
    println!("{} has {} bytes", path.display(), file.len());
    let server = server::start(store).await?;
    println!("the server listens on http://{}", server.address);
    let mut client = Client::connect(server.address).await?;
    let rounds = check::rounds_that_take(WORK, &file);
    let target = format!("/fingerprints?rounds={rounds}");

    show::title("Submit it: 202 at once, and where to look");
    let accepted = steps
        .await_on("submitted", client.send("POST", &target, &[], &file))
        .await?;
    println!("{accepted}");
    let operation = Operation::accepted(&accepted)?;

    show::title("Follow it");
    let mut watch = Watch::new(&operation, &accepted);
    println!(
        "Retry-After says to come back in {:?}; from then on, news are waited for",
        watch.pause
    );
    let last = steps
        .await_on("worked on", async {
            let mut bar = Bar::new();
            loop {
                let document = watch.news(&mut client).await?;
                bar.show(&document);
                if has_ended(&document) {
                    bar.end();
                    break Result::Ok(document);
                }
            }
        })
        .await?;
    expect(&last["status"], "succeeded")?;

    show::title("Fetch its result: the handler's own response, as often as asked");
    let result = steps
        .await_on("replayed", client.send("GET", &operation.monitor, &[], b""))
        .await?;
    println!("{result}\n");
    let again = client.send("GET", &operation.monitor, &[], b"").await?;
    if (result.status(), result.field("operation-outcome")) != (200, Some("succeeded")) {
        return Err("the monitor does not replay a success".into());
    }
    if again.body != result.body {
        return Err("asked again, the monitor replays something else".into());
    }
    steps.time("computed again here", || {
        check::check(&file, rounds, &result.body)
    })?;
    println!("it is what this program has computed from the file by itself");
    let saved = save(&operation, &result.body)?;
    println!("saved as {}", saved.display());

    show::title("Submit another, and cancel it while it runs");
    // Far longer: it has to run still, however much faster the machine is than when it was measured.
    let target = format!("/fingerprints?rounds={}", rounds.saturating_mul(10));
    let accepted = client.send("POST", &target, &[], &file).await?;
    let operation = Operation::accepted(&accepted)?;
    println!("accepted as {}", operation.monitor);
    let mut watch = Watch::new(&operation, &accepted);
    loop {
        let document = watch.news(&mut client).await?;
        if document["progress"]["fraction"].as_f64() > Some(0.0) || has_ended(&document) {
            break;
        }
    }
    let cancelled = steps
        .await_on(
            "cancelled",
            client.send("DELETE", &operation.monitor, &[], b""),
        )
        .await?;
    println!("{cancelled}\n");
    expect(&cancelled.json()?["status"], "cancelled")?;
    let gone = client.send("GET", &operation.monitor, &[], b"").await?;
    println!("{gone}");
    if (gone.status(), gone.field("operation-outcome")) != (410, Some("cancelled")) {
        return Err("a cancelled operation does not answer 410".into());
    }

    drop(client);
    steps.await_on("shut down", server.stop()).await?;
    show::title("How long it took");
    print!("{steps}");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if file.len() > server::LARGEST {
        let largest = server::LARGEST >> 20;
        return Err(format!(
            "{}: the server takes no more than {largest} MiB",
            path.display()
        )
        .into());
    }
    Ok(file)
}

/// An operation as its client knows it.
struct Operation {
    monitor: String,
    status: String,
}

impl Operation {
    fn accepted(answer: &Answer) -> Result<Self> {
        let (202, Some(monitor)) = (answer.status(), answer.field("location")) else {
            return Err(format!("the server does not accept it:\n{answer}").into());
        };
        let status = answer.json()?["links"]["status"].clone();
        let status = status.as_str().ok_or("the document links to no status")?;
        Ok(Self {
            monitor: monitor.to_owned(),
            status: status.to_owned(),
        })
    }
}

/// Waits for news of an operation.
///
/// The server is asked to hold each answer back until there is something new, by `Prefer: wait` and the entity tag of
/// what is known. Where it does not, `Retry-After` says when to ask again.
struct Watch<'a> {
    status: &'a str,
    tag: String,
    pause: Duration,
}

impl<'a> Watch<'a> {
    fn new(operation: &'a Operation, accepted: &Answer) -> Self {
        Self {
            status: &operation.status,
            // Nothing is known yet: a tag that no document has.
            tag: "\"\"".to_owned(),
            pause: retry_after(accepted),
        }
    }

    /// The next status document.
    async fn news(&mut self, client: &mut Client) -> Result<Value> {
        loop {
            tokio::time::sleep(self.pause).await;
            let fields = [("If-None-Match", &*self.tag), ("Prefer", "wait=5")];
            let answer = client.send("GET", self.status, &fields, b"").await?;
            let held = answer.field("preference-applied").is_some();
            self.pause = if held {
                Duration::ZERO
            } else {
                retry_after(&answer)
            };
            match answer.status() {
                304 => {}
                200 => {
                    self.tag = answer.field("etag").unwrap_or_default().to_owned();
                    return Ok(answer.json()?);
                }
                _ => return Err(format!("the status can't be read:\n{answer}").into()),
            }
        }
    }
}

fn has_ended(document: &Value) -> bool {
    !matches!(document["status"].as_str(), Some("accepted" | "running"))
}

fn retry_after(answer: &Answer) -> Duration {
    let seconds = answer.field("retry-after").and_then(|n| n.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn expect(status: &Value, expected: &str) -> Result<()> {
    if status == expected {
        return Ok(());
    }
    Err(format!("the operation should be {expected} and is {status}").into())
}

fn save(operation: &Operation, body: &[u8]) -> Result<PathBuf> {
    let id = operation.monitor.rsplit('/').next().unwrap_or_default();
    let name = format!("tower-lro-tour-{}.json", id.get(..8).unwrap_or(id));
    let path = std::env::temp_dir().join(name);
    let failed = |error| format!("{}: {error}", path.display());
    // Others may write there too: never into a file of theirs.
    let mut file = fs::File::create_new(&path).map_err(failed)?;
    file.write_all(body).map_err(failed)?;
    Ok(path)
}
