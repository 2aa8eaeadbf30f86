//! The child process: started, spoken to by lines, ended.
//!
//! Lines come through a short queue, so that a program that floods waits instead of filling the memory. What it prints
//! to standard error goes on to ours, and its last lines are kept: they are what a person needs when it has died.
//! Deliberately absent: what lines mean.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::plain::plain;

/// The longest line that is read, in bytes: far above any message.
const LONGEST_LINE: usize = 64 * 1024;

/// How many lines may wait to be looked at.
const QUEUE: usize = 64;

/// How many of its last lines on standard error are kept.
const LAST_WORDS: usize = 4;

/// How long a program may take to go by itself once its standard input is closed.
const LEAVING: Duration = Duration::from_secs(1);

/// What to start, and what to tell it in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where to start it; here if absent.
    pub folder: Option<PathBuf>,
    /// The servers that its lock rests on: `redis`, `zookeeper` or `etcd`.
    pub backend: String,
    /// Their addresses, `host:port`.
    pub servers: Vec<String>,
    /// The lease or session timeout that it should use, where there is one.
    pub lease: Option<Duration>,
    /// Which client it serves.
    pub client: u32,
}

impl Spec {
    /// The command as a person would type it.
    pub fn shown(&self) -> String {
        self.command.join(" ")
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("FENCEPOST_PROTOCOL", super::protocol::VERSION.to_string()),
            ("FENCEPOST_BACKEND", self.backend.clone()),
            ("FENCEPOST_SERVERS", self.servers.join(",")),
            ("FENCEPOST_CLIENT", self.client.to_string()),
        ];
        variables.extend(self.lease.map(|lease| ("FENCEPOST_LEASE_MS", lease.as_millis().to_string())));
        variables
    }
}

/// What came from a program's standard output.
pub(super) enum Heard {
    /// A line, without its end.
    Line(String),
    /// A line that is longer than any message.
    TooLong,
    /// It closed its standard output, as all do that die.
    Closed,
}

/// A program that runs.
pub(super) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Heard>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    /// Starts it.
    pub fn start(spec: &Spec) -> Result<Self, String> {
        let [program, arguments @ ..] = spec.command.as_slice() else { return Err("there is no command".to_owned()) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(spec.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what a wrapping shell has started ends with it.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &spec.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().map_err(|error| format!("cannot start `{}`: {error}", spec.shown()))?;
        let (sender, lines) = mpsc::channel(QUEUE);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_lines(stdout, sender));
        }
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let kept = Arc::clone(&last_words);
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // If nobody reads, nobody is told.
                    let _ = writeln!(std::io::stderr(), "{}", plain(&line));
                    let mut kept = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    kept.push_back(line);
                    if kept.len() > LAST_WORDS {
                        kept.pop_front();
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, lines, last_words })
    }

    /// Writes a line to its standard input.
    pub async fn say(&mut self, line: &str) -> std::io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        stdin.write_all(line.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    }

    /// The next of what it says. Nothing is missed if the future is dropped.
    pub async fn hear(&mut self) -> Heard {
        self.lines.recv().await.unwrap_or(Heard::Closed)
    }

    /// Ends it at once, with all that it has started, and says how it had ended by itself if it had.
    pub async fn kill(mut self) -> String {
        // It may be about to end, and how it does is worth a moment.
        let status = timeout(Duration::from_millis(200), self.child.wait()).await.ok().and_then(Result::ok);
        if status.is_none() {
            self.kill_group();
            let _ = timeout(LEAVING, self.child.wait()).await;
        }
        // What it printed last may still be on its way through the pipe.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let words = self.last_words.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let words: Vec<&str> = words.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        let ended = status.map(|status| format!(" ({})", told(status))).unwrap_or_default();
        match words.as_slice() {
            [] => ended,
            words => format!("{ended}; its last words on standard error: {}", words.join(" | ")),
        }
    }

    /// Closes its standard input, which asks it to go, and sees that it goes.
    pub async fn dismiss(mut self) {
        drop(self.stdin.take());
        // Whatever it still has to say must not keep it.
        let Self { child, lines, .. } = &mut self;
        let gone = async {
            tokio::select! {
                _ = child.wait() => {}
                () = async { while lines.recv().await.is_some() {} std::future::pending().await } => {}
            }
        };
        if timeout(LEAVING, gone).await.is_err() {
            self.kill_group();
            let _ = timeout(LEAVING, self.child.wait()).await;
        }
    }

    fn kill_group(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have gone meanwhile.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.start_kill();
    }
}

/// Nothing that it has started outlives it.
impl Drop for Program {
    fn drop(&mut self) {
        self.kill_group();
    }
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

async fn read_lines(stdout: ChildStdout, sender: mpsc::Sender<Heard>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let heard = match (&mut stdout).take(LONGEST_LINE as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) if line.len() == LONGEST_LINE && line.last() != Some(&b'\n') => Heard::TooLong,
            Ok(_) => Heard::Line(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()),
        };
        if sender.send(heard).await.is_err() {
            return;
        }
    }
    let _ = sender.send(Heard::Closed).await;
}
