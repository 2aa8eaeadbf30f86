//! What this machine can do to containers, tried out and not guessed: each fault, by what means, and where a means is
//! missing, why, and what does instead.
//!
//! A run asks once, before its first trial, for what its plan needs, so that a fault that cannot be made is refused and
//! not merely recorded. Nothing is started for it, and no server is touched: the network helper tries out the kernel,
//! looks into the servers' processes, moves the clock of a program of its own, and is frozen for a moment itself.
//! Deliberately absent: the state of the cluster (`status.rs`), and whether a fault has worked (`faults`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::future::try_join_all;

use super::backends;
use super::clock_page;
use super::compose;
use super::container::{Container, Role, State};
use super::engine::{Engine, EngineError, api};
use super::netns::{self, Answer, Netns, NetnsError, Request};
use crate::fault::{Fault, FaultKind, Refusal};
use crate::scenario::{Backend, LockConfig};

/// How clocks are moved, and how that may be mended.
const PRELOADED: &str = "a preloaded shim of ours reads the page that the harness writes";
const CLUSTER_ANEW: &str = "`fencepost cluster down` has the next run start all servers anew";
const IMAGE_ANEW: &str = "`docker rmi fencepost-tools` has the next run make the image anew";

/// Why a run cannot take place on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "this machine cannot do `{fault}`: {why}; {instead}, or use --env sim (`fencepost cluster status` tells what it can do)"
)]
pub struct Unable {
    /// The plan's entry.
    pub fault: String,
    /// What is missing.
    pub why: String,
    /// What could be done about it.
    pub instead: String,
}

/// What faults are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    Freezer,
    Signals,
    PowerLoss(Backend),
    Drop,
    Reset,
    Lose,
    Late,
    Clock(Backend),
    ClientClock,
}

impl Means {
    /// All that there are.
    fn all() -> BTreeSet<Self> {
        let of_links = [Self::Drop, Self::Reset, Self::Lose, Self::Late];
        let lose = backends::all().filter(|one| one.power_loss().is_some());
        let have_clocks = backends::all().filter(|one| one.containers().has_clock);
        [Self::Freezer, Self::Signals, Self::ClientClock]
            .into_iter()
            .chain(of_links)
            .chain(lose.map(|one| Self::PowerLoss(one.backend())))
            .chain(have_clocks.map(|one| Self::Clock(one.backend())))
            .collect()
    }

    /// The faults that it is for, whether it is there, and what does instead where it is not.
    fn words(self) -> (String, &'static str, &'static str) {
        let (faults, by, instead) = match self {
            Self::PowerLoss(backend) => {
                let backend = backends::of(backend);
                let (means, instead) = backend.power_loss().map(|loss| (loss.means, loss.instead)).unwrap_or_default();
                return (format!("power loss of {}", backend.title()), means, instead);
            }
            Self::Clock(backend) => {
                return (format!("clocks of {}", backends::of(backend).title()), PRELOADED, CLUSTER_ANEW);
            }
            Self::Freezer => {
                ("pause", "the cgroup freezer, by Docker", "`partition` silences a member too, and does not stop it")
            }
            Self::Signals => ("kill, restart", "SIGKILL and a start, by Docker; no other means is needed", ""),
            Self::Drop => {
                ("partition", "nftables; its sets' timeouts end a cut by themselves", "`pause` silences a member too")
            }
            Self::Reset => ("partition, with resets", "nftables, reject", "`refusal = \"drop\"` needs none"),
            Self::Lose => ("loss", "nftables, numgen", "`partition` for a short while loses packets too"),
            Self::Late => ("delay", "a netfilter queue", "`pause` makes answers late too"),
            Self::ClientClock => ("clocks of clients", PRELOADED, IMAGE_ANEW),
        };
        (faults.to_owned(), by, instead)
    }

    /// What a fault of the plan needs where these locks are tried.
    fn needed_by(fault: &Fault, locks: &[&LockConfig]) -> Vec<Self> {
        let reached = || {
            let is_reached = |lock: &&LockConfig| !fault.target.is_client() && lock.has(&fault.target);
            let of: BTreeSet<Backend> = locks.iter().copied().filter(is_reached).map(LockConfig::backend).collect();
            of.into_iter().map(backends::of)
        };
        match &fault.kind {
            FaultKind::Pause => vec![Self::Freezer],
            FaultKind::Kill | FaultKind::Restart => vec![Self::Signals],
            FaultKind::PowerLoss => {
                // For all others it is a kill.
                let lose = reached().filter(|one| one.power_loss().is_some());
                [Self::Signals].into_iter().chain(lose.map(|one| Self::PowerLoss(one.backend()))).collect()
            }
            FaultKind::Partition { refusal: Refusal::Drop, .. } => vec![Self::Drop],
            FaultKind::Partition { refusal: Refusal::Reset, .. } => vec![Self::Reset],
            FaultKind::Loss { .. } => vec![Self::Lose],
            FaultKind::Request { .. } => Vec::new(),
            FaultKind::Delay { .. } => vec![Self::Late],
            FaultKind::Clock(_) if fault.target.is_client() => vec![Self::ClientClock],
            FaultKind::Clock(_) => {
                let have_clocks = reached().filter(|one| one.containers().has_clock);
                have_clocks.map(|one| Self::Clock(one.backend())).collect()
            }
        }
    }

    fn is_of_links(self) -> bool {
        matches!(self, Self::Drop | Self::Reset | Self::Lose | Self::Late)
    }

    /// Which servers' processes must have which files mapped.
    fn mapped(self) -> Option<(Role, [&'static str; 2])> {
        const CLOCK: [&str; 2] = [clock_page::SHIM, "/run/fencepost-clock/page"];
        match self {
            Self::Clock(backend) => Some((Role::Server(backend), CLOCK)),
            Self::PowerLoss(backend) => {
                backends::of(backend).power_loss().map(|loss| (Role::Server(backend), loss.mapped))
            }
            _ => None,
        }
    }
}

/// What was found of some means: that they are there, or why not.
type Found = BTreeMap<Means, Result<(), String>>;

/// Refuses a plan that this machine cannot carry out on `locks`. `netns` must be nobody else's yet: it is frozen for a
/// moment if the plan freezes anybody.
///
/// # Errors
/// [`Unable`] for the first fault of the plan that cannot be made; or the helper does not answer.
pub async fn require(engine: &Engine, netns: &Netns, plan: &[Fault], locks: &[&LockConfig]) -> anyhow::Result<()> {
    let wanted = plan.iter().flat_map(|fault| Means::needed_by(fault, locks)).collect();
    Ok(refuse(&try_out(engine, netns, &wanted).await?, plan, locks)?)
}

fn refuse(found: &Found, plan: &[Fault], locks: &[&LockConfig]) -> Result<(), Unable> {
    for fault in plan {
        for means in Means::needed_by(fault, locks) {
            if let Some(Err(why)) = found.get(&means) {
                let (_, _, instead) = means.words();
                return Err(Unable { fault: fault.to_string(), why: why.clone(), instead: instead.to_owned() });
            }
        }
    }
    Ok(())
}

/// Tries out what is wanted, and nothing else.
async fn try_out(engine: &Engine, netns: &Netns, wanted: &BTreeSet<Means>) -> Result<Found, NetnsError> {
    let mut found: Found = wanted.iter().map(|means| (*means, Ok(()))).collect();
    if wanted.iter().any(|means| means.is_of_links()) {
        let links = links(netns).await?;
        found.extend(wanted.iter().filter(|means| means.is_of_links()).map(|means| (*means, lacks(&links, *means))));
    }
    if wanted.iter().any(|means| means.mapped().is_some()) {
        let containers = engine.containers().await?;
        for means in wanted {
            if let Some((role, files)) = means.mapped() {
                found.insert(*means, loaded(engine, netns, &containers, role, files).await?);
            }
        }
    }
    if wanted.contains(&Means::ClientClock) {
        found.insert(
            Means::ClientClock,
            match netns.ask(&Request::MoveClock).await {
                Ok(Answer::Tried(tried)) => tried,
                Ok(other) => Err(format!("not an answer: {other:?}")),
                Err(NetnsError::Failed(why)) => Err(why),
                Err(error) => return Err(error),
            },
        );
    }
    // Last: nobody asks the helper for anything while it is frozen.
    if wanted.contains(&Means::Freezer) {
        found.insert(Means::Freezer, freezer(engine, netns).await);
    }
    Ok(found)
}

async fn links(netns: &Netns) -> Result<netns::Abilities, NetnsError> {
    match netns.ask(&Request::Abilities).await? {
        Answer::Abilities(abilities) => Ok(abilities),
        other => Err(NetnsError::Failed(format!("not abilities: {other:?}"))),
    }
}

/// What the kernel lacks for faults of links.
fn lacks(links: &netns::Abilities, means: Means) -> Result<(), String> {
    let of_its_own = match means {
        Means::Reset => &links.reject,
        Means::Lose => &links.numgen,
        Means::Late => &links.queue,
        _ => &Ok(()),
    };
    [&links.nftables, &links.set_timeouts, of_its_own].into_iter().cloned().collect()
}

/// Whether all servers of `role` run with `files`: a shim, and what it reads or writes.
async fn loaded(
    engine: &Engine,
    netns: &Netns,
    containers: &[Container],
    role: Role,
    files: [&str; 2],
) -> Result<Result<(), String>, NetnsError> {
    let servers: Vec<&Container> = containers.iter().filter(|own| own.role == role).collect();
    let pids = try_join_all(servers.iter().map(|server| engine.pid(server))).await?;
    let names = servers.iter().map(|server| server.name.clone());
    if let Some((name, _)) = names.clone().zip(&pids).find(|(_, pid)| pid.is_none()) {
        return Ok(Err(format!("{name} does not run")));
    }
    let request =
        Request::Mapped { pids: pids.into_iter().flatten().collect(), files: files.map(str::to_owned).to_vec() };
    match netns.ask(&request).await {
        Ok(Answer::Mapped(mapped)) => Ok(all_have(names.zip(mapped).collect(), files)),
        Ok(other) => Ok(Err(format!("not an answer: {other:?}"))),
        Err(NetnsError::Failed(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

/// Whether there are servers, and all of them have all of `files`.
fn all_have(servers: Vec<(String, Vec<String>)>, files: [&str; 2]) -> Result<(), String> {
    if servers.is_empty() {
        return Err("its servers are not there: `fencepost cluster up` starts them".to_owned());
    }
    servers.iter().try_for_each(|(server, mapped)| {
        let missing = files.iter().find(|file| !mapped.iter().any(|mapped| mapped == *file));
        missing.map_or(Ok(()), |file| Err(format!("{server} runs without {file}")))
    })
}

/// Freezes and thaws the helper, which is nobody's network at that moment.
async fn freezer(engine: &Engine, netns: &Netns) -> Result<(), String> {
    let trial = async {
        let helper = engine.labelled(netns.helper()).await?;
        engine.pause(&helper).await?;
        let frozen = engine.state(&helper).await;
        engine.unpause(&helper).await?;
        frozen
    };
    is_frozen(trial.await)
}

fn is_frozen(seen: Result<State, EngineError>) -> Result<(), String> {
    match seen {
        Ok(State::Paused) => Ok(()),
        Ok(state) => Err(format!("a paused container was {state}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What `fencepost cluster status` says of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Versions, as far as they could be learned.
    pub versions: Vec<(String, String)>,
    /// Each fault and its means; why not, where it cannot be made, and what does instead.
    pub means: Vec<(String, Result<String, String>)>,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "machine: {}", versions.join(", "))?;
        for (what, means) in &self.means {
            match means {
                Ok(means) => writeln!(f, "  {what:<24} yes: {means}")?,
                Err(why) => writeln!(f, "  {what:<24} no: {why}")?,
            }
        }
        Ok(())
    }
}

/// Tries everything out. Starts a network helper of its own for a moment, and touches no other container.
///
/// # Errors
/// The daemon does not answer, or the images are not there yet.
pub async fn machine() -> anyhow::Result<Machine> {
    let engine = Engine::connect().await?;
    let info = engine.docker().info().await.map_err(api("tell about its machine"))?;
    let said = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let cgroup = info.cgroup_version.map(|version| version.to_string());
    let versions = [
        ("Docker", said(info.server_version)),
        ("Linux", said(info.kernel_version)),
        ("cgroup v", said(cgroup)),
        ("machine", said(info.architecture)),
        ("Compose", compose::version().await.unwrap_or_else(|error| error.to_string())),
    ];
    let netns = Netns::start(&engine).await?;
    let tried = async {
        let netem = match links(&netns).await?.netem {
            Ok(()) => "netem is there too, and not used".to_owned(),
            Err(why) => format!("netem is missing ({why}), and not needed"),
        };
        Ok::<_, NetnsError>((try_out(&engine, &netns, &Means::all()).await?, netem))
    };
    let tried = tried.await;
    netns.end(&engine).await;
    let (found, netem) = tried?;
    Ok(Machine {
        versions: versions.map(|(name, version)| (name.to_owned(), version)).to_vec(),
        means: rows(&found, &netem),
    })
}

/// One row for each means.
fn rows(found: &Found, netem: &str) -> Vec<(String, Result<String, String>)> {
    let row = |(means, found): (&Means, &Result<(), String>)| {
        let (faults, by, instead) = means.words();
        let told = match (found, means) {
            (Ok(()), Means::Late) => Ok(format!("{by}; {netem}")),
            (Ok(()), _) => Ok(by.to_owned()),
            (Err(why), _) => Err(format!("{why}; instead: {instead}")),
        };
        (faults, told)
    };
    found.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::docker::files;
    use crate::scenario::{self, Capabilities, Scenario};

    /// The faults of a scenario with both locks, `locks` of which are tried.
    fn needs(fault: &str, locks: &[&str]) -> Vec<Means> {
        let scenario = scenario(fault);
        let locks: Vec<&LockConfig> = locks.iter().map(|lock| &scenario.locks[*lock]).collect();
        Means::needed_by(&scenario.faults[0], &locks)
    }

    fn scenario(fault: &str) -> Scenario {
        let text = format!(
            "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1s\"\nthink = \"1s\"\nwait = \"5s\"\n\
             duration = \"20s\"\n[resource]\nfencing = \"none\"\n[lock.redlock]\nnodes = 5\nttl = \"1s\"\n\
             [lock.zookeeper]\nservers = 3\nsession-timeout = \"2s\"\n[[fault.{fault}\nat = \"1s\"\n"
        );
        scenario::parse(Path::new("trial.toml"), &text, &Capabilities::docker()).unwrap()
    }

    const BOTH: &[&str] = &["redlock", "zookeeper"];

    #[test]
    fn a_fault_needs_its_own_means_on_the_locks_that_it_reaches() {
        let jump = |target| format!("clock-jump]]\ntarget = \"{target}\"\nby = \"+1s\"\nfor = \"1s\"");
        let loss = "power-loss]]\ntarget = \"node:1\"\nfor = \"1s\"";
        for (fault, locks, needed) in [
            ("pause]]\ntarget = \"holder\"\nfor = \"1s\"", BOTH, &[Means::Freezer][..]),
            ("restart]]\ntarget = \"node:1\"", BOTH, &[Means::Signals]),
            (loss, BOTH, &[Means::Signals, Means::PowerLoss(Backend::Redis)]),
            (loss, &["zookeeper"], &[Means::Signals]),
            (&jump("node:1"), BOTH, &[Means::Clock(Backend::Redis), Means::Clock(Backend::Zookeeper)]),
            (&jump("node:1"), &["redlock"], &[Means::Clock(Backend::Redis)]),
            (&jump("all"), &["zookeeper"], &[Means::Clock(Backend::Zookeeper)]),
            (&jump("leader"), BOTH, &[Means::Clock(Backend::Zookeeper)]),
            (&jump("holder"), BOTH, &[Means::ClientClock]),
            ("partition]]\ntarget = \"holder\"\npeers = \"nodes\"\nfor = \"1s\"", BOTH, &[Means::Drop]),
            (
                "partition]]\ntarget = \"holder\"\npeers = \"nodes\"\nrefusal = \"reset\"\nfor = \"1s\"",
                BOTH,
                &[Means::Reset],
            ),
            ("loss]]\ntarget = \"holder\"\npeers = \"nodes\"\npercent = 5\nfor = \"1s\"", BOTH, &[Means::Lose]),
            ("delay]]\ntarget = \"holder\"\npeers = \"nodes\"\nby = \"5ms\"\nfor = \"1s\"", BOTH, &[Means::Late]),
        ] {
            assert_eq!(needs(fault, locks), needed, "{fault} of {locks:?}");
        }
    }

    #[test]
    fn a_plan_is_refused_for_what_it_needs_and_nothing_else() {
        let scenario = scenario("pause]]\ntarget = \"holder\"\nfor = \"1s\"");
        let locks: Vec<&LockConfig> = scenario.locks.values().collect();
        let all_but = |missing: Means| -> Found {
            let tried = |means: Means| if means == missing { Err("there is none".to_owned()) } else { Ok(()) };
            Means::all().into_iter().map(|means| (means, tried(means))).collect()
        };
        for missing in Means::all() {
            let refused = refuse(&all_but(missing), &scenario.faults, &locks);
            assert_eq!(refused.is_err(), missing == Means::Freezer, "{missing:?}");
        }
        let told = refuse(&all_but(Means::Freezer), &scenario.faults, &locks).unwrap_err().to_string();
        for words in ["`pause holder at 1s, for 1s`: there is none", "--env sim", "cluster status"] {
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn links_need_nftables_and_some_need_more() {
        let no = || Err("the kernel has none".to_owned());
        let all = || netns::Abilities {
            nftables: Ok(()),
            set_timeouts: Ok(()),
            numgen: Ok(()),
            reject: Ok(()),
            queue: Ok(()),
            netem: no(),
        };
        const LINKS: [Means; 4] = [Means::Drop, Means::Reset, Means::Lose, Means::Late];
        for (links, missing) in [
            (all(), &[][..]),
            (netns::Abilities { queue: no(), ..all() }, &[Means::Late]),
            (netns::Abilities { numgen: no(), ..all() }, &[Means::Lose]),
            (netns::Abilities { reject: no(), ..all() }, &[Means::Reset]),
            (netns::Abilities { nftables: no(), ..all() }, &LINKS),
            (netns::Abilities { set_timeouts: no(), ..all() }, &LINKS),
        ] {
            let refused: Vec<Means> = LINKS.into_iter().filter(|means| lacks(&links, *means).is_err()).collect();
            assert_eq!(refused, missing);
        }
    }

    #[test]
    fn one_server_without_its_shim_or_its_page_is_enough() {
        let (role, files) = Means::Clock(Backend::Redis).mapped().unwrap();
        assert_eq!(role, Role::Server(Backend::Redis));
        let server = |number: u8, mapped: &[&str]| {
            (format!("fencepost-redis-{number}"), mapped.iter().map(|file| (*file).to_owned()).collect())
        };
        assert_eq!(all_have(vec![server(1, &files), server(2, &files)], files), Ok(()));
        for (mapped, missing) in [(&files[..1], files[1]), (&files[1..], files[0]), (&[], files[0])] {
            let told = all_have(vec![server(1, &files), server(2, mapped)], files).unwrap_err();
            assert_eq!(told, format!("fencepost-redis-2 runs without {missing}"));
        }
        assert!(all_have(Vec::new(), files).unwrap_err().contains("cluster up"), "no servers are no proof");
    }

    #[test]
    fn what_shims_map_is_what_is_looked_for() {
        let [_, page] = Means::Clock(Backend::Zookeeper).mapped().unwrap().1;
        assert_eq!(page, format!("{}/{}", clock_page::FOLDER, clock_page::FILE));
        assert!(files::content("docker/clockshim.c").contains(&format!("\"{page}\"")));
    }

    #[test]
    fn a_freezer_that_does_not_freeze_is_none() {
        assert_eq!(is_frozen(Ok(State::Paused)), Ok(()));
        assert_eq!(is_frozen(Ok(State::Running)), Err("a paused container was running".to_owned()));
        assert!(is_frozen(Err(EngineError::NotLabelled { name: "x".to_owned() })).is_err());
    }

    #[test]
    fn every_means_has_a_row_and_a_missing_one_says_what_does_instead() {
        let found: Found = Means::all().into_iter().map(|means| (means, Ok(()))).collect();
        let all = rows(&found, "netem is missing");
        assert_eq!(all.len(), Means::all().len());
        assert!(all.iter().all(|(_, told)| told.is_ok()));
        let none: Found = Means::all().into_iter().map(|means| (means, Err("gone".to_owned()))).collect();
        let machine = Machine { versions: Vec::new(), means: rows(&none, "") };
        let text = machine.to_string();
        assert_eq!(text.matches("no: gone; instead: ").count(), Means::all().len(), "{text}");
    }
}
