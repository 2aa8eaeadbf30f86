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
    ("defendant", &["duration", "fault", "lock", "lock_kind", "seed"]),
    ("scenario", &["defendant", "duration", "fault", "fencing", "history", "ids", "lock_kind", "phase", "verdict"]),
    ("adapter", &["defendant", "duration", "ids", "lock", "plain", "time", "verdict"]),
    // What goes on in the worlds, and the worlds.
    ("workload", &["fencing", "history", "ids", "lock", "phase", "scenario", "seed", "time"]),
    ("nemesis", &["fault", "history", "ids", "lock", "phase", "seed", "time"]),
    (
        "trial",
        &["defendant", "fault", "history", "ids", "lock", "lock_kind", "nemesis", "phase", "scenario", "seed", "time"],
    ),
    ("env", &[]),
    (
        "env/sim",
        &[
            "defendant",
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
            "trial",
            "wire",
            "workload",
        ],
    ),
    (
        "env/docker",
        &[
            "adapter",
            "defendant",
            "env",
            "fault",
            "fencing",
            "history",
            "ids",
            "lock",
            "nemesis",
            "phase",
            "scenario",
            "seed",
            "time",
            "trial",
            "wire",
            "workload",
        ],
    ),
    // What it means: nothing here knows a world.
    ("check", &["fault", "history", "ids", "lock_kind", "phase", "time", "verdict", "word"]),
    (
        "hunt",
        &[
            "check",
            "defendant",
            "duration",
            "fault",
            "fencing",
            "history",
            "ids",
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
            "adapter",
            "check",
            "defendant",
            "duration",
            "fault",
            "fencing",
            "history",
            "hunt",
            "ids",
            "lock_kind",
            "plain",
            "scenario",
            "seed",
            "time",
            "verdict",
            "word",
        ],
    ),
    // What wires it all, and what people type.
    (
        "run",
        &[
            "adapter",
            "check",
            "defendant",
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
            "defendant",
            "env/docker",
            "history",
            "hunt",
            "ids",
            "inspect",
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

/// Against the arrow.
const WRONG_WAY: rules::Exceptions<'_> = &[
    (
        "src/defendant/ -> src/scenario/",
        "a lock reads its own table, with the words that scenario files have for mistakes",
    ),
    ("src/defendant/adapter.rs -> src/adapter/settings.rs", "a lock of others is described by its adapter's file"),
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
    (
        "src/defendant/adapter.rs src/defendant/etcd.rs src/defendant/redis.rs src/defendant/redlock.rs src/defendant/registry.rs src/defendant/zookeeper.rs",
        "a lock's file reads and writes a configuration of any lock, and the registry lists the files",
    ),
    (
        "src/scenario/file.rs src/scenario/plan.rs src/scenario/requests.rs src/scenario/strikes.rs src/scenario/validate.rs",
        "a table of the file is read by what validates its values, which reads others of the same file",
    ),
];

/// Where a backend is named outside of its rooms.
const NAMED: rules::Exceptions<'_> = &[
    ("src/lock/", "the library: a lock is a file here, and each backend has its seam and its client"),
    ("src/defendant/", "a lock's own file, and the registry of all"),
    ("src/env/sim/redis/", "its own room"),
    ("src/env/sim/zookeeper/", "its own room"),
    ("src/env/sim/etcd/", "its own room"),
    ("src/env/sim/backends.rs", "the registry of simulated servers"),
    ("src/env/docker/backends/", "a file for each, and their registry"),
    ("src/wire/", "a file for each protocol"),
    ("src/inspect/", "a file for each"),
    ("src/adapter/own.rs", "fencepost's own locks, behind the protocol"),
    ("src/cli.rs", "an option that starts its servers too"),
    ("src/env/sim/mod.rs", "lists the rooms"),
    ("src/env/sim/sandbox.rs", "servers without a trial, for conformance"),
    ("src/history/mod.rs", "how a token of ZooKeeper reads"),
    ("src/scenario/links.rs", "says why equals have no links"),
    ("src/scenario/mod.rs", "hands on the locks' settings"),
    ("src/scenario/vary.rs", "names the knobs that may vary"),
    ("src/verbs/cluster.rs", "an option that starts its servers too"),
    ("src/run/calibrate.rs", "lists what is measured"),
    ("src/run/calibrate/", "a file for each"),
    ("src/report/exhibit.rs", "says of which server leases hang on its clock"),
    ("src/report/remedy.rs", "says of which server leases hang on its clock"),
];

/// Why a comment is wider that the JSON Schema of scenario files has, with its line breaks.
const SCHEMA: &str = "its text is the schema's";

/// Comments that are wider.
const WIDE: rules::Exceptions<'_> = &[
    ("src/adapter/protocol.rs", SCHEMA),
    ("src/fault/request.rs", SCHEMA),
    ("src/phase.rs", SCHEMA),
    ("src/scenario/fault_tables.rs", SCHEMA),
    ("src/scenario/file.rs", SCHEMA),
    ("src/scenario/strikes.rs", SCHEMA),
];

/// Files that are longer, and how long they may be.
const LONG: &[(&str, usize)] = &[
    ("src/check/evidence.rs", 590),
    ("src/check/tests/figures.rs", 601),
    ("src/check/linearizable/tests.rs", 752),
    ("src/cli.rs", 621),
    ("src/history/foreign/assemble.rs", 563),
    ("src/history/foreign/notation.rs", 670),
    ("src/report/compare.rs", 598),
    ("src/report/excerpt.rs", 529),
    ("src/report/exhibit.rs", 535),
    ("src/scenario/tests.rs", 562),
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
