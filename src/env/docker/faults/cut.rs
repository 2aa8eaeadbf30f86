//! `partition`: one nftables table in the member's network namespace drops what is to or from its peers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::ground::{GRACE, Ground, Place, Struck, Wound, not_healed};
use crate::env::FaultError;
use crate::env::docker::journal::{Entry, Undo};
use crate::env::docker::netns::{Peer, Script, TABLE_PREFIX, read_probes};
use crate::fault::{Direction, Grudge, Member};
use crate::history::Probe;
use crate::time::{BootClock, Clock, Nanos};

/// A member that is cut off from its peers.
struct Cut {
    member: Member,
    entry: Entry,
    table: String,
    peers: Vec<Member>,
    direction: Direction,
    /// When the kernel is to forget it.
    until: Nanos,
}

pub(super) async fn apply(ground: &Ground, id: u32, member: Member, grudge: &Grudge, duration: Duration) -> Struck {
    let Place { container, .. } = ground.place(member)?;
    let table = format!("{TABLE_PREFIX}{}_{id}", ground.tag);
    let entry = ground.entry(member, Undo::DeleteTable(table.clone()))?;
    let peers = grudge.cuts.get(&member).cloned().unwrap_or_default();
    let addresses = addresses(ground, &peers)?;
    ground.note(&entry, duration)?;
    let script = Script::default()
        .probe_open("before", &addresses)
        .cut(&table, &addresses, grudge.direction, duration + GRACE)
        .probe_blocked("during", &addresses);
    let until = BootClock.now() + duration + GRACE;
    let cut = Cut { member, entry, table, peers, direction: grudge.direction, until };
    match script.run(&ground.engine, container.id(), &container.name).await {
        Ok(printed) => {
            let mut probes = cut.probes(ground, &printed, "before", "reachable");
            probes.extend(cut.probes(ground, &printed, "during", "blocked"));
            Ok((Arc::new(cut), probes))
        }
        Err(error) => Err(ground.give_up(&cut.entry, error.to_string()).await),
    }
}

fn addresses(ground: &Ground, members: &[Member]) -> Result<Vec<Peer>, FaultError> {
    members.iter().map(|member| Ok(ground.place(*member)?.peer)).collect()
}

impl Cut {
    /// One probe for each peer; a peer that the script said nothing of was not looked at.
    fn probes(&self, ground: &Ground, printed: &str, when: &str, expected: &str) -> Vec<Probe> {
        let seen: BTreeMap<Ipv4Addr, &str> = read_probes(printed, when).collect();
        let probe = |peer: &Member| {
            let observed = ground.places.get(peer).and_then(|place| seen.get(&place.peer.address)).copied();
            Probe::new(format!("{when}: {} to {peer}", self.member), expected, observed.unwrap_or("not looked at"))
        };
        self.peers.iter().map(probe).collect()
    }
}

impl Wound for Cut {
    fn member(&self) -> Member {
        self.member
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn undo<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let Place { container, .. } = ground.place(self.member)?;
            let script = Script::default().delete_table(&self.table);
            let script = script.probe_open("after", &addresses(ground, &self.peers)?);
            let printed = script.run(&ground.engine, container.id(), &container.name).await;
            Ok(self.probes(ground, &printed.map_err(|error| not_healed(self.member, error))?, "after", "reachable"))
        }
        .boxed()
    }

    /// The table was in the network namespace, which ended with the container's processes.
    fn again<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<(), FaultError>> {
        async move {
            let Place { container, .. } = ground.place(self.member)?;
            let addresses = addresses(ground, &self.peers)?;
            let script = Script::default().cut(&self.table, &addresses, self.direction, self.until - BootClock.now());
            let printed = script.run(&ground.engine, container.id(), &container.name).await;
            printed.map(drop).map_err(|error| FaultError(error.to_string()))
        }
        .boxed()
    }
}
