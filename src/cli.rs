//! The command line: verbs, arguments, help texts; [`stdout`] prints results, [`hunt`] phrases what a search came to.
//!
//! Deliberately absent: what the verbs do; that is `verbs` beside `main`, and `run`.

pub mod hunt;
pub mod stdout;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::adapter::Servers;
use crate::check::{CheckName, Model};
use crate::history::foreign::{Naming, Order};
use crate::seed::Seed;

/// Puts distributed locks on trial.
///
/// Runs concurrent clients against a lock, hurts them and their servers, records what happened, and says whether two
/// clients ever held the lock at once, and what that did to what it protects.
#[derive(Debug, Parser)]
#[command(name = "fencepost", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Work with the cluster of this name, beside others on the same Docker daemon: with servers, network, ports and
    /// journal of its own.
    #[arg(long, global = true, env = "FENCEPOST_CLUSTER", value_name = "NAME", help_heading = "Real servers")]
    pub cluster: Option<String>,
}

const EXIT_CODES: &str = "Exit codes:
  0    everything as expected (or valid, where nothing is expected)
  1    a guarantee was broken that should have held, or held that should have been broken
  2    unknown: too little was exercised, or the run was interrupted
  254  bad arguments, scenario or history
  255  the environment or fencepost itself failed";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run scenario files and judge what happened.
    Run(RunArgs),
    /// Compare locks: every scenario over many seeds, in simulation; one table and one index page.
    Compare(CompareArgs),
    /// Search for what breaks a lock: plans that are drawn, judged by what the lock promises; findings are shrunk.
    Hunt(HuntArgs),
    /// Make a run small that broke a guarantee: fewer strikes, fewer clients, less time.
    Shrink(ShrinkArgs),
    /// Run a simulated run again, and prove or deny that it is the same.
    Replay {
        /// A run's folder, as `run` prints it.
        run: PathBuf,
    },
    /// Judge a stored history again, or one of another harness.
    Check(CheckArgs),
    /// Judge a stored run again and draw its page.
    Report {
        /// A run's folder, as `run` prints it.
        run: PathBuf,
    },
    /// Try locks that are not of fencepost: through every scenario that suits them, on real servers; ends in one page.
    Try(TryArgs),
    /// Locks that are not of fencepost, as programs that speak the adapter protocol (adapters/README.md).
    #[command(subcommand)]
    Adapter(AdapterVerb),
    /// Show who holds a lock, who waits, since when, for how much longer and with which tokens.
    Inspect(InspectArgs),
    /// Measure what requests to the cluster's servers take, beside what they take in simulation, and say how a scenario
    /// simulates that network.
    Calibrate(CalibrateArgs),
    /// The cluster of real servers that `--env docker` uses.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// List the scenario files of a folder, or the locks that can stand trial.
    List {
        /// The folder.
        #[arg(default_value = "scenarios")]
        folder: PathBuf,
        /// The locks instead: the sound ones, and the canaries with their flaws.
        #[arg(long, conflicts_with = "folder")]
        locks: bool,
    },
    /// Show a folder of reports in a browser of this machine, read-only.
    Serve {
        /// The folder.
        #[arg(default_value = "reports")]
        folder: PathBuf,
        /// The port on 127.0.0.1; 0 takes any free one.
        #[arg(long, default_value_t = 8710)]
        port: u16,
    },
    /// Print the JSON Schema of scenario files, for editors.
    Schema {
        /// That of verdict.json and `--format json` instead.
        #[arg(long)]
        verdict: bool,
        /// The XML Schema of `--format junit` instead.
        #[arg(long, conflicts_with = "verdict")]
        junit: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// One client of a trial, inside its container.
    #[command(hide = true)]
    Client {
        /// The client's number.
        #[arg(long)]
        id: u32,
        /// The control socket.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Where a trial's clients find a lock server that is not ours, inside its container.
    #[command(hide = true)]
    Door {
        /// The port to listen at.
        #[arg(long)]
        port: u16,
        /// Where connections go on.
        #[arg(long)]
        socket: PathBuf,
    },
    /// The protected resource of a trial, inside its container.
    #[command(hide = true)]
    Resource {
        /// The control socket.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Heals when the run that started it dies.
    #[command(hide = true)]
    Watchdog {
        /// The state folder.
        folder: PathBuf,
        /// The network helper's socket.
        netns: PathBuf,
    },
    /// Changes other containers' networks, inside a helper container.
    #[command(hide = true)]
    Netns {
        /// Where to listen for requests.
        #[arg(long)]
        socket: PathBuf,
    },
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Scenario files, or folders of them.
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    /// The world to run in: sim, unless --servers asks for docker.
    #[arg(long, value_enum)]
    pub env: Option<EnvironmentName>,
    /// Try the locks on servers that exist: `redis://host:port,redis://host:port,…`, `zk://host:port,host:port/chroot`,
    /// or a settings file (`lock.toml`), which may name passwords; once for each backend. Faults are at clients and
    /// their links only, and nothing is done to these servers but what clients of a lock do. Implies --env docker, for
    /// the clients.
    #[arg(long, value_name = "SERVERS", conflicts_with = "seeds", help_heading = "Real servers")]
    pub servers: Vec<String>,
    /// Try only this lock of the scenario; may be repeated.
    #[arg(long = "lock", value_name = "NAME")]
    pub locks: Vec<String>,
    /// Fixes every random choice: in simulation of the run, in docker of the plan. Drawn and printed if absent.
    #[arg(long)]
    pub seed: Option<Seed>,
    /// Run this many seeds, from the seed on, over all cores, and count. Simulation only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Run the same seed this many times and count the verdicts, to see what real servers make of one plan. Only with
    /// --env docker: a simulated run repeats itself.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seeds")]
    pub repeat: Option<u64>,
    /// Where run folders go.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// How to print the result. With --seeds or --repeat, `json` prints a line per run and a summary. `junit` prints
    /// one document, at the end.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Arguments of `hunt`.
#[derive(Debug, clap::Args)]
pub struct HuntArgs {
    /// Search this algorithm (`fencepost list --locks`); may be repeated. The sound locks if absent.
    #[arg(long = "lock", value_name = "NAME")]
    pub locks: Vec<String>,
    /// How long to search: 60s if nothing else ends it.
    #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
    pub time: Option<Duration>,
    /// How much CPU time to search for, of all cores together: what a clock does not show on a busy machine.
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub cpu: Option<Duration>,
    /// How many trials to run.
    #[arg(long = "seeds", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub trials: Option<u64>,
    /// Stop after this many findings.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub findings: Option<u64>,
    /// Then run what is left of each finding on real servers, --confirm-runs times, and say how often it fails there
    /// too.
    #[arg(long, value_name = "ENV", value_parser = ["docker"], conflicts_with = "no_shrink")]
    pub confirm: Option<String>,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..), requires = "confirm")]
    pub confirm_runs: u64,
    /// Leave findings as they were found.
    #[arg(long)]
    pub no_shrink: bool,
    /// Fixes every plan and every trial. Drawn and printed if absent.
    #[arg(long)]
    pub seed: Option<Seed>,
    /// What the plans may do: stay within what the locks assume, so that whatever breaks is the lock's own fault; or
    /// anything, where each finding says which assumptions its plan is beyond.
    #[arg(long, value_enum, default_value_t = AssumeName::Declared)]
    pub assume: AssumeName,
    /// Where the hunt's folder goes.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// How to print the result: a line per finding and a summary, or `hunt.json`.
    #[arg(long, value_enum, default_value_t = HuntFormat::Human)]
    pub format: HuntFormat,
}

/// What plans may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AssumeName {
    /// What the locks declare: clocks within the margin for drift, masters that do not forget.
    Declared,
    /// Nothing.
    Nothing,
}

/// How to print what a hunt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HuntFormat {
    /// Text for people.
    Human,
    /// `hunt.json`.
    Json,
}

/// Arguments of `shrink`.
#[derive(Debug, clap::Args)]
pub struct ShrinkArgs {
    /// A run's folder, as `run` prints it.
    pub run: PathBuf,
    /// Of this lock; the first that broke a guarantee if absent.
    #[arg(long)]
    pub lock: Option<String>,
    /// For this check; the first that is invalid if absent.
    #[arg(long, value_parser = check_name)]
    pub check: Option<CheckName>,
}

fn check_name(text: &str) -> Result<CheckName, String> {
    let known = CheckName::ALL.into_iter().find(|check| check.name() == text);
    known.ok_or_else(|| format!("one of {}", CheckName::ALL.map(CheckName::name).join(", ")))
}

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Where the lock is: a settings file (`lock.toml`), the masters of a Redlock or the one server of a Redis lock
    /// (`redis://[user:password@]host:port[/database]`, each an argument), or an ensemble (`zk://host:port,host:port`).
    #[arg(required = true, value_name = "URL")]
    pub servers: Vec<String>,
    /// The lock's name.
    pub name: String,
    /// What stands before the lock's name: the key prefix, or the path of the locks in an ensemble. That of the
    /// settings if absent, else the library's own.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Take the lock from whoever holds it. The next token is beyond theirs: a resource that looks at tokens refuses
    /// them, one that does not is theirs to write until they look at their guard.
    #[arg(long)]
    pub release: bool,
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A `history.jsonl`, or another harness's history in EDN or JSON, packed with gzip or not; `-` is standard input.
    pub history: PathBuf,
    /// Ask only whether the lock's operations are linearizable, and by this model: mutex, owner-mutex, reentrant:K,
    /// fenced, reentrant-fenced:K, semaphore:K, read-write; owner-mutex+lease and fenced+lease let a hold end by itself
    /// when its validity is over. The others have no +lease: nested holds that may each end by themselves are beyond
    /// the polynomial algorithm of this check, and a mutex without owners has nobody whose lease could end. Another
    /// harness's history needs a model, since it does not say what lock it tells of.
    #[arg(long)]
    pub model: Option<Model>,
    /// Read a release that failed as one that did nothing, as Knossos does. Otherwise a release ends its client's
    /// claim, whatever comes of it.
    #[arg(long, requires = "model")]
    pub strict: bool,
    /// How another harness's history is read.
    #[command(flatten)]
    pub naming: NamingArgs,
    /// Also write the acquires and releases as EDN that Knossos reads.
    #[arg(long, value_name = "FILE")]
    pub to_edn: Option<PathBuf>,
    /// Which lock to write, where there are several.
    #[arg(long = "lock", value_name = "NAME", requires = "to_edn")]
    pub lock: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// How to read another harness's history. What is left out is told by the history itself, and the result says how.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How another harness's history is read")]
pub struct NamingArgs {
    /// The key that names the lock, in the op or in a map in its :value. `value`: all of an invocation's :value;
    /// `first`: the first of a pair there; `none`: there is one lock.
    #[arg(long, value_name = "KEY")]
    pub lock_key: Option<String>,
    /// The key that names who owns a hold, also under another process number. `process`: whoever acts.
    #[arg(long, value_name = "KEY")]
    pub owner_key: Option<String>,
    /// The key that gives the fencing token of a grant. `value`: a number in :value; `second`: the second of a pair
    /// there; `none`: there are none.
    #[arg(long, value_name = "KEY")]
    pub token_key: Option<String>,
    /// How many threads the harness had. Jepsen's go on as process + N after an op in doubt, and are one owner.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    /// For how long a hold is valid that does not say it (:valid-until, :ttl), counted from its acquire's invocation:
    /// for models with +lease.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub lease: Option<Duration>,
    /// What :ttl counts. Nanoseconds, as :time, unless the key says otherwise (:ttl-ms).
    #[arg(long, value_enum, value_name = "UNIT")]
    pub ttl_unit: Option<TimeUnit>,
    /// What an acquire that went well (:ok) says if nothing was granted, beside false and words such as busy: a word, a
    /// number, nil; also within a map or a vector. May be given more than once; `none`: all were granted.
    #[arg(long, value_name = "VALUE")]
    pub refused: Vec<String>,
    /// What puts ops in order: the file, :index, or :time, which takes all clocks for one. By itself it is :index where
    /// every op has one of its own, else the file, and a file is refused that :time contradicts.
    #[arg(long, value_enum)]
    pub order: Option<OrderName>,
}

impl NamingArgs {
    /// The same for whoever reads, with a model that may ask for leases, for readers and for permits.
    pub fn naming(&self, model: Option<Model>) -> Naming {
        Naming {
            lock: self.lock_key.clone(),
            owner: self.owner_key.clone(),
            token: self.token_key.clone(),
            threads: self.threads,
            lease: self.lease,
            ttl_unit: self.ttl_unit.map(|unit| match unit {
                TimeUnit::S => 1_000_000_000,
                TimeUnit::Ms => 1_000_000,
                TimeUnit::Us => 1_000,
                TimeUnit::Ns => 1,
            }),
            refused: self.refused.clone(),
            order: match self.order {
                None => Order::Usual,
                Some(OrderName::File) => Order::File,
                Some(OrderName::Index) => Order::Index,
                Some(OrderName::Time) => Order::Time,
            },
            leased: model.is_some_and(Model::is_leased),
            readers: matches!(model, Some(Model::ReadWrite { .. })),
            permits: matches!(model, Some(Model::Semaphore { .. })),
        }
    }

    /// The first option that was given, if any was.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            (self.lock_key.is_some(), "--lock-key"),
            (self.owner_key.is_some(), "--owner-key"),
            (self.token_key.is_some(), "--token-key"),
            (self.threads.is_some(), "--threads"),
            (self.lease.is_some(), "--lease"),
            (self.ttl_unit.is_some(), "--ttl-unit"),
            (!self.refused.is_empty(), "--refused"),
            (self.order.is_some(), "--order"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; such as 10s or 1500ms"))
}

/// A duration in which something can be done.
fn some_time(text: &str) -> Result<Duration, String> {
    duration(text)
        .and_then(|time| if time.is_zero() { Err("nothing can be tried in no time".to_owned()) } else { Ok(time) })
}

/// What a number of time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// What puts ops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderName {
    /// The file.
    File,
    /// `:index`.
    Index,
    /// `:time`.
    Time,
}

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Scenario files, or folders of them.
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    /// How many seeds of each scenario to run.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first seed; the others follow it. Drawn and printed if absent.
    #[arg(long)]
    pub seed: Option<Seed>,
    /// Compare only this lock of the scenarios; may be repeated.
    #[arg(long = "lock", value_name = "NAME")]
    pub locks: Vec<String>,
    /// Vary one value of a single scenario: KEY=FROM..TO or KEY=A,B,C, such as lock.redlock.ttl=0.5s..5s.
    #[arg(long, value_name = "KEY=RANGE")]
    pub vary: Option<String>,
    /// Also run each scenario N times on real servers, and show both worlds side by side.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub real: Option<u64>,
    /// Show the runs on real servers that are stored below this folder beside the simulated ones; may be repeated.
    #[arg(long = "with", value_name = "DIR")]
    pub stored: Vec<PathBuf>,
    /// How to print the comparison.
    #[arg(long, value_enum, default_value_t = CompareFormat::Human)]
    pub format: CompareFormat,
    /// Where run folders and the index page go.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
}

/// How to print a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// A table for people.
    Human,
    /// Markdown, for design reviews.
    Markdown,
    /// One object with a summary of each scenario.
    Json,
}

/// The worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnvironmentName {
    /// A deterministic simulation: nothing to install, and every run repeats.
    Sim,
    /// Real Redis and ZooKeeper in containers; needs Docker.
    Docker,
}

/// How to print a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Human,
    /// `verdict.json`, one object a line.
    Json,
    /// JUnit XML, for CI servers.
    Junit,
}

/// Arguments of `try`.
#[derive(Debug, clap::Args)]
pub struct TryArgs {
    /// Folders of defendants (or their names, below `adapters`), or one program.
    #[arg(required_unless_present_any = ["all", "command"])]
    pub defendants: Vec<PathBuf>,
    /// All defendants of the folder `adapters`.
    #[arg(long, conflicts_with_all = ["defendants", "command"])]
    pub all: bool,
    /// A program with its arguments, behind `--`.
    #[arg(last = true, conflicts_with = "defendants")]
    pub command: Vec<String>,
    /// For a program: the servers that its lock rests on, `redis:N`, `zookeeper:N` or `etcd:3`.
    #[arg(long, value_name = "SERVERS")]
    pub backend: Option<Servers>,
    /// For a program: a Python package that it needs, such as kazoo==2.11.0; may be repeated.
    #[arg(long, value_name = "PACKAGE")]
    pub pip: Vec<String>,
    /// For a program: a Debian package that it needs; may be repeated.
    #[arg(long, value_name = "PACKAGE")]
    pub apt: Vec<String>,
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// How often to run each trial, to count how often a guarantee is broken.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,
    /// Go on where an earlier `try` with the same `--out` and `--repeat` ended: with its seed, and without the trials
    /// that it brought to their end with the same settings and scenarios.
    #[arg(long, conflicts_with = "seed")]
    pub resume: bool,
    /// Fixes the fault plans. Drawn and printed if absent.
    #[arg(long)]
    pub seed: Option<Seed>,
    /// Where run folders and the page go.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
}

/// What to do with an adapter.
#[derive(Debug, Subcommand)]
pub enum AdapterVerb {
    /// Say in a minute whether a program speaks the protocol, and behaves as a lock at all while nothing goes wrong.
    Check(AdapterCheckArgs),
    /// Print the JSON Schema of the protocol's lines.
    Schema,
    /// fencepost's own locks as a program that speaks the protocol.
    #[command(hide = true)]
    Own,
}

/// Arguments of `adapter check`.
#[derive(Debug, clap::Args)]
pub struct AdapterCheckArgs {
    /// The servers that its lock rests on: `redis:N`, `zookeeper:N` or `etcd:3`.
    #[arg(long, value_name = "SERVERS")]
    pub backend: Servers,
    /// Their addresses, if they are not those of fencepost's own cluster, which is started otherwise.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// The lease or session timeout that the program is told to use.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub lease: Duration,
    /// The program and its arguments, behind `--`.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Arguments of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct CalibrateArgs {
    /// How often to make each request.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How to print the result: a table, or one object.
    #[arg(long, value_enum, default_value_t = HuntFormat::Human)]
    pub format: HuntFormat,
}

/// What to do with the cluster.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ClusterVerb {
    /// Start it, building its images if they are missing, and wait until every server answers.
    Up(ClusterUp),
    /// Say how it is.
    Status,
    /// Undo every fault that fencepost left on this machine.
    Heal(ClusterForce),
    /// Stop it and remove its containers and network. The images stay.
    Down(ClusterForce),
}

/// How to start the cluster.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ClusterUp {
    /// With three etcd members beside Redis and ZooKeeper. A run that needs them starts them by itself.
    #[arg(long)]
    pub etcd: bool,
    /// Whatever goes on.
    #[command(flatten)]
    pub force: ClusterForce,
}

/// What goes on although a run is using the cluster.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ClusterForce {
    /// Do it although a run is using the cluster: that run is disturbed, and says so, or fails.
    #[arg(long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_seed_that_is_none_is_refused() {
        let error = Cli::try_parse_from(["fencepost", "run", "x.toml", "--seed", "lucky"]).unwrap_err().to_string();
        assert!(error.contains("whole number"), "{error}");
    }
}
