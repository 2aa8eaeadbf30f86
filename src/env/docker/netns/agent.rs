//! `fencepost netns`: the helper container's program, which changes other containers' networks on request.
//!
//! It does what it is told: whose networks these are, and whether they may be touched, the harness has made sure of. It
//! ends when the last one that asked it to stay is gone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};

use super::inside::{inside, nft, run};
use super::knock::Listeners;
use super::late::{self, Lates};
use super::turns::Turns;
use super::{Abilities, Answer, Door, Layer, Request, rules, shims};

/// How long a request may take to be heard: it is sent at once.
const HEARING: Duration = Duration::from_secs(2);

/// How long the first one that asks for something may take to come.
const FIRST: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Agent {
    listeners: Listeners,
    lates: Arc<Lates>,
    staying: AtomicUsize,
    left: Notify,
    /// Of whoever changes networks.
    turns: Turns,
    /// What is tried out there can be tried by one at a time.
    trying: Mutex<()>,
}

/// Serves requests at `socket` until the last one that asked it to stay is gone.
///
/// # Errors
/// The socket cannot be made.
pub async fn main(socket: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    // The harness may be somebody else; the folder that holds the socket keeps strangers out.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    let agent = Arc::new(Agent::default());
    let mut first = std::pin::pin!(tokio::time::sleep(FIRST));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Heard one after the other, so that the turns are in the order of the requests: what is lifted or
                // swept is so after it was laid, also if who asked for that has given up or died since.
                let Ok(Some((request, stream))) = tokio::time::timeout(HEARING, hear(stream)).await else { continue };
                let mut turn = agent.turns.take(request.iter().flat_map(changed));
                let agent = Arc::clone(&agent);
                tokio::spawn(async move {
                    turn.come().await;
                    agent.serve(request, stream).await;
                    drop(turn);
                });
            }
            () = agent.left.notified() => return Ok(()),
            () = &mut first, if !first.is_elapsed() => {
                if agent.staying.load(Ordering::Relaxed) == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The doors at which a request changes anything.
fn changed(request: &Request) -> Vec<Door> {
    match request {
        Request::Lay(layers) => layers.iter().map(|layer| layer.door).collect(),
        Request::Lift { door, .. } => vec![*door],
        Request::Sweep(doors) => doors.clone(),
        Request::Stay
        | Request::Count { .. }
        | Request::Knock { .. }
        | Request::Burst { .. }
        | Request::Tables(_)
        | Request::Abilities
        | Request::Mapped { .. }
        | Request::MoveClock => Vec::new(),
    }
}

/// What is asked for on a connection. Nobody says more than one line before it is answered.
async fn hear(stream: UnixStream) -> Option<(serde_json::Result<Request>, UnixStream)> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.unwrap_or_default();
    (read > 0).then(|| (serde_json::from_str(&line), stream.into_inner()))
}

impl Agent {
    async fn serve(&self, request: serde_json::Result<Request>, mut stream: UnixStream) {
        let answer = match request {
            Ok(Request::Stay) => {
                self.staying.fetch_add(1, Ordering::Relaxed);
                if stream.write_all(b"\"done\"\n").await.is_ok() {
                    // Ends when the other side does, however it does.
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                if self.staying.fetch_sub(1, Ordering::Relaxed) == 1 {
                    self.left.notify_one();
                }
                return;
            }
            Ok(request) => self.answer(request).await.unwrap_or_else(|error| Answer::Failed(error.to_string())),
            Err(error) => Answer::Failed(format!("not a request: {error}")),
        };
        // Answers are made of strings and numbers only: they always serialise.
        let mut answer = serde_json::to_vec(&answer).unwrap_or_default();
        answer.push(b'\n');
        // If nobody waits any more, nobody is told.
        let _ = stream.write_all(&answer).await;
    }

    async fn answer(&self, request: Request) -> io::Result<Answer> {
        Ok(match request {
            Request::Stay => Answer::Done,
            Request::Lay(layers) => {
                self.lay(layers).await?;
                Answer::Done
            }
            Request::Lift { door, table, at_once } => {
                self.lift(door, table, at_once).await?;
                Answer::Done
            }
            Request::Count { door, table } => {
                let listed =
                    inside(door, move || nft(&["-j", "list", "counters", "table", "inet", &table], "")).await?;
                Answer::Counts(rules::counts(&listed).ok_or_else(|| io::Error::other("no counters"))?)
            }
            Request::Knock { links, patience } => {
                Answer::Seen(self.listeners.knock(&links, Duration::from_millis(patience)).await?)
            }
            Request::Burst { links, count } => {
                self.listeners.burst(&links, count).await?;
                Answer::Done
            }
            Request::Sweep(doors) => {
                let swept = join_all(doors.into_iter().map(|door| inside(door, sweep))).await;
                Answer::Swept(swept.into_iter().collect::<io::Result<_>>()?)
            }
            Request::Tables(doors) => {
                let listed = || Ok(rules::ours(&nft(&["list", "tables"], "")?));
                let standing = join_all(doors.into_iter().map(|door| inside(door, listed))).await;
                Answer::Tables(standing.into_iter().collect::<io::Result<_>>()?)
            }
            Request::Abilities => {
                let _alone = self.trying.lock().await;
                Answer::Abilities(abilities().await?)
            }
            Request::Mapped { pids, files } => {
                let mapped = pids.iter().map(|pid| shims::mapped(*pid, &files));
                Answer::Mapped(mapped.collect::<io::Result<_>>()?)
            }
            Request::MoveClock => {
                let _alone = self.trying.lock().await;
                Answer::Tried(tokio::task::spawn_blocking(shims::move_a_clock).await.map_err(io::Error::other)??)
            }
        })
    }

    /// All layers or none.
    async fn lay(&self, layers: Vec<Layer>) -> io::Result<()> {
        let laid = join_all(layers.iter().cloned().map(|layer| {
            let lates = Arc::clone(&self.lates);
            inside(layer.door, move || {
                lates.hold(&layer)?;
                nft(&["-f", "-"], &rules::lay(&layer)).map(drop)
            })
        }));
        let laid: io::Result<()> = laid.await.into_iter().collect();
        if laid.is_err() {
            // Also where it failed: half of it may be there.
            join_all(layers.into_iter().map(|layer| self.lift(layer.door, layer.table, true))).await;
        }
        laid
    }

    async fn lift(&self, door: Door, table: String, at_once: bool) -> io::Result<()> {
        let lates = Arc::clone(&self.lates);
        inside(door, move || lates.lift(door, &table, at_once)).await
    }
}

/// Takes all our tables away, where this thread is.
fn sweep() -> io::Result<Vec<String>> {
    let listed = nft(&["list", "tables"], "")?;
    let tables = rules::ours(&listed);
    if !tables.is_empty() {
        nft(&["-f", "-"], &tables.iter().map(|table| rules::lift(table)).collect::<String>())?;
    }
    if rules::may_divert(&listed) {
        late::divert_no_more();
    }
    Ok(tables)
}

/// Tries everything out in a network namespace of the agent's own, which no container has.
async fn abilities() -> io::Result<Abilities> {
    let here = Door { pid: i64::from(std::process::id()), address: std::net::Ipv4Addr::LOCALHOST };
    inside(here, || {
        let tried = |text: &str| {
            let script = format!("table inet {0}try\n{text}\ndelete table inet {0}try\n", rules::TABLE_PREFIX);
            nft(&["-f", "-"], &script).map(drop).map_err(|error| first_line(&error))
        };
        let chain = |rule: &str| {
            let chain = "{ type filter hook input priority -300; policy accept;";
            tried(&format!("table inet {}try {{ chain input {chain} {rule}; }}; }}", rules::TABLE_PREFIX))
        };
        let elements = "elements = { 192.0.2.1 timeout 1s };";
        let set = format!(
            "table inet {}try {{ set peers {{ type ipv4_addr; flags timeout; {elements} }}; }}",
            rules::TABLE_PREFIX
        );
        let netem = run("tc", &["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], "");
        if netem.is_ok() {
            let _ = run("tc", &["qdisc", "del", "dev", "lo", "root"], "");
        }
        Ok(Abilities {
            nftables: tried(""),
            set_timeouts: tried(&set),
            numgen: chain("numgen random mod 1000 < 1 drop"),
            reject: chain("meta l4proto tcp reject with tcp reset"),
            queue: late::try_out().map_err(|error| first_line(&error)),
            netem: netem.map(drop).map_err(|error| first_line(&error)),
        })
    })
    .await
}

fn first_line(error: &io::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_read_back() {
        let door = Door { pid: 7, address: std::net::Ipv4Addr::LOCALHOST };
        for request in [
            Request::Stay,
            Request::Lift { door, table: "fencepost_0_1".to_owned(), at_once: true },
            Request::Knock { links: vec![(door, door)], patience: 100 },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            let back: Request = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<Answer>("\"done\"").unwrap(), Answer::Done);
    }
}
