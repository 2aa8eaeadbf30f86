//! Plants bugs in a copy of the locks, one at a time, and measures what finds them: the named scenarios, and `hunt`.
//!
//! `benches/planted.toml` lists the bugs. They go into one build of a copy, below `target/planted`, where an
//! environment variable chooses one; the sources and the binaries built from them know nothing of it.
//!
//! ```sh
//! cargo bench --bench planted                          # build the copy, hunt each bug for 60 CPU-seconds
//! cargo bench --bench planted -- --seconds 300         # five CPU-minutes each
//! cargo bench --bench planted -- --named zookeeper     # the named scenarios too; only bugs with this, or one of several, in their name
//! cargo bench --bench planted -- --every 3             # a sample: each third bug of the list
//! cargo bench --bench planted -- --survivors           # only those that are argued to survive
//! cargo bench --bench planted -- --uniform             # plans without stresses, for a comparison
//! ```
//!
//! A bug that survives for a reason has it in the list, as `survives`: it counts among the bugs all the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

/// What chooses bugs in the built copy, separated by commas.
const CHOICE: &str = "FENCEPOST_PLANTED";

/// The module that the copy gets.
const MODULE: &str = r#"
/// The bug that is planted.
pub mod planted {
    /// Whether this is the bug that is planted.
    pub fn is(name: &str) -> bool {
        static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| std::env::var("FENCEPOST_PLANTED").unwrap_or_default());
        chosen.split(',').any(|chosen| chosen == name)
    }
}
"#;

/// Draws every plan by itself: the search without its stresses, chosen beside a bug to measure what they are worth.
const UNIFORM: &str = "uniform-draws";

/// Where that is planted, and what.
const DRAWN: [&str; 3] = [
    "src/hunt/draw.rs",
    "match rng.random_range(0..10) {",
    "match rng.random_range(0..10) {\n        _ if PLANTED => Stress::Any,",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    bug: Vec<Bug>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    name: String,
    /// The lock that is searched; the first word of the name if absent.
    lock: Option<String>,
    about: String,
    /// Why no search can be expected to find it, if it does not.
    survives: Option<String>,
    edits: Vec<Edit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    find: String,
    plant: String,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut seconds, mut every, mut only) = (60, 1, Vec::new());
    let (mut named, mut survivors, mut uniform) = (false, false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(seconds),
            "--every" => every = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(every).max(1),
            "--named" => named = true,
            "--survivors" => survivors = true,
            "--uniform" => uniform = true,
            other => only.push(other.to_owned()),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("benches/planted.toml")).expect("the list of bugs");
    let list: List = toml::from_str(&text).expect("the list of bugs");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let [file, find, plant] = DRAWN.map(str::to_owned);
    let uniform_draws = Bug {
        name: UNIFORM.to_owned(),
        lock: None,
        about: String::new(),
        survives: None,
        edits: vec![Edit { file, find, plant }],
    };
    let (binary, bugs) = build(root, &target, list.bug.into_iter().chain([uniform_draws]).collect());
    let wanted = |bug: &&Bug| {
        (only.is_empty() || only.iter().any(|part| bug.name.contains(part))) && (!survivors || bug.survives.is_some())
    };
    let wanted = bugs.iter().filter(|bug| bug.name != UNIFORM).filter(wanted).step_by(every);
    measure(root, &target, &binary, wanted, seconds, named, uniform);
}

/// Makes the copy, with every bug in it that still has a place, and builds it.
fn build(root: &Path, target: &Path, bugs: Vec<Bug>) -> (PathBuf, Vec<Bug>) {
    let copy = target.join("planted/copy");
    // All but what is made: sources include files from everywhere.
    let made = ["target", "reports", ".git", "fuzz"];
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for entry in fs::read_dir(root).expect("the sources").filter_map(Result::ok) {
        if !made.iter().any(|name| entry.file_name() == *name) {
            gather(&entry.path(), root, &mut files);
        }
    }
    let text = |files: &BTreeMap<PathBuf, Vec<u8>>, path: &Path| {
        files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let sources = files.clone();
    let mut planted = Vec::new();
    for bug in bugs {
        // What is found is replaced by what still contains it, so that several bugs can share a place.
        let has_place = |edit: &Edit| text(&sources, Path::new(&edit.file)).matches(&edit.find).count() == 1;
        if !bug.edits.iter().all(has_place) {
            println!("{}: no longer has a place in the sources; mend benches/planted.toml", bug.name);
            continue;
        }
        for edit in &bug.edits {
            let path = Path::new(&edit.file);
            let before = text(&files, path);
            let chosen = format!("crate::planted::is(\"{}\")", bug.name);
            let plant = edit.plant.replace("PLANTED", &chosen);
            // Another bug may stand there: this one then needs a place of its own.
            let count = before.matches(&edit.find).count();
            assert!(count == 1, "{}: shares its place with another bug in a way that cannot be told apart", bug.name);
            files.insert(path.to_owned(), before.replace(&edit.find, &plant).into_bytes());
        }
        planted.push(bug);
    }
    files.entry(PathBuf::from("src/lib.rs")).or_default().extend(MODULE.as_bytes());
    // Only what differs is written, and what is gone from the sources is removed: the build starts from the last one.
    let mut there = BTreeMap::new();
    gather(&copy, &copy, &mut there);
    for path in there.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(copy.join(path)).expect("the copy");
    }
    for (path, bytes) in files {
        if there.get(&path) != Some(&bytes) {
            let path = copy.join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all).expect("the copy's folder");
            fs::write(&path, bytes).expect("the copy");
        }
    }
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "fast", "--bin", "fencepost", "--manifest-path"])
        .arg(copy.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target.join("planted/target"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the copy does not build");
    (target.join("planted/target/fast/fencepost"), planted)
}

/// All files at and below `path`, by their paths below `root`.
fn gather(path: &Path, root: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if let Ok(entries) = fs::read_dir(path) {
        // Programs of locks are built where they lie.
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != "target") {
            gather(&entry.path(), root, files);
        }
    } else if let (Ok(bytes), Ok(below)) = (fs::read(path), path.strip_prefix(root)) {
        files.insert(below.to_owned(), bytes);
    }
}

/// What was found of one bug.
#[derive(Default)]
struct Found {
    cpu: Option<f64>,
    named: Option<String>,
    small: Option<(u64, u64, f64, u64)>,
}

fn measure<'a>(
    root: &Path,
    target: &Path,
    binary: &Path,
    bugs: impl Iterator<Item = &'a Bug>,
    seconds: u64,
    named: bool,
    uniform: bool,
) {
    let out = target.join("planted/reports");
    let mut all: Vec<Found> = Vec::new();
    for bug in bugs {
        let lock = bug.lock.as_deref().or(bug.name.split('-').next()).unwrap_or_default();
        let run = |arguments: &[&str]| {
            Command::new(binary)
                .args(arguments)
                .arg("--out")
                .arg(&out)
                .current_dir(root)
                .env(CHOICE, if uniform { format!("{},{UNIFORM}", bug.name) } else { bug.name.clone() })
                .env("RAYON_NUM_THREADS", "1")
                .stderr(Stdio::null())
                .output()
                .expect("the copy's binary")
        };
        // CPU time, since a clock shows how busy the machine is.
        let time = format!("{seconds}s");
        let mut found = Found::default();
        let hunted =
            run(&["hunt", "--lock", lock, "--seed", "1", "--findings", "1", "--cpu", &time, "--format", "json"]);
        let hunted: Value = serde_json::from_slice(&hunted.stdout).unwrap_or_default();
        let finding = &hunted["findings"][0];
        found.cpu = finding["cpu-seconds"].as_f64();
        let small = &finding["shrunk"];
        if let (Some(strikes), Some(clients), Some(length), Some(fails)) = (
            small["strikes"].as_u64(),
            small["clients"].as_u64(),
            small["seconds"].as_f64(),
            small["fails-of-10"].as_u64(),
        ) {
            found.small = Some((strikes, clients, length, fails));
        }
        if named {
            let mut files: Vec<PathBuf> = fs::read_dir(root.join("scenarios"))
                .expect("the scenarios")
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            files.sort();
            let caught = |path: &&PathBuf| {
                let code = run(&["run", &path.display().to_string(), "--seed", "1", "--seeds", "2"]).status.code();
                code == Some(1)
            };
            found.named =
                files.iter().find(caught).map(|path| path.file_stem().unwrap_or_default().display().to_string());
        }
        println!(
            "{:44} {:>9} {:24} {}{}",
            bug.name,
            found.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.1} CPU-s")),
            finding["broken"][0].as_str().unwrap_or("survives"),
            found.small.map_or(String::new(), |(strikes, clients, length, fails)| {
                format!("{strikes} faults, {clients} clients, {length} s, {fails} of 10")
            }),
            if named { format!("; named: {}", found.named.as_deref().unwrap_or("none")) } else { String::new() },
        );
        if found.cpu.is_none() {
            println!("    {} {}", bug.about, bug.survives.as_deref().unwrap_or("Not argued."));
        }
        all.push(found);
    }
    let count = all.len();
    let share = |of: usize| format!("{of} of {count} ({:.0} %)", 100.0 * of as f64 / count.max(1) as f64);
    let mut times: Vec<f64> = all.iter().filter_map(|found| found.cpu).collect();
    times.sort_by(f64::total_cmp);
    let within = |limit: f64| times.iter().filter(|time| **time <= limit).count();
    let spent: f64 = all.iter().map(|found| found.cpu.unwrap_or(seconds as f64)).sum();
    println!("\nhunt: {} within 60 CPU-s, {} within {seconds} CPU-s", share(within(60.0)), share(times.len()));
    println!("{:.2} bugs found per CPU-minute of search", times.len() as f64 * 60.0 / spent.max(1.0));
    println!("median CPU time to the first finding: {:.1} s", median(&times));
    let of = |value: fn(&(u64, u64, f64, u64)) -> f64| {
        let mut values: Vec<f64> = all.iter().filter_map(|found| found.small.as_ref().map(value)).collect();
        values.sort_by(f64::total_cmp);
        median(&values)
    };
    println!(
        "median after shrinking: {} faults, {} clients, {} s; {} fail with 9 of 10 seeds or more",
        of(|small| small.0 as f64),
        of(|small| f64::from(small.1 as u32)),
        of(|small| small.2),
        all.iter().filter(|found| found.small.is_some_and(|small| small.3 >= 9)).count()
    );
    if named {
        println!("named scenarios: {}", share(all.iter().filter(|found| found.named.is_some()).count()));
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
