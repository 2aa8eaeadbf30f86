//! The harness killed without warning, at any moment of `chaos`: nothing may stay hurt. Requests of a dead harness that
//! arrive late. And a stranger's container beside a run of every fault: nothing may happen to it.
//!
//! Needs Docker, root, `nsenter` and `nft`: networks are looked at from outside, not by fencepost's own means. Kills
//! three times; `FENCEPOST_KILLS=100` more often. No time is asserted; how long healing took is printed.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fencepost::env::docker::backends;
use fencepost::env::docker::clock_page::ClockPage;
use fencepost::env::docker::cluster_name::cluster;
use fencepost::env::docker::container::{Container, LABEL_CLUSTER, LABEL_ROLE, Role, State};
use fencepost::env::docker::engine::Engine;
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::{Entry, Journal, Undo};
use fencepost::scenario::Backend;
use futures_util::future::join_all;

/// A clock that is further off than this was left so: `chaos` moves clocks by seconds.
const CLOCK_SLACK: Duration = Duration::from_millis(150);
/// The pause between two looks: a look at all networks starts sixteen programs, and who looks all the time takes half
/// of a small machine from those who heal.
const ROUND: Duration = Duration::from_millis(100);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

fn fencepost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn docker(arguments: &[&str]) -> String {
    output("docker", arguments).trim().to_owned()
}

/// What a fault can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    Frozen,
    Cut,
    Skewed,
    /// A server that does not run.
    Dead,
    /// What belongs to a run: a container, a folder, an entry of the journal.
    LeftBehind,
    /// A server that runs, and does not answer: one that was killed takes its time to start.
    Silent,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Cut => "cut",
            Self::Skewed => "skewed",
            Self::Dead => "dead",
            Self::LeftBehind => "left behind",
            Self::Silent => "silent",
        })
    }
}

/// What was seen of it.
type Left = Vec<(Harm, String)>;

/// Looks for everything that a fault could have left, by what the system says of it. One look for each sort, so that a
/// slow one does not hide how quickly the others are over.
struct Eyes {
    engine: Engine,
    servers: Vec<Container>,
}

impl Eyes {
    /// While all servers run.
    async fn open() -> Self {
        let engine = Engine::connect().await.unwrap();
        let mut servers = engine.containers().await.unwrap();
        servers.retain(|container| container.role.is_server());
        // With etcd, if a run before has needed it.
        assert!([8, 11].contains(&servers.len()), "{servers:?}");
        Self { engine, servers }
    }

    async fn containers(&self) -> Left {
        let containers = self.engine.containers().await.unwrap();
        let harm = |container: &Container| match container.state {
            _ if !container.role.outlives_runs() => Some(Harm::LeftBehind),
            State::Paused => Some(Harm::Frozen),
            State::Running => None,
            State::Stopped | State::Passing => Some(Harm::Dead),
        };
        let left = containers.iter().filter_map(|own| Some((harm(own)?, format!("{} is {}", own.name, own.state))));
        left.collect()
    }

    async fn networks(&self) -> Left {
        let looks = self.servers.iter().map(|server| async move {
            // The network of one that does not run is gone; one that comes back is looked at again.
            let Some(pid) = self.engine.pid(server).await.unwrap() else {
                return vec![(Harm::Cut, "no network".into())];
            };
            let list = ["-t", &pid.to_string(), "-n", "nft", "list", "ruleset"].map(str::to_owned);
            let listed = tokio::process::Command::new("nsenter").args(list).output().await.unwrap();
            let said = [listed.stdout, listed.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            if !listed.status.success() {
                // Without a word too: an nft that is older than the helper's may not survive what that laid.
                return vec![(Harm::Cut, format!("{}: {}: {said}", server.name, listed.status))];
            }
            let ours = |line: &&str| line.contains("fencepost") || line.contains("NFQUEUE");
            said.lines().filter(ours).map(|line| (Harm::Cut, format!("{}: {line}", server.name))).collect()
        });
        join_all(looks).await.concat()
    }

    async fn clocks(&self) -> Left {
        join_all(self.servers.iter().map(clock)).await.into_iter().flatten().collect()
    }

    async fn papers(&self) -> Left {
        let folders = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let folders = folders.filter_map(|name| name.into_string().ok());
        let is_number = |rest: &str| u32::from_str_radix(rest, 16).is_ok();
        let folders = folders.filter(|name| name.strip_prefix("fencepost-").is_some_and(is_number));
        let outstanding = Journal::open(&state_folder().unwrap()).unwrap().outstanding().unwrap();
        let entries = outstanding.keys().map(|entry| format!("{} {:?} in the journal", entry.name, entry.undo));
        folders.chain(entries).map(|what| (Harm::LeftBehind, what)).collect()
    }

    async fn all(&self) -> Left {
        let (containers, networks) = tokio::join!(self.containers(), self.networks());
        let (clocks, papers) = tokio::join!(self.clocks(), self.papers());
        [containers, networks, clocks, papers].concat()
    }
}

/// What a server shows of its clock, if it answers.
async fn clock(server: &Container) -> Option<(Harm, String)> {
    let name = &server.name;
    let port = server.published.unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let silent = |error| (Harm::Silent, format!("{name}: {error}"));
    if server.role == Role::Server(Backend::Etcd) {
        // Nobody moves its clock.
        return backends::of(Backend::Etcd).is_there(address, PATIENCE).await.err().map(silent);
    }
    if server.role == Role::Server(Backend::Zookeeper) {
        // It has no word for its clock.
        let page = ClockPage::open(server.clock.as_ref().unwrap()).unwrap();
        if page.in_force().unwrap().is_in_force() {
            return Some((Harm::Skewed, format!("{name} has a clock that is set wrong")));
        }
        return backends::of(Backend::Zookeeper).ask(address, PATIENCE).await.err().map(silent);
    }
    match backends::redis::commands(address, &["TIME"], PATIENCE).await {
        Ok(reply) => {
            let digits = |line: &str| line.parse::<u64>().ok().filter(|_| !line.starts_with('*'));
            let numbers: Vec<u64> = reply.lines().filter_map(digits).collect();
            // One that has just started says that it is loading.
            let [seconds, micros] = numbers[..] else { return Some((Harm::Silent, format!("{name}: {reply}"))) };
            let shown = Duration::from_secs(seconds) + Duration::from_micros(micros);
            let wrong = shown.abs_diff(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
            (wrong > CLOCK_SLACK).then(|| (Harm::Skewed, format!("{name} is wrong by {wrong:?}")))
        }
        Err(error) => Some(silent(error)),
    }
}

/// For each harm, when it was first not seen any more, in seconds.
type Over = BTreeMap<Harm, f64>;

/// Looks in one way until nothing is to be seen.
async fn until_over(context: &str, began: Instant, look: impl AsyncFn() -> Left) -> Over {
    let (mut over, mut before) = (Over::new(), BTreeSet::new());
    loop {
        let remains = look().await;
        let at = began.elapsed();
        let harms: BTreeSet<Harm> = remains.iter().map(|(harm, _)| *harm).collect();
        over.extend(before.difference(&harms).map(|harm| (*harm, at.as_secs_f64())));
        if harms.is_empty() {
            return over;
        }
        assert!(at < Duration::from_secs(60), "{context}: {remains:#?}");
        before = harms;
        tokio::time::sleep(ROUND).await;
    }
}

/// Looks until nothing is left.
async fn until_nothing_is_left(context: &str, eyes: &Eyes) -> Over {
    let began = Instant::now();
    let mut over = Over::new();
    loop {
        let (containers, networks, clocks, papers) = tokio::join!(
            until_over(context, began, async || eyes.containers().await),
            until_over(context, began, async || eyes.networks().await),
            until_over(context, began, async || eyes.clocks().await),
            until_over(context, began, async || eyes.papers().await),
        );
        for (harm, at) in [containers, networks, clocks, papers].into_iter().flatten() {
            let known = over.entry(harm).or_insert(at);
            *known = known.max(at);
        }
        // All at once: what one look found in order may be otherwise by the time another is content.
        if eyes.all().await.is_empty() {
            return over;
        }
    }
}

async fn nothing_is_left(eyes: &Eyes) {
    let left = eyes.all().await;
    assert!(left.is_empty(), "{:?}", left.iter().map(|(_, what)| what).collect::<Vec<_>>());
}

/// Least, median, nine of ten, most.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get((values.len() * part / 10).min(values.len().saturating_sub(1))).copied();
    let [least, median, nine, most] = [0, 5, 9, 10].map(|part| at(part).unwrap_or_default());
    format!("{least:.2} .. {most:.2} s, median {median:.2}, nine of ten within {nine:.2}")
}

#[test]
fn a_harness_that_is_killed_at_any_moment_leaves_nothing_behind() {
    let kills: u32 = std::env::var("FENCEPOST_KILLS").map_or(3, |kills| kills.parse().unwrap());
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert!(fencepost(&["cluster", "up"]).status().unwrap().success());
    let eyes = runtime.block_on(Eyes::open());
    let mut struck = 0;
    let (mut clean, mut answering): (Vec<f64>, Vec<f64>) = Default::default();
    let mut each: BTreeMap<Harm, Vec<f64>> = BTreeMap::new();
    for kill in 0..kills {
        let mut run = fencepost(&["run", "--env", "docker", "--out", folder, "scenarios/chaos.toml"]).spawn().unwrap();
        let journal = Journal::open(&state_folder().unwrap()).unwrap();
        let started = Instant::now();
        while journal.outstanding().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(90), "no fault was made");
            assert!(run.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        // From the first fault on, anywhere in the ten seconds after it.
        std::thread::sleep(Duration::from_millis(rand::random::<u64>() % 10_000));
        let outstanding = journal.outstanding().unwrap();
        struck += u32::from(!outstanding.is_empty());
        run.kill().unwrap();
        run.wait().unwrap();
        let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in outstanding.keys() {
            *kinds.entry(harmed(&entry.undo)).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let over = runtime.block_on(until_nothing_is_left(&format!("kill {kill}, in {outstanding:?}"), &eyes));
        let last = over.values().copied().fold(0.0, f64::max);
        let named = over.iter().filter(|(harm, _)| **harm != Harm::Silent).map(|(_, at)| *at).fold(0.0, f64::max);
        let list: Vec<String> = over.iter().map(|(harm, at)| format!("{harm} {at:.2}")).collect();
        println!("kill {kill}, in the middle of {}: over after {}", kinds.join(", "), list.join(", "));
        clean.push(named);
        answering.push(last);
        over.into_iter().for_each(|(harm, at)| each.entry(harm).or_default().push(at));
        // It waits for the watchdog, which looks again for a while.
        let again = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "heal"]).output().unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert_eq!(said.trim(), "nothing to heal", "kill {kill}: the next start still found something");
        runtime.block_on(nothing_is_left(&eyes));
    }
    println!("{kills} kills, {struck} in the middle of faults");
    let within = clean.iter().filter(|at| **at <= 2.0).count();
    println!("  nothing frozen, cut, skewed, dead or left behind after {}; {within} within 2 s", spread(clean));
    println!("  and all servers answer after {}", spread(answering));
    for (harm, over) in each {
        println!("  {harm}, seen after {} kills: over after {}", over.len(), spread(over));
    }
    assert!(struck > 0 || kills == 0, "no kill came in the middle of a fault");
}

fn harmed(undo: &Undo) -> &'static str {
    match undo {
        Undo::Unpause => "frozen",
        Undo::DeleteTable(_) => "with tables",
        Undo::Start { .. } => "killed",
        Undo::SetClock { .. } => "skewed",
        Undo::ForgetRule { .. } => "having requests struck",
    }
}

/// What a harness asked for in its last moment reaches the daemon when the watchdog has healed already.
#[test]
fn a_request_that_was_on_its_way_when_the_harness_died_is_undone_too() {
    assert!(fencepost(&["cluster", "up"]).status().unwrap().success());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(Engine::connect()).unwrap();
    let containers = runtime.block_on(engine.containers()).unwrap();
    let named = |name: &str| containers.iter().find(|container| container.name == name).unwrap();
    let (frozen, killed) = (named("fencepost-zookeeper-1"), named("fencepost-redis-2"));
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    for (container, undo) in [(frozen, Undo::Unpause), (killed, Undo::Start { folder: None })] {
        let entry = Entry { container: container.id().to_owned(), name: container.name.clone(), undo };
        journal.apply(&entry, fencepost::time::Nanos(u64::MAX)).unwrap();
    }
    std::fs::write(state.path().join("run.lock"), "a run that was killed").unwrap();
    let nowhere = state.path().join("no-helper.sock");
    let mut watchdog = Command::new(env!("CARGO_BIN_EXE_fencepost"))
        .arg("watchdog")
        .args([state.path(), &nowhere])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(watchdog.stdin.take());
    let began = Instant::now();
    while !journal.outstanding().unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the watchdog heals nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (client, late) = (format!("fencepost-late-{}", std::process::id()), Instant::now());
    runtime.block_on(async {
        engine.pause(frozen).await.unwrap();
        engine.kill(killed).await.unwrap();
    });
    let labels = [format!("{LABEL_CLUSTER}={}", cluster()), format!("{LABEL_ROLE}=client")];
    let idle = ["--entrypoint", "sleep", "fencepost-tools", "600"];
    docker(
        &[&["run", "--detach", "--name", &client, "--label", &labels[0], "--label", &labels[1]], &idle[..]].concat(),
    );
    assert!(watchdog.wait().unwrap().success());
    println!("the watchdog went {:.2} s after the last request", late.elapsed().as_secs_f64());
    let after = runtime.block_on(engine.containers()).unwrap();
    for container in [frozen, killed] {
        let now = after.iter().find(|now| now.id() == container.id()).unwrap();
        assert_eq!(now.state, State::Running, "{}", now.name);
    }
    assert!(after.iter().all(|container| container.name != client), "{client} is still there");
}

/// A container that looks like one of ours and is not: its name, its image, its network.
struct Stranger(String);

impl Stranger {
    fn start() -> Self {
        let name = format!("fencepost-{:06x}-redlock-c1", std::process::id() & 0xff_ffff);
        let subnet = docker(&["network", "inspect", "fencepost", "--format", "{{(index .IPAM.Config 0).Subnet}}"]);
        let address = subnet.rsplit_once('.').unwrap().0.to_owned() + ".250";
        docker(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            "fencepost",
            "--ip",
            &address,
            "--entrypoint",
            "sleep",
            "fencepost-tools",
            "600",
        ]);
        Self(name)
    }

    /// Who it is, and what its network looks like.
    fn looks(&self) -> (String, String) {
        let state = docker(&["inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}}", &self.0]);
        let pid = state.split(' ').next().unwrap();
        let network =
            output("nsenter", &["-t", pid, "-n", "sh", "-c", "nft list ruleset; ip address; ip route; tc qdisc"]);
        let uptimes = |line: &&str| !line.contains("valid_lft");
        (state.clone(), network.lines().filter(uptimes).collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).output();
    }
}

#[test]
fn a_stranger_in_the_way_of_every_fault_is_not_touched() {
    assert!(fencepost(&["cluster", "up"]).status().unwrap().success());
    let stranger = Stranger::start();
    let before = stranger.looks();
    let since = docker(&["info", "--format", "{{.SystemTime}}"]);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let code = fencepost(&["run", "--env", "docker", "--out", folder, "scenarios/chaos.toml"]).status().unwrap().code();
    assert!(matches!(code, Some(0..=2)), "{code:?}");
    assert_eq!(stranger.looks(), before, "after a run of every fault");
    assert!(fencepost(&["cluster", "heal"]).status().unwrap().success());
    assert_eq!(stranger.looks(), before, "after a heal of everything");
    let until = docker(&["info", "--format", "{{.SystemTime}}"]);
    let events =
        docker(&["events", "--since", &since, "--until", &until, "--filter", &format!("container={}", stranger.0)]);
    assert_eq!(events, "", "Docker was asked for something");
}
