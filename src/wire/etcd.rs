//! What etcd speaks, as far as one must know it to tell where a message ends, which reply is whose and what bears a
//! name: HTTP/2 with gRPC in it, and the JSON gateway over HTTP/1.1 on the same port.
//!
//! Sources: RFC 9113 §4.1 and §6 (frames), RFC 9112 §6 and §7 (bodies and chunks); etcd's documentation, "gRPC
//! gateway": keys and values are base64 in JSON. A name is looked for in what JSON strings decode to, and in gRPC as it
//! is. A reply that comes in chunks, as that of a watch, is handed on chunk by chunk: its head is the reply, what
//! follows is nobody's. Deliberately absent: compressed headers, which name no lock, and compressed messages, which are
//! not recognised.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Answered, Connection, Cutter, LONGEST_MESSAGE, Owed, Pairing, Scan, Scanner};

/// What one connection needs.
pub(super) fn connection() -> Connection {
    Connection {
        requests: Cutter::new(Http::default()),
        replies: Cutter::new(Http::default()),
        pairing: Box::new(ByStream),
    }
}

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame: its length (24 bits), type, flags, and the number of its stream.
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// The sender says nothing more on this stream.
const END_STREAM: u8 = 1;
/// The longest head of an HTTP/1.1 message (Go's server takes 1 MiB; a gateway's are a few hundred bytes).
const LONGEST_HEAD: usize = 64 << 10;

/// Finds the ends of messages: whole ones with their bodies, heads and chunks, or frames.
#[derive(Debug, Default)]
enum Http {
    /// Nothing was said yet.
    #[default]
    Unknown,
    /// HTTP/1.1, between two messages.
    One,
    /// HTTP/1.1, in a body of chunks.
    Chunks,
    /// HTTP/2.
    Two,
}

impl Scanner for Http {
    fn scan(&mut self, bytes: &[u8]) -> Scan {
        if let Self::Unknown = self {
            match () {
                () if bytes.starts_with(PREFACE) => {
                    *self = Self::Two;
                    return Scan::Whole(PREFACE.len());
                }
                () if PREFACE.starts_with(bytes) => return Scan::Partial,
                // A server's first frame is its settings: shorter than 64 KiB, which no text begins like.
                () if bytes[0] == 0 => *self = Self::Two,
                () if bytes[0].is_ascii_uppercase() => *self = Self::One,
                () => return Scan::Foreign,
            }
        }
        match self {
            Self::Two => frame(bytes),
            Self::Chunks => {
                let (scan, is_last) = chunk(bytes);
                if is_last {
                    *self = Self::One;
                }
                scan
            }
            Self::One | Self::Unknown => match head(bytes) {
                Head::Partial => Scan::Partial,
                Head::Foreign => Scan::Foreign,
                Head::Chunked(length) => {
                    *self = Self::Chunks;
                    Scan::Whole(length)
                }
                Head::With(length) if length > LONGEST_MESSAGE => Scan::Foreign,
                Head::With(length) if length > bytes.len() => Scan::Partial,
                Head::With(length) => Scan::Whole(length),
            },
        }
    }
}

/// The head of an HTTP/1.1 message.
enum Head {
    /// Not all of it is here.
    Partial,
    /// It is none, or does not say where its body ends.
    Foreign,
    /// So many bytes, and chunks after them.
    Chunked(usize),
    /// So many bytes together with its body.
    With(usize),
}

fn head(bytes: &[u8]) -> Head {
    let window = &bytes[..bytes.len().min(LONGEST_HEAD)];
    let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if window.len() < bytes.len() { Head::Foreign } else { Head::Partial };
    };
    let length = end + 4;
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return Head::Foreign };
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let field = |wanted: &str| {
        fields.clone().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Head::Chunked(length);
    }
    match (field("content-length"), first.strip_prefix("HTTP/1.")) {
        (Some(text), _) => text.parse().map_or(Head::Foreign, |body: usize| Head::With(length.saturating_add(body))),
        // A request without a word of a body has none.
        (None, None) if first.contains(" HTTP/1.") => Head::With(length),
        (None, None) => Head::Foreign,
        (None, Some(reply)) => match reply.split(' ').nth(1) {
            Some(status) if status.starts_with('1') || status == "204" || status == "304" => Head::With(length),
            // Its body ends with the connection.
            _ => Head::Foreign,
        },
    }
}

/// A chunk, and whether it is the last, which is empty and may have fields behind it.
fn chunk(bytes: &[u8]) -> (Scan, bool) {
    let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return (if bytes.len() > LONGEST_HEAD { Scan::Foreign } else { Scan::Partial }, false);
    };
    let size = std::str::from_utf8(&bytes[..line]).ok().map(|text| text.split(';').next().unwrap_or_default().trim());
    let Some(size) = size.and_then(|text| usize::from_str_radix(text, 16).ok()) else { return (Scan::Foreign, false) };
    if size > LONGEST_MESSAGE {
        return (Scan::Foreign, false);
    }
    if size > 0 {
        let end = line + 2 + size + 2;
        return (if bytes.len() >= end { Scan::Whole(end) } else { Scan::Partial }, false);
    }
    // The line of the last chunk ends as an empty line does where no fields follow.
    match bytes[line..].windows(4).position(|four| four == b"\r\n\r\n") {
        Some(end) => (Scan::Whole(line + end + 4), true),
        None => (Scan::Partial, false),
    }
}

fn frame(bytes: &[u8]) -> Scan {
    let Some([high, middle, low]) = bytes.first_chunk::<3>() else { return Scan::Partial };
    let length = FRAME_HEAD + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if length > LONGEST_MESSAGE {
        Scan::Foreign
    } else if bytes.len() < length {
        Scan::Partial
    } else {
        Scan::Whole(length)
    }
}

/// A frame's type, flags and stream.
fn parts(message: &[u8]) -> Option<(u8, u8, i32)> {
    let [_, _, _, kind, flags, stream @ ..] = message.first_chunk::<FRAME_HEAD>()?;
    Some((*kind, *flags, i32::from_be_bytes(*stream) & i32::MAX))
}

/// etcd answers under the number of the HTTP/2 stream, and in order over HTTP/1.1, where all have the number 0.
#[derive(Debug)]
struct ByStream;

impl Pairing for ByStream {
    fn owed(&mut self, request: &[u8]) -> Owed {
        owed(request).map_or(Owed::Nothing, Owed::Reply)
    }

    fn answered(&mut self, reply: &[u8]) -> Answered {
        answered(reply).map_or(Answered::Nothing, Answered::Number)
    }

    fn readable<'a>(&self, request: &'a [u8]) -> Cow<'a, [u8]> {
        readable(request)
    }
}

/// What a request owes a reply under: the stream of a frame with data, nothing but the order for HTTP/1.1.
fn owed(request: &[u8]) -> Option<i32> {
    match request.first()? {
        0 => {
            parts(request).filter(|(kind, _, _)| *kind == DATA && request.len() > FRAME_HEAD).map(|(.., stream)| stream)
        }
        // A chunk begins with its size, and a size is no method: those have a letter beyond F.
        _ if request.starts_with(PREFACE) => None,
        _ => is_head(request).then_some(0),
    }
}

/// What a reply answers; as [`owed`].
fn answered(reply: &[u8]) -> Option<i32> {
    match reply.first()? {
        0 => match parts(reply)? {
            (DATA, _, stream) => Some(stream),
            // A call that failed has no data.
            (HEADERS, flags, stream) if flags & END_STREAM != 0 => Some(stream),
            _ => None,
        },
        _ => reply.starts_with(b"HTTP/").then_some(0),
    }
}

/// Whether a message begins with a method.
fn is_head(request: &[u8]) -> bool {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.windows(8).any(|word| word == b" HTTP/1.")
}

/// A message in which names can be found: as it is and, of JSON, with what its texts decode to behind it.
fn readable(message: &[u8]) -> Cow<'_, [u8]> {
    if message.first() == Some(&0) {
        return Cow::Borrowed(message);
    }
    let mut readable = message.to_vec();
    for text in message.split(|byte| *byte == b'"').filter(|text| text.len() >= 4) {
        // JSON may write a slash with a backslash before it.
        let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\\').collect();
        if let Ok(decoded) = BASE64_STANDARD.decode(text) {
            // Whatever is between them, two texts are no name together.
            readable.push(0);
            readable.extend(decoded);
        }
    }
    Cow::Owned(readable)
}
