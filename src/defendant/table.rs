//! A lock's table in a scenario file, `[lock.NAME]`, as the keys that locks have defined for it.
//!
//! Each key stands in the file of the lock whose it is; the registry has them all. Values stay as they are written.
//! Deliberately absent: which keys there are, and whether a value makes sense.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, MapAccess};

use crate::scenario::capabilities::Capabilities;
use crate::scenario::duration::{DurationText, RangeText, text};
use crate::scenario::error::Problem;
use crate::scenario::place::{Choice, Count, Placed, Word};
use crate::scenario::problems::Problems;

/// A key of a lock's table, with values of type `T`.
#[derive(Debug)]
pub struct Key<T> {
    /// As it stands in the file.
    pub name: &'static str,
    /// Whose setting it is, for whoever gives it to another lock.
    pub of: &'static str,
    /// What `fencepost schema` and editors show.
    pub about: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    pub(super) const fn new(name: &'static str, of: &'static str, about: &'static str) -> Self {
        Self { name, of, about, value: PhantomData }
    }
}

/// A key, whatever its values are.
pub trait AnyKey: Sync {
    /// As it stands in the file.
    fn name(&self) -> &'static str;
    /// Whose setting it is.
    fn of(&self) -> &'static str;
    /// What it says, for people.
    fn about(&self) -> &'static str;
    /// Which values the deserializer must expect.
    fn form(&self) -> Form;
    /// The schema of its values.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
}

impl<T: Value> AnyKey for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn of(&self) -> &'static str {
        self.of
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn form(&self) -> Form {
        T::FORM
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// The forms that values have in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole number.
    Count,
    /// A duration in quotes.
    Duration,
    /// A range of durations in quotes.
    Range,
    /// `true` or `false`.
    Flag,
    /// Any other text.
    Text,
}

/// A value as it stands in the file.
#[derive(Clone, Debug)]
pub enum Raw {
    /// A whole number.
    Count(Count),
    /// `true` or `false`.
    Flag(bool),
    /// What stands in quotes.
    Text(String),
}

/// A type that keys have values of.
pub trait Value: Sized + 'static {
    /// How they look in the file.
    const FORM: Form;

    /// The schema that editors see.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// What a value of this form says.
    fn of(raw: &Raw) -> Option<Self>;
}

macro_rules! values {
    ($($type:ty: $form:ident, $pattern:pat => $made:expr;)+) => {
        $(impl Value for $type {
            const FORM: Form = Form::$form;

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                <$type>::json_schema(generator)
            }

            fn of(raw: &Raw) -> Option<Self> {
                match raw {
                    $pattern => Some($made),
                    _ => None,
                }
            }
        })+
    };
}

values! {
    Count: Count, Raw::Count(count) => *count;
    bool: Flag, Raw::Flag(flag) => *flag;
    String: Text, Raw::Text(text) => text.clone();
    DurationText: Duration, Raw::Text(text) => Self(text.clone());
    RangeText: Range, Raw::Text(text) => Self(text.clone());
}

impl<T: Word> Value for Choice<T> {
    const FORM: Form = Form::Text;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }

    fn of(raw: &Raw) -> Option<Self> {
        if let Raw::Text(word) = raw { Some(Self::of(word)) } else { None }
    }
}

/// A lock on trial, as its table stands in the file: values by key.
#[derive(Clone, Debug, Default)]
pub struct LockTable(BTreeMap<&'static str, Placed<Raw>>);

impl LockTable {
    /// What the table says for a key.
    pub fn get<T: Value>(&self, key: &Key<T>) -> Option<Placed<T>> {
        let field = self.0.get(key.name)?;
        Some(Placed { value: T::of(&field.value)?, span: field.span.clone() })
    }

    /// The same with nothing but these keys.
    pub(super) fn only(&self, keys: &[&'static dyn AnyKey]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| keys.iter().any(|key| key.name() == **name));
        Self(kept.map(|(name, field)| (*name, field.clone())).collect())
    }

    /// Refuses a key, if it is there: it is a setting of `of`, and this lock is `lock`.
    pub(super) fn refuse(&self, key: &dyn AnyKey, of: &str, lock: &str, problems: &mut Problems<'_>) {
        let (Some(field), key) = (self.0.get(key.name()), key.name()) else { return };
        let place = problems.with_key(key, &field.span);
        let title = format!("`{key}` is a setting of {of}, this lock is {lock}");
        problems.push(Problem::at(&place, title, format!("not a setting of {lock}")));
    }

    /// Reads the value of `key`, and keeps it.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static dyn AnyKey,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let value = match key.form() {
            Form::Count => placed(map, Raw::Count)?,
            Form::Flag => placed(map, Raw::Flag)?,
            Form::Text => placed(map, Raw::Text)?,
            Form::Duration => placed(map, |DurationText(text)| Raw::Text(text))?,
            Form::Range => placed(map, |RangeText(text)| Raw::Text(text))?,
        };
        self.0.insert(key.name(), value);
        Ok(())
    }
}

fn placed<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    raw: impl Fn(T) -> Raw,
) -> Result<Placed<Raw>, A::Error> {
    let Placed { value, span } = map.next_value::<Placed<T>>()?;
    Ok(Placed { value: raw(value), span })
}

/// A table and what is needed to understand it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The lock's name.
    pub name: &'a Placed<String>,
    /// Its table.
    pub table: &'a LockTable,
    /// The scenario file.
    pub path: &'a Path,
    /// The environment that it is read for.
    pub environment: &'a Capabilities,
}

impl Asked<'_> {
    /// Refuses what is a setting of other locks: of all `keys` those that are not `taken`.
    pub(super) fn refuse_others(
        &self,
        keys: &[&'static dyn AnyKey],
        taken: &[&'static dyn AnyKey],
        lock: &str,
        problems: &mut Problems<'_>,
    ) {
        for key in keys.iter().filter(|key| taken.iter().all(|taken| taken.name() != key.name())) {
            self.table.refuse(*key, key.of(), lock, problems);
        }
    }
}

/// The number of servers that a key says, odd and at most as many as the environment has.
pub(super) fn odd(
    key: &Key<Count>,
    usual: u32,
    most: u32,
    servers: &str,
    asked: &Asked<'_>,
    problems: &mut Problems<'_>,
) -> Option<u32> {
    let Some(field) = asked.table.get(key) else { return Some(usual) };
    let limit = format!("environment {} has {most} {servers}", asked.environment.environment);
    let count = problems.count(key.name, &field, most, &limit)?;
    if count.is_multiple_of(2) {
        let title = format!("`{}` must be odd", key.name);
        let label = format!("{count} bear no more failures than {}", count - 1);
        return problems.refuse(Problem::at(&field.span, title, label));
    }
    Some(count)
}

/// A line of a table that is written: a key and its value.
pub type Line = (&'static str, String);

/// A text as it is written to a file.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A duration as it is written to a file.
pub(super) fn time(duration: Duration) -> String {
    quoted(&text(duration))
}

/// A value that is named by a word, as it is written to a file.
pub(super) fn word<T: Word + PartialEq>(value: T) -> String {
    quoted(T::words().into_iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word))
}
