//! The golden transcripts of Azure Resource Manager. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::Arm;

transcripts! {
    "arm", |builder| builder.dialect(Arm::new()), |_, _| None;
    one_monitor_tells_and_the_other_replays = "success"
    a_put_is_answered_with_the_resource = "put"
    what_no_provider_has_is_of_no_type = "put-elsewhere"
    a_repeat_of_a_put_tells_its_state = "put-cancelled"
    after_a_delete_there_is_nothing_to_tell = "delete"
    after_a_patch_the_target_is_the_result = "patch"
    an_empty_result_is_left_out = "empty"
    a_result_that_is_no_json_is_replayed = "not-json"
    a_result_that_is_encoded_is_replayed = "encoded"
    an_error_object_is_told_on = "failed-azure"
    a_problem_is_told_by_its_detail = "failed-problem"
    any_other_failure_is_told_by_its_status = "failed-other"
    a_panic_has_a_code_and_no_message = "panic"
    a_stored_202_is_not_taken_for_pending = "look-alike"
    a_cancel_ends_and_repeating_it_changes_nothing = "cancel"
    a_cancel_comes_too_late_for_what_has_ended = "cancel-ended"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_error_objects = "refused"
    without_a_host_urls_are_paths = "no-host"
}
