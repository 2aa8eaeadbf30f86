//! A history file: JSON lines, a versioned header first, then one op a line, what the lock servers had a line each, and
//! last the mark of a complete file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::end::EndMark;
use super::line::{self, Names};
use super::server::{ServerLine, ServerRecord};
use super::{CutOff, FORMAT, Header, History, Op};
use crate::time::Nanos;

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
pub fn read_from(reader: impl BufRead, path: &Path) -> Result<History, HistoryError> {
    let mut lines = Lines::open(reader, path)?;
    lines.servers = Some(Vec::new());
    let mut ops = Vec::new();
    while let Some(op) = lines.next_op()? {
        ops.push(op);
    }
    let cut_off = lines.cut_off();
    let servers = lines.servers.unwrap_or_default();
    Ok(History { cut_off, ..History::new(lines.header, ops).with_servers(servers) })
}

/// A history file that is read op by op, in the order in which they stand there.
pub struct Lines<R> {
    reader: R,
    path: PathBuf,
    /// What the file says of itself.
    pub header: Header,
    /// The line that was read last, and its number.
    text: Vec<u8>,
    number: usize,
    names: Names,
    mark: Option<EndMark>,
    torn: Option<usize>,
    /// What the lock servers had, if that is to be kept: no check needs it.
    servers: Option<Vec<ServerRecord>>,
    /// How many ops there were, and when the last of them was.
    ops: u64,
    last: Nanos,
}

impl<R: BufRead> Lines<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It cannot be read, is missing, or is another format's.
    pub fn open(mut reader: R, path: &Path) -> Result<Self, HistoryError> {
        let malformed = |reason: &str| HistoryError::malformed(path, 1, reason);
        let mut text = Vec::new();
        if !next_line(&mut reader, &mut text, path, 1)? {
            return Err(malformed("the file is empty; a history starts with a header line"));
        }
        let header: Header = serde_json::from_slice(&text)
            .map_err(|error| malformed(&format!("not the header of a fencepost history: {error}")))?;
        if !(1..=FORMAT).contains(&header.fencepost) {
            return Err(malformed(&format!(
                "history format {} (this build reads formats 1 to {FORMAT}); use the fencepost that wrote it",
                header.fencepost
            )));
        }
        let path = path.to_owned();
        let (names, number) = (Names::default(), 1);
        let (mark, torn, servers) = (None, None, None);
        Ok(Self { reader, path, header, text, number, names, mark, torn, servers, ops: 0, last: Nanos::ZERO })
    }

    /// The next op, or nothing behind the last one.
    ///
    /// # Errors
    /// The file cannot be read, a line is no op, or something follows the end mark.
    pub fn next_op(&mut self) -> Result<Option<Op>, HistoryError> {
        while next_line(&mut self.reader, &mut self.text, &self.path, self.number + 1)? {
            self.number += 1;
            let malformed = |reason: &str| HistoryError::malformed(&self.path, self.number, reason);
            if self.mark.is_some() {
                if self.text.trim_ascii().is_empty() {
                    continue;
                }
                return Err(malformed("follows the end mark; a history ends there, and a file holds one"));
            }
            if self.text.starts_with(b"{\"server\":") {
                match serde_json::from_slice::<ServerLine<ServerRecord>>(&self.text) {
                    Ok(line) => drop(self.servers.as_mut().map(|servers| servers.push(line.server))),
                    Err(_) if !self.text.ends_with(b"\n") => self.torn = Some(self.number),
                    Err(error) => return Err(malformed(&format!("not what a lock server had: {error}"))),
                }
                continue;
            }
            let op = match line::op(&self.text, &mut self.names) {
                Some(op) => op,
                None => match serde_json::from_slice::<Op>(&self.text) {
                    Ok(mut op) => {
                        op.lock = op.lock.map(|name| self.names.shared(name.as_str()));
                        op
                    }
                    Err(error) => {
                        match serde_json::from_slice::<EndMark>(&self.text) {
                            Ok(found) => self.mark = Some(found),
                            Err(_) if !self.text.ends_with(b"\n") => self.torn = Some(self.number),
                            Err(_) => return Err(malformed(&format!("not an op: {error}"))),
                        }
                        continue;
                    }
                },
            };
            self.ops += 1;
            self.last = op.time;
            return Ok(Some(op));
        }
        Ok(None)
    }

    /// Why the history is not known to be whole; to be asked when all of it has been read.
    pub fn cut_off(&self) -> Option<CutOff> {
        match (self.mark, self.torn) {
            (Some(mark), _) => mark.lacks(self.ops, self.last),
            (None, Some(line)) => Some(CutOff::Torn { line }),
            (None, None) => Some(CutOff::NoMark),
        }
    }
}

/// Reads a line with its end, if there is one more.
fn next_line(reader: &mut impl BufRead, text: &mut Vec<u8>, path: &Path, number: usize) -> Result<bool, HistoryError> {
    text.clear();
    let io = |source| HistoryError::Io { path: path.to_owned(), source };
    let read = reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', text).map_err(io)?;
    if text.len() > LONGEST {
        let reason = format!("longer than {LONGEST} bytes; no op is: a line end is missing");
        return Err(HistoryError::malformed(path, number, &reason));
    }
    Ok(read > 0)
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
    history.servers.iter().try_for_each(|server| write_line(&mut writer, &ServerLine { server }))?;
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
        let old = ops.replace("\"fencepost\":3", "\"fencepost\":1");
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
    fn what_servers_had_is_no_op_wherever_it_stands_and_whether_or_not_it_is_whole() {
        let server = "{\"server\":{\"session\":{\"session\":7,\"client\":1,\"opened\":4}}}\n";
        let plain = read_from((lines(&[op(5), op(9)]) + MARK).as_bytes(), Path::new("plain")).unwrap();
        for text in [
            lines(&[op(5), op(9)]) + server + MARK,
            lines(&[op(5)]) + server + &lines(&[op(9)])[lines(&[]).len()..] + MARK,
        ] {
            let read = read_from(text.as_bytes(), Path::new("told")).unwrap();
            assert_eq!((read.servers.len(), &read.ops, &read.cut_off), (1, &plain.ops, &None));
            let mut again = Vec::new();
            write_to(&mut again, &read).unwrap();
            assert_eq!(read_from(&again[..], Path::new("again")).unwrap(), read);
        }
        let cut = lines(&[op(5), op(9)]) + server;
        for end in lines(&[op(5), op(9)]).len()..cut.len() {
            let read = read_from(&cut.as_bytes()[..end], Path::new("cut")).unwrap();
            assert!(read.ops == plain.ops && read.cut_off.is_some(), "{end}");
        }
        let error = read_from((lines(&[]) + &server.replace("opened", "began") + MARK).as_bytes(), Path::new("odd"));
        assert!(error.unwrap_err().to_string().starts_with("odd:2: not what a lock server had"));
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
        let text = lines(&[]).replace("\"fencepost\":3", "\"fencepost\":7");
        let error = read(file(&text).path()).unwrap_err().to_string();
        assert!(error.contains("format 7"), "{error}");
    }
}
