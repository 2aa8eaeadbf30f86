//! `check`: a stored history, of ours or of another harness, judged.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context;
use fencepost::check::{self, FailedRelease, Model, ModelReplay, ModelStream};
use fencepost::cli::stdout::Results;
use fencepost::cli::{CheckArgs, Format};
use fencepost::history::file::Lines;
use fencepost::history::foreign::{Naming, Reading};
use fencepost::history::source::{Notation, Source};
use fencepost::history::{self, History};
use fencepost::ids::LockName;
use fencepost::report::{self, Conclusion, Report};
use fencepost::run;
use fencepost::time::Nanos;

use super::console::say;
use super::failure::Failure;

pub fn check_history(args: &CheckArgs) -> Result<u8, Failure> {
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
        (None, Some((model, failed_release))) => match source.notation {
            Notation::Own => streamed_own(&source, model, failed_release)?,
            Notation::Foreign => streamed(&source, &naming, model, failed_release)?,
        },
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
pub fn read_history(source: &Source, naming: &Naming) -> Result<(History, Option<Reading>), Failure> {
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
pub fn streamed(
    source: &Source,
    naming: &Naming,
    model: Model,
    failed_release: FailedRelease,
) -> Result<Option<Report>, Failure> {
    let Some(mut replay) = ModelReplay::streaming(model, failed_release) else { return Ok(None) };
    let reader = opened(source)?;
    let mut until = Nanos::ZERO;
    let streamed = history::foreign::stream(reader, source.path(), naming, |op| {
        until = until.max(op.time);
        replay.take(&op);
    });
    let Some((history, reading)) = streamed.map_err(Failure::bad_request)? else { return Ok(None) };
    let result = replay.finish(history.header.kind);
    let judgement = check::qualified(check::judged(&history, vec![result]), &reading, model);
    Ok(Some(run::rejudged(
        source.path(),
        history,
        Some(until),
        Some(reading),
        Some((model, failed_release)),
        judgement,
    )))
}

/// Judges a history of ours while it is read, without keeping it, where the model can do so and nothing in it has to be
/// told with the help of all of it.
pub fn streamed_own(source: &Source, model: Model, failed_release: FailedRelease) -> Result<Option<Report>, Failure> {
    let mut lines = Lines::open(opened(source)?, source.path()).map_err(Failure::bad_request)?;
    let Some(mut stream) = ModelStream::new(&lines.header, model, failed_release) else { return Ok(None) };
    while let Some(op) = lines.next_op().map_err(Failure::bad_request)? {
        if stream.take(op).is_err() {
            return Ok(None);
        }
    }
    let Ok((history, until, judgement)) = stream.finish(&lines.header, lines.cut_off()) else { return Ok(None) };
    Ok(Some(run::rejudged(source.path(), history, Some(until), None, Some((model, failed_release)), judgement)))
}

fn opened(source: &Source) -> Result<Box<dyn BufRead + '_>, Failure> {
    let reader = source.open().with_context(|| format!("cannot read {}", source.path().display()));
    reader.map_err(Failure::bad_request)
}

pub fn write_edn(to: &Path, from: &Path, history: &History, lock: Option<&str>) -> Result<(), Failure> {
    if to.canonicalize().ok().is_some_and(|to| from.canonicalize().is_ok_and(|from| from == to)) {
        return Err(Failure::bad_request("--to-edn would overwrite the history itself; name another file"));
    }
    let lock = lock.map(LockName::new);
    history::edn::write(to, history, lock.as_ref())
        .with_context(|| format!("cannot write {}", to.display()))?
        .map_err(Failure::bad_request)
}
