//! Three members under a network that loses and delays, with crashes and freezes: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::messages::{Answer, Ask, ConnectionId, Input, Output, PeerMessage, Request};
use super::server::Server;
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

const MS: u64 = 1_000_000;

/// A lease as its client knows it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// When the last request was sent that was answered with its length.
    sent: u64,
    seconds: u64,
}

struct World {
    now: u64,
    servers: Vec<Server>,
    /// Of each member, until when it is frozen or down.
    frozen: Vec<u64>,
    down: Vec<u64>,
    inboxes: Vec<Vec<Input>>,
    flying: BTreeMap<(u64, u64), (usize, Input)>,
    number: u64,
    rng: ChaCha8Rng,
    /// What clients have asked, by connection: when, what.
    asked: BTreeMap<u32, (u64, Request)>,
    leases: BTreeMap<i64, Kept>,
    /// Those that a client has asked to end.
    revoked: BTreeSet<i64>,
    leaders: BTreeMap<u64, NodeId>,
    answers: u64,
    lossy: bool,
    /// How much of each member's log was looked at.
    seen: Vec<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let stream = |what: String| Seed(seed).stream(&what);
        let server = |id: &NodeId| Server::new(*id, &members, stream(format!("member/{}", id.0)));
        let mut world = Self {
            now: 0,
            servers: members.iter().map(server).collect(),
            frozen: vec![0; 3],
            down: vec![0; 3],
            inboxes: vec![Vec::new(); 3],
            flying: BTreeMap::new(),
            number: 0,
            rng: stream("world".to_owned()),
            asked: BTreeMap::new(),
            leases: BTreeMap::new(),
            revoked: BTreeSet::new(),
            leaders: BTreeMap::new(),
            answers: 0,
            lossy: true,
            seen: vec![0; 3],
        };
        (0..3).for_each(|at| world.handle(at, Input::Started));
        world
    }

    fn handle(&mut self, at: usize, input: Input) {
        let mut out = Vec::new();
        self.servers[at].handle(Nanos(self.now), input, &mut out);
        for output in out {
            match output {
                Output::ToPeer(to, message) => self.fly(at, to, message),
                Output::ToClient(ConnectionId(connection), answer) => self.answered(connection, &answer),
            }
        }
        if self.servers[at].is_leader() {
            let (term, id) = (self.servers[at].term(), self.servers[at].id());
            assert_eq!(*self.leaders.entry(term).or_insert(id), id, "two leaders of term {term}");
        }
    }

    fn fly(&mut self, from: usize, to: NodeId, message: PeerMessage) {
        if self.lossy && self.rng.random_range(0..20) == 0 {
            return;
        }
        let late = if self.lossy && self.rng.random_range(0..30) == 0 { 1_500 } else { 3 };
        let at = self.now + self.rng.random_range(MS / 10..late * MS);
        self.number += 1;
        let input = Input::FromPeer(NodeId(from as u32 + 1), message);
        self.flying.insert((at, self.number), (to.0 as usize - 1, input));
    }

    fn answered(&mut self, connection: u32, answer: &Answer) {
        let Some((sent, request)) = self.asked.remove(&connection) else { return };
        self.answers += 1;
        match (request, answer) {
            (Request::Grant { lease, .. }, Answer::Granted(seconds)) => {
                self.leases.insert(lease, Kept { sent, seconds: *seconds });
            }
            (Request::KeepAlive { lease }, Answer::Alive(Some(seconds))) => {
                if let Some(kept) = self.leases.get_mut(&lease) {
                    kept.sent = kept.sent.max(sent);
                    kept.seconds = *seconds;
                }
            }
            _ => {}
        }
    }

    /// Asks a member, from a connection of its own.
    fn ask(&mut self, at: usize, request: Request) {
        self.number += 1;
        if let Request::Revoke { lease } = request {
            self.revoked.insert(lease);
        }
        let connection = self.number as u32;
        self.asked.insert(connection, (self.now, request.clone()));
        self.flying
            .insert((self.now + MS / 5, self.number), (at, Input::FromClient(ConnectionId(connection), request)));
    }

    fn deliver(&mut self, at: usize, input: Input) {
        if self.down[at] > self.now {
        } else if self.frozen[at] > self.now {
            self.inboxes[at].push(input);
        } else {
            self.handle(at, input);
        }
    }

    /// Lets one millisecond pass.
    fn step(&mut self) {
        self.now += MS;
        while let Some(first) = self.flying.first_entry().filter(|first| first.key().0 <= self.now) {
            let (at, input) = first.remove();
            self.deliver(at, input);
        }
        for at in 0..3 {
            if self.down[at] != 0 && self.down[at] <= self.now {
                self.down[at] = 0;
                self.handle(at, Input::Started);
            }
            if self.frozen[at] != 0 && self.frozen[at] <= self.now {
                self.frozen[at] = 0;
                for input in std::mem::take(&mut self.inboxes[at]) {
                    self.handle(at, input);
                }
            }
            let is_up = self.down[at] == 0 && self.frozen[at] == 0;
            if is_up && self.servers[at].next_timer().is_some_and(|timer| timer.0 <= self.now) {
                self.handle(at, Input::Timer);
            }
        }
        self.look();
    }

    /// What a client was promised of its lease holds at every member.
    fn look(&mut self) {
        for (server, seen) in self.servers.iter().zip(&mut self.seen) {
            // Once for each: a member that was down applies its log again.
            let new = server.applied_after(std::mem::replace(seen, server.applied())).map(|entry| &entry.ask);
            for ask in new {
                let Ask::Revoke { lease } = ask else { continue };
                let Some(kept) = self.leases.get(lease).filter(|_| !self.revoked.contains(lease)) else { continue };
                let over = kept.sent + kept.seconds * 1_000 * MS;
                assert!(self.now >= over, "lease {lease} was ended {} ms too soon", (over - self.now) / MS);
            }
        }
    }

    fn hurt(&mut self) {
        // Mostly whoever leads: that is what leases rest on.
        let leader = self.servers.iter().position(Server::is_leader).filter(|_| self.rng.random_ratio(3, 4));
        let at = leader.unwrap_or_else(|| self.rng.random_range(0..3));
        let until = self.now + self.rng.random_range(50..6_000) * MS;
        if self.down.iter().chain(&self.frozen).all(|until| *until == 0) {
            if self.rng.random() {
                self.frozen[at] = until;
            } else {
                self.down[at] = until;
                self.servers[at].crash();
                self.inboxes[at].clear();
            }
        }
    }
}

#[test]
fn a_lease_that_was_answered_for_lasts_and_one_leads_each_term_and_all_have_one_history() {
    let (mut answers, mut ended) = (0, 0);
    for seed in 0..16 {
        let (mut world, mut granted) = (World::new(seed), 1_i64);
        for millisecond in 0..40_000_u64 {
            world.step();
            let at = world.rng.random_range(0..3);
            if millisecond % 50 == 0 {
                // A lease's id is used once, as clients do.
                let lease = (granted - world.rng.random_range(0..12)).max(1);
                let request = match world.rng.random_range(0..12) {
                    0 => {
                        granted += 1;
                        Request::Grant { lease: granted, seconds: world.rng.random_range(1..10) }
                    }
                    1 if world.rng.random_ratio(1, 4) => Request::Revoke { lease },
                    2 => Request::Enter { key: format!("k/{lease}").into(), lease, prefix: "k/".into() },
                    3..8 => Request::Line { prefix: "k/".into() },
                    _ => Request::KeepAlive { lease },
                };
                world.ask(at, request);
            }
            if millisecond % 1_000 == 999 && millisecond < 30_000 {
                world.hurt();
            }
            world.lossy = millisecond < 30_000;
        }
        let histories: Vec<Vec<&Ask>> =
            world.servers.iter().map(|server| server.applied_after(0).map(|entry| &entry.ask).collect()).collect();
        for history in &histories[1..] {
            let both = history.len().min(histories[0].len());
            assert_eq!(history[..both], histories[0][..both], "seed {seed}");
        }
        assert!(histories.iter().any(|history| history.len() > 10), "seed {seed}: nothing was done");
        ended += histories[0].iter().filter(|ask| matches!(ask, Ask::Revoke { .. })).count();
        answers += world.answers;
    }
    assert!(answers > 1_000 && ended > 20, "{answers} answers, {ended} leases ended");
}

#[test]
fn a_leader_that_hears_of_nobody_renews_nothing_and_steps_down() {
    let mut world = World::new(1);
    world.lossy = false;
    while !world.servers.iter().any(Server::is_leader) {
        world.step();
    }
    let leader = world.servers.iter().position(Server::is_leader).unwrap();
    world.ask(leader, Request::Grant { lease: 7, seconds: 5 });
    (0..100).for_each(|_| world.step());
    assert!(world.leases.contains_key(&7));
    let granted = world.leases[&7].sent;
    // The others are frozen: nobody answers the leader's question.
    (0..3).filter(|at| *at != leader).for_each(|at| world.frozen[at] = u64::MAX);
    world.ask(leader, Request::KeepAlive { lease: 7 });
    (0..3_000).for_each(|_| world.step());
    assert_eq!(world.leases[&7].sent, granted, "it was not answered");
    assert!(!world.servers[leader].is_leader());
}
