//! Who listens where, and what is still to be said there.
//!
//! Whoever subscribes is known by the number of its connection; what is to be said there is kept until the caller takes
//! it.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

/// Who listens where, and what is still to be said.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    pub listeners: BTreeMap<SmolStr, BTreeSet<u32>>,
    pub said: Vec<(u32, String)>,
}
