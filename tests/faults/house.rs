//! Processes under one roof: each a workbench, all on one file.

use crate::{
    programs::path_of,
    raw::{Answer, Ask, PATIENCE},
};
use serde_json::Value;
use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

pub(crate) struct House {
    directory: TempDir,
    flags: Vec<String>,
}

impl House {
    /// With flags for all of its processes.
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            flags: flags.iter().map(|&flag| flag.into()).collect(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("operations.db")
    }

    /// Starts a process, and waits until it listens.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.node_with(name, &[]).await
    }

    /// With flags of its own.
    pub(crate) async fn node_with(&self, name: &str, flags: &[&str]) -> Node {
        self.start(
            Command::new(path_of("workbench")),
            &self.file(),
            name,
            flags,
        )
        .await
    }

    /// Under another program, which ends as what it runs.
    pub(crate) async fn node_under(
        &self,
        program: &str,
        arguments: &[OsString],
        file: &Path,
    ) -> Node {
        let mut command = Command::new(program);
        command.args(arguments).arg(path_of("workbench"));
        self.start(command, file, "alone", &[]).await
    }

    async fn start(&self, mut command: Command, file: &Path, name: &str, flags: &[&str]) -> Node {
        let mut store = OsString::from("sqlite:");
        store.push(file);
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--node", name, "--store"])
            .arg(store)
            .arg("--witness")
            .arg(self.path().join("witness"))
            .args(&self.flags)
            .args(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, said.next_line()).await.unwrap();
        let first = first.unwrap().expect("it listens");
        let address = first.strip_prefix("listening on http://").unwrap();
        Node {
            address: address.parse().unwrap(),
            child,
        }
    }

    /// What was run, in order, whoever died of it.
    pub(crate) fn witnessed(&self) -> Vec<Event> {
        let lines = std::fs::read_to_string(self.path().join("witness"));
        lines.unwrap_or_default().lines().map(Event::read).collect()
    }

    /// Waits until a job has come so far.
    pub(crate) async fn sees(&self, event: &str, echo: &str) -> Event {
        let sees = || {
            let mut all = self.witnessed().into_iter();
            all.find(|seen| seen.event == event && seen.echo == echo)
        };
        until(&format!("{echo} {event}"), async || sees()).await
    }
}

/// A line of the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) node: String,
    pub(crate) attempt: u64,
    pub(crate) event: String,
    pub(crate) echo: String,
}

impl Event {
    fn read(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        Self {
            node: text("node"),
            attempt: line["attempt"].as_u64().unwrap(),
            event: text("event"),
            echo: text("echo"),
        }
    }
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Node {
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        ask.send(self.address).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Ask::get(target)).await
    }

    /// Submits a job, and gives its monitor's path: each process has its own before that.
    pub(crate) async fn submit(&self, job: &str) -> String {
        let accepted = self.ask(Ask::post(&format!("/plain/jobs?{job}"), "")).await;
        path(&accepted.monitor())
    }

    /// Waits for an operation's end.
    pub(crate) async fn outcome(&self, monitor: &str) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.ask(Ask::get(monitor).field("Prefer", "wait=20")).await;
            if answer.status != 202 || answer.field("operation-outcome").is_some() {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "never ended: {answer:?}");
        }
    }

    /// How an operation stands.
    pub(crate) async fn status(&self, monitor: &str) -> String {
        let document = self.get(&format!("{monitor}/status")).await.json();
        document["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = std::process::Command::new("kill");
        let killed = kill.args([signal, &self.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Without scheme and authority.
pub(crate) fn path(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// Asks until there is an answer, which has to be soon.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
