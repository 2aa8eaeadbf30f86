//! What a resource refuses to take from those whose hold is over.

use serde::{Deserialize, Serialize};

use crate::word::Named;

/// What the resource refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// Nothing.
    #[default]
    None,
    /// A write whose token is below the highest token *written*.
    Write,
    /// Any access whose token is below the highest token *seen*; a read raises it too.
    Access,
    /// A write that does not follow from the value that its own hold read last.
    Cas,
}

impl Named for Fencing {
    const ALL: &'static [Self] = &[Self::None, Self::Write, Self::Access, Self::Cas];

    /// The name used in scenario files and pages.
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Write => "write",
            Self::Access => "access",
            Self::Cas => "cas",
        }
    }
}
