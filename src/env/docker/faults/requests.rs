//! `request`: the client is told which of its requests to strike, and says what it did.
//!
//! Who reads them is the client's own process, in its own container (`proxy`): there is nothing to undo that does not
//! end with it. Deliberately absent: a client that is down. No strike of its requests begins then, or ends
//! (`nemesis::strike`).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::context::{Context, LOOKS, Mechanism, Struck, not_healed};
use crate::env::docker::journal::Undo;
use crate::env::docker::messages::{Order, RequestsReport, Speaker};
use crate::fault::{Grudge, Member, RequestRule};
use crate::history::Probe;
use crate::ids::{ClientId, NodeId};
use crate::nemesis::FaultError;

/// How long a client may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client some of whose requests are struck.
struct Read {
    client: ClientId,
    strike: u32,
    nodes: Vec<NodeId>,
}

pub(super) async fn apply(
    context: &Context,
    strike: u32,
    links: &Grudge,
    rule: RequestRule,
    duration: Duration,
) -> Vec<Struck> {
    let mut clients: BTreeMap<ClientId, Vec<NodeId>> = BTreeMap::new();
    for (client, node) in links.client_links() {
        clients.entry(client).or_default().push(node);
    }
    join_all(clients.into_iter().map(|(client, nodes)| one(context, strike, client, nodes, rule, duration))).await
}

async fn one(
    context: &Context,
    strike: u32,
    client: ClientId,
    nodes: Vec<NodeId>,
    rule: RequestRule,
    duration: Duration,
) -> Struck {
    let struck = Read { client, strike, nodes };
    let read = async move {
        match struck.tell(context, Some(rule), PATIENCE).await.and_then(|report| report.ok_or_else(|| silent(client))) {
            Ok(report) => {
                let during = probes("during", client, &report, Some(rule), false);
                Ok((struck, during))
            }
            Err(error) => {
                // It may hear of it later.
                context.orders.send(Speaker::Client(client), struck.order(0, None));
                Err(error)
            }
        }
    };
    context
        .strike(
            Member::Client(client),
            Undo::ForgetRule { strike },
            duration + context.put_off + PATIENCE * LOOKS,
            read,
        )
        .await
}

/// What a client says of its requests: on each link the rule in force, and if it is over, how many it struck.
fn probes(
    when: &str,
    client: ClientId,
    report: &RequestsReport,
    expected: Option<RequestRule>,
    is_counted: bool,
) -> Vec<Probe> {
    let told = |rule: Option<RequestRule>| rule.map_or("handed on".to_owned(), |rule| rule.to_string());
    let probe = |(node, rule, struck): &(NodeId, Option<RequestRule>, u64)| {
        let mut probe = Probe::new(format!("{when}: requests of {client} to {node}"), told(expected), told(*rule));
        probe.struck = is_counted.then_some(*struck);
        probe
    };
    report.nodes.iter().map(probe).collect()
}

/// Where a client says nothing: what it does to its requests is not known.
fn unseen(when: &str, client: ClientId, nodes: &[NodeId]) -> Vec<Probe> {
    let probe = |node| Probe::unseen(format!("{when}: requests of {client} to {node}"), "handed on", LOOKS);
    nodes.iter().map(probe).collect()
}

fn silent(client: ClientId) -> FaultError {
    FaultError(format!("{client} does not say what it does to its requests"))
}

impl Read {
    fn order(&self, number: u64, rule: Option<RequestRule>) -> Order {
        Order::Requests { number, strike: self.strike, rule, nodes: self.nodes.clone() }
    }

    /// Gives the order; what the client says of it, if it says anything within `patience`.
    async fn tell(
        &self,
        context: &Context,
        rule: Option<RequestRule>,
        patience: Duration,
    ) -> Result<Option<RequestsReport>, FaultError> {
        let (number, told) = context.known.order();
        context.orders.send(Speaker::Client(self.client), self.order(number, rule));
        let Ok(report) = tokio::time::timeout(patience, told).await else { return Ok(None) };
        let report = report.ok().filter(|report| report.nodes.len() == self.nodes.len());
        report.map(Some).ok_or_else(|| silent(self.client))
    }
}

impl Mechanism for Read {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            // It counts what it struck once: the order is given once, and its answer waited for as long as looking
            // again would take.
            match self.tell(context, None, PATIENCE * LOOKS).await.map_err(|error| not_healed(member, error))? {
                Some(report) => Ok(probes("after", self.client, &report, None, true)),
                None => Ok(unseen("after", self.client, &self.nodes)),
            }
        }
        .boxed()
    }
}
