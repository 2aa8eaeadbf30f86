//! A look at the servers of an ensemble from outside, for whoever has to say why there is no session.
//!
//! The client crate tries one server after the other until its time is up, and says only that it is. This asks each, at
//! the same time, by the one administrative word that servers answer unless they are told not to. Deliberately absent:
//! any part in connecting.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lock::error::{NodeError, NodeOutcome};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The servers in a connect string: `host:port,host:port/chroot`.
pub(super) fn servers(connect_string: &str) -> Vec<String> {
    let hosts =
        connect_string.split_once('/').filter(|(hosts, _)| !hosts.ends_with(':')).map_or(connect_string, |it| it.0);
    let server = |text: &str| {
        let text = text.trim_start_matches("tcp://").trim_start_matches("tcp+tls://");
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port { text.to_owned() } else { format!("{text}:2181") }
    };
    hosts.split(',').filter(|text| !text.is_empty()).map(server).collect()
}

/// What a server shows.
pub(super) async fn look(server: String) -> NodeOutcome {
    let seen = match tokio::time::timeout(PATIENCE, look_at(&server)).await {
        Ok(Ok(reply)) => meaning(&reply),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took the connection, and said nothing within {PATIENCE:?}"),
    };
    NodeOutcome::Failed(NodeError::Unreachable(seen))
}

async fn look_at(server: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"srvr").await?;
    let mut reply = Vec::new();
    match stream.take(4096).read_to_end(&mut reply).await {
        // A server that did not understand may end the connection roughly, and have said why before.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(reply),
        Err(error) => Err(error),
        Ok(_) => Ok(reply),
    }
}

fn meaning(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    if reply.is_empty() {
        "it ended the connection without a word: perhaps it wants TLS".to_owned()
    } else if reply.starts_with(&[0x15, 0x03]) {
        "it speaks TLS, this client does not".to_owned()
    } else if text.contains("not currently serving requests") {
        "it serves nobody: its ensemble has no quorum".to_owned()
    } else if text.starts_with("Zookeeper version") || text.contains("whitelist") {
        "it serves, but has given no session yet".to_owned()
    } else {
        let line: String =
            text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(60).collect();
        format!("it is no ZooKeeper server: it said `{line}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_a_connect_string_are_found() {
        assert_eq!(servers("a:2181,b/shop/locks"), ["a:2181", "b:2181"]);
        assert_eq!(servers("tcp://a:1,[::1]:2,[::1]"), ["a:1", "[::1]:2", "[::1]:2181"]);
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        use tokio::net::{TcpListener, TcpSocket};

        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = rude.local_addr().unwrap().to_string();
        let answers: [&[u8]; 4] = [
            &[0x15, 0x03, 0x03, 0, 2, 2, 10],
            b"",
            b"-ERR unknown command 'srvr'\r\n",
            b"This \
            ZooKeeper instance is not currently serving requests\n",
        ];
        let said = async {
            let mut said = Vec::new();
            for answer in answers {
                let (report, ()) = tokio::join!(look(address.clone()), async {
                    let (mut stream, _) = rude.accept().await.unwrap();
                    let mut word = [0; 4];
                    stream.read_exact(&mut word).await.unwrap();
                    stream.write_all(answer).await.unwrap();
                });
                said.push(format!("{report:?}"));
            }
            said
        }
        .await;
        for (said, expected) in said.iter().zip(["TLS", "perhaps it wants TLS", "no ZooKeeper server", "no quorum"]) {
            assert!(said.contains(expected), "{said}");
        }
        for (server, expected) in [(closed.local_addr(), "refused"), (silent.local_addr(), "said nothing")] {
            let shown = format!("{:?}", look(server.unwrap().to_string()).await);
            assert!(shown.contains(expected), "{shown}");
        }
    }
}
