//! A history file: JSON lines, a versioned header first, then one op a line, and last the mark of a complete file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::end::EndMark;
use super::line::{self, Names};
use super::{CutOff, FORMAT, Header, History, Op};

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
    /// It is not a history.
    #[error("{path} is no history: {what}; {readable}")]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
        /// What is one.
        readable: &'static str,
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
/// A torn last line (no line end: the writer was killed in the middle of it) is left out. A file without the mark of a
/// complete one gives a history that says so ([`History::cut_off`]).
///
/// # Errors
/// A file that cannot be read, a missing or foreign header, an op that cannot be parsed, anything behind the end mark;
/// with the line.
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
    let mut names = Names::default();
    let (mut mark, mut is_torn) = (None, None);
    for number in 1.. {
        text.clear();
        if reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut text).map_err(io)? == 0 {
            break;
        }
        if text.len() > LONGEST {
            return Err(malformed(number, format!("longer than {LONGEST} bytes; no op is: a line end is missing")));
        }
        let torn = !text.ends_with(b"\n");
        if header.is_none() {
            let parsed: Header = serde_json::from_slice(&text)
                .map_err(|error| malformed(number, format!("not the header of a fencepost history: {error}")))?;
            if !(1..=FORMAT).contains(&parsed.fencepost) {
                return Err(malformed(
                    number,
                    format!(
                        "history format {} (this build reads formats 1 to {FORMAT}); use the fencepost that wrote it",
                        parsed.fencepost
                    ),
                ));
            }
            header = Some(parsed);
            continue;
        }
        if mark.is_some() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            return Err(malformed(
                number,
                "follows the end mark; a history ends there, and a file holds one".to_owned(),
            ));
        }
        if let Some(op) = line::op(&text, &mut names) {
            ops.push(op);
            continue;
        }
        match serde_json::from_slice::<Op>(&text) {
            Ok(mut op) => {
                op.lock = op.lock.map(|name| names.shared(name.as_str()));
                ops.push(op);
            }
            Err(error) => match serde_json::from_slice::<EndMark>(&text) {
                Ok(found) => mark = Some(found),
                Err(_) if torn => is_torn = Some(number),
                Err(_) => return Err(malformed(number, format!("not an op: {error}"))),
            },
        }
    }
    let header =
        header.ok_or_else(|| malformed(1, "the file is empty; a history starts with a header line".to_owned()))?;
    let cut_off = match (mark, is_torn) {
        (Some(mark), _) => mark.lacks(&ops),
        (None, Some(line)) => Some(CutOff::Torn { line }),
        (None, None) => Some(CutOff::NoMark),
    };
    Ok(History { cut_off, ..History::new(header, ops) })
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

/// The same to any destination. A history that is cut off is written without the end mark.
///
/// # Errors
/// The destination cannot be written.
pub fn write_to(mut writer: impl Write, history: &History) -> io::Result<()> {
    write_line(&mut writer, &history.header)?;
    history.ops.iter().try_for_each(|op| write_line(&mut writer, op))?;
    match history.cut_off {
        None => write_line(&mut writer, &EndMark::of(&history.ops)),
        Some(_) => Ok(()),
    }
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
    use crate::time::Nanos;

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

    const MARK: &str = "{\"end\":{\"ops\":2,\"time\":9}}\n";

    #[test]
    fn a_complete_file_says_so_and_every_other_is_cut_off() {
        let told = |text: &str| read_from(text.as_bytes(), Path::new("cut")).map(|history| history.cut_off);
        let ops = lines(&[op(5), op(9)]);
        let whole = ops.clone() + MARK;
        let mut written = Vec::new();
        write_to(&mut written, &History::new(header(), vec![op(5), op(9)])).unwrap();
        let read = read_from(&written[..], Path::new("whole")).unwrap();
        assert_eq!((read.cut_off, String::from_utf8(written).unwrap().ends_with(MARK)), (None, true));
        assert_eq!(told(&whole).unwrap(), None);
        assert_eq!(told(whole.trim_end()).unwrap(), None, "only the last line's end is missing");
        assert_eq!(told(&(whole.clone() + "\n \n")).unwrap(), None);
        // Cut after every byte that is behind the header.
        let header_ends = whole.find('\n').unwrap() + 1;
        for end in header_ends..whole.len() - 1 {
            let history = read_from(&whole.as_bytes()[..end], Path::new("cut")).unwrap();
            let torn = CutOff::Torn { line: whole[..end].lines().count() };
            let expected = if whole[..end].ends_with(['\n', '}']) { CutOff::NoMark } else { torn.clone() };
            let cut = history.cut_off.unwrap();
            assert!(cut == expected || cut == torn, "{end}: {cut:?}");
        }
        assert_eq!(told(&(lines(&[op(9)]) + MARK)).unwrap(), Some(CutOff::Lacks { told: 2, found: 1 }));
        let other = CutOff::EndsAt { told: Nanos(9), found: Nanos(8) };
        assert_eq!(told(&(lines(&[op(5), op(8)]) + MARK)).unwrap(), Some(other));
        for more in ["x", "{\"end\":{\"ops\":2,\"time\":9}}\n", &ops] {
            let error = told(&(whole.clone() + more)).unwrap_err().to_string();
            assert!(error.starts_with("cut:5: follows the end mark"), "{error}");
        }
        let old = ops.replace("\"fencepost\":2", "\"fencepost\":1");
        assert_ne!(old, ops);
        let read = read_from(old.as_bytes(), Path::new("old")).unwrap();
        assert_eq!((read.cut_off, read.header.fencepost), (Some(CutOff::NoMark), 1));
    }

    #[test]
    fn what_is_cut_off_stays_so_when_it_is_written_again() {
        let cut = History { cut_off: Some(CutOff::Torn { line: 3 }), ..History::new(header(), vec![op(5)]) };
        let mut written = Vec::new();
        write_to(&mut written, &cut).unwrap();
        assert_eq!(read_from(&written[..], Path::new("again")).unwrap().cut_off, Some(CutOff::NoMark));
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
        let text = lines(&[]).replace("\"fencepost\":2", "\"fencepost\":7");
        let error = read(file(&text).path()).unwrap_err().to_string();
        assert!(error.contains("format 7"), "{error}");
    }
}
