//! The golden transcripts of Azure's data plane. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Azure, Builder};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    (given == "final location").then(|| builder.dialect(Azure::new().final_location()))
}

transcripts! {
    "azure", |builder| builder.dialect(Azure::new()), with;
    an_action_has_its_result_in_the_document = "success"
    a_result_that_is_no_json_is_elsewhere = "not-json"
    a_result_that_is_encoded_is_elsewhere = "encoded"
    an_empty_result_is_left_out = "empty"
    after_a_put_the_target_is_the_result = "put"
    a_resource_that_was_told_is_absolute = "resource"
    what_was_created_is_the_resource = "created"
    the_final_location_is_the_result = "final-location"
    an_error_object_is_told_on = "failed-azure"
    a_problem_is_told_by_its_detail = "failed-problem"
    any_other_failure_is_told_by_its_status = "failed-other"
    a_panic_has_a_code_and_no_message = "panic"
    a_cancel_ends_and_repeating_it_changes_nothing = "cancel"
    what_is_forgotten_is_unknown = "forgotten"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    an_id_of_the_client_names_its_operation = "operation-id"
    refusals_are_error_objects = "refused"
    without_a_host_urls_are_paths = "no-host"
}
