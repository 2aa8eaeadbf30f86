//! Requests and answers on their way into the network, and what strikes do to them there: the simulated side of
//! `crate::wire`.
//!
//! The middle is thought to be on the client's machine, as in containers: what is held up waits there, in front of a
//! link that may be cut meanwhile, and what is behind it waits too. A connection whose replies reach nobody any more
//! ends with the strike. Deliberately absent: which requests are struck; that is the gate's.

use super::ids::{ConnectionId, DOWN, UP};
use super::interception::Number;
use super::message::{Matching, Message, Payload, Segment};
use super::state::State;
use crate::fault::request::Does;
use crate::wire::gate::Decision;

impl State {
    /// Sends from the client's end; `false` if the connection is closed.
    pub fn request(&mut self, connection: ConnectionId, payload: Payload) -> bool {
        let open = self.net.connections[connection as usize].is_open(UP);
        if open && let Some(decision) = self.decide(connection, &*payload) {
            self.strike_request(connection, payload, decision);
        } else if open {
            self.send(connection, UP, Segment::Data(payload));
        }
        open
    }

    /// Sends from the server's end, if it is still open there.
    pub fn answer(&mut self, connection: ConnectionId, payload: Payload) {
        if self.net.connections[connection as usize].is_open(DOWN) && self.lets_through(connection, &*payload) {
            self.send(connection, DOWN, Segment::Data(payload));
        }
    }

    /// What is to be done to a request, if anything. Counts it, too.
    fn decide(&mut self, connection: ConnectionId, payload: &dyn Message) -> Option<Decision> {
        let of = &mut self.net.connections[connection as usize];
        if payload.matching() == Matching::InOrder {
            of.asked[usize::from(UP)] += 1;
        }
        let interception = self.interception.as_ref()?;
        let [client, server] = of.hosts;
        let gate = &mut self.net.link(client, server).troubles.as_deref_mut()?.gate;
        if gate.is_open() {
            return None;
        }
        let lock = interception.names.find(payload.subject().as_bytes())?;
        gate.decide(interception.calls.get(&client)?.of(lock)?)
    }

    /// Sends a request as was decided.
    fn strike_request(&mut self, connection: ConnectionId, payload: Payload, decision: Decision) {
        let number = match payload.matching() {
            Matching::Numbered(number) => Number::Own(number),
            Matching::InOrder | Matching::None => {
                Number::Nth(self.net.connections[connection as usize].asked[usize::from(UP)])
            }
        };
        let of = &mut self.net.connections[connection as usize];
        match decision.does {
            Does::Hold => {
                self.hold_up(connection, UP, self.now + decision.by.as_nanos() as u64);
                self.send(connection, UP, Segment::Data(payload));
            }
            Does::CutBefore => self.close(connection, UP),
            Does::CutAfter => {
                self.send(connection, UP, Segment::Data(payload));
                self.close(connection, UP);
            }
            // Where servers do not refuse, it goes on, and was not struck.
            Does::Refuse => match payload.refused() {
                Some(refused) => self.send(connection, UP, Segment::Data(refused)),
                None => return self.send(connection, UP, Segment::Data(payload)),
            },
            Does::DropReply | Does::DelayReply => {
                of.struck.get_or_insert_default().due.push((number, decision));
                self.send(connection, UP, Segment::Data(payload));
                // It counts when the reply is there.
                return;
            }
        }
        self.note_struck(connection, decision.strike);
    }

    /// Whether a reply goes on its way; held up, if that is what is to be done.
    fn lets_through(&mut self, connection: ConnectionId, payload: &dyn Message) -> bool {
        let of = &mut self.net.connections[connection as usize];
        let number = match payload.matching() {
            Matching::InOrder => {
                of.asked[usize::from(DOWN)] += 1;
                Number::Nth(of.asked[usize::from(DOWN)])
            }
            Matching::Numbered(number) => Number::Own(number),
            Matching::None => Number::Nth(0),
        };
        let Some(struck) = of.struck.as_deref_mut() else { return true };
        let place = struck.due.iter().position(|(due, _)| *due == number);
        let decision = place.map(|place| struck.due.remove(place).1);
        if struck.deaf.is_some() {
            return false;
        }
        let Some(decision) = decision else { return true };
        let hosts = of.hosts;
        let [client, server] = hosts;
        // The strike may be over by now.
        if self.net.troubles(client, server).gate.rule(decision.strike).is_none() {
            return true;
        }
        self.note_struck(connection, decision.strike);
        match decision.does {
            Does::DropReply => {
                let of = &mut self.net.connections[connection as usize];
                of.struck.get_or_insert_default().deaf = Some(decision.strike);
                false
            }
            _ => {
                self.hold_up(connection, DOWN, self.now + decision.by.as_nanos() as u64);
                true
            }
        }
    }

    /// Ends the connections whose replies reached nobody because of a strike that is over.
    pub fn end_deaf(&mut self, strike: u32) {
        for connection in 0..self.net.connections.len() {
            let of = &self.net.connections[connection];
            if of.struck.as_ref().is_some_and(|struck| struck.deaf == Some(strike)) {
                self.close(connection as ConnectionId, UP);
            }
        }
    }

    fn note_struck(&mut self, connection: ConnectionId, strike: u32) {
        let [client, server] = self.net.connections[connection as usize].hosts;
        self.net.troubles(client, server).gate.done(strike);
    }
}
