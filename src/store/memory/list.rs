use super::{MemoryStore, time::Tick};
use crate::{
    record::{Owner, Record},
    store::{Cursor, ListQuery, Page},
};
use std::{collections::BinaryHeap, sync::Arc};

/// Records that a page may look at beyond those it shows, so that a filter that few pass costs no more than this.
const LOOKS: usize = 1_000;

/// The longest page.
const LONGEST: usize = 1_000;

impl MemoryStore {
    pub(super) fn page(&self, query: &ListQuery) -> Page {
        let now = self.now();
        // What is created from here on belongs to no page that is read from here on: else it could come to lie in
        // front of something that has been passed in another shard.
        let end = query
            .after
            .map_or(u64::MAX, |cursor| cursor.0)
            .min(self.created());
        match &query.owner {
            Some(owner) => self.page_of(owner, query, end, now),
            None => self.page_of_all(query, end, now),
        }
    }

    fn page_of(&self, owner: &Owner, query: &ListQuery, end: u64, now: Tick) -> Page {
        let mut page = Builder::new(query);
        let mut end = end;
        loop {
            // One more than fits, to learn whether there is more.
            let some = self.owners.before(owner, end, page.limit + 1);
            let is_last = some.len() <= page.limit;
            for (sequence, hash) in some {
                if page.is_over() {
                    return page.with_more();
                }
                let found = self
                    .shard_of(hash)
                    .read(|kept| kept.created_at(sequence, hash, now));
                page.look_at(sequence, found);
                end = sequence;
            }
            if is_last {
                return page.last();
            }
        }
    }

    /// Merges the shards, each of which knows what it created last.
    fn page_of_all(&self, query: &ListQuery, end: u64, now: Tick) -> Page {
        let mut page = Builder::new(query);
        let newest = |(index, shard): (usize, &super::Shard)| {
            let (sequence, hash) = shard.read(|kept| kept.created_before(end))?;
            Some((sequence, index, hash))
        };
        let mut heads: BinaryHeap<_> = self.shards.iter().enumerate().filter_map(newest).collect();
        while let Some((sequence, index, hash)) = heads.pop() {
            if page.is_over() {
                return page.with_more();
            }
            let (found, next) = self.shards[index].read(|kept| {
                (
                    kept.created_at(sequence, hash, now),
                    kept.created_before(sequence),
                )
            });
            page.look_at(sequence, found);
            heads.extend(next.map(|(sequence, hash)| (sequence, index, hash)));
        }
        page.last()
    }
}

struct Builder<'a> {
    query: &'a ListQuery,
    limit: usize,
    looks: usize,
    last: u64,
    records: Vec<Arc<Record>>,
}

impl<'a> Builder<'a> {
    fn new(query: &'a ListQuery) -> Self {
        let limit = usize::from(query.limit.get()).min(LONGEST);
        Self {
            query,
            limit,
            looks: limit + LOOKS,
            last: 0,
            records: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.records.len() == self.limit || self.looks == 0
    }

    fn look_at(&mut self, sequence: u64, found: Option<Arc<Record>>) {
        self.looks -= 1;
        self.last = sequence;
        self.records
            .extend(found.filter(|record| self.query.wants(record)));
    }

    fn with_more(self) -> Page {
        Page {
            next: Some(Cursor(self.last)),
            records: self.records,
        }
    }

    fn last(self) -> Page {
        Page {
            next: None,
            records: self.records,
        }
    }
}
