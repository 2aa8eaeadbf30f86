//! The `fencepost` command: parses the command line, does what its verb says, turns the result into an exit code.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{CommandFactory, Parser};
use fencepost::adapter::{self, Settings, settings};
use fencepost::check::{self, FailedRelease, Model, ModelReplay};
use fencepost::cli::stdout::{self, Reader, Results};
use fencepost::cli::{
    self, AdapterCheckArgs, AdapterVerb, AssumeName, CheckArgs, Cli, ClusterForce, ClusterVerb, CompareArgs,
    CompareFormat, EnvironmentName, Format, HuntArgs, HuntFormat, InspectArgs, RunArgs, TryArgs, Verb,
};
use fencepost::env::docker;
use fencepost::history::foreign::{Naming, Reading};
use fencepost::history::source::{Notation, Source};
use fencepost::history::{self, History};
use fencepost::hunt::draw::Assume;
use fencepost::ids::{ClientId, LockName};
use fencepost::inspect::{InspectError, Servers};
use fencepost::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use fencepost::report::compare::Compared;
use fencepost::report::plain::plain;
use fencepost::report::strangers::Row;
use fencepost::report::sweep::{Sweep, Tally};
use fencepost::report::{self, Conclusion, OWN_FAILURE, Report};
use fencepost::run::{self, Environment, Heard, HuntRequest, Plan, Replayed, Request, RunError};
use fencepost::scenario;
use fencepost::scenario::shipped::SHIPPED;
use fencepost::scenario::vary::{Knob, with_value};
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
    if let Some(name) = cli.cluster.as_deref().filter(|name| !name.is_empty())
        && let Err(error) = docker::cluster_name::choose(name)
    {
        tell(&error.to_string());
        return ExitCode::from(BAD_REQUEST);
    }
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
            tell(&message);
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
            RunError::Scenario(error) if std::io::stderr().is_terminal() && stdout::colour_is_wanted() => {
                Self { code: BAD_REQUEST, message: error.styled() }
            }
            RunError::Scenario(error) => Self { code: BAD_REQUEST, message: error.to_string() },
            error if error.is_bad_request() => Self::bad_request(error),
            error => Self::own(error),
        }
    }
}

/// Standard output could not take the result.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::own(format!("cannot print the result: {error}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::own(error)
    }
}

async fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let failure = |error: InspectError| match error {
        InspectError::Servers(_) => Failure::own(error),
        _ => Failure::bad_request(error),
    };
    let servers = Servers::of(&args.servers, args.prefix.clone()).map_err(failure)?;
    let name = LockName::new(&args.name);
    if args.release {
        say(servers.release(&name).await.map_err(failure)?.trim_end())?;
    }
    say(servers.look(&name).await.map_err(failure)?.trim_end())?;
    Ok(0)
}

async fn act(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Run(args) => run_all(args).await,
        Verb::Compare(args) => compare(args),
        Verb::Hunt(args) => hunt(args).await,
        Verb::Shrink(args) => {
            let small = run::shrink(&args.run, args.lock.as_deref(), args.check).map_err(Failure::bad_request)?;
            say(&cli::hunt::small(&small))?;
            Ok(0)
        }
        Verb::Replay { run } => replay(&run),
        Verb::Check(args) => check_history(&args),
        Verb::Inspect(args) => inspect(&args).await,
        Verb::Report { run } => {
            let report = report::json::read_run(&run, check::judge).map_err(Failure::bad_request)?;
            let page = report::write(&report)
                .with_context(|| format!("cannot write to {}", run.display()))
                .map_err(Failure::own)?;
            say(&page.display().to_string())?;
            Ok(Conclusion::of(&report).code())
        }
        Verb::Try(args) => try_out(args).await,
        Verb::Adapter(AdapterVerb::Own) => adapter::own::serve().await.map(|()| 0).map_err(Failure::own),
        Verb::Adapter(AdapterVerb::Check(args)) => adapter_check(args).await,
        Verb::Adapter(AdapterVerb::Schema) => {
            say(&serde_json::to_string_pretty(&adapter::protocol::schema()).map_err(Failure::own)?)?;
            Ok(0)
        }
        Verb::Cluster(verb) => cluster(verb).await,
        Verb::List { locks: true, .. } => {
            say(&locks())?;
            Ok(0)
        }
        Verb::List { folder, .. } => list(&folder),
        Verb::Serve { folder, port } => {
            let told = |address| {
                let _ = stdout::say(&format!("http://{address}/ shows {} (Ctrl-C ends it)", folder.display()));
            };
            let served = fencepost::serve::serve(&folder, port, told).await;
            served.with_context(|| format!("cannot show {}", folder.display())).map_err(Failure::bad_request)?;
            Ok(0)
        }
        Verb::Schema { verdict: true } => {
            say(report::json::VERDICT_SCHEMA)?;
            Ok(0)
        }
        Verb::Schema { verdict: false } => {
            say(&serde_json::to_string_pretty(&scenario::load::schema()).map_err(Failure::own)?)?;
            Ok(0)
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fencepost", &mut script);
            say(&String::from_utf8_lossy(&script))?;
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
    if args.repeat.is_some() && environment == Environment::Sim {
        return Err(Failure::bad_request(
            "--repeat is for real servers, since a simulated run repeats itself; add --env docker, or count seeds with --seeds",
        ));
    }
    let stop = match (environment, args.seeds, args.format) {
        (Environment::Docker, ..) => stop_on_signals("healing faults and writing the report"),
        (Environment::Sim, Some(_), _) => stop_on_signals("counting the seeds that were run"),
        (Environment::Sim, None, Format::Junit) => stop_on_signals("ending this run and printing the document"),
        // Over in a moment, and nothing to heal or to print: Ctrl-C simply ends it.
        (Environment::Sim, None, _) => watch::channel(false).1,
    };
    // All files are read before the first is run: a mistake in the last one must not cost the others' time.
    let plans: Vec<Plan> = scenario_files(&args.scenarios)?
        .into_iter()
        .map(|scenario| {
            let (locks, out) = (args.locks.clone(), args.out.clone());
            Plan::load(Request { scenario, locks, seed: args.seed, out }, environment).map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    let mut results = Results::new(args.format);
    let ended = run_plans(plans, args.seeds, args.repeat, &mut results, &stop).await;
    results.finish()?;
    Ok(called_off(ended?, &stop).code())
}

async fn run_plans(
    plans: Vec<Plan>,
    seeds: Option<u64>,
    repeat: Option<u64>,
    results: &mut Results,
    stop: &watch::Receiver<bool>,
) -> Result<Conclusion, Failure> {
    let mut worst = Conclusion::default();
    for plan in plans {
        if *stop.borrow() {
            break;
        }
        let name = plan.scenario().name.clone();
        let conclusion = match (seeds, repeat) {
            (Some(seeds), _) => sweep(&plan, seeds, results, stop),
            (None, Some(times)) => run_again(plan, times, results, stop).await,
            (None, None) => run_once(&plan, results, stop).await,
        };
        let failed = |failure: &Failure| results.failure(&name, &failure.message);
        worst = worst.max(conclusion.inspect_err(failed)?);
    }
    Ok(worst)
}

async fn run_once(plan: &Plan, results: &mut Results, stop: &watch::Receiver<bool>) -> Result<Conclusion, Failure> {
    let progress = Progress::new();
    let report = run::run(plan, &|message| progress.say(message), stop.clone()).await;
    progress.clear();
    let report = report?;
    results.run(&report)?;
    Ok(Conclusion::of(&report))
}

/// Runs one scenario many times with one seed, and prints how often each check reached which verdict.
async fn run_again(
    plan: Plan,
    times: u64,
    results: &mut Results,
    stop: &watch::Receiver<bool>,
) -> Result<Conclusion, Failure> {
    let progress = Progress::new();
    let mut printed = Ok(Reader::There);
    let say_so = |message: &str| progress.say(message);
    let mut print = |report: &Report| {
        if printed.is_ok() {
            printed = results.seed(report);
        }
    };
    let counted = run::repeat(plan, times, &say_so, stop, &mut print).await;
    progress.clear();
    let counted = counted?;
    printed?;
    match results.format() {
        Format::Human => {
            say(&counted.locks.iter().map(Tally::told).collect::<Vec<_>>().join("\n"))?;
            say(&format!(
                "runs    {} with seed {}, {} as expected",
                counted.seeds, counted.first, counted.as_expected
            ))?;
            if let Some(example) = &counted.example {
                say(&format!(
                    "page    {} (the first that differs, or the first)",
                    example.join(report::PAGE).display()
                ))?;
            }
        }
        Format::Json => say(&serde_json::json!({ "summary": counted }).to_string())?,
        Format::Junit => {}
    }
    Ok(if counted.seeds < times { counted.conclusion.max(Conclusion::Unknown) } else { counted.conclusion })
}

/// What was called off has not shown what it was to show, however well it began.
fn called_off(conclusion: Conclusion, stop: &watch::Receiver<bool>) -> Conclusion {
    if *stop.borrow() { conclusion.max(Conclusion::Unknown) } else { conclusion }
}

/// Runs many seeds of one scenario and prints their count.
fn sweep(plan: &Plan, seeds: u64, results: &mut Results, stop: &watch::Receiver<bool>) -> Result<Conclusion, Failure> {
    let mut printed = Ok(Reader::There);
    let counted = count(plan, seeds, stop, &mut |report| {
        printed = results.seed(report);
        // Seeds that nobody hears of need not be run.
        if matches!(printed, Ok(Reader::There)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    printed?;
    match results.format() {
        Format::Human => {
            say(&report::compare::table(std::slice::from_ref(&counted), stdout::style()))?;
            say(&format!("seeds   {} from {}", counted.seeds, counted.first))?;
            if let Some(example) = &counted.example {
                say(&format!("page    {} (one of the runs)", example.join(report::PAGE).display()))?;
            }
        }
        Format::Json => say(&serde_json::json!({ "summary": counted }).to_string())?,
        Format::Junit => {}
    }
    // Too few seeds are not what was asked for.
    Ok(if counted.seeds < seeds { counted.conclusion.max(Conclusion::Unknown) } else { counted.conclusion })
}

/// Runs many seeds with a progress bar.
fn count(
    plan: &Plan,
    seeds: u64,
    stop: &watch::Receiver<bool>,
    each: &mut dyn FnMut(&Report) -> ControlFlow<()>,
) -> Result<Sweep, Failure> {
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(plan.scenario().name.clone());
    let counted = run::sweep(plan, seeds, stop, &mut |report| {
        bar.inc(1);
        bar.suspend(|| each(report))
    });
    bar.finish_and_clear();
    Ok(counted?)
}

/// The matrix locks × scenarios.
fn compare(args: CompareArgs) -> Result<u8, Failure> {
    let files = scenario_files(&args.scenarios)?;
    let folder = args.out.join("compare");
    let knob = args.vary.as_deref().map(Knob::parse).transpose().map_err(Failure::bad_request)?;
    let files = match &knob {
        Some(knob) => varied(&files, knob, &folder)?,
        None => files,
    };
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
        sweeps.push(count(plan, args.seeds, &stop, &mut |_| ControlFlow::Continue(()))?);
    }
    let unfinished = stop.borrow().then(|| {
        let (begun, all) = (sweeps.len(), plans.len());
        format!("It was called off: {begun} of {all} scenarios were begun, each with up to {} seeds.", args.seeds)
    });
    let compared = Compared {
        sweeps: &sweeps,
        varied: knob.as_ref().map(|knob| (knob.key.as_str(), &knob.values[..])),
        unfinished: unfinished.as_deref(),
    };
    let index = report::compare::write(&folder, compared)
        .with_context(|| format!("cannot write the index page in {}", folder.display()))?;
    match args.format {
        CompareFormat::Human => {
            say(&report::compare::table(&sweeps, stdout::style()))?;
            say(&format!("page    {}", index.display()))?;
            say(&unfinished.unwrap_or_else(|| format!("seeds   {} from {seed}", args.seeds)))?;
        }
        CompareFormat::Markdown => say(&report::compare::markdown(&sweeps))?,
        CompareFormat::Json => {
            let (varied, page) = (knob.map(|knob| knob.key), index.display().to_string());
            say(&serde_json::json!({ "page": page, "varied": varied, "unfinished": unfinished, "scenarios": sweeps })
                .to_string())?;
        }
    }
    let worst = sweeps.iter().map(|sweep| sweep.conclusion).max().unwrap_or_default();
    // What a file foresaw, it foresaw of its own value.
    let worst = if args.vary.is_some() && worst == Conclusion::Unexpected { Conclusion::AsExpected } else { worst };
    Ok(called_off(worst, &stop).code())
}

/// Writes a file for each value of the knob, which can be run by itself, and names them in order.
fn varied(files: &[PathBuf], knob: &Knob, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let [file] = files else {
        return Err(Failure::bad_request(format!(
            "--vary turns one knob of one scenario, and there are {}; name one file",
            files.len()
        )));
    };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the scenario file {}", file.display()));
    let text = text.map_err(Failure::bad_request)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let place = folder.join("varied");
    std::fs::create_dir_all(&place)
        .with_context(|| format!("cannot write to {}", place.display()))
        .map_err(Failure::bad_request)?;
    let write = |(value, _): &(String, f64)| {
        let text = with_value(&text, &knob.key, value).map_err(Failure::bad_request)?;
        let short = knob.key.rsplit('.').next().unwrap_or(&knob.key);
        let value: String =
            value.chars().map(|c| if c.is_ascii_alphanumeric() || "+-.%µ".contains(c) { c } else { '_' }).collect();
        let path = place.join(format!("{name}.{short}={value}.toml"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    knob.values.iter().map(write).collect()
}

/// Searches, and tells of each finding as it is found. Findings are violations: exit code 1.
async fn hunt(args: HuntArgs) -> Result<u8, Failure> {
    let known = fencepost::hunt::draw::locks();
    let locks =
        if args.locks.is_empty() { ["redis", "redlock", "zookeeper"].map(str::to_owned).to_vec() } else { args.locks };
    if let Some(lock) = locks.iter().find(|lock| !known.contains(&lock.as_str())) {
        return Err(Failure::bad_request(format!("there is no algorithm `{lock}`; there are: {}", known.join(", "))));
    }
    let is_endless = args.trials.is_none() && args.findings.is_none();
    let request = HuntRequest {
        locks,
        seed: args.seed,
        trials: args.trials,
        time: args.time.or(is_endless.then_some(Duration::from_secs(60))),
        findings: args.findings,
        assume: match args.assume {
            AssumeName::Declared => Assume::Declared,
            AssumeName::Nothing => Assume::Nothing,
        },
        shrink: !args.no_shrink,
        out: args.out,
    };
    let stop = stop_on_signals("ending the search with what was found");
    let progress = Progress::new();
    let is_human = args.format == HuntFormat::Human;
    let mut printed = Ok(());
    let hunted = run::hunt(&request, &stop, &mut |heard| match heard {
        Heard::Judged(trials) => progress.say(&format!("{trials} trials")),
        Heard::Found(finding) if is_human => {
            printed = progress.bar.suspend(|| say(&cli::hunt::found(finding)));
            progress.say("shrinking");
        }
        Heard::Shrunk(finding) if is_human => {
            let told = finding.shrunk.as_ref().map(cli::hunt::small).unwrap_or_default();
            printed = progress.bar.suspend(|| say(&told));
        }
        Heard::Found(_) | Heard::Shrunk(_) => {}
    });
    let mut hunted = hunted?;
    printed?;
    if args.confirm.is_some() {
        run::confirm(&mut hunted, args.confirm_runs, &|message| progress.say(message), &stop).await?;
    }
    progress.clear();
    match args.format {
        HuntFormat::Human => say(&cli::hunt::summary(&hunted))?,
        HuntFormat::Json => say(&serde_json::to_string(&hunted).map_err(Failure::own)?)?,
    }
    Ok(match (hunted.findings.is_empty(), hunted.interrupted) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 0,
    })
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
            None => say(&format!("{}: the same, trace hash {}", lock.lock, lock.recorded))?,
            Some(difference) => say(&format!(
                "{}: DIFFERENT: recorded {}, replayed {}; {difference}",
                lock.lock, lock.recorded, lock.replayed
            ))?,
        }
    }
    Ok(u8::from(!replayed.iter().all(Replayed::is_same)))
}

fn check_history(args: &CheckArgs) -> Result<u8, Failure> {
    let path = &args.history;
    if path.is_dir() {
        return Err(Failure::bad_request(format!(
            "{0} is a folder; name a history in it, such as {0}/LOCK/{1}, or judge a whole run: fencepost report {0}; {2}",
            path.display(),
            report::HISTORY,
            history::source::READABLE
        )));
    }
    let source = Source::of(path).map_err(Failure::bad_request)?;
    let failed_release = if args.strict { FailedRelease::DidNothing } else { FailedRelease::EndsTheClaim };
    let model = match args.model {
        Some(model) if model.is_leased() && args.strict => {
            return Err(Failure::bad_request(format!(
                "{model} takes every release to end the claim; leave out --strict"
            )));
        }
        None if source.notation == Notation::Foreign => {
            return Err(Failure::bad_request(format!(
                "{} does not say what lock it tells of; name a model, such as --model mutex, owner-mutex, fenced, \
                 semaphore:2 or read-write",
                path.display()
            )));
        }
        model => model.map(|model| (model, failed_release)),
    };
    if let (Notation::Own, Some(option)) = (source.notation, args.naming.given()) {
        return Err(Failure::bad_request(format!(
            "{option} is for other harnesses' histories; {} says by itself what it tells",
            path.display()
        )));
    }
    let naming = args.naming.naming(args.model);
    let report = match (&args.to_edn, model) {
        (None, Some((model, failed_release))) if source.notation == Notation::Foreign => {
            streamed(&source, &naming, model, failed_release)?
        }
        _ => None,
    };
    let report = match report {
        Some(report) => report,
        None => {
            let (history, reading) = read_history(&source, &naming)?;
            if let Some(to) = &args.to_edn {
                write_edn(to, path, &history, args.lock.as_deref())?;
            }
            run::recheck(path, history, reading, model)
        }
    };
    let mut results = Results::new(args.format);
    results.run(&report)?;
    results.finish()?;
    if let (Format::Human, Some(_)) = (args.format, model) {
        // Which model was used and how releases were read is half of the verdict.
        for result in report.locks.iter().flat_map(|lock| &lock.judgement.checks) {
            say(&format!("{}: {}", result.check, result.summary))?;
        }
    }
    Ok(Conclusion::of(&report).code())
}

/// Reads a history whole.
fn read_history(source: &Source, naming: &Naming) -> Result<(History, Option<Reading>), Failure> {
    let read = match source.notation {
        Notation::Own => {
            let reader = source.open().with_context(|| format!("cannot read {}", source.path().display()));
            history::file::read_from(reader.map_err(Failure::bad_request)?, source.path())
                .map(|history| (history, None))
        }
        Notation::Foreign => history::foreign::read(|| source.open(), source.path(), naming)
            .map(|foreign| (foreign.history, Some(foreign.reading))),
    };
    read.map_err(Failure::bad_request)
}

/// Judges another harness's history while it is read, without keeping it, where the model can do so.
fn streamed(
    source: &Source,
    naming: &Naming,
    model: Model,
    failed_release: FailedRelease,
) -> Result<Option<Report>, Failure> {
    let Some(mut replay) = ModelReplay::streaming(model, failed_release) else { return Ok(None) };
    let reader = source.open().with_context(|| format!("cannot read {}", source.path().display()));
    let reader = reader.map_err(Failure::bad_request)?;
    let streamed = history::foreign::stream(reader, source.path(), naming, |op| replay.take(&op));
    let Some((history, reading)) = streamed.map_err(Failure::bad_request)? else { return Ok(None) };
    let judgement = check::qualified(check::judged(&history, vec![replay.finish()]), &reading, model);
    Ok(Some(run::rejudged(source.path(), history, Some(reading), Some((model, failed_release)), judgement)))
}

fn write_edn(to: &Path, from: &Path, history: &History, lock: Option<&str>) -> Result<(), Failure> {
    if to.canonicalize().ok().is_some_and(|to| from.canonicalize().is_ok_and(|from| from == to)) {
        return Err(Failure::bad_request("--to-edn would overwrite the history itself; name another file"));
    }
    let lock = lock.map(LockName::new);
    history::edn::write(to, history, lock.as_ref())
        .with_context(|| format!("cannot write {}", to.display()))?
        .map_err(Failure::bad_request)
}

/// Tries locks of others through the scenarios that suit them.
async fn try_out(args: TryArgs) -> Result<u8, Failure> {
    let defendants = defendants(&args).await?;
    let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    if let Some(odd) = args.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::bad_request(format!("there is no scenario `{odd}`; there are: {}", known.join(", "))));
    }
    let wanted = |name: &str| args.scenarios.is_empty() || args.scenarios.iter().any(|wanted| wanted == name);
    let scenarios = SHIPPED.iter().filter(|(name, _)| wanted(name));
    let seed = args.seed.unwrap_or_else(Seed::from_entropy);
    let trials = run::Trials {
        defendants,
        scenarios: scenarios.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        seed: Some(seed),
        times: args.repeat,
        out: args.out.clone(),
    };
    let stop = stop_on_signals("healing faults and writing the page");
    let progress = Progress::new();
    let mut each = |row: &Row| {
        // Whatever was broken is in the table at the end; this is for whoever watches.
        progress
            .bar
            .suspend(|| tell(&format!("{} in {}: {}", plain(&row.defendant), row.scenario, plain(&row.told()))));
    };
    let rows = run::try_out(&trials, &|message| progress.say(message), &stop, &mut each).await;
    progress.clear();
    let rows = rows?;
    let folder = args.out.join("try");
    let page = report::strangers::write(&folder, &rows, *stop.borrow())
        .with_context(|| format!("cannot write the page in {}", folder.display()))?;
    say(report::strangers::table(&rows).trim_end())?;
    say(&format!("page    {}", page.display()))?;
    say(&format!("seed    {seed}"))?;
    Ok(called_off(report::strangers::conclusion(&rows), &stop).code())
}

/// Who is to be tried.
async fn defendants(args: &TryArgs) -> Result<Vec<Settings>, Failure> {
    let folders: Vec<PathBuf> = if args.all {
        let listed = std::fs::read_dir(settings::FOLDER)
            .with_context(|| format!("cannot list {}/, the folder of defendants", settings::FOLDER));
        let entries = listed.map_err(Failure::bad_request)?.filter_map(Result::ok).map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = entries.filter(|folder| folder.join(settings::FILE).is_file()).collect();
        folders.sort();
        folders
    } else {
        args.defendants.clone()
    };
    let program = match folders.as_slice() {
        [file] if file.is_file() => vec![file.display().to_string()],
        _ => args.command.clone(),
    };
    if !program.is_empty() {
        let Some(servers) = args.backend else {
            return Err(Failure::bad_request("say what the lock rests on: --backend redis:N or zookeeper:N"));
        };
        let found = settings::of_command(&program, servers, &args.pip, &args.apt).map_err(Failure::bad_request)?;
        return Ok(vec![docker::defendant::introduced(found).await.map_err(Failure::bad_request)?]);
    }
    if args.backend.is_some() || !args.pip.is_empty() || !args.apt.is_empty() {
        return Err(Failure::bad_request("--backend, --pip and --apt are for a program; a folder's settings say so"));
    }
    let load = |folder: &PathBuf| {
        let name = folder.display().to_string();
        let place = settings::find(&name, Path::new("")).ok_or_else(|| {
            let (folder, file) = (settings::FOLDER, settings::FILE);
            Failure::bad_request(format!(
                "`{name}` is neither a program nor a folder with a {file}, here or in {folder}/"
            ))
        })?;
        settings::load(&place).map_err(Failure::bad_request)
    };
    folders.iter().map(load).collect()
}

/// Tries a program in fair weather.
async fn adapter_check(args: AdapterCheckArgs) -> Result<u8, Failure> {
    let AdapterCheckArgs { backend, servers, lease, command } = args;
    let servers = match servers.len() {
        0 => {
            let progress = Progress::new();
            let up = docker::run::up(false, &|message| progress.say(message)).await;
            progress.clear();
            up?.published(backend.backend, backend.count)
        }
        count if count == backend.count as usize => servers,
        count => return Err(Failure::bad_request(format!("--servers names {count} of the {backend}"))),
    };
    let spec = adapter::Spec {
        command,
        folder: None,
        backend: backend.backend.name().to_owned(),
        servers,
        lease: Some(lease),
        client: 1,
    };
    let mut printed = Ok(());
    let mut each = |step: &adapter::check::Step| {
        let (mark, told) = match &step.wrong {
            None => ("ok  ", step.seen.clone()),
            Some(wrong) => ("FAIL", format!("{}: {wrong}", step.seen)),
        };
        let line = format!("{mark}  {}{}{}", step.what, if told.is_empty() { "" } else { ": " }, plain(&told));
        if printed.is_ok() {
            printed = say(&line);
        }
    };
    let checked = adapter::check::check(&spec, &mut each).await.map_err(Failure::bad_request)?;
    printed?;
    for misdeed in &checked.misdeeds {
        say(&format!(
            "{}  {}",
            if misdeed.gravity == adapter::Gravity::Noise { "note" } else { "FAIL" },
            plain(&misdeed.text)
        ))?;
    }
    let hello = &checked.hello;
    let offers: Vec<&str> = hello.capabilities.iter().map(|capability| capability.name()).collect();
    let offers = if offers.is_empty() { "nothing beside acquire and release".to_owned() } else { offers.join(", ") };
    say(&format!("{} {}, which offers {offers}", plain(&hello.name), plain(&hello.version)))?;
    let passed = checked.passed();
    say(if passed { "fit to stand trial; this was none" } else { "not a lock as run here" })?;
    Ok(u8::from(!passed))
}

async fn cluster(verb: ClusterVerb) -> Result<u8, Failure> {
    let progress = Progress::new();
    let outcome = cluster_verb(verb, &progress).await;
    progress.clear();
    let (text, code) = outcome?;
    say(&text)?;
    Ok(code)
}

async fn cluster_verb(verb: ClusterVerb, progress: &Progress) -> Result<(String, u8), Failure> {
    Ok(match verb {
        ClusterVerb::Up(ClusterForce { force }) => {
            let cluster = docker::run::up(force, &|message| progress.say(message)).await?;
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
        ClusterVerb::Heal(ClusterForce { force }) => {
            let undone = docker::run::heal_all(force).await?;
            (if undone.is_empty() { "nothing to heal".to_owned() } else { undone.join("\n") }, 0)
        }
        ClusterVerb::Down(ClusterForce { force }) => {
            docker::run::down(force).await?;
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
            Ok(title) => say(&format!("{:width$}  {}", plain(&scenario.name), plain(&title)))?,
            Err(error) => {
                code = BAD_REQUEST;
                say(&format!("{:width$}  (cannot be read)\n{error}", plain(&scenario.name)))?;
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

/// Prints to standard output.
fn say(text: &str) -> Result<(), Failure> {
    stdout::say(text)?;
    Ok(())
}

/// Prints to standard error. If nobody reads, nobody is told.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
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
            tell(&format!("\nfencepost: stopping: {what_remains} (again to stop at once)"));
            let _ = sender.send(true);
        }
    });
    stop
}

/// What is going on, on a terminal; nothing elsewhere. A step that took its time stays there with what it took.
struct Progress {
    bar: ProgressBar,
    step: Mutex<Option<(String, Instant)>>,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, step: Mutex::default() }
    }

    fn say(&self, message: &str) {
        self.end_step(Some(message));
        self.bar.reset_elapsed();
        self.bar.set_message(message.to_owned());
    }

    fn clear(&self) {
        self.end_step(None);
        self.bar.finish_and_clear();
    }

    #[expect(clippy::disallowed_methods, reason = "people wait in real time")]
    fn end_step(&self, next: Option<&str>) {
        let next = next.map(|next| (next.to_owned(), Instant::now()));
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((done, began)) = std::mem::replace(&mut *step, next) else { return };
        if began.elapsed() >= Duration::from_secs(1) {
            self.bar.println(format!("{:>6.1} s  {done}", began.elapsed().as_secs_f64()));
        }
    }
}
