//! What the README and the guide say in tables is what the code does.

use std::{collections::BTreeMap, time::Duration};
use tower_lro::{
    Limits,
    problem::{Problem, ProblemKind},
};

const README: &str = include_str!("../README.md");
const GUIDE: &str = include_str!("../src/docs/guide.md");

/// Every limit by its name, as `Debug` shows it: a new one is not forgotten here.
fn limits() -> BTreeMap<String, String> {
    let shown = format!("{:#?}", Limits::default());
    let fields = shown
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    fields
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// What `Debug` shows for a value as people write it: `2 MiB`, `10 min`, `100,000`.
fn as_debug(written: &str) -> String {
    let (number, unit) = written.split_once(' ').unwrap_or((written, ""));
    let number: u64 = number.replace(',', "").parse().expect(written);
    let seconds = |seconds| format!("{:?}", Duration::from_secs(seconds));
    match unit {
        "" => number.to_string(),
        "KiB" => (number << 10).to_string(),
        "MiB" => (number << 20).to_string(),
        "s" => seconds(number),
        "min" => seconds(number * 60),
        "h" => seconds(number * 60 * 60),
        other => panic!("what is {other}?"),
    }
}

/// Rows of all tables of a page, cell by cell.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| {
        row.trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect()
    })
}

#[test]
fn the_guide_lists_every_limit_with_its_default() {
    let told: BTreeMap<String, String> = rows(GUIDE)
        .filter(|row| row[0].contains("](Limits::"))
        .filter_map(|row| {
            let (name, _) = row[0].strip_prefix("[`")?.split_once('`')?;
            Some((name.into(), as_debug(row[1])))
        })
        .collect();
    assert_eq!(told, limits());
}

#[test]
fn the_readme_lists_the_limits_with_their_defaults() {
    let names = [
        ("target of a request", "target"),
        ("request body", "request_body"),
        ("all uploads in progress", "uploading_bytes"),
        ("time of an upload", "upload_time"),
        ("response body", "response_body"),
        ("running", "running"),
        ("accepted, not running", "accepted"),
        ("time to start", "start_within"),
        ("run time", "run_time"),
        ("stored operations", "stored"),
        ("stored responses", "stored_bytes"),
        ("kept after the end", "keep_for"),
        ("held at most", "wait"),
        ("readers of one operation", "readers_per_operation"),
        ("readers in all", "readers"),
        ("told to ask again after", "retry_after"),
    ];
    let told: BTreeMap<&str, &str> = rows(README)
        .filter(|row| row.len() == 4)
        .flat_map(|row| [(row[0], row[1]), (row[2], row[3])])
        .collect();
    let limits = limits();
    for (words, name) in names {
        assert_eq!(as_debug(told[words]), limits[name], "{words}");
    }
    assert_eq!(told["remembered after that"], "24 h, 100,000 ids");
    assert_eq!(limits["tombstone_for"], as_debug("24 h"));
    assert_eq!(limits["tombstones"], as_debug("100,000"));
}

#[test]
fn the_guide_tells_the_status_of_each_failure() {
    let kinds = [
        ProblemKind::Panicked,
        ProblemKind::Errored,
        ProblemKind::ResultTooLarge,
        ProblemKind::NotStarted,
        ProblemKind::TimedOut,
        ProblemKind::Cancelled,
        ProblemKind::Interrupted,
        ProblemKind::Lost,
    ];
    for kind in kinds {
        let name = format!("`{}`", kind.name());
        let told = rows(GUIDE).find(|row| row.len() == 3 && row[2].split(", ").any(|x| x == name));
        let status = Problem::new(kind).status;
        assert_eq!(told.expect(&name)[1], status.as_str(), "{name}");
    }
}

#[test]
fn the_readme_names_the_rust_version_of_the_manifest() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(README.contains(&format!("Rust {version} or later")));
    assert!(README.contains(&format!("\nRust {version} (")));
}

#[test]
fn the_guide_has_a_row_for_every_feature() {
    let manifest = include_str!("../Cargo.toml");
    let (_, features) = manifest.split_once("[features]\n").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    let names = features.lines().filter_map(|line| line.split_once(" = "));
    let told: Vec<&str> = rows(GUIDE).map(|row| row[0]).collect();
    for (name, _) in names.filter(|(name, _)| *name != "default") {
        assert!(told.contains(&&*format!("`{name}`")), "{name}");
    }
}
