//! What a server is to the engine: a state machine that is handed what happens to it, and says what it wants done.
//!
//! Servers act in no time; their delay is the links'. A freeze needs nothing of them: nothing is handed in meanwhile,
//! and afterwards what has piled up.

use std::any::Any;

use super::clock::HostClock;
use super::ids::{ConnectionId, HostId, Power};
use super::message::Payload;
use crate::fault::Member;
use crate::history::{Op, ServerRecord};
use crate::time::Nanos;

/// What a server knows of the instant at which it acts.
pub struct Moment<'a> {
    /// True time, for the record only.
    pub now: u64,
    /// Its machine's clocks.
    pub clock: &'a HostClock,
    /// Whether its process is frozen.
    pub is_frozen: bool,
}

impl Moment<'_> {
    /// What its monotonic clock shows.
    pub fn mono(&self) -> Nanos {
        self.clock.mono(self.now)
    }

    /// What its wall clock shows, in milliseconds since the epoch.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms(self.now)
    }
}

/// What happened on a connection.
pub enum What {
    /// It was opened.
    Opened,
    /// A request, or a peer's message.
    Data(Payload),
    /// It was closed.
    Closed,
}

/// Something that a server's kernel has for it.
pub struct Incoming {
    /// On which connection.
    pub connection: ConnectionId,
    /// What.
    pub what: What,
}

/// What a server wants done.
pub enum Effect {
    /// Sends to the client of a connection, if that is still open.
    Answer(ConnectionId, Payload),
    /// Sends to a peer on another machine.
    Tell(HostId, Payload),
    /// Closes its end of a connection, after what was sent before has left.
    Close(ConnectionId),
    /// Records an op whose instants are in true time.
    Record(Box<Op>),
}

/// A server's program.
pub trait Server: Any + Send {
    /// Its process starts, the first time or after a crash.
    fn start(&mut self, _: &Moment<'_>, _: &mut Vec<Effect>) {}

    /// Something has happened on one of its connections, at whose other end `from` is.
    fn receive(&mut self, moment: &Moment<'_>, from: Option<Member>, incoming: Incoming, effects: &mut Vec<Effect>);

    /// When it wants [`Server::timer`], on its own monotonic clock.
    fn next_timer(&self) -> Option<Nanos> {
        None
    }

    /// The time that it asked for has come. If it asks for one that is past, more follow.
    fn timer(&mut self, _: &Moment<'_>, _: &mut Vec<Effect>) {}

    /// Whether it looks at its timers before it looks at what has arrived, now that it is thawed: drawn, as it is a
    /// race there, too.
    fn looks_at_timers_first(&mut self) -> bool {
        false
    }

    /// Its process ends at once. What it keeps is what it will find when it starts.
    fn crash(&mut self, moment: &Moment<'_>, power: Power);

    /// Its machine's clock is about to be changed.
    fn before_clock_change(&mut self, _: &Moment<'_>) {}

    /// Whether it leads its peers, as far as it knows, and of several that believe so how new its belief is.
    fn leads(&self) -> Option<u64> {
        None
    }

    /// Whether a client has a session at one server at a time.
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// The run is over: [`Server::records`] follows when all servers know.
    fn finish(&mut self, _: &Moment<'_>) {}

    /// What it and its like had for whom, for the record beside the history. Whoever is asked first tells all.
    fn records(&mut self) -> Vec<ServerRecord> {
        Vec::new()
    }
}

impl dyn Server {
    /// The server, if it is of this kind.
    pub fn downcast<S: Server>(&self) -> Option<&S> {
        let server: &dyn Any = self;
        server.downcast_ref()
    }
}
