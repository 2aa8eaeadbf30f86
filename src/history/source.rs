//! Where a history comes from: a file or standard input, packed or not, in one notation or another.
//!
//! What it is, its first bytes say, not its name. Standard input is kept whole, since some histories are read twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::file::HistoryError;

/// What can be read, for whoever comes with something else.
pub const READABLE: &str = "what can be read: a history.jsonl of fencepost; ops in EDN (Jepsen's history.edn), one map after \
                        the other or in one vector; ops in JSON, one object after the other or in one array; each also \
                        packed with gzip, or from standard input as `-`";

/// How much is looked at to see what something is.
const LOOKED_AT: usize = 4096;
/// How much is read at once.
const PART: usize = 256 << 10;

/// In what notation a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// JSON lines with a header: fencepost's own.
    Own,
    /// Maps, in EDN or JSON: another harness's.
    Foreign,
}

/// A history that can be opened, also again.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// What came from standard input.
    kept: Option<Vec<u8>>,
    /// Its notation.
    pub notation: Notation,
}

impl Source {
    /// Looks at a file, or at standard input if the path is `-`.
    ///
    /// # Errors
    /// It cannot be read, or is no history by its first bytes; then the error says what is.
    pub fn of(path: &Path) -> Result<Self, HistoryError> {
        let io = |source| HistoryError::Io { path: path.to_owned(), source };
        let not_one = |what: String| HistoryError::NotOne { path: path.to_owned(), what, readable: READABLE };
        if path.is_dir() {
            return Err(not_one("it is a folder".to_owned()));
        }
        let mut kept = None;
        let mut name = path.to_owned();
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map_err(io)?;
            kept = Some(bytes);
            name = PathBuf::from("standard input");
        }
        let mut source = Self { path: name, kept, notation: Notation::Foreign };
        let mut start = vec![0; LOOKED_AT];
        let mut filled = 0;
        let mut reader = source.open().map_err(io)?;
        while filled < start.len() {
            match reader.read(&mut start[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(io(error)),
            }
        }
        start.truncate(filled);
        drop(reader);
        source.notation = notation(&start).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(&start).chars().take(40).collect();
            not_one(if start.is_empty() { "it is empty".to_owned() } else { format!("it begins with {shown:?}") })
        })?;
        Ok(source)
    }

    /// What errors call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, from its beginning.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + '_>> {
        let plain: Box<dyn BufRead + '_> = match &self.kept {
            Some(bytes) => Box::new(&bytes[..]),
            None => Box::new(BufReader::with_capacity(PART, File::open(&self.path)?)),
        };
        let mut plain = plain;
        Ok(if plain.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(PART, MultiGzDecoder::new(plain)))
        } else {
            plain
        })
    }
}

/// The notation of what begins like this, if it is one.
fn notation(start: &[u8]) -> Option<Notation> {
    let mut rest = start.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(start);
    let (mut around, mut comments) = (false, false);
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            // Ours begins so, and may be cut off right behind it.
            [] if comments => return Some(Notation::Foreign),
            [b';', ..] | [b'#', b'!', ..] => {
                comments = true;
                rest = &rest[rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())..];
            }
            // What is discarded may be anything.
            [b'#', b'_', ..] => return Some(Notation::Foreign),
            [b'[' | b'(', inner @ ..] if !around => {
                around = true;
                rest = inner;
            }
            [b']' | b')', ..] if around => return Some(Notation::Foreign),
            [b'#', next, ..] if next.is_ascii_alphabetic() || *next == b':' => return Some(Notation::Foreign),
            [b'{', inner @ ..] => {
                let inner = inner.trim_ascii_start();
                return match inner {
                    [b'"', b'f', b'e', b'n', b'c', b'e', b'p', ..] if !around => Some(Notation::Own),
                    [b'"' | b':' | b'}' | b'#' | b'^' | b';', ..] => Some(Notation::Foreign),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_is_told_by_how_it_begins() {
        use Notation::*;
        for (text, expected) in [
            ("{\"fencepost\":1}", Some(Own)),
            ("\u{feff}{\"fencepost\":1}", Some(Own)),
            ("{:process 0}", Some(Foreign)),
            ("\u{feff} [{:process 0}]", Some(Foreign)),
            ("; a heading\n#jepsen.history.Op{:process 0}", Some(Foreign)),
            ("#_ {:a 1} {:process 0}", Some(Foreign)),
            ("#:jepsen{:process 0}", Some(Foreign)),
            ("[{\"process\":0}]", Some(Foreign)),
            ("{\"process\":0}", Some(Foreign)),
            ("[]", Some(Foreign)),
            ("# A heading", None),
            ("0\t:invoke\t:acquire", None),
            ("INFO  jepsen.core - started", None),
            ("<html>", None),
            ("[1, 2]", None),
            ("", None),
        ] {
            assert_eq!(notation(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"{:process 0}").unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&packed.finish().unwrap()).unwrap();
        let source = Source::of(file.path()).unwrap();
        let mut text = String::new();
        source.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), source.notation), ("{:process 0}", Notation::Foreign));
    }

    #[test]
    fn what_is_no_history_is_told_what_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"0\t:invoke\t:acquire\tnil\n").unwrap();
        for path in [file.path(), file.path().parent().unwrap()] {
            let error = Source::of(path).unwrap_err().to_string();
            assert!(error.contains("EDN") && error.contains("JSON") && error.contains("gzip"), "{error}");
        }
    }
}
