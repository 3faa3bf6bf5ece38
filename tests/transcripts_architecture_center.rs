//! The golden transcripts of the Architecture Center's pattern. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{ArchitectureCenter, Builder};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    Some(builder.dialect(match given {
        "the target /reports/{id}" => ArchitectureCenter::new().target("/reports/{id}"),
        "failures as documents" => ArchitectureCenter::new().failures_as_documents(),
        ".NET, with the target /todos/{id}" => ArchitectureCenter::dotnet().target("/todos/{id}"),
        _ => return None,
    }))
}

transcripts! {
    "architecture-center", |builder| builder.dialect(ArchitectureCenter::new()), with;
    the_monitor_leads_to_the_result = "success"
    the_monitor_leads_to_what_the_response_has_created = "created"
    the_monitor_leads_to_what_was_told = "resource"
    the_monitor_leads_to_what_is_known_from_the_first = "template"
    a_failing_4xx_is_told_at_the_monitor = "handler-error-status"
    any_other_failure_is_400 = "failed-other"
    a_panic_gives_nothing_away = "panic"
    a_failure_may_be_a_document = "failures-as-documents"
    a_cancel_ends_and_repeating_it_changes_nothing = "cancel"
    what_is_forgotten_is_unknown = "forgotten"
    what_has_ended_tells_when_it_expires = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_problems = "refused"
    a_repeated_key_meets_its_operation = "keys"
    the_to_do_article_is_followed = "dotnet"
    the_to_do_article_tells_failures_by_400 = "dotnet-failed"
    the_to_do_article_gives_nothing_away = "dotnet-panic"
    the_to_do_article_takes_a_cancel_for_a_failure = "dotnet-cancel"
    the_to_do_article_forgets = "dotnet-expired"
}
