//! The golden transcripts of OGC API - Processes. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, OgcProcesses};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    let dialect = OgcProcesses::new();
    match given {
        "version 2" => Some(builder.dialect(dialect.version_2())),
        "only async" => Some(builder.dialect(dialect.only_async())),
        _ => None,
    }
}

transcripts! {
    "ogc", |builder| builder.dialect(OgcProcesses::new()), with;
    a_job_is_created_runs_and_has_results = "success"
    a_job_as_the_draft_of_2_0_has_it = "version-2"
    an_execution_may_be_deferred_unasked = "only-async"
    a_wait_holds_a_job_back = "wait"
    one_output_is_cut_out_of_small_results = "outputs"
    results_that_are_no_json_are_sent_as_they_are = "not-json"
    results_that_are_encoded_are_sent_as_they_are = "encoded"
    no_results_are_none = "empty"
    a_problem_of_the_handler_is_the_exception = "failed-problem"
    any_other_failure_becomes_an_exception = "failed-other"
    a_panic_gives_nothing_away = "panic"
    what_is_dismissed_can_be_read_until_it_is_again = "dismiss"
    what_has_ended_is_gone_when_it_is_dismissed = "forgotten"
    what_expires_is_no_job = "expired"
    what_never_was_is_no_job = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_exceptions = "refused"
    a_repeated_key_meets_its_job = "keys"
    jobs_are_listed_by_what_is_asked_for = "list"
    a_list_is_refused_what_it_cannot_be_asked = "list-refused"
    without_owners_there_is_no_list = "list-without-owners"
    urls_begin_with_the_base_url = "urls"
    without_a_host_urls_are_paths = "no-host"
}
