//! ZooKeeper's protocol, as far as one must know it to tell where a message ends and which reply is whose.
//!
//! Source: Apache ZooKeeper 3.9, `zookeeper.jute`, `ClientCnxn` and `NIOServerCnxn`: every message has four bytes of
//! length, big-endian, before it; the first on each side opens the session, all others begin with their xid. A
//! connection may say one of the four-letter words instead, whose letters are no length that anybody sends.
//! Deliberately absent: operations.

use super::{Answered, Connection, Cutter, LONGEST_MESSAGE, Owed, Pairing, Scan, Scanner};

/// What one connection needs.
pub(super) fn connection() -> Connection {
    Connection { requests: Cutter::new(Frames), replies: Cutter::new(Frames), pairing: Box::new(ByXid::default()) }
}

/// Finds the ends of messages.
#[derive(Debug)]
struct Frames;

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

/// ZooKeeper answers under the xid of the request. The first message of each side opens the session, and has none.
#[derive(Debug, Default)]
struct ByXid {
    has_client_greeted: bool,
    has_server_greeted: bool,
}

impl Pairing for ByXid {
    fn owed(&mut self, request: &[u8]) -> Owed {
        let is_first = !std::mem::replace(&mut self.has_client_greeted, true);
        operation(request).filter(|_| !is_first).map_or(Owed::Nothing, Owed::Reply)
    }

    fn answered(&mut self, reply: &[u8]) -> Answered {
        let is_first = !std::mem::replace(&mut self.has_server_greeted, true);
        operation(reply).filter(|_| !is_first).map_or(Answered::Nothing, Answered::Number)
    }
}

/// The xid of a message, if it is that of an operation: not of a watch event (-1), nor of what the client library says
/// by itself.
fn operation(message: &[u8]) -> Option<i32> {
    let xid = message.get(4..8)?.first_chunk::<4>().map(|xid| i32::from_be_bytes(*xid));
    xid.filter(|xid| *xid >= 0)
}
