//! The command line: verbs, arguments, help texts; [`stdout`] prints results.
//!
//! Deliberately absent: what the verbs do; that is `main` and `run`.

pub mod stdout;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::check::Model;
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
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
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
    /// The world to run in.
    #[arg(long, value_enum, default_value_t = EnvironmentName::Sim)]
    pub env: EnvironmentName,
    /// Try only this lock of the scenario; may be repeated.
    #[arg(long = "lock", value_name = "NAME")]
    pub locks: Vec<String>,
    /// Fixes every random choice: in simulation of the run, in docker of the plan. Drawn and printed if absent.
    #[arg(long)]
    pub seed: Option<Seed>,
    /// Run this many seeds, from the seed on, over all cores, and count. Simulation only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Where run folders go.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// How to print the result. With --seeds, `json` prints a line per seed and a summary. `junit` prints one document, at
    /// the end.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A `history.jsonl`, or a history of Jepsen's in EDN.
    pub history: PathBuf,
    /// Ask only whether the lock's operations are linearizable, and by this model: mutex, owner-mutex, reentrant:K, fenced,
    /// reentrant-fenced:K; owner-mutex+lease and fenced+lease let a hold end by itself when its validity is over. The
    /// others have no +lease: nested holds that may each end by themselves are beyond the polynomial algorithm of this
    /// check, and a mutex without owners has nobody whose lease could end. A history in EDN needs a model, since it does
    /// not say what lock it tells of.
    #[arg(long)]
    pub model: Option<Model>,
    /// Read a release that failed as one that did nothing, as Knossos does. Otherwise a release ends its client's claim,
    /// whatever comes of it.
    #[arg(long, requires = "model")]
    pub strict: bool,
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
    /// Where run folders and the index page go.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
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

/// What to do with the cluster.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ClusterVerb {
    /// Start it, building its images if they are missing, and wait until every server answers.
    Up,
    /// Say how it is.
    Status,
    /// Undo every fault that fencepost left on this machine.
    Heal,
    /// Stop it and remove its containers and network. The images stay.
    Down,
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
