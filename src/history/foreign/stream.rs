//! Ops one after the other out of a stream of text, without holding more of it than a part.
//!
//! One op is one map, with a tag or without; ops follow each other, or stand in one vector or list. Each is read in one
//! go, from where it lies; if the part of the text that is here ends within it, more is fetched and it is read again.

use std::io::Read;

use super::fields::Fields;
use super::naming::Keys;
use super::notation::{Cursor, Stop, Value};

/// An op is a line of text; nobody's is as long as this.
const LONGEST: usize = 1 << 20;
/// How much is fetched at once.
const PART: usize = 256 << 10;

/// Why no further op could be read.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The stream cannot be read.
    Io(std::io::Error),
    /// It is not a sequence of ops: the line, and what is wrong.
    Malformed(usize, String),
}

/// What stands around ops.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// The bracket that closes what is around all ops, while it is open.
    around: Option<u8>,
    /// Whether anything has been read of what may have a bracket around it.
    begun: bool,
}

impl Frame {
    /// Goes to the next op; false at the end of the text.
    fn seek_op(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, Stop> {
        loop {
            match cursor.seek_form()? {
                None => return Ok(false),
                Some(byte @ (b'[' | b'(')) if !self.begun => {
                    self.around = Some(if byte == b'[' { b']' } else { b')' });
                    cursor.at += 1;
                }
                Some(byte) if Some(byte) == self.around => {
                    self.around = None;
                    cursor.at += 1;
                }
                Some(b'{' | b'#') => {
                    self.begun = true;
                    return Ok(true);
                }
                Some(b'}' | b']' | b')') => return Err(Stop::Bad(cursor.at, "a bracket closes nothing")),
                Some(_) => return Err(Stop::Bad(cursor.at, NO_OP)),
            }
            self.begun = true;
        }
    }
}

const NO_OP: &str = "not an op; an op is a map such as {:process 0, :type :invoke, :f :acquire}";

/// Where an op begins.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its line, from 1.
    pub line: usize,
    /// Its place in what is here of the text.
    pub at: usize,
}

/// The ops of a stream.
pub(super) struct Stream<R> {
    reader: R,
    /// What has been fetched; ops up to `at` are read.
    text: String,
    at: usize,
    /// The line on which `at` is.
    line: usize,
    /// The beginning of a letter whose end has not been fetched.
    torn: Vec<u8>,
    at_end: bool,
    frame: Frame,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, text: String::new(), at: 0, line: 1, torn: Vec::new(), at_end: false, frame: Frame::default() }
    }

    /// What the stream comes from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// Fetches all there is, so that ops keep their places.
    pub(super) fn fetch_all(&mut self) -> Result<(), StreamError> {
        while !self.at_end {
            self.fetch()?;
        }
        Ok(())
    }

    /// Reads an op again, by its place in a whole text.
    pub(super) fn again(&self, at: usize, keys: &Keys) -> Fields<'_> {
        let mut cursor = Cursor::new(&self.text);
        cursor.at = at;
        Fields::read(&mut cursor, keys).unwrap_or_default()
    }

    /// Looks at the ops in the first part of the stream without reading on. A mistake ends it: it is told when its turn
    /// comes.
    pub(super) fn survey(
        &mut self,
        bytes: usize,
        keys: &Keys,
        mut look: impl FnMut(&Fields<'_>, &Value<'_>),
    ) -> Result<(), StreamError> {
        while !self.at_end && self.text.len() < bytes {
            self.fetch()?;
        }
        let (mut cursor, mut frame) = (Cursor::new(&self.text), self.frame);
        while let Ok(true) = frame.seek_op(&mut cursor) {
            let begun = cursor.at;
            match Fields::read(&mut cursor, keys) {
                Ok(fields) => {
                    let text = &self.text[begun..cursor.at];
                    look(&fields, &Value::Map(&text[text.find('{').unwrap_or_default()..]));
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Hands the next op to `take`, with its place; nothing at the end of the stream.
    pub(super) fn next<T>(
        &mut self,
        keys: &Keys,
        take: impl FnOnce(Place, &Fields<'_>) -> T,
    ) -> Result<Option<T>, StreamError> {
        loop {
            let mut cursor = Cursor::new(&self.text);
            cursor.at = self.at;
            let mut frame = self.frame;
            let mut start = self.at;
            let read = frame.seek_op(&mut cursor).and_then(|is_there| {
                start = cursor.at;
                is_there.then(|| Fields::read(&mut cursor, keys)).transpose()
            });
            match read {
                Ok(Some(fields)) => {
                    let line = self.line + lines(&self.text[self.at..start]);
                    let taken = take(Place { line, at: start }, &fields);
                    self.line = line + lines(&self.text[start..cursor.at]);
                    self.at = cursor.at;
                    self.frame = frame;
                    return Ok(Some(taken));
                }
                // Whether a blank or a number goes on is known only with what follows, or with the end.
                Ok(None) | Err(Stop::End) if !self.at_end => {
                    if self.text.len() - start > LONGEST {
                        let line = self.line + lines(&self.text[self.at..start]);
                        let reason = format!("longer than {LONGEST} bytes; no op is: a bracket or a quote is missing");
                        return Err(StreamError::Malformed(line, reason));
                    }
                }
                Ok(None) if frame.around.is_none() => return Ok(None),
                Ok(None) | Err(Stop::End) => {
                    // The last line end is not the file's.
                    let told = start.min(self.text.len() - 1).max(self.at);
                    let line = self.line + lines(&self.text[self.at..told]);
                    let reason = "the file ends in the middle of this; it was cut off, or a bracket is missing";
                    return Err(StreamError::Malformed(line, reason.to_owned()));
                }
                Err(Stop::Bad(at, reason)) => {
                    let line = self.line + lines(&self.text[self.at..at.min(self.text.len())]);
                    return Err(StreamError::Malformed(line, reason.to_owned()));
                }
            }
            self.fetch()?;
        }
    }

    /// Fetches the next part.
    fn fetch(&mut self) -> Result<(), StreamError> {
        // Only what has no op begun is let go, so that the line stays that of `at`.
        if self.at > 0 {
            self.text.drain(..self.at);
            self.at = 0;
        }
        // What is long anyway is not read again for every small part of it.
        let part = PART.max(self.text.len());
        let mut bytes = std::mem::take(&mut self.torn);
        let kept = bytes.len();
        bytes.resize(kept + part, 0);
        let mut filled = kept;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StreamError::Io(error)),
            }
        }
        bytes.truncate(filled);
        let (valid, torn) = match std::str::from_utf8(&bytes) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).unwrap_or_default();
                if error.error_len().is_some() || self.at_end {
                    let line = self.line + lines(&self.text) + lines(valid);
                    return Err(StreamError::Malformed(line, "not UTF-8; histories are text".to_owned()));
                }
                (valid, rest)
            }
        };
        self.text.push_str(valid);
        let torn = torn.to_vec();
        self.torn = torn;
        if self.at_end {
            // What ends with the file ends there.
            self.text.push('\n');
        }
        Ok(())
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}
