//! What is shown while the tour goes on.

use serde_json::Value;
use std::{
    fmt,
    future::Future,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

pub(crate) fn title(title: &str) {
    println!("\n== {title}\n");
}

/// A progress bar: one line that changes on a terminal, elsewhere a line for every tenth.
pub(crate) struct Bar {
    terminal: bool,
    tenths_shown: Option<u32>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            tenths_shown: None,
        }
    }

    /// Shows how far the operation of a status document is.
    pub(crate) fn show(&mut self, document: &Value) {
        const WIDTH: usize = 40;
        let status = document["status"].as_str().unwrap_or_default();
        let message = document["progress"]["message"].as_str().unwrap_or_default();
        let fraction = document["progress"]["fraction"].as_f64().unwrap_or(0.0);
        let percent = fraction * 100.0;
        if self.terminal {
            let full = (fraction * WIDTH as f64) as usize;
            let (done, left) = ("#".repeat(full), "-".repeat(WIDTH.saturating_sub(full)));
            // To the beginning of the line, and after the text the rest of the old one away.
            print!("\r{status:>9} [{done}{left}] {percent:3.0} % {message}\x1b[K");
            let _ = io::stdout().flush();
        } else {
            let tenths = (fraction * 10.0) as u32;
            if crate::has_ended(document) || self.tenths_shown.is_none_or(|shown| tenths > shown) {
                println!("{status:>9} {percent:3.0} % {message}");
                self.tenths_shown = Some(tenths);
            }
        }
    }

    pub(crate) fn end(&self) {
        if self.terminal {
            println!();
        }
    }
}

/// Steps of the tour, with the time that they have taken.
#[derive(Default)]
pub(crate) struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    pub(crate) fn note(&mut self, name: &'static str, took: Duration) {
        self.0.push((name, took));
    }

    pub(crate) fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = step();
        self.note(name, begin.elapsed());
        done
    }

    pub(crate) async fn await_on<T>(
        &mut self,
        name: &'static str,
        step: impl Future<Output = T>,
    ) -> T {
        let begin = Instant::now();
        let done = step.await;
        self.note(name, begin.elapsed());
        done
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, took) in &self.0 {
            writeln!(f, "{name:>20} {took:>10.1?}")?;
        }
        Ok(())
    }
}
