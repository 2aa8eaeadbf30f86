//! Reads scenario files: TOML, then the format, then the meaning; every mistake with its place.
//!
//! Nothing starts before the whole file is understood. Deliberately absent: the format's keys (the module `file`) and
//! what they may say (`validate`, `plan`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

pub use super::capabilities::{Capabilities, FaultName};
pub use super::error::{LoadError, Problem};
pub use super::file::schema;

use super::error::nearest;
use super::file::ScenarioFile;
use super::locks;
use super::plan;
use super::problems::Problems;
use super::simulation;
use super::validate::{self, Trial};
use super::{LockConfig, Scenario};

/// Reads the scenario file at `path` for a run in `environment`.
pub fn load(path: &Path, environment: &Capabilities) -> Result<Scenario, LoadError> {
    parse(path, &read(path)?, environment)
}

/// Reads a scenario from the text of a file. The scenario is named after `path`, which need not exist.
pub fn parse(path: &Path, text: &str, environment: &Capabilities) -> Result<Scenario, LoadError> {
    understand(path, text, environment, None)
}

/// Reads a scenario for other locks than those of the file: what it expects of its own is left out.
///
/// # Errors
/// The file is wrong, or its plan does not suit these locks.
pub fn parse_for(
    path: &Path,
    text: &str,
    environment: &Capabilities,
    locks: BTreeMap<String, LockConfig>,
) -> Result<Scenario, LoadError> {
    understand(path, text, environment, Some(locks))
}

fn understand(
    path: &Path,
    text: &str,
    environment: &Capabilities,
    others: Option<BTreeMap<String, LockConfig>>,
) -> Result<Scenario, LoadError> {
    let file = structure(path, text)?;
    let mut problems = Problems::new(text);
    validate::title(&file, &mut problems);
    let (workload, clients, duration) = validate::workload(&file.workload, environment, &mut problems);
    let resource = validate::resource(&file.resource, &mut problems);
    let simulation = simulation::simulation(&file.simulation, &mut problems);
    let is_own = others.is_none();
    let locks = match others {
        None => locks::locks(&file.lock, path, environment, &mut problems),
        Some(others) => others.into_iter().map(|(name, config)| (name, Some(config))).collect(),
    };
    if is_own {
        locks::fit(&file, &locks, &mut problems);
    }
    let trial = Trial { clients, duration, locks };
    let faults = plan::faults(&file.fault, &file.strike, &trial, environment, &mut problems);
    let expect = if is_own { validate::expect(&file, &mut problems) } else { BTreeMap::new() };
    let (Some(workload), Some(resource), Some(simulation), true) =
        (workload, resource, simulation, problems.list.is_empty())
    else {
        return Err(LoadError::new(path, text, problems.list));
    };
    Ok(Scenario {
        name: name_of(path),
        path: path.to_owned(),
        source: text.to_owned(),
        title: file.title.value,
        why: file.why.trim().to_owned(),
        workload,
        resource,
        // Without a problem every lock is known.
        locks: trial.locks.into_iter().filter_map(|(name, config)| Some((name, config?))).collect(),
        simulation,
        faults,
        expect,
    })
}

/// A scenario file of a folder.
#[derive(Debug)]
pub struct Listed {
    /// The scenario's name: the file's without `.toml`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The scenario's title, or why the file cannot be read. Whether an environment can run it is not asked.
    pub title: Result<String, LoadError>,
}

/// The scenario files of a folder, in name order. A file that cannot be read is listed with the reason.
pub fn list(dir: &Path) -> io::Result<Vec<Listed>> {
    let mut paths = toml_files(dir)?;
    paths.sort();
    let listed = paths.into_iter().map(|path| {
        let title = read(&path).and_then(|text| structure(&path, &text)).map(|file| file.title.value);
        Listed { name: name_of(&path), path, title }
    });
    Ok(listed.collect())
}

fn toml_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, LoadError> {
    let bytes = fs::read(path).map_err(|error| {
        let problem = Problem::of_file(format!("cannot read the scenario file: {error}"));
        // Most missing files are misspelt ones.
        let names: Vec<String> = match path.parent() {
            Some(dir) if error.kind() == io::ErrorKind::NotFound => {
                toml_files(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
                    .map(|paths| paths.iter().map(|path| name_of(path)).collect())
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let problem = match nearest(&name_of(path), names.iter().map(String::as_str)) {
            Some(near) => {
                problem.help(format!("did you mean `{}`?", path.with_file_name(format!("{near}.toml")).display()))
            }
            None => problem,
        };
        LoadError::new(path, "", vec![problem])
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = valid..valid + char::REPLACEMENT_CHARACTER.len_utf8();
        LoadError::new(path, &text, vec![Problem::at(&place, "not TOML: the file is not UTF-8", "not UTF-8")])
    })
}

/// The first two passes: is it TOML, and does it have the format's keys and kinds of value?
fn structure(path: &Path, text: &str) -> Result<ScenarioFile, LoadError> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problems = errors.iter().map(Problem::of_syntax).collect();
        return Err(LoadError::new(path, text, problems));
    }
    ScenarioFile::deserialize(toml::Deserializer::from(table))
        .map_err(|error| LoadError::new(path, text, vec![Problem::of_structure(&error)]))
}
