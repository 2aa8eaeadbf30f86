//! Looking whether a link carries anything: TCP handshakes from one namespace to a port of the agent's own in another.
//!
//! They pass the same rules as everything else between the two, and do not depend on what the servers there are doing:
//! a frozen or busy one is reached as well.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpSocket;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::inside::inside;
use super::{Door, Seen};

/// The agent's port in each namespace, for handshakes and for datagrams that nobody reads.
const PORT: u16 = 7999;

/// How long one handshake is given before another is begun beside it: on a link that may lose packets, TCP's own second
/// try comes after a second.
const EVERY: Duration = Duration::from_millis(250);

/// Who listens, by process: another process is another namespace.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<Door, JoinHandle<()>>>);

impl Listeners {
    /// Sees to it that somebody listens at each of `doors`.
    async fn listen(&self, doors: impl Iterator<Item = Door>) -> io::Result<()> {
        let mut listening = self.0.lock().await;
        let mut doors: Vec<Door> = doors.filter(|door| !listening.contains_key(door)).collect();
        doors.sort_unstable();
        doors.dedup();
        let open = |door| {
            inside(door, || {
                let listener = TcpListener::bind(("0.0.0.0", PORT))?;
                listener.set_nonblocking(true)?;
                Ok((listener, UdpSocket::bind(("0.0.0.0", PORT))?))
            })
        };
        let opened = join_all(doors.iter().map(|door| open(*door))).await;
        for (door, opened) in doors.into_iter().zip(opened) {
            let (listener, unread) = opened?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            // A namespace that was left for another one: nobody will knock there again.
            listening.retain(|other, task| {
                let stays = other.address != door.address;
                if !stays {
                    task.abort();
                }
                stays
            });
            let task = tokio::spawn(async move {
                while listener.accept().await.is_ok() {}
                drop(unread);
            });
            listening.insert(door, task);
        }
        Ok(())
    }

    /// Knocks on each link, all at once.
    pub async fn knock(&self, links: &[(Door, Door)], patience: Duration) -> io::Result<Vec<Seen>> {
        self.listen(links.iter().map(|(_, to)| *to)).await?;
        let tries = (patience.as_millis() / EVERY.as_millis()).max(1) as usize;
        // One thread enters each namespace, and opens all the sockets that are needed there.
        let mut needed: BTreeMap<Door, usize> = BTreeMap::new();
        links.iter().for_each(|(from, _)| *needed.entry(*from).or_default() += tries);
        let open = |(door, count): (Door, usize)| async move {
            let sockets = inside(door, move || (0..count).map(|_| TcpSocket::new_v4()).collect::<io::Result<Vec<_>>>());
            Ok::<_, io::Error>((door, sockets.await?))
        };
        let opened = join_all(needed.into_iter().map(open)).await;
        let mut sockets: BTreeMap<Door, Vec<TcpSocket>> = opened.into_iter().collect::<io::Result<_>>()?;
        let knocks: Vec<_> = links
            .iter()
            .filter_map(|(from, to)| {
                let sockets = sockets.get_mut(from)?;
                let sockets = sockets.split_off(sockets.len().checked_sub(tries)?);
                Some(knock(sockets, SocketAddr::from((to.address, PORT)), patience))
            })
            .collect();
        Ok(join_all(knocks).await)
    }

    /// Sends `count` datagrams on each link.
    pub async fn burst(&self, links: &[(Door, Door)], count: u32) -> io::Result<()> {
        self.listen(links.iter().map(|(_, to)| *to)).await?;
        let sent = links.iter().map(|(from, to)| {
            let to = SocketAddr::from((to.address, PORT));
            inside(*from, move || {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                for _ in 0..count {
                    socket.send_to(b"fencepost", to)?;
                }
                Ok(())
            })
        });
        join_all(sent).await.into_iter().collect()
    }
}

/// The first answer to any of the handshakes, one begun after the other.
async fn knock(sockets: Vec<TcpSocket>, to: SocketAddr, patience: Duration) -> Seen {
    let handshakes = sockets.into_iter().zip(0..).map(|(socket, number)| async move {
        tokio::time::sleep(EVERY * number).await;
        let start = Instant::now();
        match socket.connect(to).await {
            Ok(_) => Seen::Answered(start.elapsed().as_nanos() as u64),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Seen::Reset,
            Err(_) => Seen::Silent,
        }
    });
    let mut handshakes: FuturesUnordered<_> = handshakes.collect();
    let answer = async {
        while let Some(seen) = handshakes.next().await {
            if seen != Seen::Silent {
                return seen;
            }
        }
        Seen::Silent
    };
    tokio::time::timeout(patience, answer).await.unwrap_or(Seen::Silent)
}
