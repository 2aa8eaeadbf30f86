//! Values that remember where they stand in the file, and words that are one of a few; the types say which (`words`).
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

use crate::fault::Target;

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
    /// The choice that a word makes.
    pub fn of(word: &str) -> Self {
        Self { word: word.to_owned(), meaning: PhantomData }
    }

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

/// Names the values of an enum by one word each, with the schema that the enum derives.
macro_rules! words {
    ($($type:ty { $($word:literal => $value:ident),+ })+) => {
        $(impl $crate::scenario::place::Word for $type {
            fn words() -> Vec<(&'static str, Self)> {
                vec![$(($word, Self::$value)),+]
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        })+
    };
}

pub(crate) use words;
