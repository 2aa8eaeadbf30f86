//! What travels over the simulated network: segments, and in them messages of which the engine knows next to nothing.

use std::any::Any;
use std::fmt;
use std::hash::Hash;

use super::trace::TraceHasher;

/// A request, an answer, or what servers say among themselves. Each kind of server has a type of its own.
pub trait Message: Any + Send {
    /// Hashes it for the trace. Messages of different kinds must begin differently.
    fn trace(&self, hasher: &mut TraceHasher);

    /// In words, for whoever asks what happened at one event.
    fn words(&self) -> String;

    /// How an answer is known to be a request's.
    fn matching(&self) -> Matching {
        Matching::None
    }

    /// What is asked in the place of a request that its server is to refuse: it changes nothing, and the answer says
    /// that the server cannot do what it was asked for now. None where servers do not say so.
    fn refused(&self) -> Option<Payload> {
        None
    }

    /// The words of a request that may name a lock.
    fn subject(&self) -> String {
        String::new()
    }
}

/// A message in its segment.
pub type Payload = Box<dyn Message>;

/// The message, if it is of this type.
pub fn downcast<M: Message>(payload: Payload) -> Option<M> {
    let payload: Box<dyn Any> = payload;
    payload.downcast().ok().map(|message| *message)
}

/// How an answer is known to be a request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The answers on a connection come in the order of its requests.
    InOrder,
    /// Both carry this number.
    Numbered(i32),
    /// Nobody waits for an answer, or it answers nothing.
    None,
}

/// One segment of a connection.
pub enum Segment {
    /// The client asks for a connection.
    Syn,
    /// The server's kernel grants it.
    SynAck,
    /// A request or an answer.
    Data(Payload),
    /// The sender closes the connection; what it sent before is still delivered.
    Fin,
    /// The sender knows no such connection.
    Reset,
}

impl Segment {
    /// Whether it is of a connection that is not there yet.
    pub fn is_handshake(&self) -> bool {
        matches!(self, Self::Syn | Self::SynAck)
    }

    /// Whether it is a reset.
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Reset)
    }

    /// Hashes it for the trace. The numbers are part of every trace hash.
    pub fn trace(&self, hasher: &mut TraceHasher) {
        let kind: usize = match self {
            Self::Syn => 0,
            Self::SynAck => 1,
            Self::Data(_) => 2,
            Self::Fin => 3,
            Self::Reset => 4,
        };
        kind.hash(hasher);
        if let Self::Data(payload) = self {
            payload.trace(hasher);
        }
    }
}

/// For whoever asks what happened at one event; nothing is made of these words.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syn => f.write_str("a request to connect"),
            Self::SynAck => f.write_str("the connection, granted"),
            Self::Data(payload) => f.write_str(&payload.words()),
            Self::Fin => f.write_str("the connection's end"),
            Self::Reset => f.write_str("a reset"),
        }
    }
}
