//! `TCP_NODELAY` for the connections of the client crate, which does not set it and lets nobody at its sockets.
//!
//! Without it the kernel keeps a second small request back until the first one is acknowledged, so that what was meant
//! to be one round trip is two. This looks through the process's own descriptors for sockets whose other end is one of
//! the ensemble's servers and sets the option there. It means nothing to any other socket, and does nothing where there
//! is no `/proc`. To be deleted when the crate sets the option itself.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{getpeername, sockopt};

/// Sets the option on every connection of this process to one of `servers`; on how many it was not set yet.
pub(super) fn set(servers: &[SocketAddr]) -> usize {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let numbers = descriptors.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| *number >= 0 && set_on(*number, servers) == Some(true)).count()
}

/// Whether the option was missing on this descriptor; `None` if it is no connection to one of the servers.
#[expect(unsafe_code, reason = "the crate that owns the socket does not lend it")]
fn set_on(number: i32, servers: &[SocketAddr]) -> Option<bool> {
    // SAFETY: the number is not -1. If its owner closes it meanwhile, or it comes to stand for another socket, the
    // calls below fail, or set an option that changes when that socket sends and not what; nothing is kept beyond them.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let peer = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
    // The same server, reached over a socket for both families.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !servers.contains(&peer) {
        return None;
    }
    let missing = !sockopt::tcp_nodelay(socket).ok()?;
    if missing {
        sockopt::set_tcp_nodelay(socket, true).ok()?;
    }
    Some(missing)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_connections_to_the_servers_are_touched() {
        let [server, other] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let connect = |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (to_server, to_other) = (connect(&server), connect(&other));
        let servers = [server.local_addr().unwrap()];
        assert_eq!((set(&servers), set(&servers)), (1, 0));
        assert!(to_server.nodelay().unwrap() && !to_other.nodelay().unwrap());
    }
}
