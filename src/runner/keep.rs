//! Keeping an operation in the store: the moment from which it is one.

use super::{BoxError, Hold, Task, Work, blob, run};
use crate::{
    operations::{Engine, Heartbeat, Place, Sweeper, certain, is_uncertain},
    record::{Record, StoredRequest},
    store::{Claim, Created, Intent, StoreError, StoreErrorKind},
    trace,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tower_service::Service;

/// What came of keeping an operation.
#[derive(Debug)]
pub(crate) enum Kept<T = ()> {
    New(T),
    Existing(Arc<Record>),
    Gone,
    Failed(StoreError),
}

impl From<Result<Created, StoreError>> for Kept<Claim> {
    fn from(created: Result<Created, StoreError>) -> Self {
        match created {
            Ok(Created::New(claim)) => Self::New(claim),
            Ok(Created::Existing(record)) => Self::Existing(record),
            // It was to be run here.
            Ok(Created::Queued) => Self::Gone,
            Ok(Created::Gone) => Self::Gone,
            Err(error) => {
                trace::store_failed("create", &error);
                Self::Failed(error)
            }
        }
    }
}

impl Kept<Claim> {
    fn split(self) -> (Option<Claim>, Kept) {
        match self {
            Self::New(claim) => (Some(claim), Kept::New(())),
            Self::Existing(record) => (None, Kept::Existing(record)),
            Self::Gone => (None, Kept::Gone),
            Self::Failed(error) => (None, Kept::Failed(error)),
        }
    }
}

/// Keeps an operation and spawns its task.
///
/// A store that answers at once leaves no moment in between at which the client could go away. With any other the
/// keeping is part of the task: one task owns the operation from here to its end.
pub(crate) fn keep_and_spawn<S, B, R>(
    mut task: Task,
    hold: Option<Box<Hold<S::Error>>>,
    work: Work<S, B>,
) -> Result<Kept, oneshot::Receiver<Kept>>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    // A future that was never polled has done nothing.
    let (record, request) = (task.record.take(), task.request.take());
    let at_once = record
        .as_ref()
        .filter(|_| !is_long(task.engine(), request.as_deref()))
        .and_then(|record| {
            let intent = Intent::Run(request.as_deref());
            task.engine().store.create(record, intent).now().ok()
        });
    if let Some(created) = at_once
        && !is_uncertain(&created)
    {
        drop((record, request));
        let (claim, kept) = Kept::from(created).split();
        match claim {
            Some(claim) => {
                Heartbeat::keep(task.engine(), &claim, &task.live);
                trace::spawn(run(task, Some(claim), hold, work));
            }
            None => task.dismiss(),
        }
        return Ok(kept);
    }
    let (tell, told) = oneshot::channel();
    trace::spawn(async move {
        let mut request = request;
        let kept = keep(task.engine(), record, &mut request).await;
        task.request = request;
        let (claim, kept) = kept.split();
        if let Some(claim) = &claim {
            Heartbeat::keep(task.engine(), claim, &task.live);
        }
        let _ = tell.send(kept);
        match claim {
            Some(claim) => run(task, Some(claim), hold, work).await,
            None => task.dismiss(),
        }
    });
    Err(told)
}

/// Keeps an operation for whoever claims it.
pub(crate) fn keep_queued(
    place: Place,
    record: Arc<Record>,
    request: Box<StoredRequest>,
) -> Result<Kept, oneshot::Receiver<Kept>> {
    let engine = place.engine().clone();
    // Nobody here may ever claim it.
    let rerun = record.submission.rerun.as_ref();
    Sweeper::due(
        &engine,
        rerun.map_or(Duration::ZERO, |rerun| rerun.start_within),
    );
    if !is_long(&engine, Some(&request)) {
        let created = engine.store.create(&record, Intent::Queue(&request)).now();
        if let Ok(created) = created
            && !is_uncertain(&created)
        {
            return Ok(queued(created));
        }
    }
    let (tell, told) = oneshot::channel();
    // In a task of its own: whoever asked for it may go away while nobody knows whether it is kept.
    trace::spawn(async move {
        let created = create(&engine, &record, &mut Some(request), true).await;
        drop(place);
        let _ = tell.send(queued(created));
    });
    Err(told)
}

fn queued(created: Result<Created, StoreError>) -> Kept {
    match created {
        Ok(Created::Queued) => Kept::New(()),
        other => Kept::from(other).split().1,
    }
}

/// Keeps an operation, trying again while it is uncertain whether that was done.
pub(super) async fn keep(
    engine: &Engine,
    record: Option<Arc<Record>>,
    request: &mut Option<Box<StoredRequest>>,
) -> Kept<Claim> {
    // It has been tried before, in vain.
    let Some(record) = record else {
        return Kept::Failed(StoreError::new(StoreErrorKind::Unavailable));
    };
    create(engine, &record, request, false).await.into()
}

/// Of the request, what names its blob is left.
async fn create(
    engine: &Engine,
    record: &Arc<Record>,
    request: &mut Option<Box<StoredRequest>>,
    for_queue: bool,
) -> Result<Created, StoreError> {
    if let Some(long) = request.take_if(|request| is_long(engine, Some(request))) {
        *request = Some(blob::stow_request(&*engine.store, long).await?);
    }
    let intent = match request.as_deref() {
        Some(request) if for_queue => Intent::Queue(request),
        request => Intent::Run(request),
    };
    let (created, _) = certain(|| engine.store.create(record, intent)).await;
    let blob = request.as_ref().and_then(|request| request.body().blob());
    if blob.is_none() {
        *request = None;
    } else if let Some(id) = blob
        && !matches!(created, Ok(Created::New(_) | Created::Queued))
        && !is_uncertain(&created)
    {
        blob::discard(&*engine.store, id).await;
    }
    created
}

/// Whether the body of the request is to be kept beside the record.
fn is_long(engine: &Engine, request: Option<&StoredRequest>) -> bool {
    let Some(request) = request else { return false };
    let blobs = engine.store.blobs();
    blobs.is_some_and(|blobs| request.body().len() > blobs.inline_limit() as u64)
}
