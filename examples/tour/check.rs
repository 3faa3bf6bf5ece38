//! The same once more, without server and in another way: what the result is checked against.

use crate::server::COMMON;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So many rounds keep this machine busy for about `time`.
pub(crate) fn rounds_that_take(time: Duration, file: &[u8]) -> u32 {
    let (begin, mut tried) = (Instant::now(), 0_u32);
    let mut seal = [0; 32];
    while begin.elapsed() < Duration::from_millis(100) {
        seal = next(seal, file);
        tried += 1;
    }
    // Used, so that it is computed.
    std::hint::black_box(seal);
    let rounds = f64::from(tried) * time.as_secs_f64() / begin.elapsed().as_secs_f64();
    (rounds as u32).max(1)
}

fn next(seal: [u8; 32], file: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seal);
    hash.update(file);
    hash.finalize().into()
}

/// Whether `result` says of the file what there is to say.
pub(crate) fn check(file: &[u8], rounds: u32, result: &[u8]) -> crate::Result<()> {
    let result: Value = serde_json::from_slice(result)?;
    for (name, expected) in expected(file, rounds) {
        if result[name] != expected {
            return Err(format!("`{name}` is {} and should be {expected}", result[name]).into());
        }
    }
    Ok(())
}

fn expected(file: &[u8], rounds: u32) -> [(&'static str, Value); 6] {
    // The first round has no seal yet.
    let mut seal: [u8; 32] = Sha256::digest(file).into();
    for _ in 1..rounds {
        seal = next(seal, file);
    }
    let seal = seal.map(|byte| format!("{byte:02x}")).concat();

    let (mut lines, mut words) = (0, Vec::new());
    let mut word = Vec::new();
    for byte in file {
        lines += u32::from(*byte == b'\n');
        if !byte.is_ascii_whitespace() {
            word.push(*byte);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    let mut seen = BTreeMap::new();
    for word in &words {
        *seen.entry(word).or_insert(0) += 1;
    }
    // In the order of the alphabet, which a stable sort keeps among those that are as common.
    let mut common: Vec<(_, i32)> = seen.into_iter().collect();
    common.sort_by_key(|(_, times)| -times);
    common.truncate(COMMON);
    let common = common
        .iter()
        .map(|(word, times)| json!([String::from_utf8_lossy(word), times]));

    [
        ("bytes", json!(file.len())),
        ("lines", json!(lines)),
        ("words", json!(words.len())),
        ("common", common.collect()),
        ("rounds", json!(rounds)),
        ("seal", json!(seal)),
    ]
}
