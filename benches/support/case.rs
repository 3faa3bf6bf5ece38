use super::{Call, Contestant, path, poll, read, submit, submit_all, submit_body, take_location};
use http::uri::PathAndQuery;
use tokio::runtime::Runtime;

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// From the request to the 202, the body written. The work has not begun.
    Accept,
    /// The same with a body of 1 KiB.
    AcceptBody,
    /// From the request to the end of the operation, its result stored.
    Finish,
    /// A look at an operation that runs.
    Poll,
    /// The result, 1 KiB.
    Replay,
}

impl Case {
    pub const ALL: [Self; 5] = [
        Self::Accept,
        Self::AcceptBody,
        Self::Finish,
        Self::Poll,
        Self::Replay,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::AcceptBody => "accept-body",
            Self::Finish => "finish",
            Self::Poll => "poll",
            Self::Replay => "replay",
        }
    }

    /// What has to be there before: the operations that will be looked at.
    pub fn prepare<C: Contestant>(
        self,
        runtime: &Runtime,
        contestant: &mut C,
    ) -> Vec<PathAndQuery> {
        const LOOKED_AT: usize = 64;
        runtime.block_on(async {
            let work = contestant.work().clone();
            match self {
                Self::Accept | Self::AcceptBody | Self::Finish => Vec::new(),
                Self::Poll => {
                    let before = work.begun();
                    let locations = submit_all(contestant, "/slow", LOOKED_AT).await;
                    if C::RUNS {
                        work.until_begun(before + LOOKED_AT).await;
                    }
                    locations
                }
                Self::Replay => {
                    let before = work.done();
                    let locations = submit_all(contestant, "/work", LOOKED_AT).await;
                    if C::RUNS {
                        work.until_done(before + LOOKED_AT).await;
                    }
                    locations
                }
            }
        })
    }

    fn request<C: Contestant>(self, at: usize, looked_at: &[PathAndQuery]) -> Call {
        match self {
            Self::Accept => submit("/work"),
            Self::AcceptBody => submit_body("/work", &super::work::KIB),
            Self::Finish => submit(if C::RUNS { "/work" } else { "/inner" }),
            Self::Poll | Self::Replay => poll(&looked_at[at % looked_at.len()]),
        }
    }

    /// Does it `count` times under a meter; what has been made is forgotten afterwards.
    pub fn run<C: Contestant, T>(
        self,
        runtime: &Runtime,
        contestant: &mut C,
        looked_at: &[PathAndQuery],
        count: usize,
        meter: impl FnOnce(&mut dyn FnMut()) -> T,
    ) -> T {
        let mut requests: Vec<Call> = (0..count)
            .map(|at| self.request::<C>(at, looked_at))
            .collect();
        let work = contestant.work().clone();
        let before = work.done();
        let makes = C::RUNS && matches!(self, Self::Accept | Self::AcceptBody | Self::Finish);
        let mut made = Vec::with_capacity(count);
        let metered = meter(&mut || {
            measured(runtime, async {
                for request in requests.drain(..) {
                    let mut response = contestant.call(request).await;
                    if makes {
                        made.push(take_location(&mut response));
                    }
                    assert_ne!(read(response).await, 0);
                }
                if self == Self::Finish {
                    work.until_done(before + count).await;
                }
            });
        });
        if makes {
            runtime.block_on(async {
                work.until_done(before + count).await;
                let made: Vec<_> = made.iter().map(path).collect();
                contestant.forget(&made).await;
            });
        }
        metered
    }
}

/// A frame that a profiler can be told to begin at.
///
/// Each request of a server has a budget of its own; many in one turn are not to be made to yield for want of one.
#[inline(never)]
pub fn measured<F: Future>(runtime: &Runtime, work: F) -> F::Output {
    runtime.block_on(tokio::task::coop::unconstrained(work))
}
