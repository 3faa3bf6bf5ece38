//! The disk is full: one of its own, of a few MiB, that goes with the process.

use crate::{
    house::{House, Node, until},
    raw::Ask,
};
use std::{fs::File, io::Write, path::PathBuf, process::Command};

const MOUNT: &str = r#"mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@""#;

/// Whether this user may mount anything.
fn is_permitted() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let mut mount = Command::new("unshare");
    mount
        .args(["--mount", "sh", "-c", MOUNT])
        .arg(directory.path());
    let mounted = mount.arg("true").output();
    mounted.is_ok_and(|mounted| mounted.status.success())
}

/// A process whose store is on a small disk.
async fn on_small_disk(house: &House) -> (Node, PathBuf) {
    let directory = house.path().join("disk");
    std::fs::create_dir(&directory).unwrap();
    let arguments = ["--mount", "sh", "-c", MOUNT].map(Into::into);
    let mut arguments = Vec::from(arguments);
    arguments.push(directory.clone().into());
    let file = directory.join("operations.db");
    let node = house.node_under("unshare", &arguments, &file).await;
    // As it is seen by the process that has it mounted.
    let root = PathBuf::from(format!("/proc/{}/root", node.id()));
    let inside = root.join(directory.strip_prefix("/").unwrap());
    (node, inside)
}

#[tokio::test]
async fn a_full_disk_has_accepts_refused_and_loses_nothing() {
    if !is_permitted() {
        println!("no disk may be mounted here: not tried");
        return;
    }
    let house = House::new(&["--response-body", "1MiB"]);
    let (node, disk) = on_small_disk(&house).await;
    let ended = node.submit("echo=ended&size=200000").await;
    let result = node.outcome(&ended).await;
    assert_eq!(result.status, 200);
    let running = node.submit("ms=1000&echo=running").await;
    house.sees("begins", "running").await;

    let mut filler = File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    while filler.write_all(&[0]).is_ok() {}
    let refused = until("an accept is refused", async || {
        let freight = vec![b'x'; 100_000];
        let answer = node.ask(Ask::post("/plain/jobs?echo=more", freight)).await;
        assert!([202, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.field("retry-after").is_some());
    println!("refused: {}", refused.problem());
    let begun = || {
        let all = house.witnessed().into_iter();
        all.filter(|event| event.event == "begins").count()
    };
    let before = begun();
    for _ in 0..3 {
        let answer = node
            .ask(Ask::post("/plain/jobs?echo=more", vec![b'x'; 100_000]))
            .await;
        assert_eq!(answer.status, 503);
    }
    assert_eq!(begun(), before, "what was refused ran");

    // What is there can be read; what ends meanwhile is not forgotten.
    assert_eq!(node.get(&ended).await.body, result.body);
    house.sees("ends", "running").await;
    let pending = node.get(&running).await;
    assert!([200, 202].contains(&pending.status), "{pending:?}");

    std::fs::remove_file(disk.join("filler")).unwrap();
    drop(filler);
    let end = node.outcome(&running).await;
    assert_eq!((end.status, &end.json()["echo"]), (200, &"running".into()));
    let accepted = node.submit("echo=again").await;
    assert_eq!(node.outcome(&accepted).await.status, 200);
    assert_eq!(node.get(&ended).await.body, result.body);
}
