//! What each verb of the command line does: reads its arguments, has the library do it, tells what came of it.
//!
//! Deliberately absent: the arguments themselves, which are `cli`'s, and anything that could be of use without a
//! terminal.

pub mod adapters;
pub mod calibrate;
pub mod check;
pub mod cluster;
pub mod compare;
pub mod console;
pub mod failure;
pub mod hunt;
pub mod list;
pub mod run;
