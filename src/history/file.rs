//! A history file: JSON lines, a versioned header first, then one op a line.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{FORMAT, Header, History, Op};
use crate::ids::LockName;

/// Why a history file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be read.
    #[error("cannot read the history {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{path}:{line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
}

impl HistoryError {
    /// A mistake on a line; a reason that quotes a file at length is cut in its middle.
    pub(super) fn malformed(path: &Path, line: usize, reason: &str) -> Self {
        const END: usize = 200;
        let letters: Vec<char> = reason.chars().collect();
        let reason = match letters.len() {
            0..=400 => reason.to_owned(),
            many => letters[..END].iter().chain(&[' ', '…', ' ']).chain(&letters[many - END..]).collect(),
        };
        Self::Malformed { path: path.to_owned(), line, reason }
    }
}

/// A fault's op tells of every probe; even with hundreds of clients it is not nearly as long as this.
const LONGEST: usize = 16 << 20;

/// Reads a history file.
///
/// A torn last line (no line end: the writer was killed in the middle of it) is left out.
///
/// # Errors
/// A file that cannot be read, a missing or foreign header, an op that cannot be parsed; with the line.
pub fn read(path: &Path) -> Result<History, HistoryError> {
    let io = |source| HistoryError::Io { path: path.to_owned(), source };
    read_from(BufReader::new(File::open(path).map_err(io)?), path)
}

/// The same from any source, which errors call `path`. Beside the history it needs memory for one line only.
///
/// # Errors
/// Those of [`read`].
pub fn read_from(mut reader: impl BufRead, path: &Path) -> Result<History, HistoryError> {
    let io = |source| HistoryError::Io { path: path.to_owned(), source };
    let malformed = |line, reason: String| HistoryError::malformed(path, line, &reason);
    let mut header: Option<Header> = None;
    let mut ops = Vec::new();
    let mut text = Vec::new();
    let mut locks: BTreeSet<LockName> = BTreeSet::new();
    for line in 1.. {
        text.clear();
        if reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut text).map_err(io)? == 0 {
            break;
        }
        if text.len() > LONGEST {
            return Err(malformed(line, format!("longer than {LONGEST} bytes; no op is: a line end is missing")));
        }
        let torn = !text.ends_with(b"\n");
        if header.is_none() {
            let parsed: Header = serde_json::from_slice(&text)
                .map_err(|error| malformed(line, format!("not the header of a fencepost history: {error}")))?;
            if parsed.fencepost != FORMAT {
                return Err(malformed(
                    line,
                    format!(
                        "history format {} (this build reads format {FORMAT}); use the fencepost that wrote it",
                        parsed.fencepost
                    ),
                ));
            }
            header = Some(parsed);
            continue;
        }
        match serde_json::from_slice::<Op>(&text) {
            Ok(mut op) => {
                if let Some(name) = &mut op.lock {
                    share(&mut locks, name);
                }
                ops.push(op);
            }
            Err(_) if torn => break,
            Err(error) => return Err(malformed(line, format!("not an op: {error}"))),
        }
    }
    let header =
        header.ok_or_else(|| malformed(1, "the file is empty; a history starts with a header line".to_owned()))?;
    Ok(History::new(header, ops))
}

/// Has equal names share their text.
pub(super) fn share(known: &mut BTreeSet<LockName>, name: &mut LockName) {
    match known.get(name) {
        Some(same) => *name = same.clone(),
        None => drop(known.insert(name.clone())),
    }
}

/// Writes a whole history in one step: a reader sees the old file or the new one, never a part.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, history: &History) -> io::Result<()> {
    let partial = path.with_extension("jsonl.partial");
    let mut writer = BufWriter::new(File::create(&partial)?);
    write_to(&mut writer, history)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&partial, path)
}

/// The same to any destination.
///
/// # Errors
/// The destination cannot be written.
pub fn write_to(mut writer: impl Write, history: &History) -> io::Result<()> {
    write_line(&mut writer, &history.header)?;
    history.ops.iter().try_for_each(|op| write_line(&mut writer, op))
}

/// Writes one line in one write, so that a kill tears at most the last one.
pub(super) fn write_line(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::recorder::tests::{header, op};

    fn file(lines: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        file
    }

    fn lines(ops: &[Op]) -> String {
        let mut text = serde_json::to_string(&header()).unwrap() + "\n";
        for op in ops {
            text += &(serde_json::to_string(op).unwrap() + "\n");
        }
        text
    }

    #[test]
    fn reads_what_was_written() {
        let ops = [op(5), op(9)];
        let history = read(file(&lines(&ops)).path()).unwrap();
        assert_eq!(history.header, header());
        assert_eq!(history.ops.iter().map(|op| op.time.0).collect::<Vec<_>>(), [5, 9]);
    }

    #[test]
    fn tolerates_a_torn_last_line() {
        let whole = lines(&[op(5), op(9)]);
        let torn = &whole[..whole.len() - 9];
        assert_eq!(read(file(torn).path()).unwrap().ops.len(), 1);
    }

    #[test]
    fn tolerates_a_line_torn_within_a_letter() {
        let mut named = op(9);
        named.error = Some("é".to_owned());
        let whole = lines(&[op(5), named]).into_bytes();
        let letter = whole.iter().rposition(|byte| *byte == 0xC3).unwrap();
        assert_eq!(read_from(&whole[..=letter], Path::new("torn")).unwrap().ops.len(), 1);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let endless = io::BufReader::new(io::repeat(b' '));
        let error = read_from(endless, Path::new("endless")).unwrap_err().to_string();
        assert!(error.starts_with("endless:1: longer than"), "{error}");
        let not_text = [lines(&[op(5)]).as_bytes(), b"{\"\xFF\": 1}\n"].concat();
        let error = read_from(&not_text[..], Path::new("bytes")).unwrap_err().to_string();
        assert!(error.starts_with("bytes:3: not an op"), "{error}");
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        let text = lines(&[op(5)]) + "{\"index\": 1}\n" + "more\n";
        let error = read(file(&text).path()).unwrap_err().to_string();
        assert!(error.contains(":3: not an op: missing field"), "{error}");
        for (text, reason) in
            [("", ":1: the file is empty"), ("{}\n", ":1: not the header"), ("[1]\n", ":1: not the header")]
        {
            let error = read(file(text).path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn refuses_another_format() {
        let text = lines(&[]).replace("\"fencepost\":1", "\"fencepost\":7");
        let error = read(file(&text).path()).unwrap_err().to_string();
        assert!(error.contains("format 7"), "{error}");
    }
}
