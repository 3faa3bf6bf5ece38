//! Whether the file is still where it was opened.

use super::error::Fault;
use crate::store::{StoreError, StoreErrorKind};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The path that the file was opened by, and which file that was.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: Identity,
}

impl File {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        Ok(Self {
            identity: identity(&path)?,
            path,
        })
    }

    /// Fails if it was removed or moved, or another stands in its place: what would be written then, nobody would find.
    pub(super) fn stands(&self) -> Result<(), Fault> {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        let cause = format!(
            "{}: the file was removed, moved or replaced while it was open",
            self.path.display()
        );
        Err(Fault::Refused(StoreError::caused_by(
            StoreErrorKind::Unavailable,
            cause,
        )))
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
