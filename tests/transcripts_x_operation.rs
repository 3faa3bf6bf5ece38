//! The golden transcripts of commands with `X-Operation`. `tests/stage` tells how they are read.
#![cfg(feature = "testing")]

mod stage;

use tower_lro::{Builder, XOperation};

fn with(builder: Builder, given: &str) -> Option<Builder> {
    Some(builder.dialect(match given {
        "the resource reports/{id}" => XOperation::new().resource("reports/{id}"),
        "records are forgotten when read" => XOperation::new().forget_when_read(),
        _ => return None,
    }))
}

transcripts! {
    "x-operation", |builder| builder.dialect(XOperation::new()), with;
    a_command_is_created_and_completed = "success"
    a_command_tells_its_resource = "methods-of-commands"
    a_resource_may_be_known_from_the_first = "template"
    an_event_completes_a_command = "completed"
    a_command_is_rejected_with_a_code = "rejected"
    a_panic_gives_nothing_away = "panic"
    only_the_server_cancels = "cancel"
    a_record_may_be_forgotten_when_read = "forget-when-read"
    what_is_forgotten_is_unknown = "forgotten"
    what_expires_is_unknown = "expired"
    what_never_was_is_unknown = "unknown"
    each_resource_tells_its_methods = "methods"
    refusals_are_problems = "refused"
    a_repeated_key_meets_its_operation = "keys"
}
