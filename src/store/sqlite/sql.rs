//! Every statement that is run while the store is open, so that a test can look at how each of them is run.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)*

        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $sql)),*];
    };
}

/// What [`Row::read`](super::row::Row::read) reads, in this order. `ending` is not touched where it is not asked for.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT place, id, phase, due, size, is_read, token, queue IS NOT NULL, owner, response, revision, attempt, ",
            "created, started, updated, submission, report, ending FROM operations ",
            $rest
        )
    };
}

statements! {
    BEGIN = "BEGIN IMMEDIATE";
    COMMIT = "COMMIT";
    DATA_VERSION = "PRAGMA data_version";
    BEGIN_LOG = "PRAGMA wal_checkpoint(RESTART)";

    READ_META = "SELECT next, operations, bytes, unread, tombstones, evictable, evictable_bytes, tick, wall \
        FROM meta WHERE one = 1";
    WRITE_META = "UPDATE meta SET next = ?1, operations = ?2, bytes = ?3, unread = ?4, tombstones = ?5, \
        evictable = ?6, evictable_bytes = ?7, tick = ?8, wall = ?9 WHERE one = 1";

    BY_ID = select!("WHERE id = ?1");
    BY_KEY = select!("WHERE key = ?1");
    BY_PLACE = select!("WHERE place = ?1");
    NEXT_DUE = select!("WHERE due <= ?1 ORDER BY due LIMIT 1");
    NEXT_EXPIRED = select!("WHERE due <= ?1 AND phase BETWEEN 2 AND 4 ORDER BY due LIMIT 1");
    NEXT_EVICTABLE = select!("WHERE is_read = 1 AND ended > ?1 ORDER BY ended LIMIT 1");
    OF_ALL = select!("WHERE place < ?1 ORDER BY place DESC");
    OF_OWNER = select!("WHERE owner = ?2 AND place < ?1 ORDER BY place DESC");
    WAITING = select!("WHERE queue = ?1 AND due > ?2 ORDER BY place LIMIT ?3");
    OF_NODE = "SELECT place, token FROM operations WHERE node = ?1 LIMIT ?2";
    TOKEN = "SELECT place, token FROM operations WHERE id = ?1 AND node IS NOT NULL";

    INSERT = "INSERT INTO operations (place, id, phase, revision, attempt, created, updated, due, node, token, queue, \
        owner, key, submission, report, started) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE operations SET phase = ?2, revision = ?3, attempt = ?4, started = ?5, updated = ?6, due = ?7, \
        node = ?8, token = ?9, queue = ?10, report = ?11 WHERE place = ?1";
    END = "UPDATE operations SET phase = ?2, revision = ?3, started = ?4, updated = ?5, due = ?6, ended = ?7, \
        size = ?8, node = NULL, token = NULL, queue = NULL, report = ?9, response = ?10, ending = ?11 WHERE place = ?1";
    PASS_OVER = "UPDATE operations SET due = ?3, node = NULL, token = NULL, queue = NULL WHERE place = ?1 AND token IS ?2";
    MARK_READ = "UPDATE operations SET is_read = 1 WHERE id = ?1 AND is_read = 0 AND phase BETWEEN 2 AND 4 \
        RETURNING size";
    BURY = "UPDATE operations SET phase = 9, due = ?2, started = NULL, ended = NULL, is_read = 0, size = 0, node = NULL, \
        token = NULL, queue = NULL, response = NULL, submission = NULL, report = NULL, ending = NULL WHERE place = ?1";
    FREE_KEY = "UPDATE operations SET key = NULL WHERE key = ?1";
    DELETE = "DELETE FROM operations WHERE place = ?1";
    OLDEST_TOMBSTONE = "SELECT place FROM operations WHERE phase = 9 AND due >= 0 ORDER BY due LIMIT 1";
    FIRST_DUE = "SELECT due FROM operations WHERE due >= 0 ORDER BY due LIMIT 1";

    INSERT_REQUEST = "INSERT INTO requests (place, size, blob, request) VALUES (?1, ?2, ?3, ?4)";
    READ_REQUEST = "SELECT request FROM requests WHERE place = ?1";
    HAS_REQUEST = "SELECT 1 FROM requests WHERE place = ?1";
    DELETE_REQUEST = "DELETE FROM requests WHERE place = ?1 RETURNING size, blob";

    TOUCH_BLOB = "INSERT INTO blobs (id, size, counted, due) VALUES (?1, 0, 1, ?2) \
        ON CONFLICT (id) DO UPDATE SET due = CASE WHEN due IS NULL THEN NULL ELSE excluded.due END RETURNING number, size";
    GROW_BLOB = "UPDATE blobs SET size = size + ?2 WHERE number = ?1";
    NAME_BLOB = "UPDATE blobs SET due = NULL, counted = 0 WHERE id = ?1 RETURNING size";
    DROP_BLOB = "UPDATE blobs SET due = ?2, counted = ?3 WHERE id = ?1 RETURNING size";
    UNNAMED_BLOB = "SELECT number, counted, size FROM blobs WHERE id = ?1 AND due IS NOT NULL";
    DUE_BLOB = "SELECT number, counted, size FROM blobs WHERE due <= ?1 ORDER BY due LIMIT 1";
    DEAD_BLOB = "SELECT number, counted, size FROM blobs WHERE due <= ?1 AND counted > 0 ORDER BY due LIMIT 1";
    LEFT_BLOB = "SELECT number, counted, size FROM blobs WHERE counted = 2 AND due <= ?1 ORDER BY due LIMIT 1";
    LET_GO_OF_BLOB = "UPDATE blobs SET id = NULL, counted = 0, due = 0 WHERE number = ?1";
    FIRST_DUE_BLOB = "SELECT due FROM blobs WHERE due >= 0 ORDER BY due LIMIT 1";
    DELETE_BLOB = "DELETE FROM blobs WHERE number = ?1";
    INSERT_CHUNK = "INSERT INTO chunks (at, data) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    READ_CHUNK = "SELECT chunks.data FROM blobs JOIN chunks ON chunks.at = blobs.number * 16777216 + ?2 \
        WHERE blobs.id = ?1";
    FIRST_CHUNK = "SELECT at FROM chunks WHERE at >= ?1 AND at < ?2 ORDER BY at LIMIT 1";
    DELETE_CHUNK = "DELETE FROM chunks WHERE at = ?1";

    INSERT_NODE = "INSERT INTO nodes (id, beat, lease) VALUES (?1, 0, ?2)";
    BEAT = "UPDATE nodes SET beat = beat + 1 WHERE id = ?1";
    HAS_NODE = "SELECT 1 FROM nodes WHERE id = ?1";
    NODES = "SELECT id, beat, lease FROM nodes WHERE id > 0 ORDER BY id";
    DELETE_NODE = "DELETE FROM nodes WHERE id = ?1";

    LOG = "INSERT INTO changes (id) VALUES (?1)";
    LAST_CHANGE = "SELECT max(seq) FROM changes";
    CHANGES_SINCE = "SELECT seq, id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    TRIM_CHANGES = "DELETE FROM changes WHERE seq <= ?1";

    FREE_PAGES = "PRAGMA freelist_count";
    PAGES = "PRAGMA page_count";
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::store::sqlite::schema;

    #[test]
    fn no_statement_walks_a_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operations.db");
        let wall = crate::record::Timestamp::from_micros(1);
        let sql = schema::open(&path, wall).unwrap();
        let mut planned = 0;
        for (name, statement) in ALL {
            let mut explain = sql
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            for at in 1..=explain.parameter_count() {
                explain.raw_bind_parameter(at, 1).unwrap();
            }
            let mut rows = explain.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                planned += 1;
                assert!(
                    !step.contains("SCAN") && !step.contains("TEMP B-TREE"),
                    "{name}: {step}"
                );
            }
            drop(rows);
        }
        assert!(planned > 20, "{planned}");
    }
}
