//! What runs print, in each format, also when they are called off, fail, or nobody reads.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use roxmltree::{Document, Node};

use super::fencepost;

/// Enough for a hundred minutes.
const ENDLESS: &str = "1000000";

/// Writes two small scenarios of two locks, which are over in a moment.
fn scenarios(folder: &Path) -> [String; 2] {
    let text = std::fs::read_to_string("scenarios/calm.toml").unwrap();
    let of_a_third = |part: &&str| part.contains("[lock.redis]") || part.contains("[expect.redis]");
    let text = text.split("\n\n").filter(|part| !of_a_third(part)).collect::<Vec<_>>().join("\n\n");
    let lines = text.lines().map(|line| if line.starts_with("duration") { "duration = \"500ms\"" } else { line });
    let text = lines.collect::<Vec<_>>().join("\n");
    ["one", "two"].map(|name| {
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, &text).unwrap();
        path.display().to_string()
    })
}

fn spawn(arguments: &[&str], out: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(arguments).arg("--out").arg(out).stdout(Stdio::piped()).spawn().unwrap()
}

/// Interrupts a process as soon as it listens to that: before, it would simply end.
fn interrupt(process: &Child) {
    let status = || std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let caught = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap()
    };
    // SIGINT is the second signal.
    while caught(&status()) & 0b10 == 0 {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-s", "INT", &process.id().to_string()]).status().unwrap().success());
}

fn suites<'a>(document: &'a Document<'a>) -> Vec<Node<'a, 'a>> {
    assert!(document.root_element().has_tag_name("testsuites"));
    document.root_element().children().filter(Node::is_element).collect()
}

fn names(document: &Document<'_>) -> Vec<String> {
    suites(document).iter().map(|suite| suite.attribute("name").unwrap().to_owned()).collect()
}

/// A document, held against its schema.
fn junit(text: &str) -> Document<'_> {
    let schema = fencepost(&["schema", "--junit"]).stdout;
    let problems = crate::xsd_check::problems(&String::from_utf8(schema).unwrap(), text);
    assert!(problems.is_empty(), "{problems:?}: {text}");
    Document::parse(text).unwrap()
}

#[test]
fn several_runs_are_one_junit_document() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = scenarios(folder.path());
    let out = folder.path().join("out");
    let output = fencepost(&["run", &one, &two, "--format", "junit", "--seed", "3", "--out", out.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let document = junit(&text);
    assert_eq!(names(&document), ["one/redlock", "one/zookeeper", "two/redlock", "two/zookeeper"]);
    let tests: usize =
        suites(&document).iter().map(|suite| suite.attribute("tests").unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(document.root_element().attribute("tests"), Some(&*tests.to_string()));
}

#[test]
fn many_seeds_are_one_junit_document() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _] = scenarios(folder.path());
    let out = folder.path().join("out");
    let arguments = ["run", &one, "--format", "junit", "--seeds", "2", "--seed", "3", "--out", out.to_str().unwrap()];
    let text = String::from_utf8(fencepost(&arguments).stdout).unwrap();
    let document = junit(&text);
    assert_eq!(names(&document), ["one/redlock", "one/zookeeper"]);
    for suite in suites(&document) {
        let cases: Vec<_> = suite.children().filter_map(|node| node.attribute("name")).collect();
        assert_eq!(cases, ["as expected with seed 3", "as expected with seed 4"]);
    }
}

#[test]
fn a_junit_document_is_whole_when_the_run_is_called_off() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = scenarios(folder.path());
    let thousand = vec![&*one; 1000];
    let runs = [&["run"], &thousand[..], &["--format", "junit"]].concat();
    let sweep = vec!["run", &one, &two, "--format", "junit", "--seeds", ENDLESS];
    for arguments in [runs, sweep] {
        let mut called_off = spawn(&arguments, &folder.path().join("out"));
        interrupt(&called_off);
        let mut text = String::new();
        called_off.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(called_off.wait().unwrap().code(), Some(2));
        let document = junit(&text);
        assert!(suites(&document).len() < 2000, "it went on to the end");
    }
}

#[test]
fn a_junit_document_tells_what_could_not_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = scenarios(folder.path());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    // Where the second scenario's runs would go.
    std::fs::write(out.join("two"), "not a folder").unwrap();
    let output = fencepost(&["run", &one, &two, "--format", "junit", "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(254));
    let text = String::from_utf8(output.stdout).unwrap();
    let document = junit(&text);
    assert_eq!(names(&document), ["one/redlock", "one/zookeeper", "two"]);
    let error = document.descendants().find(|node| node.has_tag_name("error")).unwrap();
    assert!(error.attribute("message").unwrap().contains("choose another with --out"), "{text}");
}

#[test]
fn a_sweep_that_is_called_off_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _] = scenarios(folder.path());
    let mut sweep = spawn(&["run", &one, "--seeds", ENDLESS, "--format", "json"], &folder.path().join("out"));
    // The first line shows that seeds are being counted.
    let mut lines = BufReader::new(sweep.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    interrupt(&sweep);
    std::io::copy(&mut lines, &mut std::io::sink()).unwrap();
    assert_eq!(sweep.wait().unwrap().code(), Some(2), "every seed that was run was as expected, and most were not run");
}

#[test]
fn a_comparison_that_is_called_off_shows_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = scenarios(folder.path());
    let mut comparison = spawn(&["compare", &one, &two, "--seeds", ENDLESS], &folder.path().join("out"));
    interrupt(&comparison);
    let mut text = String::new();
    comparison.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(comparison.wait().unwrap().code(), Some(2), "{text}");
    assert!(
        text.contains("out/compare/index.html") && folder.path().join("out/compare/index.html").is_file(),
        "{text}"
    );
}

#[test]
fn a_sweep_ends_when_nobody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _] = scenarios(folder.path());
    let mut sweep = spawn(&["run", &one, "--seeds", ENDLESS, "--format", "json"], &folder.path().join("out"));
    let mut lines = BufReader::new(sweep.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    assert_eq!(sweep.wait().unwrap().code(), Some(2), "most seeds were not run");
}

#[test]
fn what_cannot_be_printed_is_a_failure_and_a_reader_that_has_gone_is_none() {
    for arguments in [&["completions", "bash"][..], &["schema"], &["list"]] {
        let run = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
            command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
        };
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(full.into());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(255), "{message}");
        assert!(message.contains("cannot print the result: No space left on device"), "{message}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn every_object_that_is_printed_is_as_its_schema_says() {
    let schema = String::from_utf8(fencepost(&["schema", "--verdict"]).stdout).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let out = tempfile::tempdir().unwrap();
    let files = ["client-pause", "clock-jump", "node-amnesia", "session-expiry", "canaries/redlock-quorum-of-one"]
        .map(|name| format!("scenarios/{name}.toml"));
    let mut arguments = vec!["run"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(["--seed", "3", "--format", "json", "--out", out.path().to_str().unwrap()]);
    let text = String::from_utf8(fencepost(&arguments).stdout).unwrap();
    let sweep = ["run", &files[0], "--seed", "3", "--seeds", "2", "--format", "json"];
    let sweep = fencepost(&[&sweep[..], &["--out", out.path().to_str().unwrap()]].concat());
    let seeds = String::from_utf8(sweep.stdout).unwrap();
    let run = out.path().join("client-pause/latest/redlock/history.jsonl");
    let check = fencepost(&["check", run.to_str().unwrap(), "--format", "json"]);
    let check = String::from_utf8(check.stdout).unwrap();
    let objects: Vec<serde_json::Value> = [text, seeds, check]
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (summaries, verdicts): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.get("summary").is_some());
    assert_eq!((summaries.len(), verdicts.len()), (1, files.len() + 2 + 1));
    for verdict in verdicts {
        let problems = super::schema_check::problems(&schema, verdict);
        assert!(problems.is_empty(), "{}: {problems:#?}", verdict["scenario"]);
    }
}

#[test]
fn a_varied_knob_is_compared_and_printed_as_markdown() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = scenarios(folder.path());
    let out = folder.path().join("out");
    let compare = |arguments: &[&str]| {
        fencepost(&[&["compare"], arguments, &["--seeds", "2", "--seed", "1", "--out", out.to_str().unwrap()]].concat())
    };
    let output = compare(&[&one, "--vary", "lock.redlock.ttl=1s,2s", "--format", "markdown"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("| one.ttl=1s |") && text.contains("| one.ttl=2s |") && text.contains("not measured here"),
        "{text}"
    );
    let page = std::fs::read_to_string(out.join("compare/index.html")).unwrap();
    assert!(page.contains("id=\"curves\"") && out.join("compare/varied/one.ttl=2s.toml").is_file());
    assert!(out.join("compare/comparison.md").is_file());
    let wrong = compare(&[&one, &two, "--vary", "lock.redlock.ttl=1s,2s"]);
    assert_eq!(wrong.status.code(), Some(254));
    let wrong = compare(&[&one, "--vary", "lock.redlock.tll=1s,2s"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`tll` is none of"), "{wrong:?}");
}

#[test]
fn a_run_that_does_not_fit_into_memory_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _] = scenarios(folder.path());
    let text = std::fs::read_to_string(&one).unwrap().replace("\"500ms\"", "\"24h\"");
    let crowd = text.lines().map(|line| if line.starts_with("clients") { "clients = 1000" } else { line });
    std::fs::write(&one, crowd.collect::<Vec<_>>().join("\n")).unwrap();
    let output = fencepost(&["run", &one, "--out", folder.path().join("out").to_str().unwrap()]);
    let message = String::from_utf8(output.stderr).unwrap();
    // A thousand clients for a day: 130 GB.
    assert_eq!(output.status.code(), Some(254), "{message}");
    assert!(message.contains("86400s takes about 129600 MB") && message.contains("--seeds"), "{message}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn the_same_seed_twice_within_a_second_is_two_runs() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _] = scenarios(folder.path());
    let out = folder.path().join("out");
    let output =
        fencepost(&["run", &one, &one, &one, "--seed", "3", "--format", "json", "--out", out.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let verdicts = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let runs: std::collections::BTreeSet<_> = verdicts.map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert!(runs.iter().all(|run| Path::new(run).join("report.html").is_file()), "{runs:?}");
}

#[test]
fn histories_that_cannot_be_written_leave_nothing_behind() {
    let out = tempfile::tempdir().unwrap();
    // As on a full disk: room for what is tried before the run, and not for the histories of it.
    let script = "trap '' XFSZ; ulimit -f 130; exec \"$@\"";
    let output = Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_fencepost"),
            "run",
            "scenarios/calm.toml",
            "--seed",
            "5",
            "--out",
        ])
        .arg(out.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(255), "{message}");
    assert!(message.contains("cannot write the histories in ") && message.contains("--seed 5 gives"), "{message}");
    assert_eq!(std::fs::read_dir(out.path().join("calm")).unwrap().count(), 0, "what was written is no run");
}

#[test]
fn a_folder_of_scenarios_is_run_and_the_printed_commands_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    scenarios(folder.path());
    let (files, out) = (folder.path().to_str().unwrap(), folder.path().join("out"));
    let output = fencepost(&["run", files, "--seed", "3", "--out", out.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let printed = |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    let (replays, again) = (printed("replay  fencepost "), printed("again   fencepost "));
    assert_eq!((replays.len(), again.len()), (2, 2), "{text}");
    let replayed = fencepost(&replays[1].split(' ').collect::<Vec<_>>());
    let told = String::from_utf8(replayed.stdout).unwrap();
    assert_eq!((replayed.status.code(), told.matches("the same, trace hash").count()), (Some(0), 2), "{told}");
    let mut again: Vec<&str> = again[1].split(' ').collect();
    again.extend(["--out", out.to_str().unwrap()]);
    assert_eq!(fencepost(&again).status.code(), output.status.code());
    // A scenario's folder is not a run's, but the run that was meant is near.
    let message = String::from_utf8(fencepost(&["replay", out.join("two").to_str().unwrap()]).stderr).unwrap();
    assert!(message.contains("such as") && message.contains("out/two/latest"), "{message}");
}
