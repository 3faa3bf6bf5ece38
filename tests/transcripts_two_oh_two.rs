//! The golden transcripts of two-oh-two. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::TwoOhTwo;

transcripts! {
    "two-oh-two", |builder| builder.dialect(TwoOhTwo::new()), |_, _| None;
    the_monitor_is_200_and_then_201 = "success"
    any_method_may_begin_a_job = "post"
    a_result_that_is_no_json_stands_alone = "not-json"
    a_failure_is_told_at_the_result = "failed"
    a_panic_gives_nothing_away = "panic"
    only_the_server_cancels = "cancel"
    what_is_forgotten_was_not_found = "forgotten"
    what_expires_was_not_found = "expired"
    what_never_was_does_not_work_for_ever = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_have_a_message = "refused"
    a_repeated_key_meets_its_operation = "keys"
}
