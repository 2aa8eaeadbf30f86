//! Runs on real servers that are stored already, for a comparison to show beside its simulated ones.
//!
//! A run counts if its scenario is compared and its file was the same, to the letter: another file is another trial. It
//! is judged anew, by the checks of today. Deliberately absent: runs on servers that were given, which are as many, and
//! as near, as whoever gave them has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Plan;
use crate::check;
use crate::history::EnvironmentName;
use crate::report::real::Real;
use crate::report::{LATEST, RUN, json, library};

/// Folders of reports have scenarios' folders in them, and those have runs'.
const DEPTH: usize = 3;

/// Adds the runs below `folders` that are of these plans. What was passed over is told by `real.left_out`.
pub fn add_stored(folders: &[PathBuf], plans: &[Plan], real: &mut Real) {
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    for root in folders {
        let mut runs = Vec::new();
        find(root, DEPTH, &mut runs);
        runs.sort();
        for folder in runs {
            let Some(entry) =
                library::entry(root, &folder).filter(|entry| entry.environment.is(EnvironmentName::Docker))
            else {
                continue;
            };
            let Some(plan) = plans.iter().find(|plan| plan.scenario.name == entry.scenario) else { continue };
            match json::read_run(&folder, check::judge) {
                Ok(run) if run.servers.is_some() => {}
                Ok(run) if run.source != plan.scenario.source => *others.entry(entry.scenario).or_default() += 1,
                Ok(mut run) => {
                    run.locks.retain(|lock| plan.locks.contains(&lock.name));
                    real.add(run);
                }
                Err(error) => real.left_out.push(format!("{}: {error}", folder.display())),
            }
        }
    }
    let told = others.into_iter().map(|(scenario, runs)| {
        let runs = if runs == 1 { "1 run is".to_owned() } else { format!("{runs} runs are") };
        format!("{scenario}: {runs} of another version of its file, and not shown.")
    });
    real.left_out.extend(told);
}

/// All folders of runs down to this depth, without following links.
fn find(folder: &Path, depth: usize, runs: &mut Vec<PathBuf>) {
    if folder.join(RUN).is_file() {
        runs.push(folder.to_owned());
        return;
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != LATEST {
            find(&entry.path(), depth, runs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Request};
    use super::*;
    use crate::report::tests::sample;
    use crate::seed::Seed;

    #[test]
    fn only_runs_on_real_servers_of_the_same_file_count() {
        let out = tempfile::tempdir().unwrap();
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/client-pause.toml");
        let request = Request { scenario, locks: Vec::new(), seed: Some(Seed(1)), out: out.path().to_owned() };
        let plan = Plan::load(request, Environment::Sim).unwrap();
        let write = |name: &str, environment: &str, source: &str| {
            let folder = out.path().join("client-pause").join(name);
            let (environment, source) = (environment.to_owned().into(), source.to_owned());
            let run = crate::report::Report { folder: folder.clone(), environment, source, ..sample::report() };
            crate::report::write(&run).unwrap();
            for lock in &run.locks {
                fs::create_dir(folder.join(&lock.name)).unwrap();
                let place = folder.join(&lock.name).join(crate::report::HISTORY);
                crate::history::file::write(&place, &lock.history).unwrap();
            }
        };
        let source = plan.scenario.source.clone();
        write("1", "docker", &source);
        write("2", "sim", &source);
        write("3", "docker", "title = \"Another\"");
        write("4", "docker", &source);
        fs::write(out.path().join("client-pause/4/redlock").join(crate::report::HISTORY), "no history").unwrap();
        let mut real = Real::default();
        add_stored(&[out.path().to_owned()], std::slice::from_ref(&plan), &mut real);
        assert_eq!(real.sweeps().iter().map(|sweep| sweep.seeds).collect::<Vec<_>>(), [1, 1], "{:?}", real.left_out);
        assert_eq!(real.left_out.len(), 2, "{:?}", real.left_out);
        assert!(real.left_out[0].contains("client-pause/4"), "{:?}", real.left_out);
        assert!(real.left_out[1].contains("1 run is of another version"), "{:?}", real.left_out);
    }
}
