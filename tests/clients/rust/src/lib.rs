//! What the programs of this package share: tests are futures, one line is printed for each, and a failure exits 1.

use std::{process::exit, time::Instant};

/// The workbench that is told on the command line.
pub fn base() -> String {
    let base = std::env::args().nth(1).expect("the workbench's URL");
    base.trim_end_matches('/').to_owned()
}

/// Runs one test after another, each in a task of its own.
#[derive(Default)]
pub struct Tests {
    passed: u32,
    failed: u32,
}

impl Tests {
    pub async fn run<F: Future<Output = ()> + Send + 'static>(&mut self, name: &str, test: F) {
        let begun = Instant::now();
        let ended = tokio::spawn(test).await;
        let took = begun.elapsed().as_secs_f64();
        match ended {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {took:5.1} s  {name}");
            }
            // What went wrong has been printed by the panic.
            Err(_) => {
                self.failed += 1;
                println!("FAILED  {took:5.1} s  {name}");
            }
        }
    }

    pub fn end(self) -> ! {
        println!("{} passed, {} failed", self.passed, self.failed);
        exit(i32::from(self.failed > 0))
    }
}
