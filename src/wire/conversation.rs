//! One connection of a client to a server: its messages in order, which requests bear a lock's name, which reply is whose.
//!
//! Nothing is added, left out or changed: all bytes of one direction, behind one another, are what came. Redis answers in
//! the order of the requests, ZooKeeper under their xid, etcd in order or under the number of an HTTP/2 stream. Where a connection does what is not understood (a subscription, a
//! four-letter word, another protocol), its bytes go on, and no reply is taken for anybody's.

use std::collections::VecDeque;

use super::calls::Names;
use super::etcd::{self, Http};
use super::resp::{self, Resp};
use super::zookeeper::{self, Frames};
use super::{Cut, Cutter};
use crate::ids::LockName;

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
    sides: Sides,
    numbered: u64,
    /// Requests whose replies are still to come, in order: their numbers, if they are about a lock.
    owed: VecDeque<Owed>,
    is_paired: bool,
}

#[derive(Debug)]
struct Owed {
    /// ZooKeeper's number of it, or its HTTP/2 stream.
    xid: i32,
    number: Option<u64>,
}

#[derive(Debug)]
enum Sides {
    Resp { requests: Cutter<Resp>, replies: Cutter<Resp> },
    Zookeeper { requests: Cutter<Frames>, replies: Cutter<Frames>, greeted: [bool; 2] },
    Etcd { requests: Cutter<Http>, replies: Cutter<Http> },
}

impl Conversation {
    /// A new connection, on which `names` are looked for.
    pub fn new(protocol: Protocol, names: Names) -> Self {
        let sides = match protocol {
            Protocol::Resp => {
                let cutter = |scanner| Cutter { scanner, kept: Vec::new(), is_opaque: false };
                Sides::Resp { requests: cutter(Resp::requests()), replies: cutter(Resp::replies()) }
            }
            Protocol::Zookeeper => {
                Sides::Zookeeper { requests: Cutter::default(), replies: Cutter::default(), greeted: [false; 2] }
            }
            Protocol::Etcd => Sides::Etcd { requests: Cutter::default(), replies: Cutter::default() },
        };
        Self { names, sides, numbered: 0, owed: VecDeque::new(), is_paired: true }
    }

    /// What `bytes` from the client complete.
    pub fn client_sent(&mut self, bytes: &[u8]) -> Vec<FromClient> {
        let cuts = match &mut self.sides {
            Sides::Resp { requests, .. } => requests.push(bytes),
            Sides::Zookeeper { requests, .. } => requests.push(bytes),
            Sides::Etcd { requests, .. } => requests.push(bytes),
        };
        cuts.into_iter().map(|cut| self.request(cut)).collect()
    }

    /// What `bytes` from the server complete.
    pub fn server_sent(&mut self, bytes: &[u8]) -> Vec<FromServer> {
        let cuts = match &mut self.sides {
            Sides::Resp { replies, .. } => replies.push(bytes),
            Sides::Zookeeper { replies, .. } => replies.push(bytes),
            Sides::Etcd { replies, .. } => replies.push(bytes),
        };
        cuts.into_iter().map(|cut| self.reply(cut)).collect()
    }

    /// What is left of the client's side when it ends.
    pub fn client_ended(&mut self) -> Vec<u8> {
        match &mut self.sides {
            Sides::Resp { requests, .. } => requests.finish(),
            Sides::Zookeeper { requests, .. } => requests.finish(),
            Sides::Etcd { requests, .. } => requests.finish(),
        }
    }

    /// What is left of the server's side when it ends.
    pub fn server_ended(&mut self) -> Vec<u8> {
        match &mut self.sides {
            Sides::Resp { replies, .. } => replies.finish(),
            Sides::Zookeeper { replies, .. } => replies.finish(),
            Sides::Etcd { replies, .. } => replies.finish(),
        }
    }

    fn request(&mut self, cut: Cut) -> FromClient {
        let bytes = match cut {
            Cut::Message(bytes) => bytes,
            Cut::Opaque(bytes) => {
                self.unpaired();
                return FromClient::Bytes(bytes);
            }
        };
        // The xid of what is owed, or nothing if it is no request that a reply is owed to.
        let owed = match &mut self.sides {
            Sides::Resp { .. } => match resp::owed(&bytes) {
                None => {
                    self.unpaired();
                    None
                }
                Some(0) => None,
                Some(_) => Some(0),
            },
            Sides::Zookeeper { greeted: [greeted, _], .. } => {
                let first = !std::mem::replace(greeted, true);
                zookeeper::xid(&bytes).filter(|xid| !first && zookeeper::is_operation(*xid))
            }
            Sides::Etcd { .. } => etcd::owed(&bytes),
        };
        let lock = match &self.sides {
            Sides::Etcd { .. } => self.names.find(&etcd::readable(&bytes)).cloned(),
            _ => self.names.find(&bytes).cloned(),
        };
        let number = lock.as_ref().map(|_| {
            self.numbered += 1;
            self.numbered
        });
        let is_paired = self.is_paired && owed.is_some();
        if let Some(xid) = owed.filter(|_| self.is_paired) {
            self.owed.push_back(Owed { xid, number });
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
        let owed = match &mut self.sides {
            Sides::Resp { .. } if resp::is_push(&bytes) => None,
            Sides::Resp { .. } => self.owed.pop_front(),
            Sides::Zookeeper { greeted: [_, greeted], .. } => {
                let first = !std::mem::replace(greeted, true);
                let xid = zookeeper::xid(&bytes).filter(|xid| !first && zookeeper::is_operation(*xid));
                let place = xid.and_then(|xid| self.owed.iter().position(|owed| owed.xid == xid));
                place.and_then(|place| self.owed.remove(place))
            }
            Sides::Etcd { .. } => {
                let stream = etcd::answered(&bytes);
                let place = stream.and_then(|stream| self.owed.iter().position(|owed| owed.xid == stream));
                place.and_then(|place| self.owed.remove(place))
            }
        };
        match owed.and_then(|owed| owed.number) {
            Some(number) => FromServer::Reply { number, bytes },
            None => FromServer::Bytes(bytes),
        }
    }

    /// From here on no reply is anybody's.
    fn unpaired(&mut self) {
        self.is_paired = false;
        self.owed.clear();
    }

    /// Whether one of its directions is no longer understood.
    pub fn is_opaque(&self) -> bool {
        match &self.sides {
            Sides::Resp { requests, replies } => requests.is_opaque() || replies.is_opaque(),
            Sides::Zookeeper { requests, replies, .. } => requests.is_opaque() || replies.is_opaque(),
            Sides::Etcd { requests, replies } => requests.is_opaque() || replies.is_opaque(),
        }
    }
}
