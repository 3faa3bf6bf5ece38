use super::ledger::Ledger;
use std::hint::black_box;

/// Bytes that are had at once: what is kept by the time of the next step, and some that is needed meanwhile. A heap does
/// not give so little back to the system (glibc: 128 KiB).
const ROOM: usize = 48 << 10;

/// Has room made for the operations to come, where more is kept than ever before.
///
/// In all threads but the first, glibc's heap grows by a page or two at a time, each by a system call, and those were some
/// 4 % of what a submission costs. It keeps what was had at once and given back. Other allocators grow in larger steps by
/// themselves.
pub(super) fn keep_ahead(ledger: &Ledger) {
    if ledger.has_grown() {
        make_room();
    }
}

#[cold]
fn make_room() {
    drop(black_box(Vec::<u8>::with_capacity(ROOM)));
}
