//! `request`: the client is told which of its requests to strike, and says what it did.
//!
//! Who reads them is the client's own process, in its own container (`proxy`): there is nothing to undo that does not end
//! with it. Deliberately absent: a client that is down. No strike of its requests begins then, or ends (`nemesis::strike`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::ground::{Ground, Struck, Wound, not_healed};
use crate::env::docker::journal::{Entry, Undo};
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
    entry: Entry,
    strike: u32,
    nodes: Vec<NodeId>,
}

pub(super) async fn apply(
    ground: &Ground,
    strike: u32,
    links: &Grudge,
    rule: RequestRule,
    duration: Duration,
) -> Vec<Struck> {
    let mut clients: BTreeMap<ClientId, Vec<NodeId>> = BTreeMap::new();
    for (client, node) in links.client_links() {
        clients.entry(client).or_default().push(node);
    }
    join_all(clients.into_iter().map(|(client, nodes)| one(ground, strike, client, nodes, rule, duration))).await
}

async fn one(
    ground: &Ground,
    strike: u32,
    client: ClientId,
    nodes: Vec<NodeId>,
    rule: RequestRule,
    duration: Duration,
) -> Struck {
    let entry = ground.entry(Member::Client(client), Undo::ForgetRule { strike })?;
    ground.note(&entry, duration + ground.put_off)?;
    let wound = Read { client, entry, strike, nodes };
    let during = match wound.tell(ground, Some(rule)).await {
        Ok(report) => probes("during", client, &report, Some(rule), false),
        Err(error) => {
            // It may hear of it later.
            ground.orders.send(Speaker::Client(client), wound.order(0, None));
            return Err(ground.give_up(&wound.entry, error.0).await);
        }
    };
    Ok((Arc::new(wound), during))
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

impl Read {
    fn order(&self, number: u64, rule: Option<RequestRule>) -> Order {
        Order::Requests { number, strike: self.strike, rule, nodes: self.nodes.clone() }
    }

    async fn tell(&self, ground: &Ground, rule: Option<RequestRule>) -> Result<RequestsReport, FaultError> {
        let (number, told) = ground.lives.order();
        ground.orders.send(Speaker::Client(self.client), self.order(number, rule));
        let report = tokio::time::timeout(PATIENCE, told).await.ok().and_then(Result::ok);
        let report = report.filter(|report| report.nodes.len() == self.nodes.len());
        report.ok_or_else(|| FaultError(format!("{} does not say what it does to its requests", self.client)))
    }
}

impl Wound for Read {
    fn member(&self) -> Member {
        Member::Client(self.client)
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn undo<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let report = self.tell(ground, None).await.map_err(|error| not_healed(self.member(), error))?;
            Ok(probes("after", self.client, &report, None, true))
        }
        .boxed()
    }
}
