//! Long bodies take little memory: they go through, to the file and out of it.

use crate::{
    house::{House, Node, path},
    raw::{Ask, PATIENCE},
    seed::is_long,
};
use tokio::{io::AsyncReadExt, time::timeout};

const MIB: usize = 1 << 20;

/// The most memory that a process has had, in bytes.
fn peak(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse::<usize>().unwrap() * 1024
}

/// Reads a replay of the job's pattern, without keeping it.
async fn read_pattern(node: &Node, monitor: &str, size: usize) {
    let mut stream = Ask::get(monitor).begin(node.address).await.unwrap();
    let (mut head, mut at) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    let mut in_body = false;
    loop {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await;
        let mut bytes = &buffer[..read.unwrap().unwrap()];
        if bytes.is_empty() {
            break;
        }
        if !in_body {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            in_body = true;
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
            let rest = head.len() - end - 4;
            bytes = &bytes[bytes.len() - rest..];
        }
        for byte in bytes {
            assert_eq!(*byte, (at % 251) as u8, "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, size);
}

#[tokio::test]
async fn bodies_take_no_more_memory_than_one_copy_of_the_request() {
    // One copy of the request, and so much for everything else.
    let (request, response, rest) = match is_long() {
        true => (64 * MIB, 256 * MIB, 64 * MIB),
        false => (24 * MIB, 96 * MIB, 40 * MIB),
    };
    let house = House::new(&[
        "--request-body=64MiB",
        "--uploading-bytes=64MiB",
        "--response-body=256MiB",
        "--stored-bytes=1GiB",
    ]);
    let node = house.node("alone").await;
    let idle = peak(&node);

    let ask = Ask::post(
        &format!("/plain/jobs?ms=300&size={response}"),
        vec![b'x'; request],
    );
    let accepted = ask.field("Content-Type", "application/octet-stream");
    let monitor = path(&node.ask(accepted).await.monitor());
    let accepting = peak(&node);
    let end = timeout(2 * PATIENCE, async {
        while !["succeeded", "failed"].contains(&&*node.status(&monitor).await) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    end.await.expect("it ends");
    let running = peak(&node);
    read_pattern(&node, &monitor, response).await;
    let replaying = peak(&node);

    let mib = |bytes: usize| bytes.div_ceil(MIB);
    println!(
        "a request of {} MiB and a response of {} MiB: at most {} MiB idle, {} accepting, {} running, {} replaying",
        mib(request),
        mib(response),
        mib(idle),
        mib(accepting),
        mib(running),
        mib(replaying),
    );
    assert!(replaying <= request + rest, "{} MiB", mib(replaying));
}
