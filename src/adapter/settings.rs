//! The folder of a defendant, `adapters/NAME/`: its settings file, its program, and what its image needs.
//!
//! Deliberately absent: building the image, which is the environment's, and whether a scenario suits it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::Capability;
use super::servers::Servers;
use crate::defendant::backend::Backend;
use crate::duration;
use crate::verdict::CheckName;

/// The settings file's name.
pub const FILE: &str = "settings.toml";

/// The folder of defendants, beside the folder of scenarios.
pub const FOLDER: &str = "adapters";

/// The file as serde sees it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SettingsFile {
    backend: Servers,
    command: Vec<String>,
    #[serde(default)]
    program: Option<PathBuf>,
    #[serde(default)]
    build: Vec<String>,
    #[serde(default)]
    capabilities: Vec<Capability>,
    #[serde(default)]
    lease: Option<String>,
    #[serde(default)]
    renew: bool,
    #[serde(default)]
    pip: Vec<String>,
    #[serde(default)]
    apt: Vec<String>,
    #[serde(default)]
    permanent: Option<Vec<String>>,
    #[serde(default)]
    known: BTreeMap<CheckName, String>,
}

/// A defendant that is not of fencepost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Its name: the folder's.
    pub name: String,
    /// What it rests on.
    pub servers: Servers,
    /// The command, run in `folder`.
    pub command: Vec<String>,
    /// Where its program is on this machine.
    pub folder: PathBuf,
    /// What makes the program, run in `folder` on this machine; empty if there is nothing to make.
    #[serde(default)]
    pub build: Vec<String>,
    /// What its lock offers; nothing is taken for granted that the program does not say too.
    pub capabilities: Vec<Capability>,
    /// What is known of its lease.
    pub lease: Lease,
    /// Whether a hold is renewed every third of its lease, if the lock can.
    pub renew: bool,
    /// Python packages that its image needs, with their versions.
    pub pip: Vec<String>,
    /// Debian packages that its image needs.
    pub apt: Vec<String>,
    /// What its lock keeps at the servers for good: patterns of keys or paths, in which `*` stands for anything and
    /// `{lock}` for a lock's name.
    pub permanent: Vec<String>,
    /// Public reports of what a check may find broken.
    pub known: BTreeMap<CheckName, String>,
}

/// What is known of a lock's lease or session timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lease {
    /// It takes the one that it is told to take.
    #[default]
    AsTold,
    /// It has one of its own.
    Fixed(Duration),
    /// There is none: what ends a hold is something else.
    None,
}

impl Settings {
    /// Whether its lock offers something.
    pub fn offers(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The lease, where the one that it would be told to take is `told`.
    pub fn lease(&self, told: Duration) -> Option<Duration> {
        match self.lease {
            Lease::AsTold => Some(told),
            Lease::Fixed(fixed) => Some(fixed),
            Lease::None => None,
        }
    }
}

/// What a lock is taken to keep for good that says nothing of it.
fn permanent(backend: Backend) -> Vec<String> {
    backend.usually_kept().iter().map(|pattern| (*pattern).to_owned()).collect()
}

/// Why a folder is no defendant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, with its place.
    pub why: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for SettingsError {}

/// Reads the settings of the defendant in `folder`.
///
/// # Errors
/// The file cannot be read, or says what cannot be.
pub fn load(folder: &Path) -> Result<Settings, SettingsError> {
    let path = folder.join(FILE);
    let wrong = |why: String| SettingsError { path: path.clone(), why };
    let text = fs::read_to_string(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let file: SettingsFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].lines().count().max(1));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        wrong(format!("{place}{}", error.message()))
    })?;
    if file.command.is_empty() {
        return Err(wrong("`command` is empty: name the program and its arguments".to_owned()));
    }
    let lease = match file.lease.as_deref() {
        None => Lease::AsTold,
        Some("none") => Lease::None,
        Some(text) => match duration::parse(text) {
            Ok(lease) if !lease.is_zero() => Lease::Fixed(lease),
            _ => return Err(wrong(format!("lease `{text}` is neither a duration such as 10s nor none"))),
        },
    };
    if file.renew && !file.capabilities.contains(&Capability::Extend) {
        return Err(wrong("`renew` needs the capability extend".to_owned()));
    }
    if let Some(odd) = file.pip.iter().chain(&file.apt).find(|package| !is_package(package)) {
        return Err(wrong(format!("`{odd}` is no package: write a name and a version, such as kazoo==2.11.0")));
    }
    let program = folder.join(file.program.unwrap_or_default());
    let program = program.canonicalize().map_err(|error| wrong(format!("{}: {error}", program.display())))?;
    let canonical = folder.canonicalize().map_err(|error| wrong(error.to_string()))?;
    let name = canonical.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Settings {
        name,
        servers: file.backend,
        command: file.command,
        folder: program,
        build: file.build,
        capabilities: file.capabilities,
        lease,
        renew: file.renew,
        pip: file.pip,
        apt: file.apt,
        permanent: file.permanent.unwrap_or_else(|| permanent(file.backend.backend)),
        known: file.known,
    })
}

/// A defendant without a folder of its own: a command, of which the first word that names a file says where the program
/// is. What it offers is not known yet.
///
/// # Errors
/// No word names a file, or a package is none.
pub fn of_command(command: &[String], servers: Servers, pip: &[String], apt: &[String]) -> Result<Settings, String> {
    let place = command.iter().position(|word| Path::new(word).is_file()).ok_or_else(|| {
        format!("`{}` names no file here: it is mounted into the clients' containers", command.join(" "))
    })?;
    if let Some(odd) = pip.iter().chain(apt).find(|package| !is_package(package)) {
        return Err(format!("`{odd}` is no package: write a name and a version, such as kazoo==2.11.0"));
    }
    let file = Path::new(&command[place]).canonicalize().map_err(|error| format!("{}: {error}", command[place]))?;
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(format!("{} is in no folder", file.display()));
    };
    let name = name.to_string_lossy();
    let mut command = command.to_vec();
    command[place] = if place == 0 { format!("./{name}") } else { name.clone().into_owned() };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().chars().map(plain).collect::<String>());
    Ok(Settings {
        name: stem
            .map(|stem| stem.trim_matches('-').to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or("lock".to_owned()),
        servers,
        command,
        folder: folder.to_owned(),
        build: Vec::new(),
        capabilities: Vec::new(),
        lease: Lease::AsTold,
        renew: false,
        pip: pip.to_vec(),
        apt: apt.to_vec(),
        permanent: permanent(servers.backend),
        known: BTreeMap::new(),
    })
}

/// The folder of the defendant called `name`: a path, or a name below `adapters` here, beside the scenario's folder, or
/// beside that.
pub fn find(name: &str, scenario: &Path) -> Option<PathBuf> {
    let around = scenario.parent().into_iter().flat_map(Path::ancestors).take(3).map(|folder| folder.join(FOLDER));
    let places = [PathBuf::new(), PathBuf::from(FOLDER)].into_iter().chain(around);
    places.map(|place| place.join(name)).find(|folder| folder.join(FILE).is_file())
}

/// Whether a text can be handed to a package manager as a package, and as nothing else.
pub fn is_package(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=~:[],<>!".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mine");
        fs::create_dir(&place).unwrap();
        fs::write(place.join(FILE), text).unwrap();
        load(&place)
    }

    const GOOD: &str = "backend = \"redis:5\"\ncommand = [\"python3\", \"lock.py\"]\n";

    #[test]
    fn a_folder_says_all_that_a_trial_needs() {
        let settings = read(&format!(
            "{GOOD}capabilities = [\"extend\"]\nlease = \"10s\"\nrenew = true\npip = [\"kazoo==2.11.0\"]"
        ));
        let settings = settings.unwrap();
        assert_eq!(
            (settings.name.as_str(), settings.servers.backend, settings.servers.count),
            ("mine", Backend::Redis, 5)
        );
        assert!(settings.renew && settings.offers(Capability::Extend) && !settings.offers(Capability::Token));
        assert_eq!(settings.lease(Duration::from_secs(1)), Some(Duration::from_secs(10)));
        assert_eq!(read(GOOD).unwrap().lease(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(read(&format!("{GOOD}lease = \"none\"")).unwrap().lease(Duration::from_secs(1)), None);
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_the_remedy() {
        let cases = [
            ("command = [\"x\"]", "backend"),
            ("backend = \"consul:3\"\ncommand = [\"x\"]", "line 1: `consul:3` names no servers"),
            ("backend = \"redis:1\"\ncommand = []", "`command` is empty"),
            (&format!("{GOOD}lease = \"soon\""), "such as 10s"),
            (&format!("{GOOD}renew = true"), "capability extend"),
            (&format!("{GOOD}capabilities = [\"fly\"]"), "line 3: unknown variant `fly`"),
            (&format!("{GOOD}pip = [\"a; rm -rf /\"]"), "is no package"),
            (&format!("{GOOD}pips = []"), "unknown field `pips`"),
            (&format!("{GOOD}program = \"../nowhere\""), "nowhere"),
        ];
        for (text, says) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(FILE), "{text}: {error}");
        }
    }

    #[test]
    fn every_defendant_that_ships_can_be_read() {
        let mut read = 0;
        for entry in fs::read_dir(FOLDER).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join(FILE).is_file() {
                let settings = load(&folder).unwrap();
                assert!(settings.pip.iter().all(|package| package.contains("==")), "{folder:?}: versions are pinned");
                read += 1;
            }
        }
        assert!(read >= 5, "{read} defendants");
    }
}
