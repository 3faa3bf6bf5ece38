//! Requests that make no sense, for dialects that must answer them all the same.
#![allow(dead_code, reason = "each test file uses its part")]

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

/// What a dialect's targets are made of.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// What may come after an id.
    pub(crate) tails: &'static [&'static str],
    /// Of parameters.
    pub(crate) names: &'static [&'static str],
    /// Of theirs.
    pub(crate) values: &'static [&'static str],
}

/// A target below a mount: mostly of an operation that nobody has or of the list, with parameters that mean something
/// and values that may not, but also of anything else that a URI may be made of; or one from elsewhere.
pub(crate) fn target(mount: &'static str, words: Words) -> impl Strategy<Value = Uri> {
    const ID: &str = "00000000-0000-4000-8000-000000000000";
    const ANY: &str = "[!$-;=-~]{0,8}";
    let one_of = |words: &[&'static str], others: &[&'static str]| {
        let all: Vec<_> = words.iter().chain(others).copied().collect();
        prop::sample::select(all).prop_map(str::to_owned)
    };
    let piece = prop_oneof![
        one_of(words.tails, &[ID]),
        one_of(words.names, &["x"]),
        one_of(
            words.values,
            &["/", "//", "?", "&", "=", "..", "%00", "%2f", ":", "*"]
        ),
        ANY,
    ];
    let soup = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let tail = prop_oneof![3 => one_of(words.tails, &["", "/", "/x", "%20"]), 1 => ANY];
    let path = prop_oneof![
        3 => tail.prop_map(|tail| format!("/{ID}{tail}")),
        3 => Just(String::new()),
        2 => soup,
    ];
    let odd = [
        "",
        "%",
        "%2",
        "%c3",
        "%ff",
        "..",
        ",",
        "+",
        "-",
        "0",
        "true",
        "Z",
        "+00:00",
        "2026-11-21T09:00:00",
    ];
    let odd_values = prop::collection::vec(one_of(words.values, &odd), 0..5);
    let value = prop_oneof![
        one_of(words.values, &odd),
        odd_values.prop_map(|values| values.concat()),
        "-?[0-9]{1,22}",
        ANY,
    ];
    let value = prop::option::weighted(0.9, value.prop_map(|value| format!("={value}")));
    let pair = (one_of(words.names, &["x", "", "%78"]), value)
        .prop_map(|(name, value)| name + &value.unwrap_or_default());
    let query = prop::collection::vec(pair, 0..4).prop_map(|pairs| match pairs.is_empty() {
        true => String::new(),
        false => format!("?{}", pairs.join("&")),
    });
    let target = prop_oneof![
        7 => (path, query).prop_map(move |(path, query)| format!("{mount}{path}{query}")),
        1 => "/[!$-;=-~]{0,16}",
    ];
    target.prop_filter_map("no URI", |target| target.parse().ok())
}

/// Fields with such names, and what clients like to send, with such values, and any others that fields may have.
pub(crate) fn fields(
    names: &'static [&'static str],
    values: &'static [&'static str],
) -> impl Strategy<Value = HeaderMap> {
    let common = [
        "accept",
        "prefer",
        "if-match",
        "if-none-match",
        "host",
        "range",
    ];
    let names: Vec<_> = names.iter().copied().chain(common).collect();
    let common = ["*", "*/*", "respond-async", "wait=9", ",;=\""];
    let values: Vec<_> = values.iter().copied().chain(common).collect();
    let value = prop_oneof![
        prop::sample::select(values).prop_map(|value| value.as_bytes().to_vec()),
        "[ -~]{0,32}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..16),
    ];
    let field = (prop::sample::select(names), value);
    prop::collection::vec(field, 0..5).prop_map(|fields| {
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
