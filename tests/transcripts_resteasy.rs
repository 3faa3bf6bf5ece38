//! The golden transcripts of RESTEasy's Asynchronous Job Service. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::RestEasy;

transcripts! {
    "resteasy", |builder| builder.dialect(RestEasy::new()), |_, _| None;
    a_job_is_accepted_and_its_response_replayed = "success"
    a_job_may_be_asked_for_by_any_method = "methods-of-requests"
    what_is_one_way_is_never_heard_of = "one-way"
    what_is_one_way_is_gone_for_its_key_too = "one-way-keys"
    a_wait_ends_with_the_response_or_503 = "wait"
    a_wait_without_a_place_is_over_at_once = "wait-full"
    a_post_reads_and_removes = "take"
    a_response_of_the_handlers_own_is_told_by_its_outcome = "look-alike"
    a_failure_of_the_handler_is_replayed = "failed"
    a_panic_gives_nothing_away = "panic"
    what_others_cancel_is_gone = "cancelled-by-server"
    what_is_deleted_is_gone_and_the_work_goes_on = "delete"
    what_expires_is_gone = "expired"
    what_never_was_is_gone = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_problems = "refused"
    a_repeated_key_meets_its_job = "keys"
    urls_begin_with_the_base_url = "urls"
    without_a_host_urls_are_paths = "no-host"
}
