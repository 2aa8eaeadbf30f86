//! The protected resource as a server of the simulation.

use super::message::ResourceMessage;
use crate::env::sim::engine::ids::Power;
use crate::env::sim::engine::message::downcast;
use crate::env::sim::engine::server::{Effect, Incoming, Moment, Server, What};
use crate::fault::Member;
use crate::history::{F, ItemValue, Op, OpType, Process};
use crate::time::Nanos;
use crate::workload::resource::Resource;
use crate::workload::{Access, Action};

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
            let (op, served) = serve_access(&mut self.0, &access, moment.now);
            effects.push(Effect::Record(Box::new(op)));
            effects.push(Effect::Answer(connection, Box::new(ResourceMessage::Served(served))));
        }
    }

    /// Its store is a database, which a crash does not harm.
    fn crash(&mut self, _: &Moment<'_>, _: Power) {}
}

/// Serves one access: the op to record, and the answer.
fn serve_access(resource: &mut Resource, access: &Access, now: u64) -> (Op, Result<ItemValue, String>) {
    let served = resource.serve(access);
    let (f, asked) = match access.action {
        Action::Read => (F::Read, None),
        Action::Write { stock, based_on } => (F::Write, Some((stock, based_on))),
    };
    let kind = if served.is_ok() { OpType::Ok } else { OpType::Fail };
    let mut op = Op::new(Nanos(now), Process::Resource, kind, f);
    op.client = Some(access.client);
    op.hold = Some(access.hold.clone());
    op.token = access.token;
    op.error = served.as_ref().err().map(ToString::to_string);
    op.value = Some(served.as_ref().copied().unwrap_or_else(|_| ItemValue {
        item: access.item,
        stock: asked.map_or_else(
            || resource.items().find(|(id, _)| *id == access.item).map_or(0, |(_, item)| item.stock),
            |(stock, _)| stock,
        ),
        version: None,
        based_on: asked.map(|(_, based_on)| based_on),
    }));
    (op, served.map_err(|refusal| refusal.to_string()))
}
