//! What is kept of a message, and what becomes of it when it is replayed elsewhere.

#[cfg_attr(not(test), expect(dead_code))]
mod end_to_end;
#[cfg_attr(not(test), expect(dead_code))]
mod reference;
