//! The search: plans that nobody wrote, what they break, and what is left of them after shrinking.
//!
//! [`draw`] draws a trial, [`law`] says which plans a lock must bear and which guarantees it then owes, [`recorded`] turns a
//! run's strikes into an explicit plan, [`shrink`] makes a failing one small, [`worth`] says what a search came to that found
//! nothing. Deliberately absent: how a trial is run and judged, and where findings are kept; that is `run`'s.

pub mod draw;
pub mod law;
pub mod recorded;
pub mod shrink;
pub mod worth;
