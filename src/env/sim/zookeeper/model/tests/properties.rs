//! Random requests under random crashes, freezes and cuts: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::time::Duration;

use rand::RngExt;

use super::world::{Host, World};
use crate::env::sim::zookeeper::model::messages::{
    Answer, Change, CreateMode, Credentials, Operation, Path, Reply, Request, Stat, Zxid,
};
use crate::env::sim::zookeeper::{ConnectionId, Role};
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};

const TIMEOUT: Duration = Duration::from_secs(1);

/// A client that goes on with its session wherever it can.
struct Client {
    number: u32,
    connection: ConnectionId,
    session: Option<Credentials>,
    last_seen: Zxid,
    read: usize,
    xid: i32,
    /// Which path the watch of an operation is on.
    watched: BTreeMap<i32, Path>,
    /// The watches that the server has confirmed on this connection, and their events.
    set: BTreeMap<Path, i32>,
    events: BTreeMap<Path, i32>,
}

struct Trial {
    world: World,
    rng: ChaCha8Rng,
    clients: Vec<Client>,
    created: u32,
    /// Persistent znodes whose creation was acknowledged.
    acknowledged: BTreeSet<Path>,
    czxids: BTreeMap<Zxid, Path>,
    /// The tree at each transaction, as some server showed it.
    shown: BTreeMap<Zxid, Vec<(Path, Stat)>>,
}

impl Trial {
    fn new(size: u32, seed: u64) -> Self {
        let mut world = World::new(size, seed);
        let mut rng = Seed(seed).stream("trial");
        let clients = (0..4).map(|number| Client {
            number,
            connection: world.connect_with(number, NodeId(rng.random_range(1..=size)), TIMEOUT),
            session: None,
            last_seen: Zxid::ZERO,
            read: 0,
            xid: 0,
            watched: BTreeMap::new(),
            set: BTreeMap::new(),
            events: BTreeMap::new(),
        });
        let clients = clients.collect();
        Self {
            rng,
            clients,
            world,
            created: 0,
            acknowledged: BTreeSet::new(),
            czxids: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.rng.random_range(1..=self.world.servers.len() as u32))
    }

    fn step(&mut self) {
        let wait = self.rng.random_range(0..120);
        self.world.run(Duration::from_millis(wait));
        for client in 0..self.clients.len() {
            self.read(client);
            if self.rng.random_bool(0.7) {
                self.ask(client);
            }
        }
        self.compare();
    }

    fn ask(&mut self, index: usize) {
        let kind = self.rng.random_range(0..7);
        let at_random = self.any_node();
        let client = &mut self.clients[index];
        if self.world.mailboxes[&client.connection].closed || (kind == 0 && self.rng.random_bool(0.2)) {
            self.world.hang_up(client.connection);
            client.connection = self.world.open(client.number, at_random);
            (client.read, client.set, client.events) = (0, BTreeMap::new(), BTreeMap::new());
            let connect = Request::Connect { session: client.session, timeout: TIMEOUT, last_seen: client.last_seen };
            return self.world.request(client.connection, connect);
        }
        client.xid += 1;
        self.created += 1;
        let change = |path: Path, mode| Operation::Change(Change::Create { path, mode });
        let known = self.shown.last_key_value().map(|(_, tree)| tree.as_slice()).unwrap_or_default();
        let some = known
            .get(self.rng.random_range(0..known.len().max(1)))
            .map_or(Path::new_static("/"), |(path, _)| path.clone());
        let operation = match kind {
            0 | 1 => change(format!("/p-{}", self.created).into(), CreateMode::Persistent),
            2 | 3 => change("/n-".into(), CreateMode::EphemeralSequential),
            4 if !some.starts_with("/p-") => Operation::Change(Change::Delete { path: some }),
            5 => {
                client.watched.insert(client.xid, some.clone());
                Operation::Exists { path: some, watch: true }
            }
            _ => Operation::Sync,
        };
        self.world.ask(client.connection, client.xid, operation);
    }

    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let replies = &self.world.mailboxes[&client.connection].replies[client.read..];
        client.read += replies.len();
        for (_, reply) in replies {
            match reply {
                Reply::Connected { credentials, .. } => client.session = Some(*credentials),
                Reply::Expired => client.session = None,
                Reply::Event { path, .. } => {
                    let events = client.events.entry(path.clone()).or_default();
                    *events += 1;
                    assert!(*events <= client.set.get(path).copied().unwrap_or(0), "{path}: more events than watches");
                }
                Reply::Done { xid, zxid, result } => {
                    assert!(*zxid >= client.last_seen, "a session went back in time");
                    client.last_seen = *zxid;
                    match result {
                        Ok(Answer::Created { path, stat }) => {
                            let other = self.czxids.insert(stat.czxid, path.clone());
                            assert!(other.is_none(), "{path} and {other:?} share a czxid");
                            if stat.ephemeral_owner == 0 {
                                self.acknowledged.insert(path.clone());
                            }
                        }
                        Ok(Answer::Stat(_)) => {
                            let path = client.watched.remove(xid).unwrap();
                            *client.set.entry(path).or_default() += 1;
                        }
                        _ => {}
                    }
                }
                Reply::Pong | Reply::WatchesSet => {}
            }
        }
    }

    /// Servers that show the same transaction show the same tree.
    fn compare(&mut self) {
        let serving = self.world.serving();
        for server in serving.iter().map(|id| &self.world.servers[id]) {
            let tree: Vec<_> = server.znodes().map(|(path, stat)| (path.into(), stat)).collect();
            let sessions: BTreeSet<i64> = server.sessions().collect();
            for (path, stat) in &tree {
                let owner = stat.ephemeral_owner;
                assert!(owner == 0 || sessions.contains(&owner), "{path} outlives its session");
            }
            let shown = self.shown.entry(server.last_applied()).or_insert_with(|| tree.clone());
            assert_eq!(*shown, tree, "two trees at {:?}", server.last_applied());
        }
    }

    fn fault(&mut self) {
        let (node, other) = (self.any_node(), self.any_node());
        let client = Host::Client(self.rng.random_range(0..4));
        match self.rng.random_range(0..9) {
            0 => self.world.crash(node),
            1 if self.world.servers[&node].role() == Role::Down => self.world.start(node),
            2 => self.world.freeze(node),
            3 => self.world.isolate(&[node]),
            4 if node != other => self.world.cut(Host::Node(node), Host::Node(other)),
            5 => self.world.cut_both(client, Host::Node(node)),
            6 => self.world.cut(Host::Node(node), client),
            7 => {
                if let Some(leader) = self.world.leader() {
                    self.world.crash(leader);
                }
            }
            _ => self.world.heal(),
        }
    }

    fn run(mut self) -> Figures {
        for _ in 0..40 {
            for _ in 0..self.rng.random_range(1..20) {
                self.step();
            }
            self.fault();
        }
        self.world.heal();
        self.world.run_to("all serve again", World::settled);
        // Everything that is still on its way arrives, and everybody agrees; sessions that nobody uses end.
        self.world.run(Duration::from_secs(5));
        (0..self.clients.len()).for_each(|client| self.read(client));
        self.compare();
        let servers: Vec<_> = self.world.servers.values().collect();
        for server in &servers {
            assert_eq!(server.last_applied(), servers[0].last_applied());
            assert_eq!(server.last_logged(), server.last_applied());
            assert!(server.sessions().next().is_none());
            let paths: BTreeSet<Path> = server.znodes().map(|(path, _)| path.into()).collect();
            assert!(self.acknowledged.is_subset(&paths), "an acknowledged znode is lost");
            assert!(paths.iter().all(|path| !path.starts_with("/n-")));
        }
        Figures {
            epochs: servers[0].last_applied().epoch(),
            acknowledged: self.czxids.len(),
            events: self.clients.iter().map(|client| client.events.len()).sum(),
            trace: self.world.trace.finish(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Figures {
    epochs: u32,
    acknowledged: usize,
    events: usize,
    trace: u64,
}

#[test]
fn nothing_acknowledged_is_lost_and_all_servers_agree_in_the_end() {
    let mut totals = (0, 0, 0);
    for seed in 0..60 {
        let figures = Trial::new(if seed % 3 == 0 { 5 } else { 3 }, seed).run();
        totals = (totals.0 + figures.epochs, totals.1 + figures.acknowledged, totals.2 + figures.events);
    }
    println!("{} epochs, {} znodes acknowledged, {} watch events seen at the ends", totals.0, totals.1, totals.2);
    assert!(totals.0 > 200 && totals.1 > 10_000 && totals.2 > 50, "{totals:?}: too little happened");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(Trial::new(3, seed).run(), Trial::new(3, seed).run());
    }
    assert_ne!(Trial::new(3, 0).run().trace, Trial::new(3, 1).run().trace);
}
