//! The worlds a trial can take place in. They share the scenario, the lock code, the course of a trial, the client loop
//! and the checks.
//!
//! Deliberately absent: anything about *when* a fault strikes, and what a world must offer for that (the nemesis), what
//! a trial's course is (its own room), and what a history means (the checks).

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "lives on the real machine, in its time")]
pub mod docker;
pub mod sim;

/// A ZooKeeper session as servers show it in their words: `0x10000a2b3c0001`; empty for none.
fn session_text(session: i64) -> String {
    if session == 0 { String::new() } else { format!("0x{session:x}") }
}
