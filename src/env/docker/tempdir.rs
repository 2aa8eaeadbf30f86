//! A folder for sockets. Not in the run's folder: a socket's path has room for 107 characters only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The names of our folders begin with this; eight hexadecimal digits follow.
const PREFIX: &str = "fencepost-";

/// A folder that is removed when dropped.
pub struct TempDir {
    path: PathBuf,
    /// Locked while the folder is in use. The kernel ends that with the process, however it ends.
    _lock: File,
}

impl TempDir {
    /// A new, empty folder.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{:08x}", rand::random::<u32>()));
        let make = || {
            std::fs::create_dir(&path)?;
            let lock = File::open(&path)?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            Ok(lock)
        };
        let lock = make().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders whose makers were killed. Best effort: they hold nothing but sockets that nobody listens at and
/// clocks that nobody looks at, and whoever comes next tries again.
pub fn remove_abandoned() {
    remove_abandoned_in(&std::env::temp_dir());
}

fn remove_abandoned_in(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_ours = digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_maker_or_with_the_next_who_looks() {
        let parent = tempfile::tempdir().unwrap();
        let used = TempDir::new_in(parent.path()).unwrap();
        let dropped = TempDir::new_in(parent.path()).unwrap();
        let gone = dropped.path().to_owned();
        drop(dropped);
        assert!(!gone.exists());
        // As after kill -9: the kernel dropped the lock, the folder is there.
        let abandoned = parent.path().join("fencepost-0123abcd");
        std::fs::create_dir_all(abandoned.join("clock-c1")).unwrap();
        let strangers =
            ["fencepost-notes", "fencepost-0123abcd-and-more", "other"].map(|name| parent.path().join(name));
        strangers.iter().for_each(|stranger| std::fs::create_dir(stranger).unwrap());
        remove_abandoned_in(parent.path());
        assert!(used.path().exists() && !abandoned.exists());
        assert!(strangers.iter().all(|stranger| stranger.exists()));
    }
}
