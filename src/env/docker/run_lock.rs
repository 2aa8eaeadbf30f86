//! One run at a time on one machine: all runs share the cluster, and would hurt each other's servers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// How long a start waits for the watchdog of a run that was killed. It looks after its healing for seconds.
const WAIT: Duration = Duration::from_secs(20);

/// Why there can be no run now.
#[derive(Debug, thiserror::Error)]
pub enum RunLockError {
    /// Another run is going on.
    #[error(
        "another run is using the cluster ({0}); wait for it, end it with Ctrl-C, or have a cluster of your own with --cluster NAME"
    )]
    Taken(String),
    /// The lock file cannot be used.
    #[error("cannot use {path}: {source}; set XDG_STATE_HOME to a folder that can be written to")]
    Io {
        /// The lock file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to run. The kernel takes it back when the process dies; what stands in the file then tells that it was not
/// given back.
pub struct RunLock {
    file: File,
    /// Whether the run before this one died without giving the lock back.
    pub was_left: bool,
}

impl RunLock {
    /// Takes the lock in `folder`, saying who does. Waits a moment for a watchdog that still heals.
    ///
    /// # Errors
    /// Another run has it, or the file cannot be used.
    pub async fn take(folder: &Path, who: &str) -> Result<Self, RunLockError> {
        let started = tokio::time::Instant::now();
        loop {
            match Self::try_take(folder, who) {
                Err(RunLockError::Taken(other)) if other.starts_with(WATCHDOG) && started.elapsed() < WAIT => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// Another run has it, or the file cannot be used.
    pub fn try_take(folder: &Path, who: &str) -> Result<Self, RunLockError> {
        let path = folder.join("run.lock");
        let io = |source| RunLockError::Io { path: path.display().to_string(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let mut holder = String::new();
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            file.read_to_string(&mut holder).map_err(io)?;
            return Err(RunLockError::Taken(holder));
        }
        file.read_to_string(&mut holder).map_err(io)?;
        let mut lock = Self { file, was_left: !holder.is_empty() };
        lock.write(who).map_err(io)?;
        Ok(lock)
    }

    fn write(&mut self, who: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(who.as_bytes())
    }
}

/// How a watchdog signs.
pub const WATCHDOG: &str = "the watchdog";

impl Drop for RunLock {
    fn drop(&mut self) {
        // Given back in order: nothing to be cleaned up after us. If this fails, the next start cleans up in vain.
        let _ = self.write("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_is_told_who_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::try_take(folder.path(), "calm, process 17").unwrap();
        assert!(!first.was_left);
        let second = RunLock::try_take(folder.path(), "chaos").err().unwrap().to_string();
        assert!(second.contains("calm, process 17"), "{second}");
        drop(first);
        assert!(!RunLock::try_take(folder.path(), "chaos").unwrap().was_left);
    }

    #[test]
    fn a_lock_that_was_not_given_back_shows() {
        let folder = tempfile::tempdir().unwrap();
        // As after kill -9: the kernel dropped the lock, the file still names its holder.
        fs::write(folder.path().join("run.lock"), "calm, process 17").unwrap();
        assert!(RunLock::try_take(folder.path(), "chaos").unwrap().was_left);
    }
}
