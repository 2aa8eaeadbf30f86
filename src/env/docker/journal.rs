//! The journal: every fault is written down, on disk, before it is applied, with what undoes it.
//!
//! Whoever finds the journal can heal: the run itself, its watchdog, the next start, `fencepost cluster heal`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::time::Nanos;

/// The journal's name in the state folder.
const NAME: &str = "journal.jsonl";

/// What undoes a fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Thaw the container.
    Unpause,
    /// Delete this nft table in the container's network namespace.
    DeleteTable(String),
    /// Start the container.
    #[serde(rename_all = "kebab-case")]
    Start {
        /// The folder with its clock's page, from where the news of a power loss are taken back.
        folder: Option<PathBuf>,
    },
    /// Set the clock right.
    #[serde(rename_all = "kebab-case")]
    SetClock {
        /// The folder with its page.
        folder: PathBuf,
        /// The strike's number: several may move one clock.
        strike: u32,
    },
    /// Strike a client's requests no longer. The rule is the client's own, and ends with its process, which ends when
    /// the harness does.
    #[serde(rename_all = "kebab-case")]
    ForgetRule {
        /// The strike's number.
        strike: u32,
    },
}

/// A fault at one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// The container's id.
    pub container: String,
    /// Its name, for messages.
    pub name: String,
    /// What undoes the fault.
    pub undo: Undo,
}

/// One line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The fault is about to be applied; it should be undone by `deadline`.
    Apply { entry: Entry, deadline: Nanos },
    /// The fault was undone.
    Healed { entry: Entry },
}

/// The journal of one machine.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal in `folder`, for writing at its end.
    ///
    /// # Errors
    /// It cannot be created or written.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(NAME);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Writes down that a fault is about to be applied. When this returns, it is on disk.
    ///
    /// # Errors
    /// It could not be written: the fault must not be applied.
    pub fn apply(&self, entry: &Entry, deadline: Nanos) -> io::Result<()> {
        self.write(&[Line::Apply { entry: entry.clone(), deadline }])
    }

    /// Writes down that a fault was undone.
    ///
    /// # Errors
    /// It could not be written: it will be healed again, which does no harm.
    pub fn healed(&self, entry: &Entry) -> io::Result<()> {
        self.all_healed([entry].into_iter())
    }

    /// As [`Journal::healed`], of many at once.
    ///
    /// # Errors
    /// It could not be written: they will be healed again, which does no harm.
    pub fn all_healed<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
        let lines: Vec<Line> = entries.map(|entry| Line::Healed { entry: entry.clone() }).collect();
        if lines.is_empty() { Ok(()) } else { self.write(&lines) }
    }

    /// The faults that were applied, or were about to be, and not undone; each with its deadline.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn outstanding(&self) -> io::Result<BTreeMap<Entry, Nanos>> {
        let mut outstanding = BTreeMap::new();
        for line in fs::read_to_string(&self.path)?.lines() {
            // A line torn by a kill was not yet acted upon: it is written before the fault is applied.
            match serde_json::from_str(line) {
                Ok(Line::Apply { entry, deadline }) => drop(outstanding.insert(entry, deadline)),
                Ok(Line::Healed { entry }) => drop(outstanding.remove(&entry)),
                Err(_) => {}
            }
        }
        Ok(outstanding)
    }

    /// Empties the journal, if nothing is outstanding.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn clear(&self) -> io::Result<()> {
        if self.outstanding()?.is_empty() {
            self.file.lock().unwrap_or_else(PoisonError::into_inner).set_len(0)?;
        }
        Ok(())
    }

    fn write(&self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, undo: Undo) -> Entry {
        Entry { container: format!("id-of-{name}"), name: name.to_owned(), undo }
    }

    #[test]
    fn what_was_not_healed_is_outstanding() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let frozen = entry("c1", Undo::Unpause);
        let cut = entry("c1", Undo::DeleteTable("fencepost_1".to_owned()));
        journal.apply(&frozen, Nanos(5)).unwrap();
        journal.apply(&cut, Nanos(7)).unwrap();
        journal.healed(&frozen).unwrap();
        let reopened = Journal::open(folder.path()).unwrap();
        assert_eq!(reopened.outstanding().unwrap(), BTreeMap::from([(cut.clone(), Nanos(7))]));
        reopened.clear().unwrap();
        assert_eq!(reopened.outstanding().unwrap().len(), 1, "what is outstanding is not cleared away");
        reopened.healed(&cut).unwrap();
        reopened.clear().unwrap();
        assert_eq!(fs::metadata(folder.path().join(NAME)).unwrap().len(), 0);
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        journal.apply(&entry("c1", Undo::Unpause), Nanos(5)).unwrap();
        let mut file = OpenOptions::new().append(true).open(folder.path().join(NAME)).unwrap();
        file.write_all(b"{\"apply\":{\"entry\":{\"conta").unwrap();
        assert_eq!(journal.outstanding().unwrap().len(), 1);
    }
}
