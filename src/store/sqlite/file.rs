//! Whether the file is still where it was opened, and what SQLite keeps beside it.

use super::error::Fault;
use crate::store::{StoreError, StoreErrorKind};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The path that the file was opened by, that of its log and of the log's index, and which files those were.
#[derive(Debug)]
pub(super) struct File(Vec<(PathBuf, Identity)>);

impl File {
    /// Of a file that is open, and was read: from then to its close it has its log.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let known = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        let (log, index) = (beside(&path, "-wal"), beside(&path, "-shm"));
        Ok(Self(vec![known(path)?, known(log)?, known(index)?]))
    }

    /// Fails if one was removed or moved, or another stands in its place: what would be written then, nobody would find.
    pub(super) fn stands(&self) -> Result<(), Fault> {
        let is_gone = |(path, opened): &&(PathBuf, Identity)| {
            !identity(path).is_ok_and(|found| found == *opened)
        };
        let Some((path, _)) = self.0.iter().find(is_gone) else {
            return Ok(());
        };
        let cause = format!(
            "{}: the file was removed, moved or replaced while it was open",
            path.display()
        );
        Err(Fault::Refused(StoreError::caused_by(
            StoreErrorKind::Unavailable,
            cause,
        )))
    }

    /// Bytes of its log, used or not.
    pub(super) fn log_len(&self) -> u64 {
        let log = fs::metadata(&self.0[1].0);
        log.map_or(0, |log| log.len())
    }
}

/// What SQLite keeps beside the file.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Elsewhere a file that is open stays where it is.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(drop)
}
