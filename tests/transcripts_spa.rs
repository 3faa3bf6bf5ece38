//! The golden transcripts of the facade for single-page applications. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, Spa};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    (given == "the member statusUrl").then(|| builder.dialect(Spa::new().member("statusUrl")))
}

transcripts! {
    "spa", |builder| builder.dialect(Spa::new()), with;
    the_url_is_in_the_body_and_the_result_in_the_run = "success"
    what_has_not_got_its_turn_waits = "waiting"
    the_member_may_have_another_name = "member"
    a_result_that_is_no_json_is_linked_to = "not-json"
    a_failure_is_a_run_that_tells_so = "failed"
    a_panic_gives_nothing_away = "panic"
    what_runs_too_long_has_its_own_word = "timed-out"
    what_a_shutdown_ends_is_aborted = "interrupted"
    a_cancel_ends_and_repeating_it_changes_nothing = "cancel"
    what_is_forgotten_is_unknown = "forgotten"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_have_their_status = "refused"
    a_repeated_key_meets_its_operation = "keys"
    without_a_host_the_url_is_a_path = "no-host"
}
