//! ZooKeeper's protocol, as far as one must know it to tell where a message ends and which reply is whose.
//!
//! Source: Apache ZooKeeper 3.9, `zookeeper.jute`, `ClientCnxn` and `NIOServerCnxn`: every message has four bytes of length,
//! big-endian, before it; the first on each side opens the session, all others begin with their xid. A connection may say
//! one of the four-letter words instead, whose letters are no length that anybody sends. Deliberately absent: operations.

use super::{LONGEST_MESSAGE, Scan, Scanner};

/// Finds the ends of messages.
#[derive(Debug, Default)]
pub(crate) struct Frames;

impl Scanner for Frames {
    fn scan(&mut self, bytes: &[u8]) -> Scan {
        let Some(length) = bytes.first_chunk::<4>().map(|length| i32::from_be_bytes(*length)) else {
            return Scan::Partial;
        };
        match usize::try_from(length) {
            Ok(length) if length <= LONGEST_MESSAGE => {
                if bytes.len() >= 4 + length {
                    Scan::Whole(4 + length)
                } else {
                    Scan::Partial
                }
            }
            _ => Scan::Foreign,
        }
    }
}

/// The xid of a message that is not its side's first.
pub(crate) fn xid(message: &[u8]) -> Option<i32> {
    message.get(4..8)?.first_chunk::<4>().map(|xid| i32::from_be_bytes(*xid))
}

/// Whether a reply with this xid answers an operation: not a watch event (-1), nor what the client library says by itself.
pub(crate) fn is_operation(xid: i32) -> bool {
    xid >= 0
}
