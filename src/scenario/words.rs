//! The words that scenario files have for the values of a workload, a resource, a fault, a demand.
//!
//! Those of a lock stand with the lock ([`crate::defendant`]).

use schemars::{Schema, SchemaGenerator};

use super::place::{Word, words};
use super::{ClientStyle, FaultName, Fencing, WorkloadKind};
use crate::fault::request::{Call, Does};
use crate::fault::{Direction, PeerGroup, Refusal, Shape};
use crate::phase::Phase;
use crate::verdict::{CheckName, Demand};

words! {
    WorkloadKind { "inventory" => Inventory, "register" => Register, "append-file" => AppendFile }
    ClientStyle { "careful" => Careful, "naive" => Naive }
    Fencing { "none" => None, "write" => Write, "access" => Access, "cas" => Cas }
    PeerGroup { "nodes" => Nodes, "clients" => Clients, "resource" => Resource, "all" => All }
    Direction { "both" => Both, "out" => Out, "in" => In }
    Refusal { "drop" => Drop, "reset" => Reset }
    Shape { "isolate" => Isolate, "halves" => Halves, "bridge" => Bridge, "majorities-ring" => MajoritiesRing }
}

impl Word for Call {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|call| (call.name(), call)).to_vec()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Word for Does {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|does| (does.name(), does)).to_vec()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Word for Phase {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|phase| (phase.name(), phase)).to_vec()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Word for FaultName {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|name| (name.name(), name)).to_vec()
    }
}

impl Word for Demand {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|demand| (demand.name(), demand)).to_vec()
    }
}

impl Word for CheckName {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|check| (check.name(), check)).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::Deserialize;

    use super::*;
    use crate::defendant::Persistence;
    use crate::lock::Tokens;
    use crate::lock::backend::Connections;

    /// Each word must be what serde calls the value, or files and histories would drift apart.
    fn assert_words<T: Word + PartialEq + fmt::Debug + for<'de> Deserialize<'de>>() {
        for (word, value) in T::words() {
            assert_eq!(serde_json::from_value::<T>(word.into()).unwrap(), value);
        }
        let unknown = serde_json::from_value::<T>("no-such-word".into()).unwrap_err().to_string();
        assert_eq!(unknown.matches('`').count() / 2 - 1, T::words().len(), "a word is missing: {unknown}");
    }

    #[test]
    fn words_are_those_of_serde_and_all_of_them() {
        assert_words::<WorkloadKind>();
        assert_words::<ClientStyle>();
        assert_words::<Fencing>();
        assert_words::<Persistence>();
        assert_words::<PeerGroup>();
        assert_words::<Direction>();
        assert_words::<Refusal>();
        assert_words::<Shape>();
        assert_words::<Connections>();
        assert_words::<Tokens>();
        assert_words::<Call>();
        assert_words::<Does>();
        assert_words::<Phase>();
        assert_words::<CheckName>();
    }
}
