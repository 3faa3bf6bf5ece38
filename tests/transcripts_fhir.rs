//! The golden transcripts of FHIR's asynchronous patterns. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, Fhir};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    (given == "bundles").then(|| builder.dialect(Fhir::bundle()))
}

transcripts! {
    "fhir", |builder| builder.dialect(Fhir::bulk()), with;
    an_export_is_kicked_off_polled_and_complete = "success"
    an_export_by_post_needs_no_preference = "post"
    polls_that_come_too_often_are_429 = "too-fast"
    a_head_is_no_poll = "head"
    progress_is_told_in_less_than_100_characters = "progress"
    an_outcome_of_the_handler_is_told_as_it_is = "failed"
    an_outcome_in_plain_json_is_told_as_it_is = "failed-json"
    a_problem_becomes_an_outcome = "failed-problem"
    any_other_failure_becomes_an_outcome = "failed-other"
    a_stored_429_or_503_does_not_pass_for_the_monitors_own = "failed-throttled"
    a_stored_202_does_not_pass_for_pending = "pending-look-alike"
    a_panic_gives_nothing_away = "panic"
    what_is_deleted_while_pending_is_404_from_then_on = "cancel"
    what_is_deleted_when_complete_is_404_from_then_on = "forgotten"
    what_others_cancel_is_404 = "cancelled-by-server"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_outcomes = "refused"
    no_room_is_transient = "full"
    a_repeated_key_meets_its_operation = "keys"
    the_status_of_an_export_may_be_separate = "separate-status"
    urls_begin_with_the_base_url = "urls"
    without_a_host_urls_are_paths = "no-host"
    an_interaction_is_the_entry_of_a_bundle = "bundle"
    an_empty_response_has_no_resource = "bundle-empty"
    a_response_that_is_no_json_is_linked_to = "bundle-not-json"
    a_failure_is_an_outcome_in_the_bundle = "bundle-failed"
    a_panic_is_an_outcome_in_the_bundle = "bundle-panic"
    what_others_cancel_is_in_no_bundle = "bundle-cancelled-by-server"
    a_bundle_has_no_separate_status = "bundle-separate-status"
    an_output_format_asks_for_the_bulk_pattern = "bundle-output-format"
}
