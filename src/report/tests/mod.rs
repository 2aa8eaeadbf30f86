//! Tests of all forms of a report at once, and `sample`, the reports that every test here is made with.

mod hostile;
pub(crate) mod sample;
