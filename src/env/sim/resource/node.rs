//! The protected resource as a server of the simulation.

use super::message::ResourceMessage;
use crate::env::sim::engine::ids::Power;
use crate::env::sim::engine::message::downcast;
use crate::env::sim::engine::server::{Effect, Incoming, Moment, Server, What};
use crate::fault::Member;
use crate::time::Nanos;
use crate::workload::resource::Resource;

/// The resource.
pub struct ResourceServer(pub Resource);

impl Server for ResourceServer {
    fn receive(
        &mut self,
        moment: &Moment<'_>,
        _: Option<Member>,
        Incoming { connection, what }: Incoming,
        effects: &mut Vec<Effect>,
    ) {
        let What::Data(payload) = what else { return };
        if let Some(ResourceMessage::Access(access)) = downcast(payload) {
            let (served, op) = self.0.serve_and_tell(&access, Nanos(moment.now));
            let served = served.map_err(|refusal| refusal.to_string());
            effects.push(Effect::Record(Box::new(op)));
            effects.push(Effect::Answer(connection, Box::new(ResourceMessage::Served(served))));
        }
    }

    /// Its store is a database, which a crash does not harm.
    fn crash(&mut self, _: &Moment<'_>, _: Power) {}
}
