#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_lro_fuzz::{Input, drive};

fuzz_target!(|input: Input<'_>| drive(
    tower_lro::DurableFunctions::new().internal_server_error_on_failure(),
    input
));
