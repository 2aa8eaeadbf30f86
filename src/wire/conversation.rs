//! One connection of a client to a server: its messages in order, which requests bear a lock's name, which reply is
//! whose.
//!
//! Nothing is added, left out or changed: all bytes of one direction, behind one another, are what came. Some servers
//! answer in the order of the requests, others under a number ([`Pairing`]). Where a connection does what is not
//! understood (a subscription, a four-letter word, another protocol), its bytes go on, and no reply is taken for
//! anybody's.

use std::collections::VecDeque;

use super::calls::Names;
use super::{Answered, Cut, Cutter, Owed, Pairing, Protocol};
use crate::ids::LockName;

/// Something that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// To be handed on.
    Bytes(Vec<u8>),
    /// A request about a lock, with a number of its own in the connection.
    About {
        /// The lock.
        lock: LockName,
        /// The request's number.
        number: u64,
        /// Whether its reply will be told apart.
        is_paired: bool,
        /// The request.
        bytes: Vec<u8>,
    },
}

/// Something that a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// To be handed on.
    Bytes(Vec<u8>),
    /// The reply to a request about a lock.
    Reply {
        /// The request's number.
        number: u64,
        /// The reply.
        bytes: Vec<u8>,
    },
}

/// One connection.
#[derive(Debug)]
pub struct Conversation {
    names: Names,
    requests: Cutter,
    replies: Cutter,
    pairing: Box<dyn Pairing>,
    numbered: u64,
    /// Requests whose replies are still to come, in order.
    due: VecDeque<Due>,
    is_paired: bool,
}

/// A request whose reply is still to come.
#[derive(Debug)]
struct Due {
    /// The protocol's number of it.
    owed: i32,
    /// Its number in the connection, if it is about a lock.
    number: Option<u64>,
}

impl Conversation {
    /// A new connection, on which `names` are looked for.
    pub fn new(protocol: Protocol, names: Names) -> Self {
        let super::Connection { requests, replies, pairing } = protocol.connection();
        Self { names, requests, replies, pairing, numbered: 0, due: VecDeque::new(), is_paired: true }
    }

    /// What `bytes` from the client complete.
    pub fn client_sent(&mut self, bytes: &[u8]) -> Vec<FromClient> {
        self.requests.push(bytes).into_iter().map(|cut| self.request(cut)).collect()
    }

    /// What `bytes` from the server complete.
    pub fn server_sent(&mut self, bytes: &[u8]) -> Vec<FromServer> {
        self.replies.push(bytes).into_iter().map(|cut| self.reply(cut)).collect()
    }

    /// What is left of the client's side when it ends.
    pub fn client_ended(&mut self) -> Vec<u8> {
        self.requests.finish()
    }

    /// What is left of the server's side when it ends.
    pub fn server_ended(&mut self) -> Vec<u8> {
        self.replies.finish()
    }

    fn request(&mut self, cut: Cut) -> FromClient {
        let bytes = match cut {
            Cut::Message(bytes) => bytes,
            Cut::Opaque(bytes) => {
                self.unpaired();
                return FromClient::Bytes(bytes);
            }
        };
        let owed = match self.pairing.owed(&bytes) {
            Owed::Reply(number) => Some(number),
            Owed::Nothing => None,
            Owed::Unknown => {
                self.unpaired();
                None
            }
        };
        let lock = self.names.find(&self.pairing.readable(&bytes)).cloned();
        let number = lock.as_ref().map(|_| {
            self.numbered += 1;
            self.numbered
        });
        let is_paired = self.is_paired && owed.is_some();
        if let Some(owed) = owed.filter(|_| self.is_paired) {
            self.due.push_back(Due { owed, number });
        }
        match (lock, number) {
            (Some(lock), Some(number)) => FromClient::About { lock, number, is_paired, bytes },
            _ => FromClient::Bytes(bytes),
        }
    }

    fn reply(&mut self, cut: Cut) -> FromServer {
        let bytes = match cut {
            Cut::Message(bytes) => bytes,
            Cut::Opaque(bytes) => {
                self.unpaired();
                return FromServer::Bytes(bytes);
            }
        };
        let place = match self.pairing.answered(&bytes) {
            Answered::Nothing => None,
            Answered::Oldest => Some(0),
            Answered::Number(number) => self.due.iter().position(|due| due.owed == number),
        };
        match place.and_then(|place| self.due.remove(place)).and_then(|due| due.number) {
            Some(number) => FromServer::Reply { number, bytes },
            None => FromServer::Bytes(bytes),
        }
    }

    /// From here on no reply is anybody's.
    fn unpaired(&mut self) {
        self.is_paired = false;
        self.due.clear();
    }

    /// Whether one of its directions is no longer understood.
    pub fn is_opaque(&self) -> bool {
        self.requests.is_opaque() || self.replies.is_opaque()
    }
}
