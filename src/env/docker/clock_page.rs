//! The page through which the harness moves the wall clock of a process that `docker/clockshim.c` is preloaded in.
//!
//! One file of 4096 bytes in a folder that is bind-mounted at [`FOLDER`]; numbers have the machine's own byte order:
//!
//! | at | what |
//! |---|---|
//! | 8 | sequence, one byte, because one byte is never seen half-written; its lowest bit says which slot is in force |
//! | 64, 128 | the two slots, eight `i64` each: `valid_until`, `base_mono`, `base_wall`, `offset` (ns), `rate` (ppm),
//! `strobe_by`, `strobe_period`, `strobe_since` (ns) |
//!
//! With `elapsed = CLOCK_MONOTONIC - base_mono`, the process sees `base_wall + offset + elapsed · (1 + rate/10⁶)`,
//! until `CLOCK_MONOTONIC` reaches `valid_until`; from then on, true time. So a clock heals by itself when the harness
//! dies. With a `strobe_period`, `strobe_by` is added in every other period, from `strobe_since` on. A rate of −10⁶ ppm
//! stops the clock, exactly.
//!
//! The page must be there when the process starts, and must not be made shorter afterwards: the process maps it. One
//! writer at a time. Deliberately absent: a mapping on this side. Writing to the file reaches the same memory.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the shim looks for the page's folder inside of the container.
pub const FOLDER: &str = "/run/fencepost-clock";
/// The page's name in its folder.
pub const FILE: &str = "page";
/// Where images keep the shim: the value for `LD_PRELOAD`.
pub const SHIM: &str = "/usr/local/lib/fencepost-clock.so";
/// The rate of a clock that stands still, ppm.
pub const STOPPED_PPM: i64 = -1_000_000;

/// Two looks at clocks that are this close to each other, in nanoseconds, are one.
const CLOSE: i64 = 20_000;
/// How often to try for that.
const LOOKS: u32 = 20;

const SIZE: u64 = 4096;
const SEQUENCE: u64 = 8;
const SLOTS: u64 = 64;
const SLOT_SIZE: u64 = 64;

/// What a process's wall clock is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The instant of `CLOCK_MONOTONIC` at which true time is back, ns. Zero: true time at once.
    pub valid_until_ns: i64,
    /// An instant of `CLOCK_MONOTONIC`, ns.
    pub base_mono_ns: i64,
    /// The wall time of that instant, ns since the epoch.
    pub base_wall_ns: i64,
    /// How far the clock is ahead at that instant, ns.
    pub offset_ns: i64,
    /// How much faster than true time it goes from then on, parts per million.
    pub rate_ppm: i64,
    /// How far the clock is set ahead in every other period, ns.
    pub strobe_by_ns: i64,
    /// How long such a period is, ns. Zero: it does not strobe.
    pub strobe_period_ns: i64,
    /// The instant of `CLOCK_MONOTONIC` at which the first began, ns.
    pub strobe_since_ns: i64,
}

impl Setting {
    /// True time.
    pub const TRUE_TIME: Self = Self {
        valid_until_ns: 0,
        base_mono_ns: 0,
        base_wall_ns: 0,
        offset_ns: 0,
        rate_ppm: 0,
        strobe_by_ns: 0,
        strobe_period_ns: 0,
        strobe_since_ns: 0,
    };

    /// A clock that is `offset_ns` ahead of true time now, and from now on `rate_ppm` faster, for `duration`.
    pub fn skewed(offset_ns: i64, rate_ppm: i64, duration: Duration) -> Self {
        let (base_mono_ns, base_wall_ns) = with_wall(ClockId::Monotonic);
        Self {
            valid_until_ns: base_mono_ns.saturating_add(ns(duration)),
            base_mono_ns,
            base_wall_ns,
            offset_ns,
            rate_ppm,
            ..Self::TRUE_TIME
        }
    }

    /// The same clock, set ahead by `by_ns` in every other `period`; the first began `since` ago.
    #[must_use]
    pub fn strobing(self, by_ns: i64, period: Duration, since: Duration) -> Self {
        let strobe_since_ns = self.base_mono_ns - ns(since);
        Self { strobe_by_ns: by_ns, strobe_period_ns: ns(period), strobe_since_ns, ..self }
    }

    /// A clock that stands still at `wall_ms`, milliseconds since the epoch, for `duration`.
    pub fn stopped_at(wall_ms: i64, duration: Duration) -> Self {
        let now = Self::skewed(0, STOPPED_PPM, duration);
        Self { base_wall_ns: wall_ms.saturating_mul(1_000_000), ..now }
    }

    /// What the clock shows at `mono_ns` on `CLOCK_MONOTONIC`, ns since the epoch; `None` for true time.
    pub fn wall_ns(&self, mono_ns: i64) -> Option<i64> {
        let elapsed = mono_ns - self.base_mono_ns;
        // As the shim does it, in two parts, because their product would overflow after some hours.
        let drift = elapsed / 1_000_000 * self.rate_ppm + elapsed % 1_000_000 * self.rate_ppm / 1_000_000;
        let strobe = match (mono_ns - self.strobe_since_ns).checked_div(self.strobe_period_ns) {
            Some(periods) if periods % 2 == 0 => self.strobe_by_ns,
            _ => 0,
        };
        (mono_ns < self.valid_until_ns).then_some(self.base_wall_ns + self.offset_ns + elapsed + drift + strobe)
    }

    /// Whether it moves the clock now.
    pub fn is_in_force(&self) -> bool {
        now_ns(ClockId::Monotonic) < self.valid_until_ns
    }

    fn bytes(&self) -> [u8; SLOT_SIZE as usize] {
        let fields = [
            self.valid_until_ns,
            self.base_mono_ns,
            self.base_wall_ns,
            self.offset_ns,
            self.rate_ppm,
            self.strobe_by_ns,
            self.strobe_period_ns,
            self.strobe_since_ns,
        ];
        let mut bytes = [0; SLOT_SIZE as usize];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}

/// The page of one process.
#[derive(Debug)]
pub struct ClockPage {
    file: File,
    sequence: u8,
}

impl ClockPage {
    /// Opens the page in `folder`, or makes one that shows true time, readable for any user: servers are not root.
    ///
    /// # Errors
    /// The folder or the file cannot be made or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        let path = folder.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if file.metadata()?.len() < SIZE {
            file.set_len(SIZE)?;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        let mut sequence = [0];
        file.read_exact_at(&mut sequence, SEQUENCE)?;
        Ok(Self { file, sequence: sequence[0] })
    }

    /// The setting that the process sees, as the shim reads it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn in_force(&self) -> io::Result<Setting> {
        let mut sequence = [0];
        self.file.read_exact_at(&mut sequence, SEQUENCE)?;
        let mut slot = [0; SLOT_SIZE as usize];
        self.file.read_exact_at(&mut slot, SLOTS + u64::from(sequence[0] & 1) * SLOT_SIZE)?;
        let field = |n: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&slot[8 * n..8 * (n + 1)]);
            i64::from_ne_bytes(bytes)
        };
        Ok(Setting {
            valid_until_ns: field(0),
            base_mono_ns: field(1),
            base_wall_ns: field(2),
            offset_ns: field(3),
            rate_ppm: field(4),
            strobe_by_ns: field(5),
            strobe_period_ns: field(6),
            strobe_since_ns: field(7),
        })
    }

    /// Moves the clock. The process sees it at its next look.
    ///
    /// # Errors
    /// The file cannot be written; the old setting is still in force.
    pub fn set(&mut self, setting: &Setting) -> io::Result<()> {
        let next = self.sequence.wrapping_add(1);
        self.file.write_all_at(&setting.bytes(), SLOTS + u64::from(next & 1) * SLOT_SIZE)?;
        self.file.write_all_at(&[next], SEQUENCE)?;
        self.sequence = next;
        Ok(())
    }
}

/// The same instant on `clock` and on the wall clock, ns. Who is interrupted between the two looks takes them again: on
/// a busy machine that is milliseconds.
pub fn with_wall(clock: ClockId) -> (i64, i64) {
    let look = || {
        let before = now_ns(clock);
        let wall = now_ns(ClockId::Realtime);
        let after = now_ns(clock);
        (after - before, before + (after - before) / 2, wall)
    };
    let mut best = look();
    for _ in 0..LOOKS {
        if best.0 <= CLOSE {
            break;
        }
        best = best.min(look());
    }
    (best.1, best.2)
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn in_force(folder: &Path) -> Setting {
        assert_eq!(fs::metadata(folder.join(FILE)).unwrap().len(), SIZE);
        ClockPage::open(folder).unwrap().in_force().unwrap()
    }

    #[test]
    fn a_new_page_shows_true_time_and_the_last_setting_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let mut page = ClockPage::open(folder.path()).unwrap();
        assert_eq!(in_force(folder.path()), Setting::TRUE_TIME);
        // More settings than the sequence has numbers.
        for offset in 1..300 {
            let setting = Setting::skewed(offset, 7, HOUR);
            page.set(&setting).unwrap();
            assert_eq!(in_force(folder.path()), setting);
        }
        let kept = in_force(folder.path());
        let mut again = ClockPage::open(folder.path()).unwrap();
        assert_eq!(in_force(folder.path()), kept, "opening changes nothing");
        again.set(&Setting::TRUE_TIME).unwrap();
        assert_eq!(in_force(folder.path()), Setting::TRUE_TIME);
    }

    #[test]
    fn a_writer_that_dies_half_way_leaves_the_old_setting() {
        let folder = tempfile::tempdir().unwrap();
        let mut page = ClockPage::open(folder.path()).unwrap();
        let old = Setting::skewed(5, 0, HOUR);
        page.set(&old).unwrap();
        let next = u64::from(page.sequence.wrapping_add(1) & 1);
        page.file.write_all_at(&[0xff; 20], SLOTS + next * SLOT_SIZE).unwrap();
        assert_eq!(in_force(folder.path()), old);
    }

    #[test]
    fn clocks_are_ahead_drift_stand_still_and_heal() {
        let ahead = Setting { base_mono_ns: 1000, valid_until_ns: 5_000_000_000, ..Setting::skewed(250, 0, HOUR) };
        assert_eq!(ahead.wall_ns(1010), Some(ahead.base_wall_ns + 260));
        let fast = Setting { rate_ppm: 100_000, ..ahead };
        assert_eq!(fast.wall_ns(1_000_001_000), Some(fast.base_wall_ns + 250 + 1_100_000_000));
        let stopped = Setting::stopped_at(1_700_000_000_000, HOUR);
        let later = stopped.base_mono_ns + 123_456_789_123;
        assert_eq!(stopped.wall_ns(later), Some(1_700_000_000_000_000_000));
        assert_eq!(stopped.wall_ns(stopped.valid_until_ns), None);
        let strobing = ahead.strobing(70, Duration::from_nanos(100), Duration::from_nanos(50));
        for (at, strobe) in [(1000, 70), (1049, 70), (1050, 0), (1149, 0), (1150, 70)] {
            assert_eq!(strobing.wall_ns(at), Some(ahead.base_wall_ns + 250 + at - 1000 + strobe), "{at}");
        }
        // A day at a rate that would overflow in one product.
        let day = Setting { valid_until_ns: i64::MAX, ..fast };
        assert_eq!(day.wall_ns(86_400_000_001_000), Some(day.base_wall_ns + 250 + 95_040_000_000_000));
    }
}
