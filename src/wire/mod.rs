//! What passes between a client and a lock server, seen from the middle: pure state machines, no socket, no clock.
//!
//! - One file for each protocol, [`resp`], [`zookeeper`] and [`etcd`]: where a message ends ([`Scanner`]), and which
//!   reply is whose ([`Pairing`]). [`Protocol`] lists them: another one is a file and an arm there.
//! - [`conversation`] is one connection: which requests bear a lock's name, and which reply is whose. It names no
//!   protocol. What is not understood is handed on as it is.
//! - [`calls`] knows what a client is about with each lock, from the ops that it records.
//! - [`gate`] decides what is done to a request. The simulated network and the proxy on real sockets ask the same gate.
//!
//! A request is recognised by the lock's name in it, which occurs nowhere else, never by a list of commands: so it
//! works for programs that nobody here wrote. A library that hashes its names is not seen, and then nothing counts as
//! struck. Deliberately absent: sockets and timers (`env/docker/proxy.rs`, `env/sim/engine`).

pub mod calls;
pub mod conversation;
pub mod etcd;
pub mod gate;
pub mod resp;
pub mod zookeeper;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use calls::{Calls, Names};
pub use conversation::{Conversation, FromClient, FromServer};
pub use gate::Gate;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Redis's.
    Resp,
    /// ZooKeeper's.
    Zookeeper,
    /// etcd's: gRPC, and its gateway of JSON.
    Etcd,
}

impl Protocol {
    /// What one connection needs of the protocol.
    fn connection(self) -> Connection {
        match self {
            Self::Resp => resp::connection(),
            Self::Zookeeper => zookeeper::connection(),
            Self::Etcd => etcd::connection(),
        }
    }

    /// How one of its servers refuses a request, where they do.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Resp => Some(resp::refusal()),
            Self::Zookeeper | Self::Etcd => None,
        }
    }
}

/// How a request is refused in the middle, without its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is asked of the server in the request's place.
    pub asked: Vec<u8>,
    /// What is replied to the client, whatever the server says.
    pub replied: Vec<u8>,
}

/// What one connection needs of its protocol.
pub(crate) struct Connection {
    /// Cuts what the client sends.
    requests: Cutter,
    /// Cuts what the server sends.
    replies: Cutter,
    pairing: Box<dyn Pairing>,
}

/// Says of one connection, message by message, which reply is whose.
pub(crate) trait Pairing: fmt::Debug + Send {
    /// What a request is owed.
    fn owed(&mut self, request: &[u8]) -> Owed;

    /// What a reply answers.
    fn answered(&mut self, reply: &[u8]) -> Answered;

    /// A request in which names can be found.
    fn readable<'a>(&self, request: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(request)
    }
}

/// What a request is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// No reply.
    Nothing,
    /// A reply under this number; under any where replies come in the order of the requests.
    Reply(i32),
    /// Nobody can tell from the request alone, so from there on no reply of the connection is anybody's.
    Unknown,
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// No request.
    Nothing,
    /// The oldest request that is owed a reply.
    Oldest,
    /// The oldest request with this number.
    Number(i32),
}

/// A longer message is not kept until it is whole: from there on its direction is handed on as it comes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// What was cut out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole message, as it came.
    Message(Vec<u8>),
    /// Bytes that are not understood; nothing is from here on.
    Opaque(Vec<u8>),
}

/// Where the first message of some bytes ends.
pub(crate) enum Scan {
    /// After so many bytes.
    Whole(usize),
    /// Not yet.
    Partial,
    /// It is no message of the protocol.
    Foreign,
}

/// Finds the ends of messages. It is handed the same bytes again with more behind them, and keeps where it was.
pub(crate) trait Scanner: fmt::Debug + Send {
    /// Looks at the first message.
    fn scan(&mut self, bytes: &[u8]) -> Scan;
}

/// Cuts one direction of a connection into messages.
#[derive(Debug)]
pub(crate) struct Cutter {
    scanner: Box<dyn Scanner>,
    kept: Vec<u8>,
    is_opaque: bool,
}

impl Cutter {
    /// A new stream, with a scanner that has seen nothing yet.
    pub fn new(scanner: impl Scanner + 'static) -> Self {
        Self { scanner: Box::new(scanner), kept: Vec::new(), is_opaque: false }
    }

    /// What `bytes` complete, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Cut> {
        if self.is_opaque {
            return if bytes.is_empty() { Vec::new() } else { vec![Cut::Opaque(bytes.to_vec())] };
        }
        self.kept.extend_from_slice(bytes);
        let (mut cuts, mut done) = (Vec::new(), 0);
        while done < self.kept.len() {
            match self.scanner.scan(&self.kept[done..]) {
                Scan::Whole(length) => {
                    cuts.push(Cut::Message(self.kept[done..done + length].to_vec()));
                    done += length;
                }
                Scan::Partial if self.kept.len() - done <= LONGEST_MESSAGE => break,
                Scan::Partial | Scan::Foreign => {
                    self.is_opaque = true;
                    cuts.push(Cut::Opaque(self.kept[done..].to_vec()));
                    done = self.kept.len();
                }
            }
        }
        self.kept.drain(..done);
        cuts
    }

    /// What is left when the stream ends: the beginning of a message.
    pub fn finish(&mut self) -> Vec<u8> {
        self.is_opaque = true;
        std::mem::take(&mut self.kept)
    }

    /// Whether it has met what it does not understand.
    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }
}
