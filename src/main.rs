//! The `fencepost` command: parses the command line, does what its verb says, turns the result into an exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use fencepost::check;
use fencepost::cli::{Cli, ClusterVerb, Format, RunArgs, Verb};
use fencepost::env::docker;
use fencepost::history;
use fencepost::ids::ClientId;
use fencepost::report::console::Style;
use fencepost::report::{self, Report};
use fencepost::run::{self, Request, RunError};
use fencepost::scenario;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// Bad arguments, a bad scenario, a bad history.
const BAD_REQUEST: u8 = 254;
/// The environment or fencepost itself failed.
const OWN_FAILURE: u8 = 255;

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
        Verb::Client { .. } | Verb::Resource { .. } | Verb::Watchdog { .. } => {
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

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::own(error)
    }
}

async fn act(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Run(args) => run_all(args).await,
        Verb::Check { history, format } => check_history(&history, format),
        Verb::Report { run } => {
            let report = report::json::read_run(&run, check::judge).map_err(Failure::bad_request)?;
            let page = report::write(&report)
                .with_context(|| format!("cannot write to {}", run.display()))
                .map_err(Failure::own)?;
            say(&page.display().to_string());
            Ok(exit_code(&report))
        }
        Verb::Cluster(verb) => cluster(verb).await,
        Verb::List { folder } => list(&folder),
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
        Verb::Watchdog { folder } => docker::watchdog::main(&folder).await.map(|()| 0).map_err(Failure::own),
    }
}

/// Runs scenarios one after another; the worst exit code counts, and an interruption ends them all.
async fn run_all(args: RunArgs) -> Result<u8, Failure> {
    let stop = stop_on_signals();
    let mut worst = 0;
    for path in args.scenarios {
        let request = Request { scenario: path, locks: args.locks.clone(), seed: args.seed, out: args.out.clone() };
        let progress = Progress::new();
        let outcome = run::docker(&request, &|message| progress.say(message), stop.clone()).await;
        progress.clear();
        let report = match outcome {
            Ok(report) => report,
            Err(RunError::Scenario(error)) if std::io::stderr().is_terminal() => {
                return Err(Failure { code: BAD_REQUEST, message: error.styled() });
            }
            Err(RunError::Scenario(error)) => return Err(Failure { code: BAD_REQUEST, message: error.to_string() }),
            Err(error) if error.is_bad_request() => return Err(Failure::bad_request(error)),
            Err(error) => return Err(Failure::own(error)),
        };
        say(&print(&report, args.format));
        worst = worst.max(exit_code(&report));
        if report.interrupted.is_some() {
            break;
        }
    }
    Ok(worst)
}

/// 0 as expected; 255 a trial failed; 2 nothing worse than unknown; 1 a guarantee did otherwise than expected.
fn exit_code(report: &Report) -> u8 {
    use fencepost::verdict::Verdict::Unknown;
    let missed: Vec<_> =
        report.locks.iter().flat_map(|lock| &lock.expectations).filter(|expectation| !expectation.held()).collect();
    if report.expected() {
        0
    } else if report.interrupted.is_none() && report.locks.iter().any(|lock| lock.error.is_some()) {
        OWN_FAILURE
    } else if missed.iter().all(|expectation| expectation.reached.is_none_or(|reached| reached == Unknown)) {
        2
    } else {
        1
    }
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

fn check_history(path: &Path, format: Format) -> Result<u8, Failure> {
    let history = history::file::read(path).map_err(Failure::bad_request)?;
    let report = run::recheck(path, history);
    say(&print(&report, format));
    Ok(exit_code(&report))
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
            (status.to_string(), code)
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

/// Prints to standard output; a reader that has gone (`| head`) is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Becomes true at the first Ctrl-C or SIGTERM: the run heals, and still writes its report. The second ends the process
/// at once, and the watchdog heals.
fn stop_on_signals() -> watch::Receiver<bool> {
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
            eprintln!("\nfencepost: stopping: healing faults and writing the report (again to stop at once)");
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
