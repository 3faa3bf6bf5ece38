//! Requests that make no sense, for dialects that must answer them all the same.

use super::exchange::{Collected, ask, request};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use tower_lro::Operations;

/// A method, known to monitors or not.
pub(crate) fn method() -> impl Strategy<Value = Method> {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "X",
    ];
    prop::sample::select(methods.map(|method| method.parse().unwrap()).to_vec())
}

/// A target made of such pieces, of ids that nobody has, and of anything else that a URI may be made of.
pub(crate) fn target(pieces: &'static [&'static str]) -> impl Strategy<Value = Uri> {
    const ID: &str = "00000000-0000-4000-8000-000000000000";
    let piece = prop_oneof![
        prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        Just(ID.to_owned()),
        prop::sample::select(vec!["/", "//", "?", "&", "=", "..", "%00", "%2f", ":", "*"])
            .prop_map(str::to_owned),
        "[!$-;=-~]{0,8}",
    ];
    let pieces = prop::collection::vec(piece, 0..8);
    pieces.prop_filter_map("no URI", |pieces| {
        format!("/operations{}", pieces.concat()).parse().ok()
    })
}

/// Fields with such names, and what clients like to send, with any values that fields may have.
pub(crate) fn fields(names: &'static [&'static str]) -> impl Strategy<Value = HeaderMap> {
    let common = [
        "accept",
        "prefer",
        "if-match",
        "if-none-match",
        "host",
        "range",
    ];
    let names: Vec<_> = names.iter().copied().chain(common).collect();
    let value = prop_oneof![
        "[ -~]{0,32}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..16),
    ];
    let field = (prop::sample::select(names), value);
    prop::collection::vec(field, 0..4).prop_map(|fields| {
        let fields = fields.into_iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_bytes(&value).ok()?;
            Some((HeaderName::from_static(name), value))
        });
        fields.collect()
    })
}

/// Asks the status service, on a runtime of its own.
pub(crate) fn answer_to(
    operations: impl FnOnce() -> Operations,
    method: Method,
    target: Uri,
    fields: HeaderMap,
) -> Collected {
    let mut asked = request(method, "/", &[]);
    *asked.uri_mut() = target;
    asked.headers_mut().extend(fields);
    run(async { ask(&operations(), asked).await })
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}
