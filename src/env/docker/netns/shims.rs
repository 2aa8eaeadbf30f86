//! Whether the shims are at work: in processes that run, and in a program that is started for that in this container,
//! which is made of the image that clients run in.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::inside::run;
use crate::env::docker::clock_page::{self, ClockPage, Setting};

/// How far the program's clock is set ahead: no machine is that far off by itself.
const AHEAD: Duration = Duration::from_secs(100 * 86_400);
/// How far it may be off from there, on a busy machine.
const SLACK: Duration = Duration::from_secs(60);

/// Which of `files` a process has mapped.
pub(super) fn mapped(pid: i64, files: &[String]) -> io::Result<Vec<String>> {
    let path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {path}: {error}")))?;
    Ok(files.iter().filter(|file| is_mapped(&maps, file)).cloned().collect())
}

/// A file that was deleted since is another one than whoever opens it now gets.
fn is_mapped(maps: &str, file: &str) -> bool {
    // Five columns, then the path.
    maps.lines().any(|line| line.split_whitespace().skip(5).eq([file]))
}

/// Moves the clock of a program; why not, if it did not go along.
pub(super) fn move_a_clock() -> io::Result<Result<(), String>> {
    let mut page = ClockPage::open(Path::new(clock_page::FOLDER))?;
    page.set(&Setting::skewed(AHEAD.as_nanos() as i64, 0, SLACK))?;
    let preload = format!("LD_PRELOAD={}", clock_page::SHIM);
    let shown = run("env", &[&preload, "bash", "-c", "echo $EPOCHSECONDS"], "")?;
    page.set(&Setting::TRUE_TIME)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(is_ahead(&shown, now))
}

/// Whether a program that printed its time in seconds had its clock moved.
fn is_ahead(shown: &str, now: Duration) -> Result<(), String> {
    let seconds: u64 =
        shown.trim().parse().map_err(|_| format!("a program under the clock shim showed no time: {}", shown.trim()))?;
    match Duration::from_secs(seconds).abs_diff(now + AHEAD) <= SLACK {
        true => Ok(()),
        false => Err(format!("a program under {} did not go along with its page", clock_page::SHIM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_mapped_under_its_whole_name_and_while_it_is_there() {
        let maps = "7f00-7f01 r-xp 00001000 00:3e 1201   /usr/local/lib/fencepost-clock.so\n\
                    7f02-7f03 r--s 00000000 08:01 77     /run/fencepost-clock/page\n\
                    7f04-7f05 rw-s 00000000 08:01 78     /data/synced (deleted)\n\
                    7f06-7f07 rw-p 00000000 00:00 0 \n";
        assert!(is_mapped(maps, "/usr/local/lib/fencepost-clock.so") && is_mapped(maps, "/run/fencepost-clock/page"));
        for other in ["/data/synced", "fencepost-clock.so", "/usr/local/lib/fencepost-clock", ""] {
            assert!(!is_mapped(maps, other), "{other}");
        }
    }

    #[test]
    fn a_clock_that_was_not_moved_is_told() {
        let now = Duration::from_secs(1_800_000_000);
        let ahead = (now + AHEAD).as_secs();
        assert_eq!(is_ahead(&format!("{ahead}\n"), now), Ok(()));
        assert_eq!(is_ahead(&format!("{}\n", ahead - 3), now), Ok(()));
        assert!(is_ahead(&format!("{}\n", now.as_secs()), now).unwrap_err().contains("did not go along"));
        assert!(is_ahead("bash: not found", now).unwrap_err().contains("showed no time"));
    }
}
