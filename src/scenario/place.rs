//! Values that remember where they stand in the file, and words that are one of a few.
//!
//! serde stops at the first mistake. Values are therefore read as they stand, with their place, and understood in a
//! second pass that can collect every mistake (`validate`).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};
use toml::Spanned;

use super::{ClientStyle, FaultName, Fencing, Persistence, WorkloadKind};
use crate::fault::request::{Call, Does};
use crate::fault::{Direction, PeerGroup, Refusal, Shape, Target};
use crate::lock::Tokens;
use crate::lock::backend::Connections;
use crate::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use crate::phase::Phase;
use crate::verdict::{CheckName, Demand};

/// A value and where it stands in the file. Equal and ordered by the value alone, so that it can be a map's key.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its place: a range of bytes.
    pub span: Range<usize>,
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Placed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Placed<T> {}

impl<T: Ord> PartialOrd for Placed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Placed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

/// The place is the reader's business, not the writer's: the schema is that of the value.
impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A whole number that counts something, as it stands in the file: it may still be too small or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub i64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(number))
            }
        }

        deserializer.deserialize_i64(CountVisitor)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

/// A target as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct TargetText(pub String);

impl JsonSchema for TargetText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(holder|waiter|leader|holder-server|one|minority|majority|all|(client|node):[1-9][0-9]*)$",
            "description": format!("Whom it strikes: {}.", Target::FORMS),
        })
    }
}

/// A type whose values are named by one word each.
pub trait Word: Copy + 'static {
    /// Every word, with what it means.
    fn words() -> Vec<(&'static str, Self)>;

    /// The schema of the word. Types that describe each of their words give their own.
    fn schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Self::words().into_iter().map(|(word, _)| word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// One of the words of `T`, as it stands in the file: it may still be none of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice<T> {
    /// The word.
    pub word: String,
    meaning: PhantomData<T>,
}

impl<T: Word> Choice<T> {
    /// What the word means, if it means anything.
    pub fn get(&self) -> Option<T> {
        T::words().into_iter().find(|(word, _)| *word == self.word).map(|(_, value)| value)
    }
}

impl<'de, T> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { word: String::deserialize(deserializer)?, meaning: PhantomData })
    }
}

impl<T: Word> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// The algorithms that can stand trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The lock at one Redis server.
    Redis,
    /// Redlock over independent Redis masters, or a flawed lock over them.
    Redlock(Option<RedlockFlaw>),
    /// The ZooKeeper ephemeral-sequential lock, or a flawed lock in an ensemble.
    Zookeeper(Option<ZookeeperFlaw>),
    /// The lock in an etcd cluster.
    Etcd,
}

impl Word for Algorithm {
    fn words() -> Vec<(&'static str, Self)> {
        let sound = [
            ("redis", Self::Redis),
            ("redlock", Self::Redlock(None)),
            ("zookeeper", Self::Zookeeper(None)),
            ("etcd", Self::Etcd),
        ];
        let redlock = RedlockFlaw::ALL.iter().map(|flaw| (flaw.about().name, Self::Redlock(Some(*flaw))));
        let zookeeper = ZookeeperFlaw::ALL.iter().map(|flaw| (flaw.about().name, Self::Zookeeper(Some(*flaw))));
        sound.into_iter().chain(redlock).chain(zookeeper).collect()
    }
}

macro_rules! words {
    ($($type:ty { $($word:literal => $value:ident),+ })+) => {
        $(impl Word for $type {
            fn words() -> Vec<(&'static str, Self)> {
                vec![$(($word, Self::$value)),+]
            }

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<Self>()
            }
        })+
    };
}

words! {
    WorkloadKind { "inventory" => Inventory, "register" => Register, "append-file" => AppendFile }
    ClientStyle { "careful" => Careful, "naive" => Naive }
    Fencing { "none" => None, "write" => Write, "access" => Access, "cas" => Cas }
    Persistence { "none" => None, "everysec" => Everysec, "always" => Always }
    PeerGroup { "nodes" => Nodes, "clients" => Clients, "resource" => Resource, "all" => All }
    Direction { "both" => Both, "out" => Out, "in" => In }
    Refusal { "drop" => Drop, "reset" => Reset }
    Shape { "isolate" => Isolate, "halves" => Halves, "bridge" => Bridge, "majorities-ring" => MajoritiesRing }
    Connections { "pooled" => Pooled, "fresh" => Fresh }
    Tokens { "none" => None, "quorum" => Quorum }
}

/// How many may hold a lock at once; how many permits a semaphore has is a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindName {
    /// One client.
    Mutex,
    /// Readers together, or a writer alone.
    ReadWrite,
    /// As many as there are permits.
    Semaphore,
}

impl Word for KindName {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("mutex", Self::Mutex), ("read-write", Self::ReadWrite), ("semaphore", Self::Semaphore)]
    }
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
    use super::*;

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
