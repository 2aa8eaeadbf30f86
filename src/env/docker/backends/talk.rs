//! Plain text over a fresh TCP connection each time: no pool to keep, nothing to set up for a server that may be
//! frozen.
//!
//! Deliberately absent: what is said, and anything a lock needs, which has clients of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request and reads until the server ends the connection.
///
/// # Errors
/// It gave no answer in time.
pub async fn talk(server: SocketAddr, request: &[u8], limit: Duration) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(no_answer()))
}

/// Makes a request over HTTP; the body of its reply.
///
/// # Errors
/// The server gave no answer, or one that is not 200.
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

/// What is said of a server that was silent for as long as it was waited for. Other errors are a server's own word.
pub(super) fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}

/// A published port takes connections before the server behind it does, and then says nothing.
pub(super) fn not_yet(reply: &str) -> io::Error {
    io::Error::other(reply.lines().find(|line| !line.is_empty()).unwrap_or("not serving yet").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let error = talk(server, b"srvr", Duration::from_millis(20)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "no answer"));
    }
}
