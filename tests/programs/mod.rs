//! The examples as programs.

use std::{ffi::OsStr, path::PathBuf, process::Command};

/// Where cargo has put an example: beside the tests, which are in `deps`.
///
/// `cargo test` builds examples, `cargo test --test examples` does not: then it is done here.
pub(crate) fn path_of(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(example);
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--examples", "--target-dir"]);
        build.arg(profile.parent().unwrap());
        let release = profile.file_name() == Some(OsStr::new("release"));
        build.args(release.then_some("--release"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().unwrap().success());
    }
    path
}
