use crate::{
    record::{BlobId, Malformed},
    store::{StoreError, StoreErrorKind},
};
use rusqlite::{ErrorCode, ffi};
use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// A store could not be opened.
#[derive(Debug)]
pub struct SqliteError {
    kind: SqliteErrorKind,
    path: PathBuf,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a store could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqliteErrorKind {
    /// There is no directory where the file would be.
    NoDirectory,
    /// The path is a directory's.
    IsDirectory,
    /// The file, or its directory, can't be written to.
    ReadOnly,
    /// The file is no database of SQLite.
    NotADatabase,
    /// The database is another program's.
    NotOurs,
    /// A later version of this crate has written it.
    Newer {
        /// The version of its schema.
        found: u32,
        /// The latest that this version of the crate knows.
        known: u32,
    },
    /// The database is damaged.
    Corrupt,
    /// The disk is full.
    Full,
    /// The file system has no shared memory, as that of a network may not have, or another program keeps the file to itself.
    NotShared,
    /// Anything else: the source tells.
    Other,
}

impl SqliteError {
    pub(super) fn new(kind: SqliteErrorKind, path: &Path) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            source: None,
        }
    }

    pub(super) fn caused_by(error: rusqlite::Error, path: &Path) -> Self {
        use SqliteErrorKind::{Corrupt, Full, NotADatabase, NotShared, Other, ReadOnly};
        let extended = error.sqlite_error().map(|error| error.extended_code);
        let kind = match error.sqlite_error_code() {
            // The index of the log is as long as it needs to be from the start.
            _ if extended == Some(ffi::SQLITE_IOERR_SHMSIZE) => Full,
            Some(ErrorCode::CannotOpen) => why_nothing_can_be_made(path).unwrap_or(Other),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => ReadOnly,
            Some(ErrorCode::NotADatabase) => NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => Corrupt,
            Some(ErrorCode::DiskFull) => Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => NotShared,
            _ => Other,
        };
        Self {
            source: Some(error.into()),
            ..Self::new(kind, path)
        }
    }

    pub(super) fn of_the_system(error: std::io::Error, path: &Path) -> Self {
        Self {
            source: Some(error.into()),
            ..Self::new(SqliteErrorKind::Other, path)
        }
    }

    /// What to branch on.
    #[must_use]
    pub const fn kind(&self) -> SqliteErrorKind {
        self.kind
    }
}

/// SQLite does not tell why it could not make a file: so a file is made beside it. The file itself is not touched: to
/// close it would let go of the locks that this process may have on it.
fn why_nothing_can_be_made(path: &Path) -> Option<SqliteErrorKind> {
    let file = fs::canonicalize(path);
    let path = file.as_deref().unwrap_or(path);
    let beside = path.with_file_name(format!(".tower-lro-{}", BlobId::random().as_uuid()));
    match fs::File::create_new(&beside) {
        Ok(_) => {
            let _ = fs::remove_file(beside);
            None
        }
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some(SqliteErrorKind::ReadOnly)
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some(SqliteErrorKind::Full)
            }
            _ => None,
        },
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.kind {
            SqliteErrorKind::NoDirectory => write!(f, "{path}: its directory does not exist"),
            SqliteErrorKind::IsDirectory => write!(f, "{path} is a directory, not a file"),
            SqliteErrorKind::ReadOnly => {
                write!(f, "{path}: the file and its directory must be writable")
            }
            SqliteErrorKind::NotADatabase => write!(f, "{path} is not a database of SQLite"),
            SqliteErrorKind::NotOurs => write!(f, "{path} is the database of another program"),
            SqliteErrorKind::Newer { found, known } => write!(
                f,
                "{path} has version {found} of the schema, and this program knows none above {known}"
            ),
            SqliteErrorKind::Corrupt => write!(f, "{path} is damaged"),
            SqliteErrorKind::Full => write!(f, "{path}: the disk is full"),
            SqliteErrorKind::NotShared => {
                write!(
                    f,
                    "{path} is locked, or on a file system that can't share it"
                )
            }
            SqliteErrorKind::Other => write!(f, "{path} can't be opened"),
        }
    }
}

impl Error for SqliteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a verb was not done.
pub(super) enum Fault {
    /// It has written nothing.
    Refused(StoreError),
    /// Whatever was written in its transaction is to be taken back.
    Failed(rusqlite::Error),
}

impl Fault {
    /// Whether it is the affair of the one row that was read: damaged, or of a format that is not known here.
    pub(super) fn is_of_a_row(&self) -> bool {
        match self {
            Self::Refused(error) => error.kind() == StoreErrorKind::Corrupt,
            Self::Failed(error) => error.sqlite_error_code().is_none(),
        }
    }
}

/// What was read, or nothing where the row can't be understood, so that it is nobody else's affair.
pub(super) fn readable<T>(read: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match read {
        Err(fault) if fault.is_of_a_row() => Ok(None),
        read => read.map(Some),
    }
}

impl From<StoreErrorKind> for Fault {
    fn from(kind: StoreErrorKind) -> Self {
        Self::Refused(StoreError::new(kind))
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(malformed.into())
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Failed(error) => StoreError::caused_by(kind(&error), error),
        }
    }
}

/// What an error means for a verb of which nothing was written.
pub(super) fn kind(error: &rusqlite::Error) -> StoreErrorKind {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch,
        ) => StoreErrorKind::Corrupt,
        // A full disk too: it is emptied sooner or later, and what was to be written would have been in bounds.
        Some(_) => StoreErrorKind::Unavailable,
        // What was read is not what was written.
        None => StoreErrorKind::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_whose_index_does_not_fit_tells_of_a_full_disk() {
        let kind = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            SqliteError::caused_by(error, Path::new("none")).kind()
        };
        assert_eq!(kind(ffi::SQLITE_IOERR_SHMSIZE), SqliteErrorKind::Full);
        assert_eq!(kind(ffi::SQLITE_FULL), SqliteErrorKind::Full);
        assert_eq!(kind(ffi::SQLITE_IOERR_READ), SqliteErrorKind::Other);
    }
}
