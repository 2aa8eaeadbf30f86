//! Redis's protocol, RESP 2 and 3, as far as one must know it to tell where a message ends.
//!
//! Source: redis.io, "Redis serialization protocol specification". Deliberately absent: what messages mean; and
//! streamed strings and aggregates (`$?`, `*?`), which no Redis sends and which are handed on as not understood.

use super::calls::mentions;
use super::{Answered, Connection, Cutter, Owed, Pairing, Refusal, Scan, Scanner};

/// What one connection needs.
pub(super) fn connection() -> Connection {
    Connection {
        requests: Cutter::new(Resp::requests()),
        replies: Cutter::new(Resp::replies()),
        pairing: Box::new(InOrder),
    }
}

/// What a server says to nearly every command while it reads its data: <https://redis.io/docs/latest/commands/info/>,
/// `loading`. Nothing is carried out.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// How a request is refused: a command that changes nothing is asked in its place, and the reply to that is replaced,
/// so that replies keep their order.
pub(super) fn refusal() -> Refusal {
    Refusal { asked: b"*1\r\n$4\r\nPING\r\n".to_vec(), replied: format!("-{LOADING}\r\n").into_bytes() }
}

/// Longer texts and more elements are no message of anybody's (Redis: 512 MiB and 1 Mi elements of a request).
const LONGEST_TEXT: u64 = 512 << 20;
const MOST_ELEMENTS: u64 = 1 << 24;
/// The longest line of a head or of an inline command (Redis: 64 KiB).
const LONGEST_LINE: usize = 64 << 10;

/// Finds the ends of requests, or of replies.
#[derive(Debug)]
pub(crate) struct Resp {
    side: Side,
    /// Where the next value of the message begins.
    at: usize,
    /// How many values are to be read until the message is whole.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Requests,
    Replies,
}

impl Resp {
    /// What clients send: arrays, and lines as a person types them.
    pub fn requests() -> Self {
        Self { side: Side::Requests, at: 0, left: 1 }
    }

    /// What servers send.
    pub fn replies() -> Self {
        Self { side: Side::Replies, at: 0, left: 1 }
    }

    /// Reads the value at `self.at`; `Whole` says where it ends, without its elements.
    fn value(&mut self, bytes: &[u8]) -> Scan {
        let rest = &bytes[self.at..];
        let Some(kind) = rest.first() else { return Scan::Partial };
        let is_line = matches!(kind, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(');
        let is_text = matches!(kind, b'$' | b'=' | b'!');
        let each = match kind {
            b'*' | b'~' | b'>' => 1,
            // An attribute stands before the value that it is about.
            b'%' | b'|' => 2,
            _ => 0,
        };
        if !is_line && !is_text && each == 0 {
            return self.inline(rest);
        }
        let window = &rest[..rest.len().min(if is_line { super::LONGEST_MESSAGE } else { LONGEST_LINE })];
        let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
            return if window.len() < rest.len() { Scan::Foreign } else { Scan::Partial };
        };
        let after = self.at + end + 2;
        if is_line {
            return Scan::Whole(after);
        }
        let Some(count) = std::str::from_utf8(&rest[1..end]).ok().and_then(|text| text.parse::<i64>().ok()) else {
            return Scan::Foreign;
        };
        match u64::try_from(count) {
            // Nothing, as RESP 2 writes it.
            Err(_) => {
                if count == -1 {
                    Scan::Whole(after)
                } else {
                    Scan::Foreign
                }
            }
            Ok(length) if is_text => {
                if length > LONGEST_TEXT {
                    return Scan::Foreign;
                }
                let end = after + length as usize + 2;
                match bytes.get(end - 2..end) {
                    Some(b"\r\n") => Scan::Whole(end),
                    Some(_) => Scan::Foreign,
                    None => Scan::Partial,
                }
            }
            Ok(count) => {
                let more = count.saturating_mul(each) + u64::from(*kind == b'|');
                if more > MOST_ELEMENTS || self.left + more > MOST_ELEMENTS {
                    return Scan::Foreign;
                }
                self.left += more;
                Scan::Whole(after)
            }
        }
    }

    /// A command as a person types it, which ends with its line.
    fn inline(&self, rest: &[u8]) -> Scan {
        if self.side != Side::Requests || self.at > 0 {
            return Scan::Foreign;
        }
        let window = &rest[..rest.len().min(LONGEST_LINE)];
        let end = window.iter().position(|byte| *byte == b'\n');
        let line = &window[..end.map_or(window.len(), |end| end + 1)];
        if line.iter().any(|byte| !matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) {
            return Scan::Foreign;
        }
        match end {
            Some(end) => Scan::Whole(end + 1),
            None if window.len() < rest.len() => Scan::Foreign,
            None => Scan::Partial,
        }
    }
}

impl Scanner for Resp {
    fn scan(&mut self, bytes: &[u8]) -> Scan {
        while self.left > 0 {
            match self.value(bytes) {
                Scan::Whole(after) => {
                    self.at = after;
                    self.left -= 1;
                }
                other => return other,
            }
        }
        let length = std::mem::take(&mut self.at);
        self.left = 1;
        Scan::Whole(length)
    }
}

/// Redis answers in the order of the requests.
#[derive(Debug)]
struct InOrder;

impl Pairing for InOrder {
    /// Nothing for a blank line, one reply for a command.
    fn owed(&mut self, request: &[u8]) -> Owed {
        let word = first_word(request);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let subscribes =
            ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR"];
        if subscribes.into_iter().any(is) {
            return Owed::Unknown;
        }
        // CLIENT REPLY OFF and SKIP.
        if is("CLIENT") && mentions(&request.to_ascii_uppercase(), b"REPLY") {
            return Owed::Unknown;
        }
        if word.is_empty() { Owed::Nothing } else { Owed::Reply(0) }
    }

    /// A push of RESP 3 answers nobody.
    fn answered(&mut self, reply: &[u8]) -> Answered {
        if reply.first() == Some(&b'>') { Answered::Nothing } else { Answered::Oldest }
    }
}

/// The command: the first text of an array, or the first word of a line.
fn first_word(request: &[u8]) -> &[u8] {
    let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
    let start = match request.first() {
        // Behind the head of the array and that of its first text; an empty array has none.
        Some(b'*') => {
            let head = line(request);
            head + line(&request[head..])
        }
        _ => request.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(request.len()),
    };
    let rest = &request[start..];
    &rest[..rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len())]
}
