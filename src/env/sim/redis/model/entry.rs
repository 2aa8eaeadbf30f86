//! What a node keeps: its keys.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: SmolStr,
    /// The last millisecond of its life, on the node's wall clock (milliseconds since the epoch).
    pub deadline: Option<i64>,
}

/// The keys of a node. Nothing depends on their order.
pub(super) type Keys = FxHashMap<SmolStr, Entry>;
