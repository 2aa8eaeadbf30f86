//! What people see while a verb is at work: messages, progress, and what Ctrl-C does.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fencepost::cli::stdout;
use fencepost::report::OWN_FAILURE;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::failure::Failure;

/// Prints to standard output.
pub fn say(text: &str) -> Result<(), Failure> {
    stdout::say(text)?;
    Ok(())
}

/// Prints to standard error. If nobody reads, nobody is told.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Becomes true at the first Ctrl-C or SIGTERM: the run heals, and still writes its report. The second ends the process
/// at once, and the watchdog heals.
#[expect(clippy::disallowed_methods, reason = "signals come in real time")]
pub fn stop_on_signals(what_remains: &'static str) -> watch::Receiver<bool> {
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        for times in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if times > 0 {
                std::process::exit(OWN_FAILURE.into());
            }
            tell(&format!("\nfencepost: stopping: {what_remains} (again to stop at once)"));
            let _ = sender.send(true);
        }
    });
    stop
}

/// What is going on, on a terminal; nothing elsewhere. A step that took its time stays there with what it took.
pub struct Progress {
    bar: ProgressBar,
    step: Mutex<Option<(String, Instant)>>,
}

impl Progress {
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, step: Mutex::default() }
    }

    pub fn say(&self, message: &str) {
        self.end_step(Some(message));
        self.bar.reset_elapsed();
        self.bar.set_message(message.to_owned());
    }

    /// Says something for good while it goes on.
    pub fn aside<T>(&self, tell: impl FnOnce() -> T) -> T {
        self.bar.suspend(tell)
    }

    pub fn clear(&self) {
        self.end_step(None);
        self.bar.finish_and_clear();
    }

    #[expect(clippy::disallowed_methods, reason = "people wait in real time")]
    pub fn end_step(&self, next: Option<&str>) {
        let next = next.map(|next| (next.to_owned(), Instant::now()));
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((done, began)) = std::mem::replace(&mut *step, next) else { return };
        if began.elapsed() >= Duration::from_secs(1) {
            self.bar.println(format!("{:>6.1} s  {done}", began.elapsed().as_secs_f64()));
        }
    }
}
