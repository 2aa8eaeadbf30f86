//! The way from a door to the server behind it, and what can be told of the server from there.
//!
//! A server that refuses a connection, or ends one by itself, was restarted, or overloaded, or cut off by somebody:
//! that is not a lock's doing, and goes into the history as `outside`. Some must end the connections of sessions that
//! are over (`may_end`).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::time::{BootClock, Clock, Nanos};

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What befell a server may have begun so long before its connections end.
const BEFORE: Duration = Duration::from_secs(1);

/// What was seen of servers, each since when it may have been so.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<(Nanos, String)>>>);

impl Seen {
    fn note(&self, since: Nanos, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((since, what));
    }

    /// What was seen since it was last asked.
    pub fn take(&self) -> Vec<(Nanos, String)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One server's relay. Dropping it ends it.
pub(super) struct Relay(JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    /// Takes connections at the socket file `path` and passes them on to `place`, which is called `name`. `may_end`
    /// says whether the server ends connections in the course of its work.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(path: &Path, name: String, place: (String, u16), may_end: bool, seen: Seen) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // The door runs as somebody else; the folder that holds the socket keeps strangers out.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        Ok(Self(tokio::spawn(async move {
            // Connections end with the relay.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((door, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(door, name.clone(), place.clone(), may_end, seen.clone()));
            }
        })))
    }
}

async fn serve(door: UnixStream, name: String, (host, port): (String, u16), may_end: bool, seen: Seen) {
    let began = BootClock.now();
    let server = match tokio::time::timeout(PATIENCE, TcpStream::connect((&*host, port))).await {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => return seen.note(began, format!("{name} refused a connection: {error}")),
        Err(_) => return seen.note(began, format!("{name} did not take a connection within {PATIENCE:?}")),
    };
    // Requests are single small packets.
    let _ = server.set_nodelay(true);
    let last = Mutex::new(began);
    let (mut from_door, mut to_door) = door.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let ended_by_server = tokio::select! {
        // A client that has gone is no server's fault, even if both ends are seen at once.
        biased;
        gone = pass(&mut from_door, &mut to_server, None) => matches!(gone, Side::Receiver),
        gone = pass(&mut from_server, &mut to_door, Some(&last)) => matches!(gone, Side::Sender),
    };
    if ended_by_server && !may_end {
        // It had answered before that, or nobody had asked it anything.
        let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Nanos(BootClock.now().0.saturating_sub(BEFORE.as_nanos() as u64));
        seen.note(last.max(before), format!("{name} ended a connection by itself"));
    }
}

/// Whose end of a connection is gone.
enum Side {
    Sender,
    Receiver,
}

/// Passes on what comes until one of both is gone. `last` is told when anything came.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: Option<&Mutex<Nanos>>,
) -> Side {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return Side::Sender,
            Ok(count) => count,
        };
        if let Some(last) = last {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = BootClock.now();
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return Side::Receiver;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    struct Line {
        folder: tempfile::TempDir,
        seen: Seen,
        _relay: Relay,
    }

    fn line(port: u16, may_end: bool) -> Line {
        let (folder, seen) = (tempfile::tempdir().unwrap(), Seen::default());
        let place = ("127.0.0.1".to_owned(), port);
        let relay = Relay::listen(&folder.path().join("s"), "r1".to_owned(), place, may_end, seen.clone()).unwrap();
        Line { folder, seen, _relay: relay }
    }

    impl Line {
        async fn call(&self) -> UnixStream {
            UnixStream::connect(self.folder.path().join("s")).await.unwrap()
        }
    }

    /// A server that answers one byte and then does as told.
    async fn server(ends: bool) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let byte = stream.read_u8().await.unwrap();
                    stream.write_u8(byte).await.unwrap();
                    if !ends {
                        let _ = stream.read_u8().await;
                    }
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn what_a_server_does_by_itself_is_told_and_what_a_client_does_is_not() {
        // A client that goes.
        let steady = line(server(false).await, false);
        let mut client = steady.call().await;
        client.write_u8(7).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 7);
        drop(client);
        // A server that ends connections, as none should, and as one may.
        let rude = server(true).await;
        for (may_end, told) in [(false, 1), (true, 0)] {
            let line = line(rude, may_end);
            let mut client = line.call().await;
            client.write_u8(7).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), 7);
            assert!(client.read_u8().await.is_err(), "it has ended");
            let seen = line.seen.take();
            assert_eq!(seen.len(), told, "{seen:?}");
            assert!(seen.iter().all(|(_, what)| what.contains("r1 ended a connection")), "{seen:?}");
        }
        assert!(steady.seen.take().is_empty());
        // Nobody there.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let line = line(closed.local_addr().unwrap().port(), true);
        assert!(line.call().await.read_u8().await.is_err());
        assert!(line.seen.take()[0].1.contains("r1 refused a connection"));
    }
}
