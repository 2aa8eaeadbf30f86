//! The folders through which the harness moves the servers' clocks, one for each: laid out before the servers start,
//! set right afterwards.
//!
//! Deliberately absent: the page itself (`clock_page.rs`) and what a fault writes there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::clock_page::{self, ClockPage, Setting};
use super::settings::Settings;

/// The file beside a clock's page that tells a server that keeps what it has not synced, when it starts, that its
/// machine lost power.
pub const POWER_LOSS: &str = "power-loss";

/// Makes the pages that are missing; the containers of which that was so. A server that runs does not see a page that
/// was made after it had started.
pub fn lay_out(settings: &Settings, state: &Path) -> io::Result<BTreeSet<String>> {
    let mut unseen = BTreeSet::new();
    for server in settings.servers() {
        let Some(folder) = server.clock(state) else { continue };
        if !folder.join(clock_page::FILE).exists() {
            unseen.insert(server.name.clone());
        }
        ClockPage::open(&folder)?;
    }
    Ok(unseen)
}

/// Sets the clock of `folder` right and takes back the news of a power loss. A folder that is gone is fine. Says
/// whether there was anything to do.
pub fn set_right(folder: &Path) -> io::Result<bool> {
    if !folder.join(clock_page::FILE).exists() {
        return Ok(false);
    }
    let mut page = ClockPage::open(folder)?;
    let was_wrong = page.in_force()?.is_in_force();
    if was_wrong {
        page.set(&Setting::TRUE_TIME)?;
    }
    let lost_power = match fs::remove_file(folder.join(POWER_LOSS)) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Ok(was_wrong || lost_power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Backend;
    use std::time::Duration;

    #[test]
    fn a_wrong_clock_is_set_right_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!set_right(folder.path()).unwrap(), "no page: nothing to do");
        let mut page = ClockPage::open(folder.path()).unwrap();
        assert!(!set_right(folder.path()).unwrap());
        page.set(&Setting::skewed(5_000_000_000, 0, Duration::from_secs(60))).unwrap();
        assert!(set_right(folder.path()).unwrap());
        assert!(!set_right(folder.path()).unwrap());
        fs::write(folder.path().join(POWER_LOSS), "").unwrap();
        assert!(set_right(folder.path()).unwrap());
        assert!(!folder.path().join(POWER_LOSS).exists());
    }

    #[test]
    fn every_server_has_a_page_before_it_starts() {
        let state = tempfile::tempdir().unwrap();
        let settings = Settings::from_lookup(None, |_| None).unwrap();
        assert_eq!(lay_out(&settings, state.path()).unwrap().len(), 8);
        assert!(lay_out(&settings, state.path()).unwrap().is_empty());
        assert_eq!(lay_out(&settings.with_size(Backend::Zookeeper, 5), state.path()).unwrap().len(), 2);
    }
}
