//! The few words spoken with servers outside of a lock: is it there, which version, who leads, forget everything.
//!
//! Plain text over a fresh TCP connection each time: no pool to keep, nothing to set up for a server that may be frozen.
//! Deliberately absent: anything a lock needs, which has clients of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::engine::Role;

/// What a healthy server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its version.
    pub version: String,
    /// What it is to the others: `master`, `leader`, `follower`, `standalone`.
    pub mode: String,
}

/// Asks one server how it is. An error's text says what is missing.
pub async fn ask(role: Role, server: SocketAddr, limit: Duration) -> io::Result<Answer> {
    match role {
        Role::Zookeeper => zookeeper_answer(&talk(server, b"srvr", limit).await?),
        Role::Etcd => etcd_answer(&http(server, "POST /v3/maintenance/status", "{}", limit).await?),
        _ => redis_answer(&redis(server, &["PING", "INFO server", "INFO replication"], limit).await?),
    }
}

/// Asks one server whether its process is there and well, whether or not it can serve.
pub async fn is_there(role: Role, server: SocketAddr, limit: Duration) -> io::Result<()> {
    match role {
        Role::Zookeeper => match talk(server, b"ruok", limit).await? {
            reply if reply == "imok" => Ok(()),
            reply => Err(not_yet(&reply)),
        },
        // Its own version is what a member tells without the others; the rest of its status too.
        Role::Etcd => http(server, "GET /version", "", limit).await.map(drop),
        role => ask(role, server, limit).await.map(drop),
    }
}

/// The sessions that are connected to a ZooKeeper server, with the addresses that they come from.
pub async fn connected(server: SocketAddr, limit: Duration) -> io::Result<Vec<(Ipv4Addr, i64)>> {
    Ok(sessions(&talk(server, b"cons", limit).await?))
}

/// From lines as ` /172.30.57.32:40186[1](queued=0,recved=9,sent=9,sid=0x1000…,…)`; a connection without a session, such
/// as the one that asks, has no `sid`.
fn sessions(reply: &str) -> Vec<(Ipv4Addr, i64)> {
    let session = |line: &str| {
        let (address, rest) = line.trim().strip_prefix('/')?.split_once(':')?;
        let (_, session) = rest.split_once("sid=0x")?;
        let digits = session.find(|c: char| !c.is_ascii_hexdigit()).map_or(session, |end| &session[..end]);
        // Ids are 64 bits wide, and those of servers from 128 on have the highest one.
        Some((address.parse().ok()?, u64::from_str_radix(digits, 16).ok()? as i64))
    };
    reply.lines().filter_map(session).collect()
}

/// Sends plain commands to a Redis server in one go and returns all replies as they came.
pub async fn redis(server: SocketAddr, commands: &[&str], limit: Duration) -> io::Result<String> {
    // QUIT makes the server end the connection, which is how the end of the last reply is known.
    let reply = talk(server, (commands.join("\r\n") + "\r\nQUIT\r\n").as_bytes(), limit).await?;
    match reply.lines().find(|line| line.starts_with('-')) {
        Some(error) => Err(io::Error::other(error[1..].to_owned())),
        None => Ok(reply),
    }
}

/// Makes a request of an etcd server; the body of its reply.
///
/// # Errors
/// It gave no answer, or one that is not 200.
pub async fn http(server: SocketAddr, request: &str, body: &str, limit: Duration) -> io::Result<String> {
    // HTTP/1.0: the server ends the connection behind its reply.
    let request = format!("{request} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let reply = talk(server, request.as_bytes(), limit).await?;
    match reply.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        Some((head, body)) => Err(not_yet(if body.is_empty() { head } else { body })),
        None => Err(not_yet(&reply)),
    }
}

/// Asks a ZooKeeper server a four-letter word; what it said.
pub async fn word(server: SocketAddr, word: &str, limit: Duration) -> io::Result<String> {
    talk(server, word.as_bytes(), limit).await
}

/// Sends a request and reads until the server ends the connection.
async fn talk(server: SocketAddr, request: &[u8], limit: Duration) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(io::Error::other("no answer")))
}

fn redis_answer(reply: &str) -> io::Result<Answer> {
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match (reply.starts_with("+PONG"), field("redis_version"), field("role")) {
        (true, Some(version), Some(mode)) => Ok(Answer { version: version.to_owned(), mode: mode.to_owned() }),
        _ => Err(not_yet(reply)),
    }
}

fn zookeeper_answer(reply: &str) -> io::Result<Answer> {
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    match (field("Zookeeper version"), field("Mode")) {
        (Some(version), Some(mode)) => {
            // `3.9.3-${mvngit.commit.id}, built on …` as Debian builds it, `3.9.3-<commit>, built on …` elsewhere.
            let end = version.find(['-', ',']).unwrap_or(version.len());
            Ok(Answer { version: version[..end].to_owned(), mode: mode.to_owned() })
        }
        _ => Err(not_yet(reply)),
    }
}

/// What a member's status says: it leads, follows, or knows of no leader.
#[derive(Deserialize)]
struct EtcdStatus {
    header: EtcdHeader,
    version: String,
    /// Zero where there is none, which the gateway leaves out.
    #[serde(default)]
    leader: Option<String>,
}

#[derive(Deserialize)]
struct EtcdHeader {
    member_id: String,
}

fn etcd_answer(reply: &str) -> io::Result<Answer> {
    let Ok(EtcdStatus { header, version, leader }) = serde_json::from_str(reply) else { return Err(not_yet(reply)) };
    match leader {
        None => Err(io::Error::other("it knows of no leader")),
        Some(leader) if leader == "0" => Err(io::Error::other("it knows of no leader")),
        Some(leader) => {
            let mode = if leader == header.member_id { "leader" } else { "follower" };
            Ok(Answer { version, mode: mode.to_owned() })
        }
    }
}

/// A published port takes connections before the server behind it does, and then says nothing.
fn not_yet(reply: &str) -> io::Error {
    io::Error::other(reply.lines().find(|line| !line.is_empty()).unwrap_or("not serving yet").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_says_version_and_role() {
        let reply = "+PONG\r\n$40\r\n# Server\r\nredis_version:8.0.2\r\nredis_mode:standalone\r\n\r\n\
                     $30\r\n# Replication\r\nrole:master\r\n\r\n+OK\r\n";
        assert_eq!(redis_answer(reply).unwrap(), Answer { version: "8.0.2".into(), mode: "master".into() });
        assert_eq!(redis_answer("").unwrap_err().to_string(), "not serving yet");
    }

    #[test]
    fn zookeeper_says_version_and_mode() {
        let reply = "Zookeeper version: 3.9.3-${mvngit.commit.id}, built on 2026-03-08\nZxid: 0x0\nMode: leader\n";
        assert_eq!(zookeeper_answer(reply).unwrap(), Answer { version: "3.9.3".into(), mode: "leader".into() });
        let reply = "This ZooKeeper instance is not currently serving requests\n";
        assert!(zookeeper_answer(reply).unwrap_err().to_string().contains("not currently serving"));
    }

    #[test]
    fn zookeeper_says_whose_sessions_it_serves() {
        let reply = " /172.30.57.1:51334[0](queued=0,recved=1,sent=0)\n \
                     /172.30.57.32:40186[1](queued=0,recved=9,sent=9,sid=0x100000a2b3c0001,lop=PING,to=2000)\n";
        assert_eq!(sessions(reply), [(Ipv4Addr::new(172, 30, 57, 32), 0x100000a2b3c0001)]);
    }

    #[test]
    fn etcd_says_version_and_whether_it_leads() {
        let reply = |leader| {
            format!("{{\"header\":{{\"cluster_id\":\"7\",\"member_id\":\"88\"}},\"version\":\"3.5.16\"{leader}}}")
        };
        let mode = |leader| etcd_answer(&reply(leader)).map(|answer| answer.mode).map_err(|error| error.to_string());
        assert_eq!(mode(",\"leader\":\"88\""), Ok("leader".to_owned()));
        assert_eq!(mode(",\"leader\":\"9\""), Ok("follower".to_owned()));
        assert_eq!(mode(""), Err("it knows of no leader".to_owned()));
        assert_eq!(etcd_answer(&reply(",\"leader\":\"9\"")).unwrap().version, "3.5.16");
        assert_eq!(etcd_answer("").unwrap_err().to_string(), "not serving yet");
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let error = ask(Role::Redis, server, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer");
    }
}
