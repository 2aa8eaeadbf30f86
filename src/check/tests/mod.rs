//! Tests of several checks at once: histories as files, properties of random ones, figures point by point, what is
//! `valid` of what; and `story`, the words in which all checks' tests write histories.

mod figures;
mod fixtures;
mod gate;
pub(super) mod properties;
pub(crate) mod story;
mod strangers;
