//! `fencepost door`: in a container of its own, takes connections at one lock server's port, and passes each on through
//! a socket file to the relay on the other side.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

/// Passes connections on until it is ended.
///
/// # Errors
/// The port cannot be listened at.
pub async fn main(port: u16, socket: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.context("cannot listen")?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let socket = socket.to_owned();
        tokio::spawn(async move {
            client.set_nodelay(true)?;
            // Without the relay there is no server: the client is told by the end of its connection.
            let mut relay = UnixStream::connect(socket).await?;
            copy_bidirectional(&mut client, &mut relay).await
        });
    }
}
