//! The golden transcripts of Durable Functions' HTTP API. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, DurableFunctions};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    let switched = DurableFunctions::new().internal_server_error_on_failure();
    (given == "internal server errors").then(|| builder.dialect(switched))
}

transcripts! {
    "durable-functions", |builder| builder.dialect(DurableFunctions::new()), with;
    management_urls_lead_to_the_output = "success"
    what_a_handler_tells_is_the_custom_status = "custom-status"
    there_may_be_no_output = "empty"
    an_output_that_is_no_json_is_elsewhere = "not-json"
    an_output_that_is_encoded_is_elsewhere = "encoded"
    a_failure_is_told_with_200_or_500 = "failed"
    a_server_may_ask_for_500 = "failed-500"
    a_client_may_ask_for_500 = "failed-asked"
    a_panic_has_a_text_that_says_nothing = "panic"
    terminating_ends_once = "terminate"
    terminating_comes_too_late_for_what_has_ended = "terminate-ended"
    only_what_has_ended_is_purged = "purge"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    what_cannot_be_done_is_told_so = "unsupported"
    refusals_have_a_message = "refused"
    a_key_names_an_instance = "keys"
    a_start_may_wait = "wait"
    lists_go_on_by_a_field = "list"
    a_list_that_cannot_be_is_refused = "list-invalid"
    nobody_has_a_list = "list-without-owners"
    without_a_host_urls_are_paths = "no-host"
}
