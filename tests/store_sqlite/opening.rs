//! Opening a file, of whatever kind.

use super::support::{
    PATIENCE, Place, Running, accept, as_child, child, file_of_child, find, finish, phase,
    try_accept,
};
use std::{
    fs,
    num::{NonZeroU32, NonZeroUsize},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    time::Instant,
};
use tower_lro::{
    Store,
    record::{Outcome, Phase},
    store::{
        Forget, ListQuery, Lookup, SqliteErrorKind, SqliteOptions, SqliteStore, StoreErrorKind,
    },
};

#[track_caller]
fn refused(path: &Path) -> SqliteErrorKind {
    let error = SqliteStore::open(path).expect_err("it is not to be opened");
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
    error.kind()
}

#[test]
fn a_directory_is_no_file() {
    let place = Place::new();
    assert_eq!(refused(place.directory()), SqliteErrorKind::IsDirectory);
}

#[test]
fn any_number_of_verbs_may_wait() {
    for waiting in [NonZeroUsize::MIN, NonZeroUsize::MAX] {
        let place = Place::new();
        place.open_with(SqliteOptions::default().waiting(waiting));
    }
}

#[test]
fn a_file_needs_its_directory() {
    let place = Place::new();
    let path = place.directory().join("none").join("operations.db");
    assert_eq!(refused(&path), SqliteErrorKind::NoDirectory);
    assert!(!path.exists());
}

#[test]
fn what_is_no_database_is_left_alone() {
    let place = Place::new();
    let text = "Dear diary, ".repeat(1_000);
    fs::write(place.path(), &text).unwrap();
    assert_eq!(refused(&place.path()), SqliteErrorKind::NotADatabase);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), text);
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let place = Place::new();
    place
        .sql()
        .execute_batch("CREATE TABLE diary (day TEXT)")
        .unwrap();
    let before = fs::read(place.path()).unwrap();
    assert_eq!(refused(&place.path()), SqliteErrorKind::NotOurs);
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

/// It was killed: what it wrote last is in its log alone.
#[test]
fn the_log_of_another_program_is_left_alone() {
    let (place, copy) = (Place::new(), Place::new());
    let sql = place.sql();
    sql.pragma_update(None, "journal_mode", "WAL").unwrap();
    sql.execute_batch("CREATE TABLE diary (day TEXT)").unwrap();
    let log = |place: &Place| place.directory().join("operations.db-wal");
    fs::copy(place.path(), copy.path()).unwrap();
    fs::copy(log(&place), log(&copy)).unwrap();
    let both = || [copy.path(), log(&copy)].map(|path| fs::read(path).ok());
    let before = both();
    assert!(before.iter().flatten().all(|bytes| !bytes.is_empty()));
    assert_eq!(refused(&copy.path()), SqliteErrorKind::NotOurs);
    assert!(before == both(), "it was written to");
}

#[test]
fn the_file_of_a_later_version_is_left_alone() {
    let place = Place::new();
    drop(place.open());
    // Its threads have it open for a moment more: the last to close it takes the log in.
    let log = place.directory().join("operations.db-wal");
    let began = Instant::now();
    while log.exists() {
        assert!(began.elapsed() < PATIENCE, "it is never closed");
        std::thread::yield_now();
    }
    place.sql().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(place.path()).unwrap();
    let newer = SqliteErrorKind::Newer {
        found: 99,
        known: 1,
    };
    assert_eq!(refused(&place.path()), newer);
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[tokio::test]
async fn an_empty_file_is_as_good_as_none() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    let store = place.open();
    let claim = accept(&store, 1).await;
    assert_eq!(phase(&store, claim.id()).await, Some(Phase::Accepted));
}

/// Root may write what is read-only: so this asks another user to, if it must.
#[test]
fn a_read_only_file_is_told_at_once() {
    if let Some(path) = file_of_child() {
        return opens(&path);
    }
    let place = Place::new();
    drop(place.open());
    allow(&place.path(), 0o444);
    let told = opened_by_another(&place, "opening::a_read_only_file_is_told_at_once");
    assert_eq!(told, "Some(ReadOnly)");
}

#[test]
fn a_directory_in_which_nothing_can_be_made_is_told_as_read_only() {
    const NAME: &str = "opening::a_directory_in_which_nothing_can_be_made_is_told_as_read_only";
    if let Some(path) = file_of_child() {
        return opens(&path);
    }
    let place = Place::new();
    assert_eq!(opened_by_another(&place, NAME), "Some(ReadOnly)");
    assert_eq!(fs::read_dir(place.directory()).unwrap().count(), 0);
    // Nor a log beside a file that could be written.
    drop(place.open());
    allow(&place.path(), 0o666);
    assert_eq!(opened_by_another(&place, NAME), "Some(ReadOnly)");
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a user is told who can't write to the directory.
fn opened_by_another(place: &Place, test: &str) -> String {
    allow(place.directory(), 0o555);
    let mut command = child(test, &place.path());
    if fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0) {
        command.uid(65534);
    }
    let told = Running::start(command).hear("opened");
    allow(place.directory(), 0o755);
    told
}

fn opens(path: &Path) {
    println!(
        "opened {:?}",
        SqliteStore::open(path).err().map(|error| error.kind())
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_and_not_understood_halfway() {
    let place = Place::new();
    let id = {
        let store = place.open();
        let claim = accept(&store, 1).await;
        finish(&store, &claim, b"some text").await;
        claim.id()
    };
    let sql = place.sql();
    sql.execute("UPDATE operations SET ending = x'0100'", [])
        .unwrap();
    let store = place.open();
    assert_eq!(
        store.find(id).await.unwrap_err().kind(),
        StoreErrorKind::Corrupt
    );
    // What is not damaged goes on.
    accept(&store, 1).await;
    sql.execute(
        "UPDATE operations SET ending = NULL, submission = x'02'",
        [],
    )
    .unwrap();
    assert_eq!(
        store.find(id).await.unwrap_err().kind(),
        StoreErrorKind::Corrupt
    );
}

#[tokio::test]
async fn pages_of_nonsense_are_told() {
    let place = Place::new();
    {
        let store = place.open();
        for _ in 0..100 {
            accept(&store, 1).await;
        }
    }
    // All in the file itself, and the header as it was.
    place
        .sql()
        .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(place.path(), bytes).unwrap();
    assert_eq!(refused(&place.path()), SqliteErrorKind::Corrupt);
}

/// The file as version 1 of the schema has it. When there is a second, a file of that joins it here.
#[tokio::test]
async fn a_file_of_version_1_is_read() {
    let place = Place::new();
    let sql = include_str!("../formats/sqlite-1.sql");
    let file = place.sql();
    file.execute_batch(sql).unwrap();
    drop(file);
    let store = place.open();
    let id = |number: u8| tower_lro::OperationId::from_uuid(uuid::Uuid::from_bytes([number; 16]));
    let ended = find(&store, id(1)).await.unwrap();
    assert_eq!(ended.phase(), Phase::Ended(Outcome::Succeeded));
    assert_eq!(super::support::body(&ended), "some text");
    assert_eq!(phase(&store, id(2)).await, Some(Phase::Accepted));
    assert!(matches!(store.find(id(3)).await, Ok(Lookup::Gone { .. })));
    let usage = store.usage();
    assert_eq!(
        (usage.operations, usage.unread, usage.tombstones),
        (2, 1, 1)
    );
    let [claimed] = &super::support::claim(&store).await[..] else {
        panic!("expected one")
    };
    assert_eq!(claimed.record.id, id(2));
    accept(&store, 1).await;
}

/// What is written to a file that nobody can open is lost, though it was synced.
#[tokio::test]
async fn a_file_that_is_moved_or_replaced_while_it_is_open_is_missed_until_it_is_back() {
    let place = Place::new();
    let store = place.open();
    let claim = accept(&store, 1).await;
    let aside = place.directory().join("aside.db");
    fs::rename(place.path(), &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::write(place.path(), "").unwrap();
        }
        let refused = try_accept(&store, 1).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
        let unread = store.find(claim.id()).await.unwrap_err();
        assert_eq!(unread.kind(), StoreErrorKind::Unavailable);
        assert!(store.list(&ListQuery::all()).await.is_err());
    }
    fs::rename(&aside, place.path()).unwrap();
    assert_eq!(phase(&store, claim.id()).await, Some(Phase::Accepted));
    accept(&store, 1).await;
}

/// What is synced to a log that nobody can open is lost as well; and without its index two processes know nothing of each
/// other.
#[tokio::test]
async fn a_log_that_is_moved_or_replaced_while_it_is_open_is_missed_until_it_is_back() {
    let place = Place::new();
    let store = place.open();
    let claim = accept(&store, 1).await;
    for suffix in ["wal", "shm"] {
        let path = place.directory().join(format!("operations.db-{suffix}"));
        let aside = place.directory().join("aside");
        fs::rename(&path, &aside).unwrap();
        for replaced in [false, true] {
            if replaced {
                fs::copy(&aside, &path).unwrap();
            }
            let refused = try_accept(&store, 1).await.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
            let unread = store.find(claim.id()).await.unwrap_err();
            assert_eq!(unread.kind(), StoreErrorKind::Unavailable);
        }
        fs::rename(&aside, &path).unwrap();
        assert_eq!(phase(&store, claim.id()).await, Some(Phase::Accepted));
        accept(&store, 1).await;
    }
}

#[tokio::test]
async fn a_file_that_is_full_says_so_and_goes_on_with_what_is_in_it() {
    let place = Place::new();
    let store = place.open_with(tower_lro::store::SqliteOptions::default().file_bytes(300 << 10));
    let mut accepted = Vec::new();
    let error = loop {
        match try_accept(&store, 1).await {
            Ok(claim) => accepted.push(claim),
            Err(error) => break error,
        }
        assert!(accepted.len() < 10_000, "it is never full");
    };
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert_eq!(store.usage().operations, accepted.len() as u64);
    for claim in &accepted {
        assert_eq!(phase(&store, claim.id()).await, Some(Phase::Accepted));
    }
    let few = accepted.len() * 9 / 10;
    for claim in accepted.drain(..few) {
        let forgotten = store
            .forget(claim.id(), tower_lro::store::Forget::Any)
            .await;
        assert!(forgotten.is_ok(), "{forgotten:?}");
    }
    accept(&store, 1).await;
    for claim in &accepted {
        assert_eq!(phase(&store, claim.id()).await, Some(Phase::Accepted));
    }
}

/// As on a disk that is full, or has a quota: whatever was answered is there, and nothing else is.
#[tokio::test]
async fn a_disk_that_takes_no_more_loses_nothing_that_was_answered() {
    if let Some(path) = file_of_child() {
        return accepts_until_it_fails(&path).await;
    }
    let place = Place::new();
    drop(place.open());
    let mut command = Command::new("sh");
    let limited = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"";
    command
        .arg("-c")
        .arg(limited)
        .arg(std::env::current_exe().unwrap());
    as_child(
        &mut command,
        "opening::a_disk_that_takes_no_more_loses_nothing_that_was_answered",
        &place.path(),
    );
    let lines = Running::start(command).rest();
    let told = |word: &str| -> Vec<String> {
        let said = lines.iter().filter_map(|line| line.split_once(word));
        said.map(|(_, rest)| rest.trim().to_owned()).collect()
    };
    let accepted = told("accepted ");
    assert!(accepted.len() > 30, "{lines:?}");
    let failed = told("failed ");
    assert!(
        ["Full", "Uncertain", "Unavailable"].contains(&&*failed[0]),
        "{failed:?}"
    );
    assert_eq!(told("found "), ["true"]);
    let store = place.open();
    for id in &accepted {
        let id = id.parse().unwrap();
        assert_eq!(phase(&store, id).await, Some(Phase::Accepted));
    }
    // The one that failed may be there, where nobody could know.
    let more = store.usage().operations - accepted.len() as u64;
    assert!(more <= u64::from(failed[0] == "Uncertain"), "{more}");
    accept(&store, 1).await;
}

async fn accepts_until_it_fails(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let mut last = None;
    loop {
        match try_accept(&store, 1).await {
            Ok(claim) => {
                println!("accepted {}", claim.id());
                last = Some(claim.id());
            }
            Err(error) => {
                println!("failed {:?}", error.kind());
                break;
            }
        }
    }
    println!("found {}", find(&store, last.unwrap()).await.is_some());
}

#[tokio::test]
async fn tombstones_beyond_a_lowered_limit_go_in_small_steps() {
    let place = Place::new();
    let bury = async |store: &SqliteStore| {
        let id = accept(store, 1).await.id();
        store.forget(id, Forget::Any).await.unwrap();
        id
    };
    let store = place.open();
    let first = bury(&store).await;
    for _ in 1..300 {
        bury(&store).await;
    }
    drop(store);
    let store = place.open_with(SqliteOptions::default().tombstones(10));
    let before = store.work().statements;
    let last = bury(&store).await;
    let statements = store.work().statements - before;
    assert!(statements < 30, "{statements}");
    assert_eq!(store.usage().tombstones, 300);
    let batch = NonZeroU32::new(64).unwrap();
    for left in [236, 172, 108, 44, 10] {
        store.sweep(batch).await.unwrap();
        assert_eq!(store.usage().tombstones, left);
    }
    assert_eq!(store.sweep(batch).await.unwrap().done, 0);
    assert!(matches!(store.find(first).await, Ok(Lookup::Unknown)));
    assert!(matches!(store.find(last).await, Ok(Lookup::Gone { .. })));
}
