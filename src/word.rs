//! Words of files as types: one table for each, and a place for words that this version does not know.
//!
//! A file may be of another version, or of another program; what it says is kept as it stands, and read as what it is
//! where the table has it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a table of words has.
pub trait Named: Copy + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The word of one.
    fn name(self) -> &'static str;
}

/// A word of a table, or another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// One that the table has.
    Known(T),
    /// One that it has not.
    Foreign(String),
}

impl<T: Named> Word<T> {
    /// What it stands for, if the table has it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(known) => Some(*known),
            Self::Foreign(_) => None,
        }
    }

    /// Whether it stands for this.
    pub fn is(&self, one: T) -> bool {
        self.known() == Some(one)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(known) => known.name(),
            Self::Foreign(word) => word,
        }
    }
}

impl<T> Default for Word<T> {
    fn default() -> Self {
        Self::Foreign(String::new())
    }
}

impl<T: Named> From<T> for Word<T> {
    fn from(known: T) -> Self {
        Self::Known(known)
    }
}

impl<T: Named> From<String> for Word<T> {
    fn from(word: String) -> Self {
        let known = T::ALL.iter().find(|known| known.name() == word);
        known.map_or_else(|| Self::Foreign(word), |known| Self::Known(*known))
    }
}

impl<T: Named> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Named> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultName;

    #[test]
    fn a_word_is_written_as_it_was_read_whether_it_is_known_or_not() {
        for (text, known) in [("\"power-loss\"", Some(FaultName::PowerLoss)), ("\"flood\"", None), ("\"\"", None)] {
            let word: Word<FaultName> = serde_json::from_str(text).unwrap();
            assert_eq!(word.known(), known);
            assert_eq!(serde_json::to_string(&word).unwrap(), text);
        }
        assert_eq!(Word::<FaultName>::from("pause".to_owned()), FaultName::Pause.into(), "one word is one value");
    }
}
