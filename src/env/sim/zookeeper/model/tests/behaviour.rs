//! Elections, order, reads and watches: one behaviour per test.

use super::world::Host;
use super::*;
use crate::env::sim::zookeeper::Role;
use crate::env::sim::zookeeper::model::messages::EventKind;
use crate::time::Nanos;

#[test]
fn the_highest_id_leads_when_all_begin_alike() {
    let world = world();
    assert_eq!(world.leader(), Some(NodeId(3)));
    assert_eq!(world.servers[&NodeId(1)].role(), Role::Following(NodeId(3)));
    assert!(world.now < Nanos(500_000_000), "{}", world.now);
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let (id, _) = connect(&mut world, 1, leader);
    assert!(create(&mut world, id, 1, "/kept").is_ok());
    world.crash(leader);
    let killed = world.now;
    world.run_to("a new leader", |world| world.leader().is_some());
    // The followers see the connection break at once; then it takes an election.
    assert!(world.now - killed < Duration::from_millis(500), "{:?}", world.now - killed);
    assert_ne!(world.leader(), Some(leader));
    world.start(leader);
    world.run_to("all serve", World::settled);
    assert!(world.ids().iter().all(|id| world.paths(*id).contains(&"/kept".to_owned())));
    assert!(world.servers[&leader].last_logged().epoch() < 2);
}

#[test]
fn what_only_the_leader_has_is_forgotten() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let (id, _) = connect(&mut world, 1, leader);
    world.isolate(&[leader]);
    world.create(id, 1, "/lonely", CreateMode::Persistent);
    world.run(SECOND / 10);
    assert_eq!(world.servers[&leader].last_logged().0 as u32, 2, "the leader has it in its log");
    world.crash(leader);
    world.run_to("a new leader", |world| world.leader().is_some());
    let server = world.leader().unwrap();
    let (id, _) = connect(&mut world, 2, server);
    assert!(create(&mut world, id, 1, "/agreed").is_ok());
    world.heal();
    world.run_to("all serve", World::settled);
    for id in world.ids() {
        assert_eq!(world.paths(id), ["/", "/agreed"]);
    }
}

#[test]
fn a_minority_commits_nothing_and_steps_down() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let (id, _) = connect(&mut world, 1, leader);
    let applied = world.servers[&leader].last_applied();
    world.isolate(&[leader]);
    world.create(id, 1, "/lonely", CreateMode::Persistent);
    let cut = world.now;
    world.run_to("stepped down", |world| world.servers[&leader].role() == Role::Looking);
    let waited = world.now - cut;
    assert!(waited > 10 * TICK && waited <= 12 * TICK, "{waited:?}");
    assert!(world.done(id, 1).is_none());
    assert_eq!(world.servers[&leader].last_applied(), applied);
    world.run(SECOND / 10);
    assert!(world.mailboxes[&id].closed);
    world.run_to("the others go on", |world| world.leader().is_some());
}

#[test]
fn a_cut_off_follower_turns_its_clients_away() {
    let mut world = world();
    let follower = follower(&world);
    let (id, _) = connect(&mut world, 1, follower);
    world.isolate(&[follower]);
    world.run_to("closed", |world| world.mailboxes[&id].closed);
    assert_eq!(world.servers[&follower].role(), Role::Looking);
    assert_eq!(world.leader(), Some(NodeId(3)));
    let again = world.connect_with(1, follower, SECOND);
    world.run_to("refused", |world| world.mailboxes[&again].closed);
}

#[test]
fn a_follower_lags_and_sync_brings_it_up() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let follower = follower(&world);
    let (writer, _) = connect(&mut world, 1, leader);
    let (reader, _) = connect(&mut world, 2, follower);
    world.cut(Host::Node(leader), Host::Node(follower));
    assert!(create(&mut world, writer, 1, "/new").is_ok());
    assert_eq!(ask(&mut world, reader, 1, exists("/new", false)), Ok(Answer::Stat(None)), "stale");
    world.ask(reader, 2, Operation::Sync);
    world.ask(reader, 3, exists("/new", false));
    world.run(SECOND / 10);
    assert!(world.done(reader, 2).is_none() && world.done(reader, 3).is_none());
    world.heal();
    world.run_to("answered", |world| world.done(reader, 3).is_some());
    assert!(matches!(result(&world, reader, 3), Ok(Answer::Stat(Some(_)))));
}

#[test]
fn a_leader_that_lost_its_majority_unnoticed_still_answers_sync() {
    // Real servers do so, too: `sync` asks nobody when nothing is in flight.
    let mut world = world();
    let leader = world.leader().unwrap();
    let (id, _) = connect(&mut world, 1, leader);
    world.isolate(&[leader]);
    assert_eq!(ask(&mut world, id, 1, Operation::Sync), Ok(Answer::Empty));
}

#[test]
fn requests_of_a_session_are_answered_in_order_and_see_its_own_writes() {
    let mut world = world();
    let server = follower(&world);
    let (id, _) = connect(&mut world, 1, server);
    world.create(id, 1, "/a", CreateMode::Persistent);
    world.ask(id, 2, exists("/a", false));
    world.ask(id, 3, delete("/a"));
    world.ask(id, 4, exists("/a", false));
    world.run_to("answered", |world| world.done(id, 4).is_some());
    let order: Vec<i32> = world
        .replies(id)
        .filter_map(|reply| match reply {
            Reply::Done { xid, .. } => Some(*xid),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert!(matches!(result(&world, id, 2), Ok(Answer::Stat(Some(_)))));
    assert_eq!(result(&world, id, 4), Ok(Answer::Stat(None)));
}

#[test]
fn refusals() {
    let mut world = world();
    let (id, _) = connect(&mut world, 1, NodeId(1));
    assert_eq!(create(&mut world, id, 1, "/a/b"), Err(Refusal::NoNode));
    assert!(create(&mut world, id, 2, "/a").is_ok());
    assert_eq!(create(&mut world, id, 3, "/a"), Err(Refusal::NodeExists));
    let own = contend(&mut world, id, 4, "/a/n-");
    assert_eq!(create(&mut world, id, 5, &format!("{own}/x")), Err(Refusal::NoChildrenForEphemerals));
    assert_eq!(ask(&mut world, id, 6, delete("/a")), Err(Refusal::NotEmpty));
    assert_eq!(ask(&mut world, id, 7, delete("/b")), Err(Refusal::NoNode));
    assert_eq!(ask(&mut world, id, 8, Operation::Children { path: "/b".into() }), Err(Refusal::NoNode));
    assert_eq!(ask(&mut world, id, 9, delete("/")), Err(Refusal::BadArguments));
}

#[test]
fn sequence_numbers_count_the_children_ever_created() {
    let mut world = world();
    let (id, _) = connect(&mut world, 1, NodeId(1));
    assert!(create(&mut world, id, 1, "/l").is_ok());
    assert_eq!(contend(&mut world, id, 2, "/l/a-"), "/l/a-0000000000");
    assert_eq!(contend(&mut world, id, 3, "/l/b-"), "/l/b-0000000001");
    assert!(ask(&mut world, id, 4, delete("/l/b-0000000001")).is_ok());
    assert!(create(&mut world, id, 5, "/l/plain").is_ok());
    assert_eq!(contend(&mut world, id, 6, "/l/a-"), "/l/a-0000000003");
}

#[test]
fn a_watch_fires_once_and_before_any_reply_that_shows_the_change() {
    let mut world = world();
    let (owner, _) = connect(&mut world, 1, NodeId(1));
    let (watcher, _) = connect(&mut world, 2, NodeId(2));
    let path = contend(&mut world, owner, 1, "/n-");
    assert_eq!(ask(&mut world, watcher, 1, Operation::Sync), Ok(Answer::Empty));
    for xid in 2..4 {
        assert!(matches!(ask(&mut world, watcher, xid, exists(&path, true)), Ok(Answer::Stat(Some(_)))));
    }
    world.ask(owner, 2, delete(&path));
    let mut xid = 3;
    loop {
        xid += 1;
        if ask(&mut world, watcher, xid, exists(&path, false)) == Ok(Answer::Stat(None)) {
            break;
        }
    }
    let event = Reply::Event { path: path.clone(), event: EventKind::Deleted };
    let position = world.replies(watcher).position(|reply| *reply == event);
    let shown = world.replies(watcher).position(|reply| matches!(reply, Reply::Done { xid: seen, .. } if *seen == xid));
    assert!(position.unwrap() < shown.unwrap());
    world.run(SECOND);
    assert_eq!(world.replies(watcher).filter(|reply| **reply == event).count(), 1);
}

#[test]
fn watches_on_missing_znodes_fire_at_creation_and_can_be_taken_back() {
    let mut world = world();
    let (id, _) = connect(&mut world, 1, NodeId(1));
    for (xid, path) in [(1, "/a"), (2, "/b")] {
        assert_eq!(ask(&mut world, id, xid, exists(path, true)), Ok(Answer::Stat(None)));
    }
    assert!(ask(&mut world, id, 3, Operation::RemoveWatch { path: "/b".into() }).is_ok());
    assert!(create(&mut world, id, 4, "/a").is_ok());
    assert!(create(&mut world, id, 5, "/b").is_ok());
    let events: Vec<_> = world.replies(id).filter(|reply| matches!(reply, Reply::Event { .. })).collect();
    assert_eq!(events, [&Reply::Event { path: "/a".into(), event: EventKind::Created }]);
}

#[test]
fn a_thawed_leader_is_told_that_the_others_went_on() {
    let mut world = world();
    let leader = world.leader().unwrap();
    let (id, _) = connect_for(&mut world, 1, leader, 4 * SECOND);
    world.freeze(leader);
    world.create(id, 1, "/late", CreateMode::Persistent);
    world.run_to("a new leader", |world| {
        world.servers.iter().any(|(id, server)| *id != leader && server.role() == Role::Leading)
    });
    world.thaw(leader);
    world.run_to("all serve", World::settled);
    assert_ne!(world.leader(), Some(leader));
    assert!(world.ids().iter().all(|id| world.paths(*id) == ["/"]));
}

#[test]
fn a_single_server_is_an_ensemble() {
    let mut world = World::new(1, 1);
    world.run_to("serves", World::settled);
    let (id, _) = connect(&mut world, 1, NodeId(1));
    assert!(create(&mut world, id, 1, "/a").is_ok());
    world.crash(NodeId(1));
    world.start(NodeId(1));
    world.run_to("serves", World::settled);
    assert_eq!(world.paths(NodeId(1)), ["/", "/a"]);
}
