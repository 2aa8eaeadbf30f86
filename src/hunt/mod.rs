//! The search: plans that nobody wrote, what they found, and what is left of it after shrinking.
//!
//! [`recorded`] turns a run's strikes into an explicit plan. Deliberately absent: how a plan is run and judged.

pub mod recorded;
