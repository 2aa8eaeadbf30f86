//! The comments with which our own EDN files begin and end, so that one that was cut off at a line's end can be told,
//! and what kind of lock it is about.
//!
//! EDN readers pass over comments. A file without the first one is somebody else's: it has no mark, and counts as
//! complete if its forms are whole.

use std::io::{self, Read};

use super::super::end::CutOff;
use crate::lock_kind::LockKind;

/// The first line of our files.
pub(super) const BEGIN: &str = "; fencepost: the last line marks the end";

/// In the first line, before the kind of lock that is no mutex.
pub(super) const KIND: &str = "; the lock is a ";

/// The last line of our files, before how many ops there are.
pub(super) const END: &str = "; fencepost: the end of ";

/// No first or last line that matters is longer.
const KEPT: usize = 128;

/// Passes a stream on, and keeps its first and last bytes.
pub(in super::super) struct Watched<R> {
    reader: R,
    ends: Ends,
}

/// The first bytes of a stream and the last ones so far.
#[derive(Default)]
struct Ends {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl<R> Watched<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, ends: Ends::default() }
    }

    /// Whether the stream, which has been read from, is a file of ours.
    pub fn is_ours(&self) -> bool {
        self.ends.first.starts_with(BEGIN.as_bytes())
    }

    /// How many may hold the lock at once, as the first line of a file of ours says.
    pub fn kind(&self) -> LockKind {
        let line = self.ends.first.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let told = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(BEGIN)?.strip_prefix(KIND));
        told.and_then(|kind| kind.trim_end().parse().ok()).unwrap_or_default()
    }

    /// Whether the stream, which has been read to its end, lacks the mark that it should have behind its `ops` ops.
    pub fn cut_off(&self, ops: u64) -> Option<CutOff> {
        if !self.is_ours() {
            return None;
        }
        let last = self.ends.last.trim_ascii_end();
        let line = last.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let told =
            std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(END)?.split(' ').next()?.parse().ok());
        match told {
            None => Some(CutOff::NoMark),
            Some(told) => (told != ops).then_some(CutOff::Lacks { told, found: ops }),
        }
    }
}

impl Ends {
    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT - self.first.len();
        self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        if self.last.len() > 32 * KEPT {
            self.last.drain(..self.last.len() - KEPT);
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.ends.keep(&buffer[..count]);
        Ok(count)
    }
}
