//! What is left of operations when processes die, stop, or stand in each other's way; and disks with them.
//!
//! Every process is a real one, the workbench, and all share one file. What is run is told by a witness outside of them.
//!
//! ```text
//! cargo test --test faults                                  # short
//! FAULTS=long cargo test --test faults -- --nocapture       # 200 kills, the largest bodies
//! FAULTS_SEED=7 cargo test --test faults                    # once more as it was: each seed is printed
//! ```
#![cfg(all(target_os = "linux", feature = "axum", feature = "sqlite"))]

#[path = "../programs/mod.rs"]
mod programs;
#[path = "../raw/mod.rs"]
mod raw;

mod disk;
mod house;
mod kills;
mod locked;
mod memory;
mod seed;
mod shared;
mod stopped;
mod syncs;
