//! The worlds a trial can take place in. They share the scenario, the lock code, the client loop and the checks.
//!
//! Deliberately absent: anything about *when* a fault strikes (the nemesis) and what a history means (the checks).

pub mod docker;
