//! A stranger's lock through every scenario that suits it, on real servers; each trial with its faultless twin.
//!
//! Whoever breaks a guarantee while nothing goes wrong is no lock as it is run here: then nothing is concluded from
//! what it does under faults. In a twin clients look at what they hold, and are done in half their lease. Deliberately
//! absent: how the result looks; that is `report::strangers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Environment, Plan, Request, RunError, run};
use crate::adapter::Settings;
use crate::adapter::protocol::Capability;
use crate::check::{CheckName, Verdict};
use crate::defendant::registry;
use crate::report::LockReport;
use crate::report::strangers::{Done, Row, Run, Standing};
use crate::scenario::load::{parse, parse_for};
use crate::scenario::{
    AdapterConfig, Capabilities, ClientStyle, DurationRange, Fencing, LockConfig, Resource, Scenario, Workload,
};
use crate::seed::Seed;

/// What to try.
#[derive(Clone, Debug)]
pub struct Trials {
    /// The defendants; their names differ.
    pub defendants: Vec<Settings>,
    /// Names and texts of scenarios.
    pub scenarios: Vec<(String, String)>,
    /// The seed of all plans; drawn if absent.
    pub seed: Option<Seed>,
    /// How often each trial is run.
    pub times: u64,
    /// The folder for run folders.
    pub out: PathBuf,
    /// What was done before, and is not done again.
    pub done: Option<Done>,
}

/// A faultless trial that was run, and what it was about.
struct Twin {
    defendant: String,
    about: (Workload, Resource, LockConfig),
    verdict: Clean,
}

/// What a faultless trial says of its lock.
#[derive(Clone)]
enum Clean {
    Yes { page: PathBuf, verdicts: BTreeMap<CheckName, Verdict> },
    No { why: String, page: PathBuf },
    Unclear { why: String, page: PathBuf },
}

/// Tries all defendants. `each` sees every row as it is done, and those that were done before in their places: scenario
/// by scenario, defendants in order.
///
/// When `stop` becomes true no further trial is begun, and the one that is going on is called off.
///
/// # Errors
/// The environment failed, or the folder of reports cannot be used.
pub async fn try_out(
    trials: &Trials,
    progress: &(dyn Fn(&str) + Sync),
    stop: &watch::Receiver<bool>,
    each: &mut (dyn FnMut(&Row) + Send),
) -> Result<(), RunError> {
    let seed = trials.seed.unwrap_or_else(Seed::from_entropy);
    let mut pace = Pace::new(trials.scenarios.len());
    let mut twins: Vec<Twin> = Vec::new();
    for (number, (name, text)) in trials.scenarios.iter().enumerate() {
        if *stop.borrow() {
            break;
        }
        let left = pace.left(number);
        let told =
            |what: &str| progress(&format!("{name} ({} of {}{left}): {what}", number + 1, trials.scenarios.len()));
        let path = Path::new("scenarios").join(format!("{name}.toml"));
        let own = parse(&path, text, &Capabilities::docker())?;
        let mut standing: BTreeMap<String, Standing> = BTreeMap::new();
        let mut fit: BTreeMap<String, LockConfig> = BTreeMap::new();
        let before = |settings: &Settings| trials.done.as_ref().and_then(|done| done.row(name, text, settings));
        for settings in trials.defendants.iter().filter(|settings| before(settings).is_none()) {
            let config = LockConfig::Adapter(configured(settings, &own));
            match suits(&path, text, &own, settings, &config) {
                Ok(()) => drop(fit.insert(settings.name.clone(), config)),
                Err(why) => drop(standing.insert(settings.name.clone(), Standing::Unfit(why))),
            }
        }
        if !fit.is_empty() {
            let scenario = parse_for(&path, text, &Capabilities::docker(), fit)?;
            run_twins(trials, &scenario, seed, &mut twins, &told, stop).await?;
            let about = |lock: &str| twin_of(&scenario, lock, &twins).map(|twin| twin.verdict.clone());
            let mut tried = scenario.clone();
            for lock in scenario.locks.keys() {
                match about(lock) {
                    Some(Clean::Yes { page, .. }) if !is_its_own_twin(&scenario) => {
                        standing.insert(lock.clone(), Standing::Tried { runs: Vec::new(), twin: page });
                        continue;
                    }
                    // Its twin is the scenario itself.
                    Some(Clean::Yes { page, verdicts }) => {
                        let run = Run { folder: page.clone(), verdicts, error: None };
                        standing.insert(lock.clone(), Standing::Tried { runs: vec![run], twin: page });
                    }
                    Some(Clean::No { why, page }) => {
                        drop(standing.insert(lock.clone(), Standing::NoLock { why, page }));
                    }
                    Some(Clean::Unclear { why, page }) => {
                        drop(standing.insert(lock.clone(), Standing::Unclear { why, page }));
                    }
                    None => {}
                }
                tried.locks.remove(lock);
            }
            if !tried.locks.is_empty() {
                run_trials(trials, tried, seed, &mut standing, &told, stop).await?;
            }
            pace.timed += 1;
        }
        for settings in &trials.defendants {
            if let Some(row) = before(settings) {
                each(row);
                continue;
            }
            // Of what was called off before its first run there is nothing to tell.
            let was_begun = |standing: &Standing| !matches!(standing, Standing::Tried { runs, .. } if runs.is_empty());
            let Some(standing) = standing.remove(&settings.name).filter(was_begun) else { continue };
            let row = Row {
                scenario: name.clone(),
                title: own.title.clone(),
                defendant: settings.name.clone(),
                settings: settings.clone(),
                standing,
            };
            each(&row);
        }
    }
    Ok(())
}

/// How long scenarios take, for an estimate of what is left. Those that need no run cost nothing.
struct Pace {
    scenarios: usize,
    began: Instant,
    timed: usize,
}

impl Pace {
    fn new(scenarios: usize) -> Self {
        Self { scenarios, began: Instant::now(), timed: 0 }
    }

    /// What is left from the scenario of this number on, in words that follow a number; none before one has been timed.
    fn left(&self, number: usize) -> String {
        about(self.began.elapsed(), self.timed, self.scenarios.saturating_sub(number))
    }
}

/// `, about 12 min left`, of `left` scenarios of which `timed` took `elapsed`.
fn about(elapsed: Duration, timed: usize, left: usize) -> String {
    if timed == 0 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / timed as f64 * left as f64;
    format!(", about {} min left", (seconds / 60.0).ceil() as u64)
}

/// Runs the faultless twins that have not been run yet.
async fn run_twins(
    trials: &Trials,
    scenario: &Scenario,
    seed: Seed,
    twins: &mut Vec<Twin>,
    progress: &(dyn Fn(&str) + Sync),
    stop: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    let mut faultless = scenario.clone();
    faultless.name = format!("{}-faultless", scenario.name);
    faultless.title = format!("{}: the same without faults", scenario.title);
    faultless.faults = Vec::new();
    faultless.workload = within_the_lease(scenario);
    faultless.locks.retain(|lock, _| twin_of(scenario, lock, twins).is_none());
    if faultless.locks.is_empty() || *stop.borrow() {
        return Ok(());
    }
    let told = |what: &str| progress(&format!("without faults: {what}"));
    let plan = plan(trials, faultless, &scenario.name, seed);
    let report = run(&plan, &told, stop.clone()).await?;
    for lock in &report.locks {
        let Some(config) = scenario.locks.get(&lock.name) else { continue };
        let about = (scenario.workload.clone(), scenario.resource, config.clone());
        twins.push(Twin { defendant: lock.name.clone(), about, verdict: clean(lock, report.folder.clone()) });
    }
    Ok(())
}

async fn run_trials(
    trials: &Trials,
    scenario: Scenario,
    seed: Seed,
    standing: &mut BTreeMap<String, Standing>,
    progress: &(dyn Fn(&str) + Sync),
    stop: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    let name = scenario.name.clone();
    let plan = plan(trials, scenario, &name, seed);
    for time in 1..=trials.times {
        if *stop.borrow() {
            break;
        }
        let told = |what: &str| progress(&format!("run {time} of {}: {what}", trials.times));
        let report = run(&plan, &told, stop.clone()).await?;
        for lock in &report.locks {
            if let Some(Standing::Tried { runs, .. }) = standing.get_mut(&lock.name) {
                runs.push(Run { folder: report.folder.clone(), verdicts: verdicts(lock), error: lock.error.clone() });
            }
        }
    }
    Ok(())
}

fn plan(trials: &Trials, scenario: Scenario, name: &str, seed: Seed) -> Plan {
    let locks: Vec<String> = scenario.locks.keys().cloned().collect();
    let again = format!("fencepost try {} --scenario {name} --seed {seed}", locks.join(" "));
    let request =
        Request { scenario: scenario.path.clone(), locks: locks.clone(), seed: Some(seed), out: trials.out.clone() };
    Plan { request, environment: Environment::Docker, scenario, locks, again: Some(again), given: None }
}

/// Whether nothing goes wrong in a scenario, not even that its clients outlast their leases.
fn is_its_own_twin(scenario: &Scenario) -> bool {
    scenario.faults.is_empty() && within_the_lease(scenario) == scenario.workload
}

/// The workload of clients that look at what they hold and are done with it in half their lease: whoever outlasts a
/// lease, or does not look, gets what is coming to them, and no lock is to blame.
fn within_the_lease(scenario: &Scenario) -> Workload {
    let leases = scenario.locks.values().filter_map(|config| config.program()?.lease);
    let mut workload = scenario.workload.clone();
    workload.client = ClientStyle::Careful;
    if let Some(most) = leases.min().map(|lease| lease / 2) {
        workload.hold = DurationRange::new(workload.hold.min.min(most), workload.hold.max.min(most));
    }
    workload
}

fn twin_of<'a>(scenario: &Scenario, lock: &str, twins: &'a [Twin]) -> Option<&'a Twin> {
    let config = scenario.locks.get(lock)?;
    twins.iter().find(|twin| {
        let (workload, resource, of) = &twin.about;
        twin.defendant == lock && (workload, resource, of) == (&scenario.workload, &scenario.resource, config)
    })
}

fn verdicts(lock: &LockReport) -> BTreeMap<CheckName, Verdict> {
    lock.judgement.checks.iter().map(|result| (result.check, result.verdict)).collect()
}

/// Whether a faultless trial leaves its lock fit to be tried.
fn clean(lock: &LockReport, page: PathBuf) -> Clean {
    if let Some(why) = &lock.error {
        return Clean::Unclear { why: why.clone(), page };
    }
    // A lock that does not clean up after itself is a lock all the same, and is told of it where it is tried.
    let is_lock = |check| check != CheckName::Leftovers;
    let broken =
        lock.judgement.checks.iter().find(|result| result.verdict == Verdict::Invalid && is_lock(result.check));
    if let Some(broken) = broken {
        // The figures in full are on the page.
        let figures = broken.summary.split(';').next().unwrap_or_default();
        return Clean::No { why: format!("{} without any fault: {figures}", broken.check), page };
    }
    let exclusion = lock.judgement.checks.iter().find(|result| result.check == CheckName::MutualExclusion);
    match exclusion {
        Some(result) if result.verdict == Verdict::Valid => Clean::Yes { page, verdicts: verdicts(lock) },
        Some(result) => Clean::Unclear { why: result.summary.clone(), page },
        None => Clean::Unclear { why: "its history is not well formed".to_owned(), page },
    }
}

/// A defendant with the lease and the servers' settings that a scenario has for fencepost's own lock over them.
fn configured(settings: &Settings, own: &Scenario) -> AdapterConfig {
    let backend = settings.servers.backend;
    let like = own.locks.values().find(|config| config.backend() == backend).filter(|like| like.program().is_none());
    let told = like.and_then(|like| like.lease()).unwrap_or_else(|| registry::own(backend).usual_lease());
    let persistence = like.and_then(LockConfig::persistence).unwrap_or_default();
    AdapterConfig { lease: settings.lease(told), persistence, settings: settings.clone() }
}

/// Whether a scenario has anything to say of a defendant.
fn suits(path: &Path, text: &str, own: &Scenario, settings: &Settings, config: &LockConfig) -> Result<(), String> {
    if let Some(kind) = own.locks.values().map(LockConfig::kind).find(|kind| !kind.is_mutex()) {
        return Err(format!(
            "it is about a lock that several hold ({kind}), which the protocol of adapters has no word for"
        ));
    }
    let fences = matches!(own.resource.fencing, Fencing::Write | Fencing::Access);
    if fences && !own.faults.is_empty() && !settings.offers(Capability::Token) {
        return Err("its resource fences by tokens, and this lock gives none".to_owned());
    }
    if !own.faults.is_empty() && !own.faults.iter().any(|fault| config.has(&fault.target)) {
        return Err("its faults strike what this lock does not have".to_owned());
    }
    let locks = BTreeMap::from([(settings.name.clone(), config.clone())]);
    match parse_for(path, text, &Capabilities::docker(), locks) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.problems().first().map_or_else(|| error.to_string(), |first| first.title.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::settings;
    use crate::scenario::shipped::SHIPPED;

    /// A scenario that ships, for fencepost's own Redlock behind the protocol.
    fn of(name: &str) -> (Scenario, Scenario) {
        let text = SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| *text).unwrap();
        let path = Path::new("scenarios").join(name);
        let own = parse(&path, text, &Capabilities::docker()).unwrap();
        let settings = settings::load(Path::new("adapters/fencepost-redlock")).unwrap();
        let config = LockConfig::Adapter(configured(&settings, &own));
        let locks = BTreeMap::from([(settings.name, config)]);
        (parse_for(&path, text, &Capabilities::docker(), locks).unwrap(), own)
    }

    #[test]
    fn who_outlasts_a_lease_is_tried_and_is_nobodys_twin() {
        let (slow, _) = of("slow-holder");
        assert!(slow.faults.is_empty() && !is_its_own_twin(&slow));
        let twin = within_the_lease(&slow);
        assert!(twin.client == ClientStyle::Careful && twin.hold.max <= Duration::from_millis(500), "{twin:?}");
        assert!(is_its_own_twin(&of("calm").0));
        let (pause, _) = of("client-pause");
        assert_eq!(within_the_lease(&pause).hold, pause.workload.hold, "what is short stays as it is");
    }

    #[test]
    fn what_is_left_is_told_once_something_has_been_timed() {
        assert_eq!(about(Duration::from_secs(100), 0, 5), "");
        assert_eq!(about(Duration::from_secs(100), 2, 5), ", about 5 min left");
        assert_eq!(about(Duration::from_secs(1), 1, 1), ", about 1 min left");
    }

    #[test]
    fn a_scenario_that_says_nothing_of_a_lock_is_left_out_with_the_reason() {
        let suits = |name: &str| {
            let (scenario, own) = of(name);
            let settings = settings::load(Path::new("adapters/fencepost-redlock")).unwrap();
            let config = scenario.locks.values().next().unwrap();
            suits(&scenario.path, &scenario.source, &own, &settings, config)
        };
        assert_eq!(suits("client-pause"), Ok(()));
        assert_eq!(suits("pause-before-validity-check"), Ok(()), "its step is seen in its requests");
        assert!(suits("client-pause-fenced").unwrap_err().contains("gives none"));
    }
}
