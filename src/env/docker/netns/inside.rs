//! Entering a container's network namespace, and running `nft` there.
//!
//! A namespace is a thread's: each piece of work gets a thread that enters, works and ends.

use std::fs::File;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use super::Door;

/// Does `work` inside of `door`. Sockets that it opens and programs that it starts stay there.
pub(super) async fn inside<T: Send + 'static>(
    door: Door,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // Nobody waits any more: the request was given up.
        let _ = sender.send(enter(door).and_then(|()| work()));
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the work was not finished")))
}

/// Moves this thread into the namespace for good.
pub(super) fn enter(door: Door) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{}/ns/net", door.pid))
        .map_err(|error| io::Error::new(error.kind(), format!("no process {}: {error}", door.pid)))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    // Only where the address is one of its own can it be bound.
    let bound = UdpSocket::bind((door.address, 0));
    bound.map(drop).map_err(|error| io::Error::other(format!("{} is not in that network: {error}", door.address)))
}

/// Runs `nft` where this thread is.
pub(super) fn nft(arguments: &[&str], script: &str) -> io::Result<String> {
    run("nft", arguments, script)
}

/// Runs a program where this thread is; what it printed. An error says what it complained of.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Dropped at once: the program reads to the end of it.
    child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())).transpose()?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
