//! The golden transcripts of Redfish's tasks. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::Redfish;

transcripts! {
    "redfish", |builder| builder.dialect(Redfish::new()), |_, _| None;
    a_task_is_monitored_to_its_response = "success"
    the_monitor_gives_a_response_once = "once"
    a_stored_202_does_not_pass_for_pending = "pending-look-alike"
    a_response_of_any_type_is_replayed = "not-json"
    a_failure_of_the_handler_is_an_exception = "failed"
    a_panic_gives_nothing_away = "panic"
    what_is_deleted_while_pending_is_cancelled = "cancel"
    what_is_deleted_when_it_has_ended_is_gone = "forgotten"
    what_expires_is_not_found = "expired"
    what_never_was_is_not_found = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_errors = "refused"
    a_repeated_key_meets_its_task = "keys"
    tasks_are_members_of_a_collection = "list"
    without_owners_there_is_no_collection = "list-without-owners"
    urls_are_paths = "urls"
}
