//! Locks by TLS: it is ended in front of the real servers, as a proxy beside them does it.
//!
//! The certificates in `tls/` are of an authority whose key nobody has any more. Deliberately absent: servers that
//! speak TLS themselves.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::{AcquireOptions, DistributedLock, Settings, SettingsError};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::{block_on, cluster};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/docker_locks/tls").join(name)
}

/// Whom a client must show to be let in.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nothing,
    ForACertificate,
}

/// A door to a server by TLS, as the one whom a certificate names.
async fn door(server: SocketAddr, who: &str, asks: Asks) -> SocketAddr {
    let certificate = |name: &str| CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap();
    let config = match asks {
        Asks::Nothing => ServerConfig::builder().with_no_client_auth(),
        Asks::ForACertificate => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate("ca")).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(file(&format!("{who}.key"))).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate(who)], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

/// Which files a client has.
fn table(ca: &str, shows: bool) -> String {
    let mut table = format!("tls = {{ ca = \"{}\"", file(ca).display());
    if shows {
        let [certificate, key] = ["client.pem", "client.key"].map(file);
        write!(table, ", cert = \"{}\", key = \"{}\"", certificate.display(), key.display()).unwrap();
    }
    table + " }\n"
}

/// Settings of each kind of lock behind doors.
async fn settings(who: &str, asks: Asks) -> [(&'static str, String); 3] {
    let cluster = cluster().await;
    let unique = format!("tls-{:08x}", rand::random::<u32>());
    let mut nodes = Vec::new();
    for node in &cluster.redis[..3] {
        nodes.push(format!("\"rediss://localhost:{}\"", door(*node, who, asks).await.port()));
    }
    let ensemble = cluster.zookeeper.split(',').next().unwrap().parse().unwrap();
    let ensemble = door(ensemble, who, asks).await.port();
    [
        (
            "redlock",
            format!("[redlock]\nnodes = [{}]\nnode-timeout = \"1s\"\nkey-prefix = \"{unique}:\"\n", nodes.join(", ")),
        ),
        ("redis", format!("[redis]\nnode = {}\nnode-timeout = \"1s\"\nkey-prefix = \"{unique}-one:\"\n", nodes[0])),
        ("zookeeper", format!("[zookeeper]\nservers = \"zk://localhost:{ensemble}\"\nroot = \"/{unique}\"\n")),
    ]
}

async fn connected(text: &str) -> Result<Box<dyn DistributedLock>, SettingsError> {
    Settings::parse(&format!("{text}connect-timeout = \"2s\"\n"), "lock.toml").unwrap().connect().await
}

#[test]
fn a_lock_is_held_given_back_and_contended_by_tls() {
    block_on(async {
        for (who, asks, shows) in [("server", Asks::Nothing, false), ("server", Asks::ForACertificate, true)] {
            for (kind, text) in settings(who, asks).await {
                let lock = connected(&(text + &table("ca.pem", shows))).await.unwrap();
                let (name, soon) = (LockName::new("by tls"), AcquireOptions::within(Duration::from_secs(10)));
                let held = lock.acquire(&name, &soon).await.unwrap();
                assert!(lock.try_acquire(&name).await.unwrap().is_none(), "{kind}");
                held.release().await;
                lock.acquire(&name, &soon).await.unwrap().release().await;
            }
        }
    });
}

#[test]
fn who_is_not_who_the_client_trusts_is_not_spoken_to() {
    block_on(async {
        // Another authority's; the wrong name; a client without the certificate that is asked for.
        for (who, asks, ca) in [
            ("server", Asks::Nothing, "stranger.pem"),
            ("client", Asks::Nothing, "ca.pem"),
            ("server", Asks::ForACertificate, "ca.pem"),
        ] {
            for (kind, text) in settings(who, asks).await {
                let error = connected(&(text + &table(ca, false))).await.err();
                let error = error.unwrap_or_else(|| panic!("{kind}: {who} with {ca} is believed")).to_string();
                assert!(error.contains("no lock to be had"), "{kind}: {error}");
                // The ensemble's client says only that there is no session.
                assert!(kind == "zookeeper" || error.to_lowercase().contains("certificate"), "{kind}: {error}");
            }
        }
    });
}

#[test]
fn an_address_without_tls_gets_no_lock_from_a_door_that_wants_it() {
    block_on(async {
        for (kind, text) in settings("server", Asks::Nothing).await {
            let error = connected(&text.replace("rediss://", "redis://")).await.err();
            assert!(error.is_some(), "{kind}");
        }
    });
}
