//! Rounds in which all take turns. A machine that is slow for a while is slow for all of a round: the median of the
//! rounds' ratios hardly sees it, where a mean of each one's times would.

use std::time::{Duration, Instant};

/// One contestant's turn: time per operation, in nanoseconds.
pub type Turn<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// What each contestant took in each round.
pub struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// Runs one round to get warm, then as many as are asked for; who begins changes from round to round.
    pub fn run(rounds: usize, turns: &mut [Turn<'_>]) -> Self {
        let mut taken = vec![Vec::with_capacity(rounds); turns.len()];
        for turn in turns.iter_mut() {
            turn();
        }
        for round in 0..rounds {
            for at in 0..turns.len() {
                let at = (round + at) % turns.len();
                taken[at].push(turns[at]());
            }
        }
        Self(taken)
    }

    /// How many took part.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Median of what one took.
    pub fn median(&self, of: usize) -> f64 {
        median(self.0[of].clone())
    }

    /// Median of the rounds' ratios.
    pub fn ratio(&self, of: usize, to: usize) -> f64 {
        let pairs = self.0[of].iter().zip(&self.0[to]);
        median(pairs.map(|(of, to)| of / to).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn per(taken: Duration, count: usize) -> f64 {
    taken.as_nanos() as f64 / count as f64
}

/// The meter of time.
pub fn timed(work: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Prints a row: a name, and right-aligned columns.
pub fn row(name: &str, columns: &[String]) {
    print!("{name:<26}");
    for column in columns {
        print!("{column:>13}");
    }
    println!();
}

pub fn heading(title: &str, columns: &[&str]) {
    println!();
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    row(title, &columns);
}

pub fn nanos(value: f64) -> String {
    format!("{value:.0} ns")
}

pub fn times(value: f64) -> String {
    format!("{value:.2} x")
}
