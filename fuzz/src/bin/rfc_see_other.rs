#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_lro::Rfc;
use tower_lro_fuzz::{Input, drive};

fuzz_target!(|input: Input<'_>| drive(Rfc::see_other_from_ok().failures_as_documents(), input));
