//! Histories in Jepsen's own notation, EDN: ours out to Knossos. What reads it is [`super::foreign`].

pub(super) mod marks;
mod write;

pub use write::{ChoiceError, write, write_to};

#[cfg(test)]
mod tests;
