//! The golden transcripts of OData's asynchronous requests. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::OData;

transcripts! {
    "odata", |builder| builder.dialect(OData::new()), |_, _| None;
    the_header_form_is_the_result_with_its_status_beside_it = "success"
    the_envelope_form_is_the_result_as_a_message = "envelope"
    a_result_without_a_body_has_none_in_either_form = "no-content"
    what_is_no_json_is_sent_as_it_is = "not-json"
    trailers_are_for_the_header_form = "trailers"
    a_failed_response_is_a_result_as_any_other = "failed"
    a_stored_202_does_not_pass_for_pending = "pending-look-alike"
    a_panic_is_an_error_of_the_service = "panic"
    what_others_cancel_ends_with_a_5xx = "cancelled-by-server"
    a_client_that_cancels_leaves_nothing = "cancel"
    what_has_ended_is_let_go_of_by_delete = "forgotten"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    the_monitor_tells_its_methods = "methods"
    a_wait_comes_before_the_202 = "wait"
    refusals_are_error_objects = "refused"
    a_repeated_key_meets_its_operation = "keys"
    urls_begin_with_the_base_url = "urls"
    without_a_host_urls_are_paths = "no-host"
    who_knows_4_0_is_answered_in_that = "version-4-0"
}
