//! `try` and `adapter check`: other people's locks.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fencepost::adapter::{self, Settings, settings};
use fencepost::cli::{AdapterCheckArgs, TryArgs, stdout};
use fencepost::defendant::Backend;
use fencepost::env::docker;
use fencepost::plain::plain;
use fencepost::report;
use fencepost::report::strangers::{Done, Row};
use fencepost::run;
use fencepost::scenario::shipped::SHIPPED;
use fencepost::seed::Seed;

use super::console::{Progress, say, stop_on_signals, tell};
use super::failure::Failure;
use super::run::called_off;

/// Tries locks of others through the scenarios that suit them.
pub async fn try_out(args: TryArgs) -> Result<u8, Failure> {
    let defendants = defendants(&args).await?;
    let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    if let Some(odd) = args.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::bad_request(format!("there is no scenario `{odd}`; there are: {}", known.join(", "))));
    }
    let wanted = |name: &str| args.scenarios.is_empty() || args.scenarios.iter().any(|wanted| wanted == name);
    let scenarios = SHIPPED.iter().filter(|(name, _)| wanted(name));
    let folder = args.out.join("try");
    let before = if args.resume { Some(resumed(&folder, args.repeat)?) } else { None };
    let seed = before.as_ref().map(|done| done.seed).or(args.seed).unwrap_or_else(Seed::from_entropy);
    let scenarios: Vec<(String, String)> =
        scenarios.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut done = Done { seed, times: args.repeat, scenarios: scenarios.iter().cloned().collect(), rows: Vec::new() };
    let trials = run::Trials {
        defendants,
        scenarios,
        seed: Some(seed),
        times: args.repeat,
        out: args.out.clone(),
        done: before,
    };
    let stop = stop_on_signals("healing faults and writing the page");
    let progress = Progress::new();
    let mut written = Ok(());
    let mut each = |row: &Row| {
        // Whatever was broken is in the table at the end; this is for whoever watches.
        progress.aside(|| tell(&format!("{} in {}: {}", plain(&row.defendant), row.scenario, plain(&row.told()))));
        done.rows.push(row.clone());
        // It takes hours: whatever ends it, what was done is there.
        if written.is_ok() {
            written = report::strangers::write(&folder, &done, Some("This is going on, or was ended")).map(drop);
        }
    };
    let ended = run::try_out(&trials, &|message| progress.say(message), &stop, &mut each).await;
    progress.clear();
    let page = report::strangers::INDEX;
    written.with_context(|| format!("cannot write {page} in {}", folder.display()))?;
    let unfinished = match &ended {
        Err(error) => Some(format!("This ended early ({error:#})")),
        Ok(()) if *stop.borrow() => Some("This was called off".to_owned()),
        Ok(()) => None,
    };
    let page = report::strangers::write(&folder, &done, unfinished.as_deref())
        .with_context(|| format!("cannot write {page} in {}", folder.display()))?;
    say(report::strangers::table(&done.rows, stdout::style()).trim_end())?;
    say(&format!("page    {}", page.display()))?;
    say(&format!("seed    {seed}"))?;
    if unfinished.is_some() {
        say("rest    the same command with --resume does what is missing")?;
    }
    ended?;
    Ok(called_off(report::strangers::conclusion(&done.rows), &stop).code())
}

/// What was done before.
fn resumed(folder: &Path, times: u64) -> Result<Done, Failure> {
    let done = Done::read(folder).with_context(|| {
        format!("there is nothing to resume in {}: leave out --resume, or say --out DIR as then", folder.display())
    });
    let done = done.map_err(Failure::bad_request)?;
    if done.times != times {
        return Err(Failure::bad_request(format!(
            "--resume: each trial was run {} times then; say --repeat {}",
            done.times, done.times
        )));
    }
    Ok(done)
}

/// Who is to be tried.
pub async fn defendants(args: &TryArgs) -> Result<Vec<Settings>, Failure> {
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
            let forms = Backend::FORMS;
            return Err(Failure::bad_request(format!("say what the lock rests on: --backend {forms}")));
        };
        let found = settings::of_command(&program, servers, &args.pip, &args.apt).map_err(Failure::bad_request)?;
        return Ok(vec![docker::defendant::introduced(found).await.map_err(Failure::bad_request)?]);
    }
    if args.backend.is_some() || !args.pip.is_empty() || !args.apt.is_empty() {
        let text = match args.defendants.iter().find(|path| !path.exists()) {
            Some(missing) => format!(
                "there is no program and no folder `{}`; of several packages each has an option of its own: --pip A --pip B",
                missing.display()
            ),
            None if args.defendants.iter().any(|path| path.is_file()) => {
                "a program stands trial alone: name one, or folders only".to_owned()
            }
            None => "--backend, --pip and --apt are for a program; a folder's settings say so".to_owned(),
        };
        return Err(Failure::bad_request(text));
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
pub async fn adapter_check(args: AdapterCheckArgs) -> Result<u8, Failure> {
    let AdapterCheckArgs { backend, servers, lease, command } = args;
    let servers = match servers.len() {
        0 => {
            let progress = Progress::new();
            let up = docker::run::up(false, &[backend.backend], &|message| progress.say(message)).await;
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
