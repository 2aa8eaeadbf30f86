//! The files the containers are made of, carried inside the binary, so that an installed `fencepost` needs no checkout.
//!
//! They are written to the state folder before Docker or Compose reads them there. Deliberately absent: reading them
//! from the working directory, where a stranger's `docker-compose.yml` may lie.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::backends;
use super::cluster_name;

/// The Compose file's name in the state folder.
pub const COMPOSE: &str = "docker-compose.yml";
/// The script that makes the base image.
pub const BASE: &str = "docker/base.sh";

/// The files that are of no backend, by their paths in the repository and in the state folder.
const COMMON: &[(&str, &str)] = &[
    (COMPOSE, include_str!("../../../docker-compose.yml")),
    (BASE, include_str!("../../../docker/base.sh")),
    ("docker/adapter.Dockerfile", include_str!("../../../docker/adapter.Dockerfile")),
    ("docker/clockshim.c", include_str!("../../../docker/clockshim.c")),
    ("docker/syncshim.c", include_str!("../../../docker/syncshim.c")),
    ("docker/sys.h", include_str!("../../../docker/sys.h")),
    ("docker/tools.Dockerfile", include_str!("../../../docker/tools.Dockerfile")),
];

/// Why the files could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no place to write to.
    #[error("no folder to keep Docker files in: set XDG_STATE_HOME or HOME to an absolute path")]
    NoHome,
    /// A file could not be written.
    #[error("cannot write {}: {source}; set XDG_STATE_HOME to a folder that can be written to", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Every file and its content.
fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMON.iter().chain(backends::all().flat_map(|one| one.containers().files)).copied()
}

/// The content of one of the files; empty for a name that is none of them.
pub fn content(name: &str) -> &'static str {
    all().find(|(file, _)| *file == name).map_or("", |(_, content)| content)
}

/// `$XDG_STATE_HOME/fencepost`, by default `~/.local/state/fencepost`; for a cluster with a name, a folder of its own
/// below it.
pub fn state_folder() -> Result<PathBuf, FilesError> {
    // The XDG specification says to ignore relative paths.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|folder| folder.join("fencepost"))
        .map(|folder| match cluster_name::chosen() {
            Some(name) => folder.join("clusters").join(name),
            None => folder,
        })
        .ok_or(FilesError::NoHome)
}

/// Writes all files to the state folder, where they differ from what is there, and returns the folder.
pub fn lay_out() -> Result<PathBuf, FilesError> {
    let folder = state_folder()?;
    lay_out_in(&folder)?;
    Ok(folder)
}

fn lay_out_in(folder: &Path) -> Result<(), FilesError> {
    for (name, content) in all() {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == content.as_bytes()) {
            continue;
        }
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content))
            .map_err(|source| FilesError::Write { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_laid_out_and_stale_ones_replaced() {
        let folder = tempfile::tempdir().unwrap();
        lay_out_in(folder.path()).unwrap();
        let script = folder.path().join(BASE);
        fs::write(&script, "stale").unwrap();
        lay_out_in(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(script).unwrap(), content(BASE));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("docker"), "a file in the way").unwrap();
        let error = lay_out_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("docker/base.sh") && error.contains("XDG_STATE_HOME"), "{error}");
    }
}
