//! Single values of a settings file: durations with their unit, addresses. A mistake is shown at its place.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::duration::{self, UNITS_HELP};

/// Reads a text with a function, so that its error becomes the file's, at the value's place.
pub(super) struct Text<T, E> {
    pub what: &'static str,
    pub read: fn(&str) -> Result<T, E>,
}

impl<T, E: fmt::Display> Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
        (self.read)(text).map_err(D::custom)
    }
}

/// `"250ms"`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let read = |text: &str| duration::parse(text).map_err(|error| format!("`{text}` {error}; {UNITS_HELP}"));
    deserializer.deserialize_str(Text { what: "a duration in quotes, such as \"250ms\"", read })
}

/// `"600s"`, or `"none"`.
pub(super) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let read = |text: &str| match text {
        "none" => Ok(None),
        _ => duration::parse(text).map(Some).map_err(|error| format!("`{text}` {error}, or `none`; {UNITS_HELP}")),
    };
    deserializer.deserialize_str(Text { what: "a duration in quotes, such as \"600s\", or \"none\"", read })
}

/// Refuses a limit of no time.
pub(super) fn some_time(limit: Option<Duration>) -> Result<(), String> {
    match limit {
        Some(Duration::ZERO) => Err("must be longer than zero, or `none`".to_owned()),
        _ => Ok(()),
    }
}

/// An address in its own notation.
pub(super) struct Address<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Address<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { what: "an address in quotes", read: T::from_str }).map(Self)
    }
}

/// Refuses the table of a lock whose client is not in this build.
#[cfg(not(all(feature = "etcd", feature = "redis", feature = "zookeeper")))]
pub(super) fn unbuilt<'de, D: Deserializer<'de>>(_: D) -> Result<Option<()>, D::Error> {
    Err(D::Error::custom(
        "this build has no such client: build with the feature `etcd`, `redis` or `zookeeper`, as it is for",
    ))
}
