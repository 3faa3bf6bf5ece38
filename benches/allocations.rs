//! How often each allocates, and how much each keeps. A program of its own, since counting takes time.
//!
//! Growing an allocation counts as one more. See `benches/README.md`.

mod support;

use allocation_counter::measure;
use support::{
    Bare, Case, Contestant, Handrolled, deferred,
    harness::{heading, row},
    read, runtime, submit,
};
use tokio::runtime::Runtime;

const COUNT: usize = 1_000;

fn main() {
    let runtime = runtime();
    heading("allocations", &["bare", "handrolled", "tower-lro"]);
    for case in Case::ALL {
        row(
            case.name(),
            &[
                allocations(&runtime, case, Bare::default()),
                allocations(&runtime, case, Handrolled::default()),
                allocations(&runtime, case, deferred()),
            ],
        );
    }
    heading("bytes kept, each", &["handrolled", "tower-lro"]);
    for (name, target, body) in [
        ("pending", "/slow", 0),
        ("finished, but its body", "/work", 1024),
    ] {
        row(
            name,
            &[
                kept(&runtime, target, body, Handrolled::default()),
                kept(&runtime, target, body, deferred()),
            ],
        );
    }
}

/// Mean, so that tables that grow now and then have their share in it.
fn allocations<C: Contestant>(runtime: &Runtime, case: Case, mut contestant: C) -> String {
    let looked_at = case.prepare(runtime, &mut contestant);
    let mut total = 0;
    for _warm_and_counted in 0..2 {
        total = case.run(runtime, &mut contestant, &looked_at, COUNT, |work| {
            measure(work).count_total
        });
    }
    format!("{:.2}", total as f64 / COUNT as f64)
}

fn kept<C: Contestant>(
    runtime: &Runtime,
    target: &'static str,
    body: usize,
    mut contestant: C,
) -> String {
    let mut submit_many = || {
        runtime.block_on(async {
            let work = contestant.work().clone();
            let begun = work.begun();
            for _ in 0..COUNT {
                read(contestant.call(submit(target)).await).await;
            }
            work.until_begun(begun + COUNT).await;
        });
    };
    // What is made once, for all.
    submit_many();
    let bytes = measure(submit_many).bytes_current / COUNT as i64 - body as i64;
    format!("{bytes} B")
}
