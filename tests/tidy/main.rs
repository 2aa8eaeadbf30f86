//! The form of the code, held by tests: nobody imports against the arrow or in a circle, no backend is named where none
//! need be known, comments fit, files are short, every module begins with what lives there.
//!
//! Here are the arrow and the exceptions, each with its reason; the rules are in `rules`, and `planted` sees each of
//! them fail. Deliberately absent: what rustfmt and clippy hold already.

mod imports;
mod planted;
mod rules;
mod source;

use std::fs;
use std::path::Path;

use rules::Arrow;
use source::Source;

/// The rooms in the order in which data flow, and of which each may know.
const ARROW: Arrow<'_> = &[
    // The ground.
    ("ids", &[]),
    ("time", &[]),
    ("seed", &[]),
    ("duration", &[]),
    ("phase", &[]),
    ("lock_kind", &[]),
    ("verdict", &[]),
    ("word", &[]),
    ("fencing", &["word"]),
    ("plain", &[]),
    // The library.
    ("lock", &["duration", "ids", "lock_kind", "phase", "seed", "time"]),
    // What is tried, and what is written down of it.
    ("fault", &["ids", "phase", "word"]),
    ("history", &["fault", "fencing", "ids", "lock_kind", "phase", "seed", "time", "word"]),
    ("wire", &["fault", "history", "ids"]),
    ("scenario", &["duration", "fault", "fencing", "history", "ids", "lock", "lock_kind", "phase", "verdict"]),
    ("adapter", &["ids", "lock", "plain", "scenario", "time", "verdict"]),
    // The worlds, and what goes on in them.
    ("workload", &["fencing", "history", "ids", "lock", "phase", "scenario", "seed", "time"]),
    ("env", &["fault", "history", "ids", "lock", "lock_kind", "scenario"]),
    ("nemesis", &["env", "fault", "history", "ids", "lock", "phase", "seed", "time"]),
    (
        "env/sim",
        &[
            "env",
            "fault",
            "fencing",
            "history",
            "ids",
            "lock",
            "lock_kind",
            "nemesis",
            "phase",
            "scenario",
            "seed",
            "time",
            "wire",
            "workload",
        ],
    ),
    (
        "env/docker",
        &[
            "adapter", "env", "fault", "fencing", "history", "ids", "lock", "nemesis", "phase", "scenario", "seed",
            "time", "wire", "workload",
        ],
    ),
    // What it means: nothing here knows a world.
    ("check", &["fault", "history", "ids", "lock_kind", "phase", "time", "verdict", "word"]),
    (
        "hunt",
        &[
            "check",
            "duration",
            "fault",
            "fencing",
            "history",
            "ids",
            "lock",
            "lock_kind",
            "phase",
            "scenario",
            "seed",
            "time",
            "verdict",
        ],
    ),
    (
        "report",
        &[
            "adapter", "check", "duration", "fault", "fencing", "history", "hunt", "ids", "plain", "scenario", "seed",
            "time", "verdict", "word",
        ],
    ),
    // What wires it all, and what people type.
    (
        "run",
        &[
            "adapter",
            "check",
            "duration",
            "env",
            "env/docker",
            "env/sim",
            "fault",
            "fencing",
            "history",
            "hunt",
            "ids",
            "lock",
            "lock_kind",
            "report",
            "scenario",
            "seed",
            "time",
            "verdict",
            "word",
        ],
    ),
    ("inspect", &["ids", "lock"]),
    ("serve", &["report"]),
    ("cli", &["adapter", "check", "history", "plain", "report", "run", "seed", "verdict"]),
    (
        "verbs",
        &[
            "adapter",
            "check",
            "cli",
            "env/docker",
            "history",
            "hunt",
            "ids",
            "inspect",
            "lock",
            "plain",
            "report",
            "run",
            "scenario",
            "seed",
            "time",
        ],
    ),
    ("main", &["adapter", "check", "cli", "env/docker", "ids", "report", "run", "scenario", "serve", "verbs"]),
    ("lib", &[]),
];

/// Why a room is excepted whose walls are being moved.
const TO_BE_MOVED: &str = "its walls are being moved";

/// Against the arrow.
const WRONG_WAY: rules::Exceptions<'_> = &[
    ("src/scenario/locks.rs -> src/adapter/settings.rs", TO_BE_MOVED),
    ("src/scenario/mod.rs -> src/adapter/settings.rs", TO_BE_MOVED),
    ("src/scenario/write.rs -> src/adapter/settings.rs", TO_BE_MOVED),
];

/// Circles of files.
const CIRCLES: rules::Exceptions<'_> = &[
    (
        "src/lock/guard.rs src/lock/trace.rs",
        "the span round an acquire ends with its guard, and a guard tells of its end",
    ),
    (
        "src/lock/redlock/election.rs src/lock/redlock/lease.rs src/lock/redlock/undo.rs",
        "a lease takes itself back, and what takes it back asks for its votes",
    ),
    ("src/adapter/servers.rs src/adapter/settings.rs src/scenario/mod.rs", TO_BE_MOVED),
    ("src/env/docker/faults/face.rs src/env/docker/faults/ground.rs", TO_BE_MOVED),
    (
        "src/env/sim/alarm.rs src/env/sim/call.rs src/env/sim/etcd_link.rs src/env/sim/etcd_node.rs src/env/sim/ledger.rs src/env/sim/locks.rs src/env/sim/net.rs src/env/sim/node.rs src/env/sim/queue.rs src/env/sim/redis_link.rs src/env/sim/requests.rs src/env/sim/scheduler.rs src/env/sim/socket.rs src/env/sim/world.rs src/env/sim/zk_link.rs src/env/sim/zk_node.rs",
        TO_BE_MOVED,
    ),
    ("src/env/sim/zookeeper/follower.rs src/env/sim/zookeeper/leader.rs src/env/sim/zookeeper/server.rs", TO_BE_MOVED),
    ("src/env/sim/zookeeper/messages.rs src/env/sim/zookeeper/peers.rs", TO_BE_MOVED),
    ("src/env/sim/zookeeper/session/watchers.rs src/env/sim/zookeeper/session/worker.rs", TO_BE_MOVED),
    (
        "src/scenario/file.rs src/scenario/plan.rs src/scenario/requests.rs src/scenario/strikes.rs src/scenario/validate.rs",
        TO_BE_MOVED,
    ),
];

/// Where a backend is named outside of its rooms.
const NAMED: rules::Exceptions<'_> = &[
    ("src/lock/", "the library: a lock is a file here, and each backend has its seam and its client"),
    ("src/report/appendix.rs", "says how a token of ZooKeeper reads"),
    ("src/report/calibration.rs", "says what a simulated server leaves out"),
    ("src/report/exhibit.rs", "says of which server leases hang on its clock"),
    ("src/report/remedy.rs", "says of which server leases hang on its clock"),
    ("src/report/strangers.rs", "says on which servers strangers were tried"),
    ("src/adapter/", TO_BE_MOVED),
    ("src/cli.rs", TO_BE_MOVED),
    ("src/env/", TO_BE_MOVED),
    ("src/history/mod.rs", TO_BE_MOVED),
    ("src/hunt/", TO_BE_MOVED),
    ("src/inspect.rs", TO_BE_MOVED),
    ("src/report/trial.rs", TO_BE_MOVED),
    ("src/run/", TO_BE_MOVED),
    ("src/run.rs", TO_BE_MOVED),
    ("src/scenario/", TO_BE_MOVED),
    ("src/verbs/", TO_BE_MOVED),
    ("src/wire/", TO_BE_MOVED),
];

/// Why a comment is wider that the JSON Schema of scenario files has, with its line breaks.
const SCHEMA: &str = "its text is the schema's";

/// Comments that are wider.
const WIDE: rules::Exceptions<'_> = &[
    ("src/fault/request.rs", SCHEMA),
    ("src/phase.rs", SCHEMA),
    ("src/adapter/", TO_BE_MOVED),
    ("src/env/", TO_BE_MOVED),
    ("src/hunt/", TO_BE_MOVED),
    ("src/inspect.rs", TO_BE_MOVED),
    ("src/nemesis.rs", TO_BE_MOVED),
    ("src/nemesis/", TO_BE_MOVED),
    ("src/scenario/", TO_BE_MOVED),
    ("src/wire/", TO_BE_MOVED),
];

/// Files that are longer, and how long they may be.
const LONG: &[(&str, usize)] = &[
    ("src/check/evidence.rs", 590),
    ("src/check/tests/figures.rs", 601),
    ("src/check/linearizable/tests.rs", 752),
    ("src/cli.rs", 621),
    ("src/env/docker/engine.rs", 555),
    ("src/env/docker/trial.rs", 651),
    ("src/history/foreign/assemble.rs", 563),
    ("src/history/foreign/notation.rs", 670),
    ("src/lock/client/etcd.rs", 521),
    ("src/report/compare.rs", 598),
    ("src/report/excerpt.rs", 529),
    ("src/report/exhibit.rs", 535),
    ("src/scenario/tests.rs", 558),
];

fn below(folder: &str) -> Vec<Source> {
    fn walk(top: &Path, folder: &Path, sources: &mut Vec<Source>) {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(top, &path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap();
                sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    walk(top, &top.join(folder), &mut sources);
    sources
}

/// The crate's own sources, and those beside them.
fn all() -> Vec<Source> {
    ["src", "tests", "benches", "examples"].into_iter().flat_map(below).collect()
}

#[track_caller]
fn tidy(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn files_import_each_other_in_no_circle() {
    tidy(&rules::no_circles(&below("src"), CIRCLES));
}

#[test]
fn rooms_import_one_way() {
    tidy(&rules::one_way(&below("src"), ARROW, WRONG_WAY));
}

#[test]
fn backends_are_named_in_their_rooms_only() {
    tidy(&rules::no_backend_named(&below("src"), NAMED));
}

#[test]
fn every_module_begins_with_what_lives_there() {
    tidy(&rules::begins_with_its_purpose(&all()));
}

#[test]
fn comments_are_no_wider_than_code() {
    tidy(&rules::comments_fit(&all(), WIDE));
}

#[test]
fn files_are_no_longer_than_can_be_read() {
    tidy(&rules::files_are_short(&below("src"), LONG));
}
