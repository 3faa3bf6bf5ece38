//! A process is killed in the middle of its work; another goes on with it, and no client need know.
//!
//! ```text
//! cargo run --example sqlite_restart        # shows it, and ends by itself
//! ```
//!
//! It starts a server as a process of its own, has it accept a report, kills it (as `kill -9` does) while the report is
//! being written, and starts the server again. What it takes is marked `// +`: a store in a file, a second attempt, and a
//! worker that takes over what dead processes have left.
//!
//! By hand, with the server alone:
//!
//! ```text
//! cargo run --example sqlite_restart serve /tmp/operations.db 127.0.0.1:3000
//!
//! # 202, and where to look.
//! curl -i -d 'sales in May' http://127.0.0.1:3000/reports
//!
//! # Kill the server with `kill -9`, and start it again. Nothing is forgotten: 202 at first, and then the report.
//! curl -i http://127.0.0.1:3000/operations/ID
//! curl -i -H 'Prefer: wait=30' http://127.0.0.1:3000/operations/ID
//! ```
//!
//! A handler that is run again has to bear that: here the report is written twice, and the client sees one. With one
//! attempt, which is the default, it is never run again, and the operation fails as `lost`.

#[path = "tour/client.rs"]
mod client;

use axum::{Router, body::Body, extract::Request, routing::post};
use client::{Answer, Client};
use std::{
    error::Error,
    ffi::OsStr,
    num::NonZeroU16,
    path::Path,
    process::{ExitCode, Stdio, id},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tower_lro::{OperationHandle, Operations, store::SqliteOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How soon a dead process is noticed. Far longer, 15 s, if nothing is said.
const LEASE: Duration = Duration::from_secs(1);

const ATTEMPTS: NonZeroU16 = NonZeroU16::new(2).unwrap();

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(|argument| &**argument).collect();
    let done = match *arguments {
        [] => show().await,
        [serve_, file] if serve_ == "serve" => serve(file, OsStr::new("127.0.0.1:3000")).await,
        [serve_, file, address] if serve_ == "serve" => serve(file, address).await,
        _ => {
            eprintln!("usage: cargo run --example sqlite_restart [-- serve FILE [ADDRESS]]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqlite_restart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(file: &OsStr, address: &OsStr) -> Result<()> {
    let store = SqliteOptions::default().lease(LEASE).open(file)?; // +
    let operations = Operations::builder()
        .store(store) // +
        .build()?;
    let layer = operations.layer().attempts(ATTEMPTS); // +
    let app = Router::new()
        .route("/reports", post(report).route_layer(layer))
        .nest_service("/operations", operations.status_service());
    let worker = operations.worker::<_, Body>("default", app.clone()); // +
    tokio::spawn(worker.run()); // +

    let address = address.to_str().ok_or("the address is no text")?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
            operations.drain(Duration::from_secs(1)).await;
        })
        .await?;
    Ok(())
}

/// Writes a report, page by page. An ordinary handler; it asks for its attempt only to say so.
async fn report(operation: OperationHandle, request: Request) -> String {
    const PAGES: u8 = 10;
    let (process, attempt) = (id(), operation.attempt());
    println!("process {process} begins to write, attempt {attempt}");
    for page in 1..=PAGES {
        tokio::time::sleep(Duration::from_millis(300)).await;
        operation.progress(f32::from(page) / f32::from(PAGES), format!("page {page}"));
    }
    let about = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let about = about.unwrap_or_default();
    let about = String::from_utf8_lossy(&about);
    format!("{PAGES} pages on {about}, written by process {process} at attempt {attempt}\n")
}

/// The client's side, and the hand that kills.
async fn show() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("operations.db");

    let first = Server::start(&file).await?;
    println!("\n== A report is asked for\n");
    let accepted = first.send("POST", "/reports", &[], b"sales in May").await?;
    println!("{accepted}\n");
    let monitor = accepted.field("location").ok_or("it is not accepted")?;

    let status = format!("{monitor}/status");
    let written = loop {
        let document = first.send("GET", &status, &[], b"").await?.json()?;
        if document["progress"]["fraction"].as_f64() >= Some(0.4) {
            break document["progress"].clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!("\n== Its process is killed: {written}\n");
    first.kill().await?;

    let second = Server::start(&file).await?;
    println!(
        "\n== It is known to the next one, which waits for the lease to run out and begins again\n"
    );
    let pending = second.send("GET", monitor, &[], b"").await?;
    println!("{pending}\n");
    expect(&pending, 202)?;
    let report = loop {
        let wait = [("Prefer", "wait=20")];
        let answer = second.send("GET", monitor, &wait, b"").await?;
        if answer.status() != 202 {
            break answer;
        }
    };
    println!("{report}");
    expect(&report, 200)?;
    second.kill().await?;

    let third = Server::start(&file).await?;
    println!("\n== That one is killed too: the report stays\n");
    let again = third.send("GET", monitor, &[], b"").await?;
    println!("{again}");
    expect(&again, 200)?;
    if again.body != report.body {
        return Err("it has become another".into());
    }
    third.kill().await
}

fn expect(answer: &Answer, status: u16) -> Result<()> {
    if answer.status() == status {
        return Ok(());
    }
    Err(format!("this should be {status}").into())
}

/// This program again, as a process of its own that serves.
struct Server {
    child: Child,
    address: std::net::SocketAddr,
}

impl Server {
    async fn start(file: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(file)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stdout.take().ok_or("it says nothing")?;
        let mut lines = BufReader::new(said).lines();
        let first = lines.next_line().await?.ok_or("it does not start")?;
        let address = first.rsplit('/').next().unwrap_or_default().parse()?;
        println!(
            "process {} listens on http://{address}",
            child.id().unwrap_or(0)
        );
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                println!("{line}");
            }
        });
        Ok(Self { child, address })
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut client = Client::connect(self.address).await?;
        Ok(client.send(method, target, fields, body).await?)
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
