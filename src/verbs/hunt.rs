//! `hunt` and `shrink`: the search, told as it goes.

use std::time::Duration;

use fencepost::cli::{self, AssumeName, HuntArgs, HuntFormat};
use fencepost::defendant::registry;
use fencepost::hunt::draw::Assume;
use fencepost::run::{self, Heard, HuntRequest};

use super::console::{Progress, say, stop_on_signals};
use super::failure::Failure;

/// Searches, and tells of each finding as it is found. Findings are violations: exit code 1.
pub async fn hunt(args: HuntArgs) -> Result<u8, Failure> {
    let known = fencepost::hunt::draw::locks();
    let unasked = || registry::algorithms().filter(|algorithm| algorithm.is_searched_unasked());
    let locks = if args.locks.is_empty() { unasked().map(|lock| lock.name().to_owned()).collect() } else { args.locks };
    if let Some(lock) = locks.iter().find(|lock| !known.contains(&lock.as_str())) {
        return Err(Failure::bad_request(format!("there is no algorithm `{lock}`; there are: {}", known.join(", "))));
    }
    let is_endless = args.trials.is_none() && args.findings.is_none() && args.cpu.is_none();
    let request = HuntRequest {
        locks,
        seed: args.seed,
        trials: args.trials,
        time: args.time.or(is_endless.then_some(Duration::from_secs(60))),
        cpu: args.cpu,
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
            printed = progress.aside(|| say(&cli::hunt::found(finding)));
            progress.say("shrinking");
        }
        Heard::Shrunk(finding) if is_human => {
            let told = finding.shrunk.as_ref().map(cli::hunt::small).unwrap_or_default();
            printed = progress.aside(|| say(&told));
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
    // A search without a trial has found nothing out.
    Ok(match (hunted.findings.is_empty(), hunted.interrupted || hunted.trials == 0) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 0,
    })
}
