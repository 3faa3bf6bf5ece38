//! Syncs are counted by the calls that the process makes, not by what it says.

use crate::{
    house::{House, path},
    raw::Ask,
};
use std::{ffi::OsString, path::Path, process::Command};
use tokio::task::JoinSet;

/// Whether calls can be traced here.
fn is_permitted() -> bool {
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    traced.is_ok_and(|traced| traced.status.success())
}

/// What a process did, in order.
enum Call {
    /// Bytes went into the log.
    Log(Vec<u8>),
    /// What was in the log by this number of calls is on disk.
    Synced { since: usize },
    /// Bytes went to a client.
    Sent(Vec<u8>),
}

/// The strings of a call, as bytes.
fn strings(line: &str) -> Vec<u8> {
    let hex = line
        .split('"')
        .skip(1)
        .step_by(2)
        .flat_map(|string| string.split("\\x").skip(1));
    hex.map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn read(trace: &Path) -> Vec<Call> {
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut calls = Vec::new();
    // Syncs that have begun, by thread.
    let mut begun = std::collections::HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let of_log = call
            .split_once('>')
            .is_some_and(|(file, _)| file.ends_with(r"\x2d\x77\x61\x6c"));
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if is_sync && of_log && call.ends_with("<unfinished ...>") {
            begun.insert(thread, calls.len());
        } else if is_sync && of_log && call.ends_with("= 0") {
            calls.push(Call::Synced { since: calls.len() });
        } else if call.contains("sync resumed>") && call.ends_with("= 0") {
            if let Some(since) = begun.remove(thread) {
                calls.push(Call::Synced { since });
            }
        } else if call.starts_with("pwrite64(") && of_log {
            calls.push(Call::Log(strings(call)));
        } else if !is_sync && !call.starts_with("pwrite64(") && !call.starts_with("<...") {
            calls.push(Call::Sent(strings(call)));
        }
    }
    calls
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_sync_precedes_every_202() {
    if !is_permitted() {
        println!("strace is not here, or not permitted: not counted");
        return;
    }
    let house = House::new(&[]);
    let trace = house.path().join("trace");
    // Traced by a grandchild, so that the child is the process itself.
    let mut arguments: Vec<OsString> =
        "-D -f -y -xx -s 65536 -e trace=pwrite64,fdatasync,fsync,write,writev,sendto -o"
            .split(' ')
            .map(Into::into)
            .collect();
    arguments.push(trace.clone().into());
    let node = house.node_under("strace", &arguments, &house.file()).await;

    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(node.submit(&format!("ms=5&echo={n}")).await);
    }
    let mut clients = JoinSet::new();
    for n in 10..42 {
        let (ask, address) = (
            Ask::post(&format!("/plain/jobs?ms=5&echo={n}"), ""),
            node.address,
        );
        clients.spawn(async move { path(&ask.send(address).await.monitor()) });
    }
    ids.extend(clients.join_all().await);
    for monitor in &ids {
        assert_eq!(node.outcome(monitor).await.status, 200);
    }
    node.kill().await;

    let calls = read(&trace);
    for monitor in &ids {
        let text = monitor.rsplit('/').next().unwrap();
        let id = uuid(text);
        let logged = calls
            .iter()
            .position(|call| matches!(call, Call::Log(bytes) if contains(bytes, &id)));
        let logged = logged.expect("it is in the log");
        let accepted = calls.iter().position(|call| {
            matches!(call, Call::Sent(bytes) if bytes.starts_with(b"HTTP/1.1 202") && contains(bytes, text.as_bytes()))
        });
        let accepted = accepted.expect("it was answered 202");
        let synced = calls[..accepted]
            .iter()
            .any(|call| matches!(call, Call::Synced { since } if *since > logged));
        assert!(synced, "answered 202 before it was synced");
    }
    let syncs = calls
        .iter()
        .filter(|call| matches!(call, Call::Synced { .. }))
        .count();
    println!(
        "{} operations, accepted and ended: {syncs} syncs of the log",
        ids.len()
    );
}

fn uuid(text: &str) -> [u8; 16] {
    let digits: String = text.split('-').collect();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}
