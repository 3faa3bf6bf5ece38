//! Threads that read, beside the writer and each other.

use super::{
    Shared,
    error::{Fault, readable},
    row::{self, Row},
    schema, sql,
    time::Tick,
    writer::refused,
};
use crate::{
    record::{BlobId, OperationId, Record, UniqueKey},
    store::{Cursor, ListQuery, Lookup, Page, SqliteError, StoreError, StoreErrorKind},
    sync::lock,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, params};
use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use tokio::sync::oneshot;

/// Records that a page may look at beyond those it shows, so that a filter that few pass costs no more than this.
pub(super) const LOOKS: u16 = 1_000;

/// The longest page.
const LONGEST: usize = 1_000;

type Task = Box<dyn FnOnce(&Reader) + Send>;

/// The way to the readers.
#[derive(Debug)]
pub(super) struct Readers(SyncSender<Task>);

impl Readers {
    pub(super) fn start(
        path: &Path,
        threads: NonZeroUsize,
        waiting: NonZeroUsize,
        shared: &Arc<Shared>,
    ) -> Result<Self, SqliteError> {
        let (sender, receiver) = sync_channel(waiting.get());
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads.get() {
            let reader = Reader {
                sql: schema::reader(path)?,
                shared: shared.clone(),
            };
            let tasks = receiver.clone();
            thread::Builder::new()
                .name("tower-lro-read".into())
                .spawn(move || reader.run(&tasks))
                .map_err(|error| SqliteError::of_the_system(error, path))?;
        }
        Ok(Self(sender))
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |reader| {
            if !reply.is_closed() {
                let read = reader.shared.file.stands().and_then(|()| read(reader));
                let _ = reply.send(read.map_err(StoreError::from));
            }
        });
        self.0.try_send(task).map_err(|error| refused(&error))?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unavailable)))
    }
}

pub(super) struct Reader {
    sql: Connection,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(&self, tasks: &Mutex<Receiver<Task>>) {
        loop {
            // One waits for a task, the others for their turn to.
            let task = lock(tasks).recv();
            match task {
                Ok(task) => task(self),
                Err(_) => return,
            }
        }
    }

    fn look_up(&self, statement: &str, values: impl Params) -> Result<Lookup, Fault> {
        let mut prepared = self.sql.prepare_cached(statement)?;
        let mut rows = prepared.query(values)?;
        match rows.next()? {
            Some(row) => Row::read(row)?.look_up(row, self.shared.time.now()),
            None => Ok(Lookup::Unknown),
        }
    }

    pub(super) fn find(&self, id: OperationId) -> Result<Lookup, Fault> {
        self.look_up(sql::BY_ID, [id.as_uuid().as_bytes()])
    }

    pub(super) fn find_key(&self, key: &UniqueKey) -> Result<Lookup, Fault> {
        self.look_up(sql::BY_KEY, [key.as_hash()])
    }

    pub(super) fn page(&self, query: &ListQuery) -> Result<Page, Fault> {
        let now = self.shared.time.now();
        let end = query
            .after
            .and_then(|cursor| i64::try_from(cursor.0).ok())
            .unwrap_or(i64::MAX);
        let mut page = Builder::new(query, now);
        if let Some(owner) = &query.owner {
            page.fill(&self.sql, sql::OF_OWNER, params![end, owner.as_hash()])?;
        } else {
            page.fill(&self.sql, sql::OF_ALL, [end])?;
        }
        Ok(page.page)
    }

    pub(super) fn chunk(&self, blob: BlobId, index: u32) -> Result<Option<Bytes>, Fault> {
        let mut read = self.sql.prepare_cached(sql::READ_CHUNK)?;
        let chunk: Option<Vec<u8>> = read
            .query_row(params![blob.as_uuid().as_bytes(), index], |row| row.get(0))
            .optional()?;
        Ok(chunk.map(Bytes::from))
    }
}

struct Builder<'a> {
    query: &'a ListQuery,
    now: Tick,
    page: Page,
}

impl<'a> Builder<'a> {
    fn new(query: &'a ListQuery, now: Tick) -> Self {
        Self {
            query,
            now,
            page: Page::default(),
        }
    }

    fn fill(
        &mut self,
        sql: &Connection,
        statement: &str,
        values: impl Params,
    ) -> Result<(), Fault> {
        let limit = usize::from(self.query.limit.get()).min(LONGEST);
        let mut looks = limit + usize::from(LOOKS);
        let mut last = 0;
        let mut prepared = sql.prepare_cached(statement)?;
        let mut rows = prepared.query(values)?;
        while let Some(found) = rows.next()? {
            if self.page.records.len() == limit || looks == 0 {
                self.page.next = Some(Cursor(last));
                return Ok(());
            }
            looks -= 1;
            last = row::unsigned(found.get(0)?);
            let wanted =
                Row::read(found).and_then(|row| row::wanted(&row, found, self.query, self.now));
            let wanted: Option<Record> = readable(wanted)?.flatten();
            self.page.records.extend(wanted.map(Arc::new));
        }
        Ok(())
    }
}
