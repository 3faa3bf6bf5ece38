//! The golden transcripts of Google's operations over REST. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, GoogleRest};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    (given == "typed").then(|| builder.dialect(GoogleRest::typed()))
}

transcripts! {
    "google-rest", |builder| builder.dialect(GoogleRest::new()), with;
    an_operation_is_the_answer_in_every_state = "success"
    what_a_handler_tells_is_metadata = "metadata"
    an_empty_result_is_an_empty = "empty"
    a_result_that_is_no_json_is_told_by_its_link = "not-json"
    a_result_that_is_encoded_is_told_by_its_link = "encoded"
    the_result_can_be_had_as_it_is = "media"
    what_speaks_proto_json_is_told_on = "typed"
    an_error_of_googles_form_is_told_on = "failed-google"
    a_problem_is_told_by_its_detail = "failed-problem"
    any_other_failure_is_told_by_its_status = "failed-other"
    a_panic_is_internal = "panic"
    an_error_is_internal = "error"
    a_cancel_ends_with_code_1 = "cancel"
    a_cancel_comes_too_late_for_what_has_ended = "cancel-ended"
    what_is_deleted_is_unknown = "forgotten"
    what_is_deleted_is_not_cancelled = "abandoned"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_http_errors = "refused"
    a_key_names_an_operation = "keys"
    a_wait_ends_with_the_operation_or_its_timeout = "wait"
    a_timeout_that_is_none_is_refused = "wait-invalid"
    lists_are_of_the_caller = "list"
    a_list_that_cannot_be_is_refused = "list-invalid"
    nobody_has_a_list = "list-without-owners"
}
