-- One row. What is counted, so that nothing need be; and how far the file's clock is, with the time of day it was then.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Drawn for places, tokens and nodes.
    next INTEGER NOT NULL,
    tick INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    operations INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    unread INTEGER NOT NULL,
    tombstones INTEGER NOT NULL,
    evictable INTEGER NOT NULL,
    evictable_bytes INTEGER NOT NULL
) STRICT;

-- Times of day are microseconds since 1970 (created, started, updated); due and ended are by the file's clock.
-- phase: 0 accepted, 1 running, 2 succeeded, 3 failed, 4 cancelled, 9 gone (a tombstone).
-- due: when it expires; or, pending, is timed out (detached) or ends as not started (queue is not null); or falls.
-- What is long comes last, and is not read where it is not asked for.
CREATE TABLE operations (
    place INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    phase INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER,
    updated INTEGER NOT NULL,
    due INTEGER,
    ended INTEGER,
    is_read INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    node INTEGER,
    token INTEGER,
    queue TEXT,
    owner BLOB,
    key BLOB,
    response BLOB,
    submission BLOB,
    report BLOB,
    ending BLOB
) STRICT;
CREATE UNIQUE INDEX operations_key ON operations (key) WHERE key IS NOT NULL;
CREATE INDEX operations_owner ON operations (owner, place) WHERE owner IS NOT NULL;
CREATE INDEX operations_queue ON operations (queue, place) WHERE queue IS NOT NULL;
CREATE INDEX operations_due ON operations (due) WHERE due IS NOT NULL;
CREATE INDEX operations_node ON operations (node) WHERE node IS NOT NULL;
CREATE INDEX operations_evictable ON operations (ended) WHERE is_read = 1;
CREATE INDEX operations_fall ON operations (due) WHERE phase = 9;

-- Of operations that have not ended.
CREATE TABLE requests (
    place INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    blob BLOB,
    request BLOB NOT NULL
) STRICT;

-- due: when it is removed, unless it is named before. counted: 0 when its bytes are those of an operation, or of nobody any
-- more; 1 while it is written; 2 when the operation that named it is gone, and its room can be had.
CREATE TABLE blobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB UNIQUE,
    size INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    due INTEGER
) STRICT;
CREATE INDEX blobs_due ON blobs (due) WHERE due IS NOT NULL;
CREATE INDEX blobs_left ON blobs (due) WHERE counted = 2;

-- at: the blob's number, times 2^24, and the index of the chunk.
CREATE TABLE chunks (
    at INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Processes that hold claims. beat: grows with each heartbeat. lease: microseconds.
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    beat INTEGER NOT NULL,
    lease INTEGER NOT NULL
) STRICT;

-- What changed last, for the readers in other processes; no id: there is something to claim.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY,
    id BLOB
) STRICT;
