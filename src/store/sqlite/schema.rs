//! The file: how it is opened, and how an older one is brought up to date.

use super::{
    error::{SqliteError, SqliteErrorKind},
    file::beside,
    time::micros_of,
};
use crate::record::{Timestamp, VERSION};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig, params};
use std::{fs, path::Path, thread::sleep, time::Duration};

/// "tlro", in the header of the file: what `file` shows, and what tells ours from another program's.
const APPLICATION: u32 = 0x746c_726f;

/// From nothing to version 1, from there to 2, and so on. What is here never changes: files out there have it.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

// A new format of records comes with a migration, be it an empty one, so that earlier versions are refused.
const _: () = assert!(MIGRATIONS.len() >= VERSION as usize);

pub(super) const PAGE: u32 = 4096;

/// How long a lock of another process is waited for. It is held for as long as a transaction takes, or its sync.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long readers are waited for, and other writers, before the log begins anew. Most read for less than a millisecond.
const BRIEF: Duration = Duration::from_millis(100);

/// Kept of the write-ahead log after it has been longer.
pub(super) const LOG: u32 = 64 << 20;

/// Opens or makes the file, for writing. A new one's clock begins with `wall`.
pub(super) fn open(path: &Path, wall: Timestamp) -> Result<Connection, SqliteError> {
    if path.is_dir() {
        return Err(SqliteError::new(SqliteErrorKind::IsDirectory, path));
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) {
        return Err(SqliteError::new(SqliteErrorKind::NoDirectory, path));
    }
    let failed = |error| SqliteError::caused_by(error, path);
    let mut sql = connect(path, OpenFlags::SQLITE_OPEN_CREATE).map_err(failed)?;
    if sql.is_readonly("main").map_err(failed)? {
        return Err(SqliteError::new(SqliteErrorKind::ReadOnly, path));
    }
    // To close it would take a log in that another program has left, before it is known whose it is.
    let keep_log = |sql: &Connection, keep| {
        sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
            .map_err(failed)
    };
    if has_log(path) {
        keep_log(&sql, true)?;
    }
    migrate(&mut sql, path, wall)?;
    keep_log(&sql, false)?;
    Ok(sql)
}

/// Whether somebody has it open, or died while they had.
fn has_log(path: &Path) -> bool {
    let file = fs::canonicalize(path);
    file.is_ok_and(|file| fs::metadata(beside(&file, "-wal")).is_ok_and(|log| log.len() > 0))
}

/// Opens the file, which is there, for reading.
pub(super) fn reader(path: &Path) -> Result<Connection, SqliteError> {
    let failed = |error| SqliteError::caused_by(error, path);
    let sql = connect(path, OpenFlags::empty()).map_err(failed)?;
    sql.pragma_update(None, "query_only", true)
        .map_err(failed)?;
    Ok(sql)
}

fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let mut sql = Connection::open_with_flags(path, flags)?;
    sql.busy_handler(Some(|tries| wait(tries, PATIENCE)))?;
    sql.set_prepared_statement_cache_capacity(128);
    Ok(sql)
}

fn wait(tries: i32, at_most: Duration) -> bool {
    // SQLite's own handler sleeps for up to 100 ms, and comes too late each time.
    sleep(Duration::from_millis(1));
    u128::try_from(tries).is_ok_and(|tries| tries < at_most.as_millis())
}

/// Has the log begin anew. Whether it does: not while somebody is in the midst of reading from it.
pub(super) fn begin_log(sql: &mut Connection) -> rusqlite::Result<bool> {
    sql.busy_handler(Some(|tries| wait(tries, BRIEF)))?;
    let busy = sql.query_row(super::sql::BEGIN_LOG, [], |row| row.get::<_, bool>(0));
    sql.busy_handler(Some(|tries| wait(tries, PATIENCE)))?;
    busy.map(|busy| !busy)
}

fn migrate(sql: &mut Connection, path: &Path, wall: Timestamp) -> Result<(), SqliteError> {
    let failed = |error| SqliteError::caused_by(error, path);
    let pragma =
        |sql: &Connection, name| sql.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let is_empty = |sql: &Connection| -> rusqlite::Result<bool> {
        Ok(pragma(sql, "application_id")? == 0
            && pragma(sql, "user_version")? == 0
            && sql.query_row("SELECT count(*) FROM sqlite_master", [], |row| {
                row.get::<_, i64>(0)
            })? == 0)
    };
    if is_empty(sql).map_err(failed)? {
        // Only before there is anything in it.
        sql.pragma_update(None, "page_size", PAGE).map_err(failed)?;
        sql.pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(failed)?;
    } else {
        check(sql, path)?;
    }
    share(sql, path)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    // Two processes may be about to make it.
    let step = sql
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let made = is_empty(&step).map_err(failed)?;
    let found = pragma(&step, "user_version").map_err(failed)?;
    if made {
        step.pragma_update(None, "application_id", APPLICATION)
            .map_err(failed)?;
    } else {
        check(&step, path)?;
    }
    for migration in &MIGRATIONS[found as usize..] {
        step.execute_batch(migration).map_err(failed)?;
    }
    if found < known {
        step.pragma_update(None, "user_version", known)
            .map_err(failed)?;
    }
    if made {
        let meta = "INSERT INTO meta VALUES (1, 1, ?1, ?1, 0, 0, 0, 0, 0, 0)";
        step.execute(meta, params![micros_of(wall)])
            .map_err(failed)?;
    }
    step.commit().map_err(failed)
}

/// Whether it is ours, and of a version that is known.
fn check(sql: &Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |error| SqliteError::caused_by(error, path);
    let pragma = |name| sql.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found = pragma("user_version").map_err(failed)?;
    if pragma("application_id").map_err(failed)? != APPLICATION {
        return Err(SqliteError::new(SqliteErrorKind::NotOurs, path));
    }
    if found > known {
        return Err(SqliteError::new(
            SqliteErrorKind::Newer { found, known },
            path,
        ));
    }
    Ok(())
}

/// With a write-ahead log, so that readers and the writer do not wait for each other.
fn share(sql: &Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |error| SqliteError::caused_by(error, path);
    let set =
        || sql.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    let mut mode = set();
    for _ in 0..PATIENCE.as_millis() {
        match &mode {
            // Nobody is asked for patience here: another process is making the file just now.
            Err(error) if is_busy(error) => sleep(Duration::from_millis(1)),
            _ => break,
        }
        mode = set();
    }
    if mode.map_err(failed)? != "wal" {
        return Err(SqliteError::new(SqliteErrorKind::NotShared, path));
    }
    sql.pragma_update(None, "journal_size_limit", LOG)
        .map_err(failed)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseBusy | DatabaseLocked)
    )
}
