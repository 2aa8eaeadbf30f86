//! The model of a Redis node against a real Redis, command by command:
//! `cargo test --features docker-tests --test redis_conformance -- --nocapture`.
//!
//! Seeded random sequences run in lockstep on both. Both have the same wall clock: it stands still, and the sequence
//! moves it, so expiry is compared to the millisecond and nothing sleeps. `FENCEPOST_TEST_SEED` and
//! `FENCEPOST_TEST_SEQUENCES` choose others; `FENCEPOST_TEST_REDIS_IMAGE` another image that has the clock shim.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real servers live in real time, and their API has maps"
)]

#[path = "../conformance/mod.rs"]
mod conformance;
mod refusals;
mod sequence;
mod server;

use std::time::{Duration, Instant};

use fencepost::env::docker::clock_page::Setting;
use fencepost::env::sim::redis::{Command, Persistence, RedisModel, Reply};
use fencepost::time::Nanos;

use self::conformance::{Compared, Lockstep};
use self::sequence::{LINE, START_MS, Step, draw, shortest};
use self::server::{Real, Way, with_server, with_server_by};

/// How long a clock that a test forgot stays moved.
const AN_HOUR: Duration = Duration::from_secs(3600);
const STEPS: usize = 80;

/// The model with the clock that the sequence moves. No fsync comes into play: time on its monotonic clock stands
/// still.
struct Model {
    node: RedisModel,
    wall_ms: i64,
}

impl Model {
    fn new(persistence: Persistence) -> Self {
        Self { node: RedisModel::new(persistence), wall_ms: START_MS }
    }

    /// Carries out a step; what it answered, if it was a command.
    fn step(&mut self, step: &Step) -> Option<Reply> {
        match step {
            Step::Clock(wall_ms) => self.wall_ms = *wall_ms,
            Step::Say(command) => return Some(self.node.execute(self.wall_ms, Nanos::ZERO, command)),
        }
        None
    }
}

/// A server and a new model for each sequence.
struct Both<'a>(&'a mut Real);

impl Lockstep for Both<'_> {
    type Step = Step;

    fn draw(&self, seed: u64) -> Vec<Step> {
        draw(seed, STEPS)
    }

    fn compare(&mut self, steps: &[Step]) -> Compared {
        let real = &mut *self.0;
        let mut model = Model::new(Persistence::None);
        real.clock(START_MS);
        assert_eq!(real.say(&Command::FlushAll), Reply::Ok);
        let mut replies = 0;
        for (index, step) in steps.iter().enumerate() {
            let expected = model.step(step);
            let answered = real.step(step);
            if let (Some(expected), Some(answered)) = (expected, answered) {
                replies += 1;
                if expected != answered {
                    let difference = Some((index, expected.to_string(), answered.to_string()));
                    return Compared { replies, difference };
                }
            }
        }
        Compared { replies, difference: None }
    }

    fn shortest(&mut self, steps: &[Step]) -> Vec<Step> {
        shortest(steps, |steps| self.compare(steps).difference.is_some())
    }

    fn told(&mut self) -> String {
        format!("Redis {}", self.0.version())
    }
}

#[tokio::test]
async fn random_sequences_get_the_same_replies_from_model_and_server() {
    same_replies(Way::Straight).await;
}

#[tokio::test]
async fn random_sequences_get_the_same_replies_through_the_proxy() {
    same_replies(Way::Proxied).await;
}

async fn same_replies(way: Way) {
    let usual = match way {
        Way::Straight => 400,
        // What passes through the proxy is the same bytes: fewer show it.
        Way::Proxied => 60,
    };
    with_server_by(way, &[], move |real| {
        real.no_sweeps();
        conformance::same_replies(&mut Both(real), usual);
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_and_the_model_find_the_same_keys_again() {
    let aof = |fsync: &'static str| vec!["--appendonly", "yes", "--appendfsync", fsync];
    let kinds =
        [(Persistence::None, vec![]), (Persistence::Everysec, aof("everysec")), (Persistence::Always, aof("always"))];
    for (persistence, arguments) in kinds {
        with_server(&arguments, move |real| {
            let mut compared = 0;
            for seed in 1..=3 {
                let mut model = Model::new(persistence);
                real.no_sweeps();
                real.clock(START_MS);
                assert_eq!(real.say(&Command::FlushAll), Reply::Ok);
                let steps = draw(seed, 4 * STEPS);
                // The last access deletes what is overdue, so that the server's sweep at its start finds nothing.
                let look = sequence::look_at_all();
                for step in steps.iter().chain(&look) {
                    assert_eq!(model.step(step), real.step(step), "{persistence:?}, seed {seed}: {step}");
                }
                model.node.crash();
                model.node.restart();
                real.kill_and_start();
                real.no_sweeps();
                for step in &look {
                    let (expected, answered) = (model.step(step), real.step(step));
                    assert_eq!(expected, answered, "{persistence:?}, seed {seed}, after a kill: {step}");
                    compared += 1;
                }
            }
            println!("{persistence:?}: {compared} replies after 3 kills agree");
        })
        .await;
    }
}

#[tokio::test]
async fn the_sweep_deletes_what_is_overdue_for_good() {
    with_server(&[], |real| {
        let mut model = Model::new(Persistence::None);
        let set = |key: &str, px_ms| {
            Step::Say(Command::Set { key: key.into(), value: "x".into(), if_absent: false, px_ms: Some(px_ms) })
        };
        // Overdue, due in this very millisecond (an access would still find it), and not due.
        let keys = [set("a", 1000), set("b", 1001), set("n", 1002)];
        for step in [Step::Clock(START_MS)].iter().chain(&keys).chain(&[Step::Clock(START_MS + 1001)]) {
            assert_eq!(model.step(step), real.step(step));
        }
        model.node.sweep(model.wall_ms, Nanos::ZERO);
        // The server sweeps ten times a second; DBSIZE counts keys and accesses none.
        let start = Instant::now();
        while real.raw(&["DBSIZE"]) != Reply::Integer(1) {
            assert!(start.elapsed() < Duration::from_secs(20), "the server never swept");
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("swept within {:?}", start.elapsed());
        for step in [Step::Clock(START_MS)].into_iter().chain(sequence::look_at_all()) {
            assert_eq!(model.step(&step), real.step(&step), "{step}");
        }
    })
    .await;
}

/// Who is called, in what order, and who is passed over: connections that listen, one that never did, one that is
/// closed.
#[tokio::test]
async fn model_and_server_call_the_same() {
    with_server(&[], |real| {
        let mut model = Model::new(Persistence::None);
        real.clock(START_MS);
        let [mut first, mut second] = [real.another(), real.another()];
        for (number, (listener, channel)) in [(&mut first, "one"), (&mut second, "two")].into_iter().enumerate() {
            listener.raw(&["SUBSCRIBE", channel]);
            model.node.subscribe(number as u32, channel.into());
        }
        let set = || Command::Set { key: "k".into(), value: "me".into(), if_absent: true, px_ms: Some(60_000) };
        let stand = |place: &str, front| Command::StandInLine {
            key: "k".into(),
            line: LINE.into(),
            place: place.into(),
            front,
            patience_ms: 60_000,
        };
        let release = || Command::DeleteAndCall { key: "k".into(), line: LINE.into(), owner: "me".into() };
        let leave = |place: &str| Command::LeaveLine { key: "k".into(), line: LINE.into(), place: place.into() };
        let mut both = |real: &mut Real, command: Command| {
            let step = Step::Say(command);
            assert_eq!(model.step(&step), real.step(&step), "{step}");
            model.node.take_said()
        };
        both(real, set());
        for (place, front) in
            [("nobody 1", false), ("one 2", false), ("two 3", true), ("two 4", false), ("one 2", true)]
        {
            assert_eq!(both(real, stand(place, front)), []);
        }
        let called = |name: &str, channel: &str| {
            let words = ["message", channel, name].map(|word| Reply::Bulk(word.to_owned()));
            Reply::Array(words.to_vec())
        };
        // Who came to the front; then the one that nobody hears is passed over.
        assert_eq!(both(real, release()), [(1, "3".to_owned())]);
        assert_eq!(second.reply(), called("3", "two"));
        both(real, set());
        assert_eq!(both(real, release()), [(0, "2".to_owned())]);
        assert_eq!(first.reply(), called("2", "one"));
        // One that was called and leaves without having come has the next one called.
        assert_eq!(both(real, leave("one 2")), [(1, "4".to_owned())]);
        assert_eq!(second.reply(), called("4", "two"));
        // One that left of itself is not called.
        both(real, set());
        both(real, stand("two 5", false));
        both(real, stand("one 6", false));
        assert_eq!(both(real, leave("two 5")), []);
        assert_eq!(both(real, release()), [(0, "6".to_owned())]);
        assert_eq!(first.reply(), called("6", "one"));
        // One whose connection is closed is passed over.
        both(real, set());
        both(real, stand("one 7", false));
        both(real, stand("two 8", false));
        drop(first);
        let limit = Instant::now() + Duration::from_secs(20);
        while real.raw(&["PUBSUB", "NUMSUB", "one"])
            != Reply::Array(vec![Reply::Bulk("one".to_owned()), Reply::Integer(0)])
        {
            assert!(Instant::now() < limit, "the server does not see that a connection is closed");
        }
        let step = Step::Say(release());
        model.node.closed(0);
        assert_eq!(model.step(&step), real.step(&step));
        assert_eq!(model.node.take_said(), [(1, "8".to_owned())]);
        assert_eq!(second.reply(), called("8", "two"));
    })
    .await;
}

/// The clock shim itself: ahead, drifting, standing still, and back to true time by itself.
#[tokio::test]
async fn the_clock_shows_what_the_page_says() {
    with_server(&[], |real| {
        let off = |real: &mut Real| {
            let before = server::wall_ns();
            let shown = real.time_ns();
            (shown - before, server::wall_ns() - before)
        };
        real.page(&Setting::TRUE_TIME);
        let (ahead, took) = off(real);
        assert!(ahead >= -1_000 && ahead <= took, "true time: {ahead} ns ahead in {took} ns");

        const MINUTE: i64 = 60_000_000_000;
        for offset in [MINUTE, -MINUTE] {
            real.page(&Setting::skewed(offset, 0, AN_HOUR));
            let (ahead, took) = off(real);
            println!("asked for {offset} ns, {} ns more seen, in a round trip of {took} ns", ahead - offset);
            // The page takes both clocks one after the other: what may come between them is not the shim's.
            assert!((ahead - offset).abs() < 1_000_000_000, "{ahead} ns ahead");
        }

        // Twice as fast: between two looks it gains what CLOCK_MONOTONIC passed, within what the looks took.
        let page = Setting::skewed(0, 1_000_000, AN_HOUR);
        real.page(&page);
        let around = |real: &mut Real| {
            let before = page.wall_ns(server::mono_ns()).unwrap();
            let shown = real.time_ns();
            let after = page.wall_ns(server::mono_ns()).unwrap();
            assert!(shown >= before - 1000 && shown <= after, "{before} <= {shown} <= {after}");
        };
        around(real);
        std::thread::sleep(Duration::from_millis(50));
        around(real);

        real.clock(START_MS);
        assert_eq!((real.time_ns(), real.time_ns()), (START_MS * 1_000_000, START_MS * 1_000_000));

        real.page(&Setting::stopped_at(START_MS, Duration::from_millis(300)));
        let start = Instant::now();
        while real.time_ns() == START_MS * 1_000_000 {
            assert!(start.elapsed() < Duration::from_secs(20), "the clock never healed");
        }
        println!("healed by itself after {:?}", start.elapsed());
        let (ahead, took) = off(real);
        assert!(ahead >= -1_000 && ahead <= took, "healed: {ahead} ns ahead in {took} ns");
    })
    .await;
}
