//! The model of one Redis node, command by command, by a clock that the test moves.

use super::*;

const WALL: i64 = 1_700_000_000_000;

/// A node with hands on its clocks. Both start away from zero.
struct Node {
    model: RedisModel,
    wall_ms: i64,
    mono: Nanos,
}

fn node(persistence: Persistence) -> Node {
    Node { model: RedisModel::new(persistence), wall_ms: WALL, mono: Nanos(5_000_000_000) }
}

fn set(key: &str, value: &str, px_ms: i64) -> Command {
    Command::Set { key: key.into(), value: value.into(), if_absent: true, px_ms: Some(px_ms) }
}

fn get(key: &str) -> Command {
    Command::Get(key.into())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

impl Node {
    fn say(&mut self, command: Command) -> Reply {
        self.model.execute(self.wall_ms, self.mono, &command)
    }

    fn at(&mut self, wall_ms: i64, command: Command) -> Reply {
        self.wall_ms = wall_ms;
        self.say(command)
    }

    fn bounce(&mut self) {
        self.model.crash();
        self.model.restart();
    }

    fn power_loss(&mut self, mono: u64) {
        self.mono = Nanos(mono);
        self.model.power_loss(self.mono);
        self.model.restart();
    }
}

#[test]
fn a_key_lives_through_the_millisecond_of_its_deadline() {
    let mut node = node(Persistence::None);
    assert_eq!(node.say(set("k", "a", 1000)), Reply::Ok);
    assert_eq!(node.say(set("k", "b", 1000)), Reply::Nil);
    assert_eq!(node.at(WALL + 1000, get("k")), bulk("a"));
    assert_eq!(node.say(Command::Pttl("k".into())), Reply::Integer(0));
    assert_eq!(node.at(WALL + 1001, get("k")), Reply::Nil);
    assert_eq!(node.at(WALL, get("k")), Reply::Nil, "deleted is deleted, whatever the clock says later");
}

#[test]
fn a_deadline_that_has_come_deletes_at_once() {
    let mut node = node(Persistence::None);
    for command in [Command::Pexpire("k".into(), 0), Command::PexpireAt("k".into(), WALL)] {
        node.say(set("k", "a", 1000));
        assert_eq!(node.say(command), Reply::Integer(1));
        assert_eq!(node.say(Command::Exists("k".into())), Reply::Integer(0));
    }
}

#[test]
fn a_jump_back_lengthens_and_an_overdue_key_that_nobody_saw_is_back() {
    let mut node = node(Persistence::None);
    node.say(set("k", "a", 8000));
    assert_eq!(node.at(WALL - 20_000, Command::Pttl("k".into())), Reply::Integer(28_000));
    node.wall_ms = WALL + 9000;
    assert_eq!(node.at(WALL, get("k")), bulk("a"));
    node.model.sweep(WALL + 9000, node.mono);
    assert_eq!(node.say(get("k")), Reply::Nil);
}

#[test]
fn wrong_times_are_refused_before_anything_else() {
    let mut node = node(Persistence::None);
    node.say(set("k", "a", 1000));
    for wrong in [0, -1, i64::MAX] {
        assert_eq!(node.say(set("k", "b", wrong)), Reply::refused("invalid expire time in 'set' command"), "{wrong}");
    }
    assert_eq!(node.say(get("k")), bulk("a"));
}

#[test]
fn scripts_act_for_the_owner_only() {
    let mut node = node(Persistence::None);
    let extend = |owner: &str| Command::ExtendIfOwner { key: "k".into(), owner: owner.into(), ttl_ms: 5000 };
    let delete = |owner: &str| Command::DeleteIfOwner { key: "k".into(), owner: owner.into() };
    assert_eq!((node.say(extend("a")), node.say(delete("a"))), (Reply::Integer(0), Reply::Integer(0)));
    node.say(set("k", "a", 1000));
    assert_eq!((node.say(extend("b")), node.say(delete("b"))), (Reply::Integer(-1), Reply::Integer(-1)));
    assert_eq!(node.at(WALL + 1000, extend("a")), Reply::Integer(1));
    assert_eq!(node.model.peek("k").unwrap().deadline, Some(WALL + 6000));
    assert_eq!((node.say(delete("a")), node.say(get("k"))), (Reply::Integer(1), Reply::Nil));
}

fn vote(owner: &str, ttl_ms: i64) -> Command {
    Command::SetAndCount { key: "k".into(), counter: "#k".into(), owner: owner.into(), ttl_ms }
}

#[test]
fn each_vote_that_is_given_counts() {
    let mut node = node(Persistence::None);
    assert_eq!((node.say(vote("a", 1000)), node.say(vote("b", 1000))), (bulk("1"), Reply::Nil));
    assert_eq!((node.say(get("k")), node.say(get("#k"))), (bulk("a"), bulk("1")));
    assert_eq!(node.at(WALL + 1001, vote("b", 1000)), bulk("2"));
    assert_eq!(node.model.peek("#k").unwrap().deadline, None, "a counter outlives every lease");
    node.say(Command::Del("k".into()));
    assert_eq!(node.say(vote("c", 0)), Reply::refused("invalid expire time in 'set' command"));
    assert_eq!((node.say(get("k")), node.say(get("#k"))), (Reply::Nil, bulk("3")), "a gap, and no vote");
    node.say(Command::Set { key: "#k".into(), value: "x".into(), if_absent: false, px_ms: None });
    assert!(matches!(node.say(vote("d", 1000)), Reply::Error(_)));
    assert_eq!(node.say(get("k")), Reply::Nil, "what cannot be counted is not given");
}

#[test]
fn a_counter_is_raised_for_the_owner_and_never_lowered() {
    let mut node = node(Persistence::None);
    let raise = |owner: &str, token| {
        let owner = owner.into();
        Command::RaiseIfOwner { key: "k".into(), counter: "#k".into(), owner, token }
    };
    assert_eq!(node.say(raise("a", 9)), Reply::Integer(0));
    node.say(vote("a", 1000));
    assert_eq!((node.say(raise("b", 9)), node.say(get("#k"))), (Reply::Integer(0), bulk("1")));
    for (token, raised, count) in
        [(9, 1, "9"), (9, 1, "9"), (10, 1, "10"), (9, 0, "10"), (u64::MAX, 1, "18446744073709551615")]
    {
        assert_eq!((node.say(raise("a", token)), node.say(get("#k"))), (Reply::Integer(raised), bulk(count)));
    }
    assert_eq!(node.at(WALL + 1001, raise("a", 7)), Reply::Integer(0), "the vote is over");
}

#[test]
fn counters_keep_their_deadline_and_refuse_what_is_no_number() {
    let mut node = node(Persistence::None);
    let incr = || Command::Incr("n".into());
    assert_eq!((node.say(incr()), node.say(incr())), (Reply::Integer(1), Reply::Integer(2)));
    node.say(Command::Pexpire("n".into(), 50));
    assert_eq!(node.say(incr()), Reply::Integer(3));
    assert_eq!(node.say(Command::Pttl("n".into())), Reply::Integer(50));
    for (value, says) in [("007", "not an integer"), ("+1", "not an integer"), ("9223372036854775807", "overflow")] {
        node.say(Command::Set { key: "n".into(), value: value.into(), if_absent: false, px_ms: None });
        let Reply::Error(text) = node.say(incr()) else { panic!("{value}") };
        assert!(text.contains(says), "{value}: {text}");
    }
}

#[test]
fn a_killed_process_loses_only_what_was_in_no_file() {
    for (persistence, after) in
        [(Persistence::None, Reply::Nil), (Persistence::Everysec, bulk("a")), (Persistence::Always, bulk("a"))]
    {
        let mut node = node(persistence);
        node.say(set("k", "a", 1000));
        node.bounce();
        assert_eq!(node.say(get("k")), after, "{persistence:?}");
        assert_eq!(node.at(WALL + 1001, get("k")), Reply::Nil, "{persistence:?}: a deadline outlives a restart");
    }
}

#[test]
fn a_power_loss_takes_what_no_fsync_had_covered() {
    // Written at 5.0 s: the fsync of 5 s has begun before it, that of 6 s covers it.
    for (mono, after) in [(5_999_999_999, Reply::Nil), (6_000_000_000, bulk("a"))] {
        let mut node = node(Persistence::Everysec);
        node.say(set("k", "a", 60_000));
        node.power_loss(mono);
        assert_eq!(node.say(get("k")), after, "{mono}");
    }
    let mut node = node(Persistence::Always);
    node.say(set("k", "a", 60_000));
    node.power_loss(5_000_000_000);
    assert_eq!(node.say(get("k")), bulk("a"));
}

#[test]
fn a_power_loss_takes_a_vote_and_its_count_together() {
    let mut node = node(Persistence::Everysec);
    node.say(vote("a", 10));
    node.mono = Nanos(6_500_000_000);
    assert_eq!(node.at(WALL + 11, vote("b", 60_000)), bulk("2"));
    node.power_loss(6_900_000_000);
    assert_eq!(node.say(get("k")), Reply::Nil);
    assert_eq!(node.say(vote("c", 1000)), bulk("2"), "given twice");
}

#[test]
fn a_power_loss_brings_back_what_was_deleted_since_the_last_fsync() {
    let mut node = node(Persistence::Everysec);
    node.say(set("k", "a", 60_000));
    node.say(set("gone", "a", 10));
    node.mono = Nanos(6_500_000_000);
    node.say(Command::Del("k".into()));
    assert_eq!(node.at(WALL + 11, get("gone")), Reply::Nil);
    node.power_loss(6_900_000_000);
    assert_eq!(node.say(get("k")), bulk("a"));
    assert_eq!(node.say(get("gone")), Reply::Nil, "back, but overdue");
    node.say(Command::FlushAll);
    node.power_loss(7_000_000_000);
    assert_eq!(node.say(get("k")), Reply::Nil);
}

#[test]
#[should_panic(expected = "a node that is down")]
fn the_dead_do_not_answer() {
    let mut node = node(Persistence::None);
    node.model.crash();
    node.say(Command::Time);
}

#[test]
fn the_first_in_line_that_is_heard_is_called() {
    let mut node = node(Persistence::None);
    let stand = |place: &str, front| Command::StandInLine {
        key: "k".into(),
        line: "l".into(),
        place: place.into(),
        front,
        patience_ms: 1_000,
    };
    let release = || Command::DeleteAndCall { key: "k".into(), line: "l".into(), owner: "a".into() };
    node.model.subscribe(7, "c".into());
    assert_eq!(node.say(stand("c 1", false)), Reply::Integer(-2), "nobody holds it: no line");
    node.say(set("k", "a", 60_000));
    for (place, front) in [("dead 1", false), ("c 2", false), ("c 3", false), ("c 4", true), ("c 4", false)] {
        assert_eq!(node.say(stand(place, front)), Reply::Integer(60_000));
    }
    let called = |node: &mut Node| {
        assert_eq!(node.say(release()), Reply::Integer(1));
        node.say(set("k", "a", 60_000));
        node.model.take_said()
    };
    assert_eq!(called(&mut node), [(7, "4".to_owned())]);
    assert_eq!(called(&mut node), [(7, "2".to_owned())], "the dead are passed over");
    node.model.closed(7);
    assert_eq!(called(&mut node), [], "nobody is there");
    node.model.subscribe(8, "c".into());
    node.say(stand("c 5", false));
    assert_eq!(node.at(WALL + 1_001, Command::Exists("l".into())), Reply::Integer(0), "a line is forgotten");
    node.bounce();
    node.say(set("k", "a", 60_000));
    node.say(stand("c 6", false));
    assert_eq!(called(&mut node), [], "connections end with the process");
}

#[test]
fn who_was_called_and_leaves_has_the_next_one_called() {
    let mut node = node(Persistence::None);
    let stand = |place: &str| Command::StandInLine {
        key: "k".into(),
        line: "l".into(),
        place: place.into(),
        front: false,
        patience_ms: 1_000,
    };
    let leave = |place: &str| Command::LeaveLine { key: "k".into(), line: "l".into(), place: place.into() };
    node.model.subscribe(7, "c".into());
    node.say(set("k", "a", 60_000));
    for place in ["c 1", "c 2", "c 3"] {
        node.say(stand(place));
    }
    assert_eq!((node.say(leave("c 2")), node.say(leave("c 2"))), (Reply::Integer(1), Reply::Integer(0)));
    assert!(node.model.take_said().is_empty(), "it is held: nobody's turn has come");
    node.say(Command::DeleteAndCall { key: "k".into(), line: "l".into(), owner: "a".into() });
    assert_eq!(node.model.take_said(), [(7, "1".to_owned())]);
    node.say(leave("c 1"));
    assert_eq!(node.model.take_said(), [(7, "3".to_owned())]);
}
