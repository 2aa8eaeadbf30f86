//! Reads every shipped scenario, and every file of `testdata/bad`: one mistake each, named in the file's first line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::load::schema;
use super::{Backend, Capabilities, FaultName, LoadError, LockConfig, Persistence, Scenario, list, load, parse};
use crate::defendant::backend::Supply;
use crate::fault::{At, Direction, FaultKind, PeerGroup, Refusal, Shape};
use crate::lock::Tokens;
use crate::lock::backend::Connections;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn shipped() -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = list(&folder("scenarios")).unwrap().into_iter().map(|listed| listed.path).collect();
    assert!(paths.len() >= 19, "the scenario folder was not found");
    paths
}

fn read(text: &str) -> Result<Scenario, LoadError> {
    parse(Path::new("trial.toml"), text, &lesser())
}

/// Containers that can do less than ours, so that there is something to refuse.
fn lesser() -> Capabilities {
    let docker = Capabilities::docker();
    let few =
        |(backend, supply)| (backend, Supply { most: if backend == Backend::Zookeeper { 3 } else { 5 }, ..supply });
    Capabilities {
        faults: [FaultName::Pause, FaultName::Partition].into(),
        persistence: [Persistence::None].into(),
        servers: docker.servers.clone().into_iter().map(few).collect(),
        ..docker
    }
}

/// A scenario of the given locks and faults, without a mistake of its own.
fn trial(locks_and_faults: &str) -> String {
    format!(
        "title = \"A trial\"\n[workload]\nkind = \"inventory\"\nclients = 5\nhold = \"20ms..80ms\"\n\
         think = \"0ms..40ms\"\nduration = \"20s\"\n{locks_and_faults}"
    )
}

#[test]
fn every_shipped_scenario_loads() {
    for path in shipped() {
        let scenario = load(&path, &Capabilities::sim()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenario.why.is_empty(), "{}: say why", scenario.name);
        for lock in scenario.locks.keys() {
            assert!(scenario.expect.contains_key(lock), "{}: nothing is expected of {lock}", scenario.name);
        }
    }
}

#[test]
fn containers_run_what_they_can_and_refuse_the_rest_for_want_of_a_fault() {
    let mut runs = 0;
    for path in shipped() {
        match load(&path, &Capabilities::docker()) {
            Ok(_) => runs += 1,
            Err(error) => {
                let refused = |problem: &super::load::Problem| problem.title.contains("not available in environment");
                assert!(error.problems().iter().any(refused), "{error}");
            }
        }
    }
    assert!(runs >= 15, "only {runs} scenarios run in containers");
}

#[test]
fn the_clock_of_an_etcd_server_is_not_moved_where_nobody_can_and_that_of_its_clients_is() {
    let jump = |target: &str| {
        let fault = "at = \"1s\"\nfor = \"2s\"\nby = \"+5s\"\n";
        trial(&format!("[lock.other]\nadapter = \"etcd-v3lock\"\n[[fault.clock-jump]]\ntarget = \"{target}\"\n{fault}"))
    };
    let read = |target: &str| parse(Path::new("t.toml"), &jump(target), &Capabilities::docker());
    for target in ["node:1", "leader", "all"] {
        let error = read(target).unwrap_err().to_string();
        assert!(error.contains("the clocks of the etcd servers of `other`") && error.contains("Go program"), "{error}");
        assert!(error.contains(&format!("\"{target}\"")), "at its place: {error}");
    }
    assert!(read("holder").is_ok());
    let strike = trial(
        "[lock.other]\nadapter = \"etcd-v3lock\"\n[[strike]]\nfault = \"clock-jump\"\nmembers = [\"node:2\"]\nat = \"1s\"\n\
         for = \"2s\"\nby = \"+5s\"\n",
    );
    assert!(
        parse(Path::new("t.toml"), &strike, &Capabilities::docker()).unwrap_err().to_string().contains("Go program")
    );
}

/// First line of each file: `# LINE:COLUMN phrase | phrase …`, each of which the message must contain. Read for lesser
/// containers, or for the simulation if that word comes first.
#[test]
fn each_mistake_is_refused_at_its_place() {
    let mut files = 0;
    for entry in fs::read_dir(folder("src/scenario/testdata/bad")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let (environment, expected) = match expected.strip_prefix("sim ") {
            Some(expected) => (Capabilities::sim(), expected),
            None => (lesser(), expected),
        };
        let (place, phrases) = expected.split_once(' ').unwrap();
        let Err(error) = load(&path, &environment) else { panic!("{} was accepted", path.display()) };
        assert_eq!(format!("{}:{}", error.line(), error.column()), place, "{error}");
        assert_eq!(error.problems().len(), 1, "one file, one mistake:\n{error}");
        let shown = error.to_string();
        for phrase in phrases.split(" | ") {
            assert!(shown.contains(phrase), "`{phrase}` is not in\n{shown}");
        }
        files += 1;
    }
    assert!(files >= 110, "only {files} files");
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let error = read(&trial(
        "client = \"carefull\"\nwait = \"5\"\n[lock.redlock]\nnodes = 4\nttl = \"1x\"\n[lock.zookeeper]\n\
         session-timeout = \"1h\"\n[[fault.pause]]\ntarget = \"client:6\"\nat = { phase = \"soon\" }\nfor = \"0s\"\n\
         [[fault.kill]]\ntarget = \"one\"\nat = \"5s\"\nfor = \"1s\"\n[expect.etcd]\nfencing = \"valid\"\n",
    ))
    .unwrap_err();
    let lines: Vec<usize> = error.places().map(|(line, _)| line).collect();
    assert_eq!(lines, [8, 9, 11, 12, 14, 16, 17, 18, 19, 23], "{error}");
    assert_eq!(error.to_string().matches("--> trial.toml:").count(), 10);
}

#[test]
fn every_syntax_error_is_shown() {
    let error = read("title = \n[workload]\nclients = 5 6\n").unwrap_err();
    let lines: Vec<usize> = error.places().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 3], "{error}");
}

/// A file that is still being written has mistakes at the strangest places; each must be shown, none may panic.
#[test]
fn a_file_cut_short_anywhere_is_refused_or_whole() {
    for name in ["calm", "clock-jump", "delayed-write"] {
        let text = fs::read_to_string(folder(&format!("scenarios/{name}.toml"))).unwrap();
        for (end, _) in text.char_indices() {
            if let Err(error) = parse(Path::new("trial.toml"), &text[..end], &Capabilities::sim()) {
                assert!(error.to_string().starts_with("error: "));
                assert!(error.line() <= text.lines().count() + 1);
            }
        }
    }
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let text = fs::read_to_string(folder("scenarios/partition-client.toml")).unwrap();
    let plain = read(&text).unwrap();
    let foreign = read(&format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    assert_eq!((plain.workload, plain.faults, plain.expect), (foreign.workload, foreign.faults, foreign.expect));
}

#[test]
fn what_is_left_out_gets_the_documented_default() {
    let scenario = read(&trial("[lock.redlock]\n[lock.zookeeper]\n")).unwrap();
    assert_eq!(scenario.name, "trial");
    assert_eq!((scenario.workload.locks, scenario.workload.wait), (1, Duration::from_secs(10)));
    assert_eq!((scenario.workload.client, scenario.resource), Default::default());
    let LockConfig::Redlock(redlock) = &scenario.locks["redlock"] else { panic!("not Redlock") };
    assert_eq!((redlock.nodes, redlock.ttl, redlock.renewal), (5, Duration::from_secs(1), false));
    assert_eq!(redlock.node_timeout, Duration::from_millis(50));
    assert_eq!(redlock.retry_delay.to_string(), "20ms..80ms");
    assert_eq!((redlock.connections, redlock.tokens), (Connections::Pooled, Tokens::None));
    let LockConfig::Zookeeper(zookeeper) = &scenario.locks["zookeeper"] else { panic!("not ZooKeeper") };
    assert_eq!((zookeeper.servers, zookeeper.session_timeout), (3, Duration::from_secs(2)));
}

#[test]
fn a_node_may_not_take_more_than_a_tenth_of_a_short_lease() {
    let scenario = read(&trial("[lock.short]\nalgorithm = \"redlock\"\nttl = \"200ms\"\n")).unwrap();
    let LockConfig::Redlock(redlock) = &scenario.locks["short"] else { panic!("not Redlock") };
    assert_eq!(redlock.node_timeout, Duration::from_millis(20));
}

#[test]
fn faults_keep_the_order_of_the_file() {
    let fault = |kind, target, at| format!("[[fault.{kind}]]\ntarget = \"{target}\"\nat = {at}\nfor = \"1s\"\n");
    let text = [
        "[lock.redlock]\n[lock.zookeeper]\n".to_owned(),
        fault("partition", "holder", "{ phase = \"acquired\" }"),
        fault("pause", "leader", "\"5s\""),
        fault("partition", "minority", "{ every = \"4s\" }"),
    ];
    let scenario = read(&trial(&text.concat())).unwrap();
    let plans = ["redlock", "zookeeper"].map(|lock| scenario.plan_for(lock));
    assert_eq!(plans[1][1], "pause leader at 5s, for 1s");
    assert_eq!(plans[0], [plans[1][0].clone(), plans[1][2].clone()], "masters have no leader that could be struck");
    let faults = scenario.faults;
    let cut = |peers: PeerGroup| FaultKind::Partition {
        peers: peers.into(),
        direction: Direction::Both,
        shape: Shape::Isolate,
        refusal: Refusal::Drop,
    };
    assert_eq!(
        faults[0].kind,
        cut(PeerGroup::Nodes),
        "a client is cut off from the lock servers unless said otherwise"
    );
    assert_eq!(faults[1].kind, FaultKind::Pause, "a leader is a target where one lock has one");
    assert_eq!(faults[2].kind, cut(PeerGroup::All), "a lock server is cut off from everybody unless said otherwise");
    assert_eq!(faults[2].at, At::Every(Duration::from_secs(4)));
}

#[test]
fn every_kind_of_fault_is_read() {
    let fault = |kind: &str, keys: &str| {
        format!("[[fault.{kind}]]\ntarget = \"client:1\"\nat = \"5s\"\nfor = \"1s\"\n{keys}\n")
    };
    let text = [
        "[lock.redlock]\npersistence = \"everysec\"\nconnections = \"fresh\"\ntokens = \"quorum\"\n".to_owned(),
        fault("kill", ""),
        "[[fault.restart]]\ntarget = \"one\"\nat = \"5s\"\n".to_owned(),
        "[[fault.power-loss]]\ntarget = \"all\"\nat = \"5s\"\nfor = \"1s\"\n".to_owned(),
        fault("partition", "peers = [\"node:4\", \"node:5\", \"resource\"]"),
        fault("partition", "refusal = \"reset\""),
        "[[fault.partition]]\ntarget = \"all\"\nat = \"5s\"\nfor = \"1s\"\nshape = \"bridge\"\n".to_owned(),
        fault("delay", "by = \"1s..2s\"\npeers = \"resource\"\ndirection = \"out\""),
        fault("loss", "percent = 0.3"),
        fault("loss", "percent = 100"),
        fault("clock-jump", "by = \"-1.5s\""),
        fault("clock-drift", "by = \"+5%\""),
        fault("clock-strobe", "by = \"+10ms\"\nperiod = \"100ms\""),
        fault("request", "does = \"hold\"\nphase = \"acquiring\"\nby = \"2s\"\ntimes = 1\npeers = [\"node:2\"]"),
        fault("request", "does = \"cut-after\"\nphase = \"releasing\""),
    ];
    let scenario = parse(Path::new("trial.toml"), &trial(&text.concat()), &Capabilities::sim()).unwrap();
    let LockConfig::Redlock(redlock) = &scenario.locks["redlock"] else { panic!("not Redlock") };
    assert_eq!((redlock.persistence, redlock.connections), (Persistence::Everysec, Connections::Fresh));
    assert_eq!(redlock.tokens, Tokens::Quorum);
    let told: Vec<String> = scenario.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "kill client:1 at 5s, for 1s",
            "restart one at 5s, for 100ms",
            "power-loss all at 5s, for 1s",
            "partition client:1 to and from n4, n5, resource at 5s, for 1s",
            "partition client:1 to and from nodes, with resets at 5s, for 1s",
            "partition all by bridge at 5s, for 1s",
            "delay client:1 to resource by 1s..2s at 5s, for 1s",
            "loss client:1 to and from nodes of 0.3% at 5s, for 1s",
            "loss client:1 to and from nodes of 100% at 5s, for 1s",
            "clock-jump client:1 by -1.5s at 5s, for 1s",
            "clock-drift client:1 by +50000ppm at 5s, for 1s",
            "clock-strobe client:1 by +10ms every 100ms at 5s, for 1s",
            "request client:1 to n2: hold by 2s when acquiring, first 1, at 5s, for 1s",
            "request client:1 to nodes: cut-after when releasing, at 5s, for 1s",
        ]
    );
    let kinds: std::collections::BTreeSet<&str> = scenario.faults.iter().map(|fault| fault.kind.name()).collect();
    assert!(kinds.iter().all(|kind| FaultName::ALL.iter().any(|name| name.name() == *kind)));
    assert_eq!(kinds.len(), FaultName::ALL.len() - 1, "all but pause");
}

#[test]
fn an_environment_is_asked_what_it_can_do() {
    let text = fs::read_to_string(folder("scenarios/client-pause.toml")).unwrap();
    let idle = Capabilities { environment: "sim", faults: Default::default(), ..Capabilities::docker() };
    let error = parse(Path::new("client-pause.toml"), &text, &idle).unwrap_err().to_string();
    assert!(error.contains("`pause` is not available in environment sim yet"), "{error}");
    assert!(error.contains("available in sim: none"), "{error}");
}

#[test]
fn nothing_is_done_to_servers_that_are_not_ours() {
    let given = Capabilities::given_servers();
    let read = |faults: &str| {
        let text = trial(&format!("[lock.redlock]\nnodes = 5\n[lock.zookeeper]\n{faults}"));
        parse(Path::new("trial.toml"), &text, &given).map(|_| ()).map_err(|error| error.to_string())
    };
    let fault = |kind: &str, rest: &str| format!("[[fault.{kind}]]\nat = \"1s\"\nfor = \"1s\"\n{rest}");
    for lawful in [
        fault("pause", "target = \"holder\""),
        fault("kill", "target = \"client:1\""),
        fault("partition", "target = \"holder\""),
        fault("partition", "target = \"client:2\"\npeers = [\"node:1\"]"),
        fault("clock-jump", "target = \"client:2\"\nby = \"+3s\""),
        "[[strike]]\nfault = \"pause\"\nmembers = [\"client:1\"]\nat = \"1s\"\nfor = \"1s\"".to_owned(),
    ] {
        assert_eq!(read(&lawful), Ok(()), "{lawful}");
    }
    for at_servers in [
        fault("pause", "target = \"node:1\""),
        fault("kill", "target = \"leader\""),
        fault("power-loss", "target = \"all\""),
        fault("partition", "target = \"minority\"\npeers = \"clients\""),
        fault("partition", "target = \"all\"\nshape = \"halves\""),
        fault("loss", "target = \"one\"\npercent = 5"),
        fault("clock-drift", "target = \"majority\"\nby = \"+5%\""),
        "[[strike]]\nfault = \"pause\"\nmembers = [\"node:1\"]\nat = \"1s\"\nfor = \"1s\"".to_owned(),
        "[[strike]]\nfault = \"partition\"\nmembers = [\"client:1\", \"node:1\"]\nat = \"1s\"\nfor = \"1s\"".to_owned(),
    ] {
        let error = read(&at_servers).expect_err(&at_servers);
        assert!(error.contains("trial.toml:") && error.contains("has not started itself"), "{error}");
        assert!(error.contains("aim faults at clients"), "{error}");
    }
    // How a server keeps its data is nobody else's to say, and which sessions it grants is asked of itself.
    let text = trial("[lock.redlock]\nnodes = 5\npersistence = \"always\"\n");
    assert!(parse(Path::new("trial.toml"), &text, &given).is_err());
    let text = trial("[lock.zookeeper]\nsession-timeout = \"10s\"\n");
    assert!(parse(Path::new("trial.toml"), &text, &given).is_ok());
    assert!(parse(Path::new("trial.toml"), &text, &Capabilities::docker()).is_err());
}

#[test]
fn a_missing_file_may_be_a_misspelt_one() {
    let error = load(&folder("scenarios/client-puase.toml"), &Capabilities::docker()).unwrap_err();
    assert_eq!((error.line(), error.column()), (1, 1));
    let error = error.to_string();
    assert!(error.contains("cannot read") && error.contains("scenarios/client-pause.toml`?"), "{error}");
}

#[test]
fn a_folder_is_listed_in_name_order_broken_files_included() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b.toml"), trial("[lock.redlock]\n")).unwrap();
    fs::write(dir.path().join("a.toml"), b"title = \"\xff\"").unwrap();
    fs::write(dir.path().join("c.toml"), "titel = \"x\"").unwrap();
    fs::write(dir.path().join("notes.txt"), "no scenario").unwrap();
    fs::create_dir(dir.path().join("d.toml")).unwrap();
    let listed = list(dir.path()).unwrap();
    let names: Vec<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((listed[0].title.as_ref().unwrap_err().line(), listed[0].title.as_ref().unwrap_err().column()), (1, 10));
    assert_eq!(listed[1].title.as_ref().unwrap(), "A trial");
    assert!(listed[2].title.as_ref().unwrap_err().to_string().contains("did you mean `title`?"));
    assert!(list(&dir.path().join("nowhere")).is_err());
}

/// Whether the schema allows the value: keys, kinds of value and words; patterns are left to real validators.
fn allows(schema: &Value, value: &Value, root: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let definition = root.pointer(reference.trim_start_matches('#')).ok_or(format!("no {reference}"))?;
        allows(definition, value, root)?;
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = schema.get(choice).and_then(Value::as_array)
            && !options.iter().any(|option| allows(option, value, root).is_ok())
        {
            return Err(format!("{value} is none of {choice} {options:?}"));
        }
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        _ => "integer",
    };
    let fits = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    if schema.get("type").is_some_and(|wanted| !fits(wanted))
        || schema.get("const").is_some_and(|wanted| wanted != value)
        || schema.get("enum").and_then(Value::as_array).is_some_and(|words| !words.contains(value))
    {
        return Err(format!("{value} is not allowed by {schema}"));
    }
    if schema.get("type").is_some_and(|kind| kind == "array") {
        for item in value.as_array().into_iter().flatten() {
            allows(schema.get("items").ok_or("no items")?, item, root)?;
        }
    }
    if schema.get("type").is_some_and(|kind| kind == "object") {
        let object = value.as_object().ok_or("no object")?;
        for (key, value) in object {
            let property = schema.get("properties").and_then(|properties| properties.get(key));
            let property = property.or(schema.get("additionalProperties").filter(|more| more.is_object()));
            allows(property.ok_or(format!("no key {key} in {schema}"))?, value, root)?;
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            key.as_str().and_then(|key| object.get(key)).ok_or(format!("{key} is missing"))?;
        }
    }
    Ok(())
}

#[test]
fn the_schema_allows_every_shipped_scenario() {
    let schema = schema();
    for path in shipped() {
        let value: Value = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        allows(&schema, &value, &schema).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    // Mistakes of keys, kinds of value and words; those of meaning are beyond a schema.
    for name in ["key-unknown-top", "key-unknown-at", "key-missing", "fault-single-brackets", "fencing-unknown"]
        .into_iter()
        .chain(["peers-number", "loss-text", "clock-drift-number", "clock-jump-by-missing", "restart-data-is-gone"])
        .chain(["type-number-for-duration", "expect-unknown-check", "expect-unknown-verdict", "fault-unknown-kind"])
        .chain(["tokens-unknown", "connections-unknown"])
    {
        let text = fs::read_to_string(folder("src/scenario/testdata/bad").join(format!("{name}.toml"))).unwrap();
        assert!(allows(&schema, &toml::from_str(&text).unwrap(), &schema).is_err(), "{name} was allowed");
    }
}

/// Every list of words in the schema, by its place.
fn word_lists(schema: &Value, place: &str, lists: &mut BTreeMap<String, Vec<String>>) {
    let word = |value: &Value| value.as_str().expect("a word is a text").to_owned();
    let consts = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .map(|options| options.iter().filter_map(|option| option.get("const")).map(word).collect::<Vec<_>>());
    let words = schema.get("enum").and_then(Value::as_array).map(|words| words.iter().map(word).collect());
    for words in [consts, words].into_iter().flatten().filter(|words: &Vec<String>| !words.is_empty()) {
        lists.insert(place.to_owned(), words);
    }
    match schema {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| word_lists(value, &format!("{place}/{key}"), lists));
        }
        Value::Array(items) => items.iter().for_each(|value| word_lists(value, place, lists)),
        _ => {}
    }
}

#[test]
fn every_word_that_the_schema_offers_is_accepted() {
    let schema = schema();
    let mut lists = BTreeMap::new();
    word_lists(&schema, "", &mut lists);
    let cut = |target: &str, keys: &str| {
        format!("[lock.redlock]\n[[fault.partition]]\ntarget = \"{target}\"\nat = \"5s\"\nfor = \"1s\"\n{keys}\n")
    };
    let request = |keys: &str| {
        format!("[lock.redlock]\n[[fault.request]]\ntarget = \"client:1\"\nat = \"5s\"\nfor = \"1s\"\n{keys}\n")
    };
    for (place, words) in &lists {
        for word in words {
            let text = match place.rsplit_once('/').unwrap() {
                (_, "WorkloadKind") => trial("[lock.redlock]\n").replace("inventory", word),
                (_, "ClientStyle") => trial(&format!("client = \"{word}\"\n[lock.redlock]\n")),
                (_, "Fencing") => trial(&format!("[resource]\nfencing = \"{word}\"\n[lock.redlock]\n")),
                (_, "algorithm") => {
                    let more = match word.as_str() {
                        "zookeeper-writer-ignores-readers" => "kind = \"read-write\"\n",
                        "zookeeper-lists-then-creates" => "kind = \"semaphore\"\npermits = 2\n",
                        _ => "",
                    };
                    trial(&format!("readers = 50\n[lock.it]\nalgorithm = \"{word}\"\n{more}"))
                }
                (_, "kind") => {
                    let more = if word == "semaphore" { "permits = 2\n" } else { "" };
                    trial(&format!("readers = 50\n[lock.redis]\nkind = \"{word}\"\n{more}"))
                }
                (_, key @ ("Persistence" | "Tokens" | "Connections" | "Waiting")) => {
                    trial(&format!("[lock.redlock]\n{} = \"{word}\"\n", key.to_lowercase()))
                }
                // Each against somebody who talks to them.
                (_, "PeerGroup") => {
                    let target = if word == "clients" { "node:1" } else { "holder" };
                    trial(&cut(target, &format!("peers = \"{word}\"")))
                }
                (_, "Direction") => trial(&cut("holder", &format!("direction = \"{word}\""))),
                (_, "Refusal") => trial(&cut("holder", &format!("refusal = \"{word}\""))),
                (_, "Shape") => trial(&cut("all", &format!("shape = \"{word}\""))),
                (_, "fault") => {
                    let more = match word.as_str() {
                        "delay" => "by = \"1s\"",
                        "loss" => "percent = 1",
                        "clock-jump" => "by = \"+1s\"",
                        "clock-drift" => "by = \"+1%\"",
                        "clock-strobe" => "by = \"+1s\"\nperiod = \"10ms\"",
                        "request" => "does = \"cut-before\"\nphase = \"acquiring\"",
                        _ => "",
                    };
                    let strike = format!("members = [\"node:1\"]\nat = \"5s\"\nfor = \"1s\"\n{more}\n");
                    trial(&format!("[lock.redlock]\n[[strike]]\nfault = \"{word}\"\n{strike}"))
                }
                (_, "Call") => trial(&request(&format!("does = \"cut-before\"\nphase = \"{word}\""))),
                (_, "Does") => {
                    let by = if matches!(word.as_str(), "hold" | "delay-reply") { "by = \"1s\"" } else { "" };
                    trial(&request(&format!("does = \"{word}\"\nphase = \"acquiring\"\n{by}")))
                }
                (_, "Phase") => trial(&cut("one", "").replace("\"5s\"", &format!("{{ phase = \"{word}\" }}"))),
                (parent, check) if parent.starts_with("/properties/expect/") => {
                    trial(&format!("[lock.redlock]\n[expect]\nredlock = {{ {check} = \"{word}\" }}\n"))
                }
                _ => panic!("no scenario tries the words at {place}: {words:?}"),
            };
            let scenario = parse(Path::new("trial.toml"), &text, &Capabilities::sim());
            assert!(scenario.is_ok(), "{place}: `{word}` is offered and refused:\n{}", scenario.unwrap_err());
        }
    }
    assert!(lists.len() >= 20, "{:?}", lists.keys());
}

#[test]
fn a_lock_that_several_hold_is_refused_where_it_cannot_be_with_the_reason() {
    let problems = |text: &str| -> Vec<String> {
        let read = parse(Path::new("trial.toml"), &trial(text), &Capabilities::sim());
        read.err().map_or_else(Vec::new, |error| error.problems().iter().map(|one| one.title.clone()).collect())
    };
    for (text, told) in [
        ("readers = 50\n[lock.redlock]\nkind = \"read-write\"\n", "there is no `read-write` on redlock"),
        ("[lock.redlock]\nkind = \"semaphore\"\n", "there is no `semaphore` on redlock"),
        ("[lock.redis]\nkind = \"semaphore\"\n", "a semaphore without `permits`"),
        ("[lock.redis]\nkind = \"semaphore\"\npermits = 0\n", "`permits` must be at least 1"),
        ("[lock.zookeeper]\npermits = 2\n", "`permits` is a setting of a semaphore"),
        ("[lock.zookeeper]\nkind = \"read-write\"\n", "has readers, and nobody only reads"),
        ("readers = 101\n[lock.zookeeper]\n", "`readers` must be at most 100"),
        (
            "[resource]\nfencing = \"access\"\n[lock.zookeeper]\nkind = \"semaphore\"\npermits = 2\n",
            "cannot fence the holders of the semaphore",
        ),
        ("[lock.it]\nalgorithm = \"zookeeper-lists-then-creates\"\n", "is a semaphore"),
        (
            "readers = 1\n[lock.it]\nalgorithm = \"zookeeper-never-tells\"\nkind = \"read-write\"\n",
            "is one client's lock",
        ),
    ] {
        let found = problems(text);
        assert!(matches!(&found[..], [one] if one.contains(told)), "{text}: {found:?}");
    }
    for text in ["kind = \"mutex\"\n", "kind = \"read-write\"\n", "kind = \"semaphore\"\npermits = 3\n"] {
        for lock in ["redis", "zookeeper"] {
            assert_eq!(problems(&format!("readers = 50\n[lock.{lock}]\n{text}")), [""; 0], "{lock}: {text}");
        }
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn visit(schema: &Value, described: &mut usize) {
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            // The keys of `[expect]` are checks, their values verdicts: nothing to explain here.
            if property.get("enum").is_none() {
                assert!(property.get("description").is_some(), "{key} has no description: {property}");
                *described += 1;
            }
        }
        match schema {
            Value::Object(object) => object.values().for_each(|value| visit(value, described)),
            Value::Array(items) => items.iter().for_each(|value| visit(value, described)),
            _ => {}
        }
    }
    let mut described = 0;
    visit(&schema(), &mut described);
    assert!(described > 50, "{described}");
    assert!(!schema().to_string().contains("null"), "TOML has no null");
}
