//! placeholder
#[cfg(feature = "harness")]
pub mod check;
#[cfg(feature = "harness")]
pub mod fault;
#[cfg(feature = "harness")]
pub mod history;
pub mod ids;
pub mod phase;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
pub mod scenario;
pub mod seed;
pub mod time;
#[cfg(feature = "harness")]
pub mod verdict;
