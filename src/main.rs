//! The `fencepost` command: parses the command line, does what its verb says, turns the result into an exit code.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use fencepost::check::{self, FailedRelease};
use fencepost::cli::{CheckArgs, Cli, ClusterVerb, CompareArgs, EnvironmentName, Format, RunArgs, Verb};
use fencepost::env::docker;
use fencepost::history;
use fencepost::ids::{ClientId, LockName};
use fencepost::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use fencepost::report::console::Style;
use fencepost::report::sweep::Sweep;
use fencepost::report::{self, Conclusion, OWN_FAILURE, Report};
use fencepost::run::{self, Environment, Plan, Replayed, Request, RunError};
use fencepost::scenario;
use fencepost::seed::Seed;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// Bad arguments, a bad scenario, a bad history.
const BAD_REQUEST: u8 = 254;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no mistakes. If nobody reads, nobody is told.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_REQUEST } else { 0 });
        }
    };
    // Containers of a trial share two cores with servers and each other: one thread each is plenty.
    let mut runtime = match &cli.verb {
        Verb::Client { .. } | Verb::Resource { .. } | Verb::Watchdog { .. } | Verb::Netns { .. } => {
            tokio::runtime::Builder::new_current_thread()
        }
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let code = match runtime.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(act(cli.verb));
            // A read of standard input can't be called off.
            runtime.shutdown_background();
            code
        }
        Err(error) => Err(Failure::own(error)),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

/// One clear message, and the exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn bad_request(message: impl std::fmt::Display) -> Self {
        Self { code: BAD_REQUEST, message: format!("fencepost: {message:#}") }
    }

    fn own(message: impl std::fmt::Display) -> Self {
        Self { code: OWN_FAILURE, message: format!("fencepost: {message:#}") }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            // Drawn with the offending line, and colours where somebody looks.
            RunError::Scenario(error) if std::io::stderr().is_terminal() => {
                Self { code: BAD_REQUEST, message: error.styled() }
            }
            RunError::Scenario(error) => Self { code: BAD_REQUEST, message: error.to_string() },
            error if error.is_bad_request() => Self::bad_request(error),
            error => Self::own(error),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::own(error)
    }
}

async fn act(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Run(args) => run_all(args).await,
        Verb::Compare(args) => compare(args),
        Verb::Replay { run } => replay(&run),
        Verb::Check(args) => check_history(&args),
        Verb::Report { run } => {
            let report = report::json::read_run(&run, check::judge).map_err(Failure::bad_request)?;
            let page = report::write(&report)
                .with_context(|| format!("cannot write to {}", run.display()))
                .map_err(Failure::own)?;
            say(&page.display().to_string());
            Ok(Conclusion::of(&report).code())
        }
        Verb::Cluster(verb) => cluster(verb).await,
        Verb::List { locks: true, .. } => {
            say(&locks());
            Ok(0)
        }
        Verb::List { folder, .. } => list(&folder),
        Verb::Schema => {
            say(&serde_json::to_string_pretty(&scenario::load::schema()).map_err(Failure::own)?);
            Ok(0)
        }
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "fencepost", &mut std::io::stdout());
            Ok(0)
        }
        Verb::Client { id, socket } => {
            docker::client::main(&socket, ClientId(id)).await.map(|()| 0).map_err(Failure::own)
        }
        Verb::Resource { socket } => docker::resource::main(&socket).await.map(|()| 0).map_err(Failure::own),
        Verb::Watchdog { folder, netns } => {
            docker::watchdog::main(&folder, &netns).await.map(|()| 0).map_err(Failure::own)
        }
        Verb::Netns { socket } => docker::netns::agent::main(&socket).await.map(|()| 0).map_err(Failure::own),
    }
}

/// Runs scenarios one after another; the worst conclusion counts, and an interruption ends them all.
async fn run_all(args: RunArgs) -> Result<u8, Failure> {
    let environment = match args.env {
        EnvironmentName::Sim => Environment::Sim,
        EnvironmentName::Docker => Environment::Docker,
    };
    if args.seeds.is_some() && environment == Environment::Docker {
        return Err(Failure::bad_request(
            "--seeds runs in simulation only; leave out --env docker, or leave out --seeds",
        ));
    }
    let stop = match (environment, args.seeds) {
        (Environment::Docker, _) => stop_on_signals("healing faults and writing the report"),
        (Environment::Sim, Some(_)) => stop_on_signals("counting the seeds that were run"),
        // Over in a moment, and nothing to heal: Ctrl-C simply ends it.
        (Environment::Sim, None) => watch::channel(false).1,
    };
    let mut worst = Conclusion::default();
    // All files are read before the first is run: a mistake in the last one must not cost the others' time.
    let plans: Vec<Plan> = args
        .scenarios
        .iter()
        .map(|path| {
            let (locks, out) = (args.locks.clone(), args.out.clone());
            Plan::load(Request { scenario: path.clone(), locks, seed: args.seed, out }, environment)
                .map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    for plan in plans {
        if *stop.borrow() {
            break;
        }
        let conclusion = match args.seeds {
            Some(seeds) => sweep(&plan, seeds, args.format, &stop)?,
            None => {
                let progress = Progress::new();
                let report = run::run(&plan, &|message| progress.say(message), stop.clone()).await;
                progress.clear();
                let report = report?;
                say(&print(&report, args.format));
                Conclusion::of(&report)
            }
        };
        worst = worst.max(conclusion);
    }
    Ok(called_off(worst, &stop).code())
}

/// What was called off has not shown what it was to show, however well it began.
fn called_off(conclusion: Conclusion, stop: &watch::Receiver<bool>) -> Conclusion {
    if *stop.borrow() { conclusion.max(Conclusion::Unknown) } else { conclusion }
}

/// Runs many seeds of one scenario and prints their count.
fn sweep(plan: &Plan, seeds: u64, format: Format, stop: &watch::Receiver<bool>) -> Result<Conclusion, Failure> {
    let counted = count(plan, seeds, stop, &mut |report| match format {
        Format::Human => {}
        Format::Json => say(&report::json::verdict(report).to_string()),
        Format::Junit => say(&report::junit::junit(report)),
    })?;
    match format {
        Format::Human => {
            say(&report::compare::table(std::slice::from_ref(&counted), style_of_stdout()));
            say(&format!("seeds   {} from {}", counted.seeds, counted.first));
            if let Some(example) = &counted.example {
                say(&format!("page    {} (one of the runs)", example.join(report::PAGE).display()));
            }
        }
        Format::Json => say(&serde_json::json!({ "summary": counted }).to_string()),
        Format::Junit => {}
    }
    Ok(counted.conclusion)
}

/// Runs many seeds with a progress bar.
fn count(
    plan: &Plan,
    seeds: u64,
    stop: &watch::Receiver<bool>,
    each: &mut dyn FnMut(&Report),
) -> Result<Sweep, Failure> {
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(plan.scenario().name.clone());
    let counted = run::sweep(plan, seeds, stop, &mut |report| {
        bar.inc(1);
        bar.suspend(|| each(report));
    });
    bar.finish_and_clear();
    Ok(counted?)
}

/// The matrix locks × scenarios.
fn compare(args: CompareArgs) -> Result<u8, Failure> {
    let files = scenario_files(&args.scenarios)?;
    let stop = stop_on_signals("counting the seeds that were run");
    let seed = args.seed.unwrap_or_else(Seed::from_entropy);
    let plans: Vec<Plan> = files
        .into_iter()
        .map(|scenario| {
            let (locks, out) = (args.locks.clone(), args.out.clone());
            Plan::load(Request { scenario, locks, seed: Some(seed), out }, Environment::Sim).map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    let mut sweeps = Vec::new();
    for plan in &plans {
        if *stop.borrow() {
            break;
        }
        sweeps.push(count(plan, args.seeds, &stop, &mut |_| {})?);
    }
    let folder = args.out.join("compare");
    let index = report::compare::write(&folder, &sweeps)
        .with_context(|| format!("cannot write the index page in {}", folder.display()))?;
    say(&report::compare::table(&sweeps, style_of_stdout()));
    say(&format!("page    {}", index.display()));
    say(&format!("seeds   {} from {}", args.seeds, seed));
    let worst = sweeps.iter().map(|sweep| sweep.conclusion).max().unwrap_or_default();
    Ok(called_off(worst, &stop).code())
}

/// The files that paths name: themselves, or all scenario files of a folder.
fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let listed = scenario::list(path).with_context(|| format!("cannot list {}", path.display()));
            files.extend(listed.map_err(Failure::bad_request)?.into_iter().map(|scenario| scenario.path));
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Failure::bad_request("no scenario files there; name files, or a folder that holds some"));
    }
    Ok(files)
}

/// Proves or denies that a simulated run repeats.
fn replay(folder: &Path) -> Result<u8, Failure> {
    let replayed = run::replay(folder).map_err(Failure::bad_request)?;
    for lock in &replayed {
        match &lock.difference {
            None => say(&format!("{}: the same, trace hash {}", lock.lock, lock.recorded)),
            Some(difference) => say(&format!(
                "{}: DIFFERENT: recorded {}, replayed {}; first at {difference}",
                lock.lock, lock.recorded, lock.replayed
            )),
        }
    }
    Ok(u8::from(!replayed.iter().all(Replayed::is_same)))
}

fn print(report: &Report, format: Format) -> String {
    match format {
        Format::Human => report::console::table(report, style_of_stdout()),
        Format::Json => report::json::verdict(report).to_string(),
        Format::Junit => report::junit::junit(report),
    }
}

/// Colour and width on a terminal, plain lines elsewhere. NO_COLOR (no-color.org) switches colour off.
fn style_of_stdout() -> Style {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
    Style { colour, width: if terminal { width } else { None } }
}

fn check_history(args: &CheckArgs) -> Result<u8, Failure> {
    let path = &args.history;
    let (history, passed_over) = if history::edn::is_edn(path).map_err(Failure::bad_request)? {
        let foreign = history::edn::read(path).map_err(Failure::bad_request)?;
        (foreign.history, foreign.passed_over)
    } else {
        (history::file::read(path).map_err(Failure::bad_request)?, 0)
    };
    if let Some(to) = &args.to_edn {
        let lock = args.lock.as_deref().map(LockName::new);
        history::edn::write(to, &history, lock.as_ref())
            .with_context(|| format!("cannot write {}", to.display()))?
            .map_err(Failure::bad_request)?;
    }
    let reading = if args.strict { FailedRelease::DidNothing } else { FailedRelease::EndsTheClaim };
    let model = match args.model {
        Some(model) if model.is_leased() && args.strict => {
            return Err(Failure::bad_request(format!(
                "{model} takes every release to end the claim; leave out --strict"
            )));
        }
        None if history.header.environment == history::edn::FOREIGN => {
            return Err(Failure::bad_request(format!(
                "{} does not say what lock it tells of; name a model, such as --model mutex, owner-mutex or fenced",
                path.display()
            )));
        }
        model => model.map(|model| (model, reading)),
    };
    let report = run::recheck(path, history, model);
    say(&print(&report, args.format));
    if let (Format::Human, Some(_)) = (args.format, model) {
        // Which model was used and how releases were read is half of the verdict.
        for result in report.locks.iter().flat_map(|lock| &lock.judgement.checks) {
            say(&format!("{}: {}", result.check, result.summary));
        }
        if passed_over > 0 {
            say(&format!(
                "ops passed over, since they are no acquires or releases by numbered processes: {passed_over}"
            ));
        }
    }
    Ok(Conclusion::of(&report).code())
}

async fn cluster(verb: ClusterVerb) -> Result<u8, Failure> {
    let progress = Progress::new();
    let outcome = cluster_verb(verb, &progress).await;
    progress.clear();
    let (text, code) = outcome?;
    say(&text);
    Ok(code)
}

async fn cluster_verb(verb: ClusterVerb, progress: &Progress) -> Result<(String, u8), Failure> {
    Ok(match verb {
        ClusterVerb::Up => {
            let cluster = docker::cluster::up(&|message| progress.say(message)).await.map_err(Failure::own)?;
            (format!("up: {}", cluster.versions), 0)
        }
        ClusterVerb::Status => {
            let status = docker::status::status().await.map_err(Failure::own)?;
            let code = if status.is_ready() { 0 } else { 1 };
            // The helper that tries things out needs the images, and so the first `up`.
            let machine = match docker::abilities::machine().await {
                Ok(machine) => machine.to_string(),
                Err(error) => format!("machine: not tried out: {error:#}\n"),
            };
            (format!("{status}\n{machine}"), code)
        }
        ClusterVerb::Heal => {
            let undone = docker::run::heal_all().await?;
            (if undone.is_empty() { "nothing to heal".to_owned() } else { undone.join("\n") }, 0)
        }
        ClusterVerb::Down => {
            docker::cluster::down().await.map_err(Failure::own)?;
            ("down".to_owned(), 0)
        }
    })
}

fn list(folder: &Path) -> Result<u8, Failure> {
    let listed = scenario::list(folder)
        .with_context(|| format!("cannot list {}; name the folder that holds the scenario files", folder.display()))
        .map_err(Failure::bad_request)?;
    let width = listed.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut code = 0;
    for scenario in listed {
        match scenario.title {
            Ok(title) => say(&format!("{:width$}  {title}", scenario.name)),
            Err(error) => {
                code = BAD_REQUEST;
                say(&format!("{:width$}  (cannot be read)\n{error}", scenario.name));
            }
        }
    }
    Ok(code)
}

/// The algorithms that a scenario can name.
fn locks() -> String {
    let redlock = RedlockFlaw::ALL.iter().map(|flaw| flaw.about());
    let zookeeper = ZookeeperFlaw::ALL.iter().map(|flaw| flaw.about());
    let canaries =
        redlock.chain(zookeeper).map(|about| format!("{}\n  {}\n  {}", about.name, about.flaw, about.source));
    [
        "redlock\n  Redlock over independent Redis masters.".to_owned(),
        "zookeeper\n  Ephemeral sequential znodes in a ZooKeeper ensemble.".to_owned(),
        "\nCanaries, which must be caught:".to_owned(),
    ]
    .into_iter()
    .chain(canaries)
    .collect::<Vec<_>>()
    .join("\n")
}

/// Prints to standard output; a reader that has gone (`| head`) is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Becomes true at the first Ctrl-C or SIGTERM: the run heals, and still writes its report. The second ends the process
/// at once, and the watchdog heals.
#[expect(clippy::disallowed_methods, reason = "signals come in real time")]
fn stop_on_signals(what_remains: &'static str) -> watch::Receiver<bool> {
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        for times in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if times > 0 {
                std::process::exit(OWN_FAILURE.into());
            }
            eprintln!("\nfencepost: stopping: {what_remains} (again to stop at once)");
            let _ = sender.send(true);
        }
    });
    stop
}

/// What is going on, on a terminal; nothing elsewhere.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    fn say(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
