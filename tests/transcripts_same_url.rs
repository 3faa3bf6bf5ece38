//! The golden transcripts of polling at the URL itself. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::SameUrl;

transcripts! {
    "same-url", |builder| builder.dialect(SameUrl::new()), |_, _| None;
    identical_requests_join_what_is_pending = "pending"
    what_is_done_is_revalidated_for_its_life = "done"
    what_the_handler_tells_caches_stands = "own-validators"
    a_failure_is_told_once = "failed"
    method_target_and_what_is_accepted_name_the_operation = "names"
    names_are_of_one_owner = "owners"
}
