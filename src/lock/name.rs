//! Which names a lock may have, and how they are written where not all characters may be.
//!
//! The same for every backend, so that a program that changes its backend keeps its names.

use std::borrow::Cow;
use std::fmt::Write;

use crate::ids::LockName;

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 1024;

/// Why a lock cannot have a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("the lock's name is empty")]
    Empty,
    /// It is longer than [`LONGEST_NAME`].
    #[error("the lock's name has {0} bytes, the most is {LONGEST_NAME}")]
    TooLong(usize),
}

/// Whether a lock may have this name.
///
/// # Errors
/// It may not.
pub(crate) fn check(name: &LockName) -> Result<(), NameError> {
    match name.as_str().len() {
        0 => Err(NameError::Empty),
        1..=LONGEST_NAME => Ok(()),
        length => Err(NameError::TooLong(length)),
    }
}

/// The name as one part of a path: no slash, no control character, neither `.` nor `..`; percent-encoded where need be,
/// so no two names are the same part.
pub(crate) fn as_path_part(name: &LockName) -> Cow<'_, str> {
    let name = name.as_str();
    let stays = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%');
    let only_dots = matches!(name, "." | "..");
    if !only_dots && name.bytes().all(stays) {
        return Cow::Borrowed(name);
    }
    let mut part = String::with_capacity(3 * name.len());
    for byte in name.bytes() {
        if stays(byte) && !only_dots {
            part.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    Cow::Owned(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_written_as_they_are() {
        for (name, part) in [
            ("item-1", "item-1"),
            ("user:17.lock", "user:17.lock"),
            ("a/c-00-0000000001", "a%2Fc-00-0000000001"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("50 %", "50%20%25"),
            ("ä\n", "%C3%A4%0A"),
        ] {
            assert_eq!(as_path_part(&LockName::new(name)), part);
        }
        assert_eq!(check(&LockName::new("")), Err(NameError::Empty));
        assert_eq!(check(&LockName::new("x".repeat(LONGEST_NAME))), Ok(()));
        assert_eq!(check(&LockName::new("x".repeat(LONGEST_NAME + 1))), Err(NameError::TooLong(LONGEST_NAME + 1)));
    }

    #[test]
    fn no_two_names_are_the_same_part() {
        let letters = ["", "a", "2", "F", ".", "/", "%", "%2F", " ", "\u{7f}", "é", "\u{f8ff}"];
        let mut parts = std::collections::BTreeMap::new();
        for name in letters.iter().flat_map(|one| letters.map(|other| format!("{one}{other}"))) {
            let part = as_path_part(&LockName::new(&name)).into_owned();
            assert!(part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') && part != "." && part != "..");
            let taken = parts.insert(part, name.clone());
            assert!(taken.as_ref().is_none_or(|other| *other == name), "{taken:?} and {name:?}");
        }
    }
}
