//! Sessions: expiry, moves, ends.

use super::world::Host;
use super::*;
use crate::env::sim::zookeeper::model::messages::{EventKind, Request, Zxid};

#[test]
fn a_session_expires_after_its_timeout_and_within_a_tick() {
    for client in 0..40_u32 {
        let mut world = world();
        world.run(Duration::from_millis(u64::from(client) * 13));
        let leader = world.leader().unwrap();
        let (id, credentials) = connect(&mut world, 1, leader);
        contend(&mut world, id, 1, "/n-");
        // The last sign of life that the leader heard; its answer left at the same instant.
        world.request(id, Request::Ping);
        let asked = world.now;
        world.run_to("pong", |world| world.replies(id).any(|reply| *reply == Reply::Pong));
        let pong = world.now;
        world.cut_both(Host::Client(1), Host::Node(leader));
        world.run_to("expired", |world| !world.servers[&leader].sessions().any(|id| id == credentials.session));
        assert!(world.now - asked >= SECOND, "{:?}", world.now - asked);
        // One tick, and the round trip that agrees on it.
        assert!(world.now - pong <= SECOND + TICK + Duration::from_millis(10), "{:?}", world.now - pong);
        assert_eq!(world.paths(leader), ["/"]);
    }
}

#[test]
fn followers_keep_their_clients_sessions_alive() {
    let mut world = world();
    let server = follower(&world);
    let (id, credentials) = connect(&mut world, 1, server);
    let leader = world.leader().unwrap();
    for _ in 0..20 {
        world.request(id, Request::Ping);
        world.run(SECOND / 2);
    }
    assert!(world.servers[&leader].sessions().any(|id| id == credentials.session));
    let silent = world.now;
    world.run_to("expired", |world| !world.servers[&leader].sessions().any(|id| id == credentials.session));
    // The last ping was half a second before, and reached the leader up to half a tick late.
    assert!(world.now - silent <= SECOND / 2 + TICK + TICK / 2 + Duration::from_millis(10));
    world.run_to("closed", |world| world.mailboxes[&id].closed);
}

#[test]
fn timeouts_are_negotiated_within_2_and_20_ticks() {
    let mut world = world();
    for (asked, granted) in [(1, 400), (1_000, 1_000), (60_000, 4_000)] {
        let id = world.connect_with(1, NodeId(1), Duration::from_millis(asked));
        world.run_to("connected", |world| world.replies(id).next().is_some());
        let Some(Reply::Connected { timeout, .. }) = world.replies(id).next() else { panic!() };
        assert_eq!(*timeout, Duration::from_millis(granted));
    }
}

#[test]
fn a_session_moves_and_its_old_connection_is_refused() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let (first, credentials) = connect(&mut world, 1, NodeId(1));
    let path = contend(&mut world, first, 1, "/n-");
    // The last request travels with the old connection, after the session has moved.
    let second = world.open(1, NodeId(2));
    let connect = |session| Request::Connect { session: Some(session), timeout: SECOND, last_seen: Zxid::ZERO };
    world.request(second, connect(credentials));
    let since = Zxid::new(1, 2);
    world.request(
        second,
        Request::SetWatches { since, existing: vec![path.clone(), "/gone".into()], missing: vec!["/later".into()] },
    );
    world.run_to("moved", |world| world.replies(second).any(|reply| *reply == Reply::WatchesSet));
    let replies: Vec<Reply> = world.replies(second).cloned().collect();
    assert!(matches!(replies[0], Reply::Connected { credentials: same, .. } if same == credentials));
    assert_eq!(replies[1], Reply::Event { path: "/gone".into(), event: EventKind::Deleted });
    world.create(first, 2, "/late", CreateMode::Persistent);
    world.run_to("refused", |world| world.mailboxes[&first].closed);
    assert!(!world.paths(leader).contains(&"/late".to_owned()));
    assert!(ask(&mut world, second, 3, delete(&path)).is_ok());
    assert_eq!(world.replies(second).last().map(|reply| matches!(reply, Reply::Done { .. })), Some(true));
    let deleted = Reply::Event { path, event: EventKind::Deleted };
    assert!(world.replies(second).any(|reply| *reply == deleted));
    let third = world.open(2, NodeId(3));
    world.request(third, connect(Credentials { password: 1, ..credentials }));
    world.run_to("refused", |world| world.mailboxes[&third].closed);
    assert!(world.replies(third).any(|reply| *reply == Reply::Expired));
}

#[test]
fn a_recreated_znode_is_reported_to_who_comes_back() {
    let mut world = world();
    let (first, credentials) = connect(&mut world, 1, NodeId(1));
    assert!(create(&mut world, first, 1, "/a").is_ok());
    let Ok(Answer::Stat(Some(stat))) = ask(&mut world, first, 2, exists("/a", true)) else { panic!() };
    let (other, _) = connect(&mut world, 2, NodeId(2));
    world.hang_up(first);
    world.run(SECOND / 10);
    assert!(ask(&mut world, other, 1, delete("/a")).is_ok());
    assert!(create(&mut world, other, 2, "/a").is_ok());
    let second = world.open(1, NodeId(2));
    world.request(second, Request::Connect { session: Some(credentials), timeout: SECOND, last_seen: stat.czxid });
    world.request(second, Request::SetWatches { since: stat.czxid, existing: vec!["/a".into()], missing: vec![] });
    world.run_to("set", |world| world.replies(second).any(|reply| *reply == Reply::WatchesSet));
    assert_eq!(world.replies(second).nth(1), Some(&Reply::Event { path: "/a".into(), event: EventKind::Changed }));
}

#[test]
fn a_server_that_lags_behind_the_client_refuses_it() {
    let mut world = world();
    let id = world.open(1, NodeId(1));
    world.request(id, Request::Connect { session: None, timeout: SECOND, last_seen: Zxid::new(9, 9) });
    world.run_to("refused", |world| world.mailboxes[&id].closed);
    assert_eq!(world.replies(id).count(), 0);
}

#[test]
fn closing_a_session_takes_its_ephemerals_along() {
    let mut world = world();
    let (id, credentials) = connect(&mut world, 1, NodeId(1));
    contend(&mut world, id, 1, "/n-");
    assert_eq!(ask(&mut world, id, 2, Operation::Change(Change::CloseSession)), Ok(Answer::Empty));
    world.run_to("closed", |world| world.mailboxes[&id].closed);
    world.run(SECOND / 10);
    assert!(world.ids().iter().all(|id| world.paths(*id) == ["/"]));
    let again = world.open(1, NodeId(2));
    world.request(again, Request::Connect { session: Some(credentials), timeout: SECOND, last_seen: Zxid::ZERO });
    world.run_to("refused", |world| world.mailboxes[&again].closed);
    assert!(world.replies(again).eq([&Reply::Expired]));
}
