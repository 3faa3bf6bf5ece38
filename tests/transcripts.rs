//! The golden transcripts of the default dialect, written from `docs/wire.md`. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, Rfc};

fn styled(builder: Builder, given: &str) -> Option<Builder> {
    Some(match given {
        "style see_other" => builder.dialect(Rfc::see_other()),
        "style see_other_from_ok" => builder.dialect(Rfc::see_other_from_ok()),
        "style new, ok_while_pending" => builder.dialect(Rfc::new().ok_while_pending()),
        "style new, failures_as_documents" => builder.dialect(Rfc::new().failures_as_documents()),
        "style see_other_from_ok, failures_as_documents" => {
            builder.dialect(Rfc::see_other_from_ok().failures_as_documents())
        }
        _ => return None,
    })
}

transcripts! {
    "rfc", |builder| builder, styled;
    a_request_is_accepted_before_its_work_is_done = "accept"
    urls_are_made_of_base_url_and_mount = "base-url"
    a_cancel_ends_and_repeating_it_changes_nothing = "cancel"
    conditions_hold_on_documents_and_deletes = "conditional"
    an_error_is_named_and_not_told = "error"
    a_response_that_breaks_off_is_an_error = "error-in-body"
    a_service_that_fails_in_getting_ready_has_failed = "error-not-ready"
    what_expires_is_gone_and_later_unknown = "expired"
    a_failure_may_be_a_document = "failures-as-documents"
    what_is_forgotten_is_gone_and_later_unknown = "forgotten"
    a_failing_status_of_the_handler_is_replayed = "handler-error-status"
    head_is_get_without_a_body_and_delivers_nothing = "head"
    what_is_there_in_time_is_answered_at_once = "inline"
    an_end_from_elsewhere_is_told_by_the_monitor = "inline-ended-elsewhere"
    a_drained_server_interrupts_and_goes_on_answering = "interrupted"
    a_repeated_key_meets_the_operation_in_every_state = "keys"
    a_repeated_key_gets_an_answer_at_once_again = "keys-inline"
    a_key_is_its_owners = "keys-of-owners"
    strict_keys_are_refused_while_pending = "keys-strict"
    an_owner_lists_what_is_its_own = "list"
    a_list_goes_by_what_its_documents_say = "list-states"
    without_owners_there_is_no_list = "list-without-owners"
    what_gets_no_turn_ends_as_not_started = "not-started"
    options_tell_the_methods_of_a_resource = "options"
    a_panic_is_a_problem_without_its_message = "panic"
    a_service_that_panics_in_getting_ready_has_panicked = "panic-not-ready"
    everything_a_handler_tells_is_in_the_pending_answers = "pending"
    refusals_leave_nothing_behind = "refused"
    a_replay_follows_its_table = "replay"
    a_response_too_long_to_be_stored_is_a_problem = "result-too-large"
    ok_while_pending_has_a_tag_until_the_replay = "ok-while-pending"
    see_other_points_at_the_result = "see-other"
    see_other_goes_with_failures_as_documents = "see-other-failures-as-documents"
    see_other_from_ok_has_a_tag_while_pending = "see-other-from-ok"
    a_response_is_replayed_as_often_as_asked = "success"
    what_runs_too_long_times_out = "time-out"
    trailers_are_kept_with_the_body = "trailers"
    what_never_was_is_unknown = "unknown"
    queries_of_clients_are_tolerated = "unknown-query"
    a_wait_is_held_for_what_it_is_for = "wait"
    a_wait_without_a_place_is_answered_at_once = "wait-full"
    wrong_methods_are_told_the_right_ones = "wrong-method"
}
