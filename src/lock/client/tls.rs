//! TLS to the servers of a lock: whom to believe that he is the server, and what to show him.
//!
//! One provider of cryptography for all clients, and no way to turn the check of the server's name off. Deliberately
//! absent: reloading of certificates, which a program does by making the lock anew.

use std::path::{Path, PathBuf};
#[cfg(feature = "redis")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "redis")]
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
#[cfg(feature = "redis")]
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::pki_types::pem::PemObject,
    rustls::pki_types::{CertificateDer, PrivateKeyDer},
    rustls::{ClientConfig, RootCertStore},
};

/// The files that say whom to trust and who the client is, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that servers are believed by; the system's if absent.
    pub ca: Option<PathBuf>,
    /// The client's certificate, with those between it and its authority, and its private key, for servers that ask for
    /// them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a connection by TLS needs, read from its files.
#[cfg(feature = "redis")]
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<ClientConfig>,
}

/// Why there can be no TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of what it should have.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system has no authorities.
    #[error("the system has no certificates of authorities ({0}): name a file with them as `ca`")]
    NoSystemRoots(String),
    /// Nothing says whom to believe, and the client of this backend does not ask the system.
    #[error("name a file with the certificates of the servers' authority as `ca`")]
    NoAuthority,
    /// The certificate and the key are no pair, or a certificate is none.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

#[cfg(feature = "redis")]
impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is not there or not what it should be.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in authorities(files.ca.as_deref())? {
            roots.add(certificate).map_err(|error| TlsError::Unusable(error.to_string()))?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match &files.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                config.with_client_auth_cert(chain, key).map_err(|error| TlsError::Unusable(error.to_string()))?
            }
        };
        Ok(Self { files, config: Arc::new(config) })
    }

    /// As the system trusts, read once for the whole process: connections come and go.
    pub(super) fn usual() -> Result<Self, TlsError> {
        static USUAL: OnceLock<Tls> = OnceLock::new();
        match USUAL.get() {
            Some(tls) => Ok(tls.clone()),
            None => Self::new(TlsFiles::default()).map(|tls| USUAL.get_or_init(|| tls).clone()),
        }
    }

    /// The files it was read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Shakes hands over a connection with the server of this name.
    pub(super) async fn greet(&self, host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("`{host}` can be in no certificate"))
        })?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

#[cfg(feature = "redis")]
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

#[cfg(feature = "redis")]
impl Eq for Tls {}

#[cfg(feature = "redis")]
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

/// Whether a server (`host:port`) has a name that a certificate can have.
#[cfg(feature = "zookeeper")]
pub(super) fn nameable(server: &str) -> Result<(), TlsError> {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
    let named = ServerName::try_from(host);
    named.map(|_| ()).map_err(|_| TlsError::Unusable(format!("`{host}` can be in none as a server's name")))
}

/// The authorities in a file, or the system's.
#[cfg(feature = "redis")]
fn authorities(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if let Some(ca) = ca {
        return certificates(ca);
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoSystemRoots(why.join("; ")));
    }
    Ok(found.certs)
}

#[cfg(feature = "redis")]
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, &error))?;
    if certificates.is_empty() {
        return Err(wrong(path, &"there is no certificate in it; it must be PEM"));
    }
    Ok(certificates)
}

fn wrong(path: &Path, problem: &dyn ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), problem: problem.to_string() }
}

/// The same for the crate that speaks with ZooKeeper, which reads texts. It has no authorities of the system's.
#[cfg(feature = "zookeeper")]
pub(super) fn of_zookeeper(files: &TlsFiles) -> Result<zookeeper_client::TlsOptions, TlsError> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| wrong(path, &error));
    let Some(ca) = &files.ca else { return Err(TlsError::NoAuthority) };
    let options = zookeeper_client::TlsOptions::new().with_pem_ca(&text(ca)?).map_err(|error| wrong(ca, &error))?;
    match &files.identity {
        None => Ok(options),
        Some((certificate, key)) => {
            let identified = options.with_pem_identity(&text(certificate)?, &text(key)?);
            identified.map_err(|error| wrong(certificate, &error))
        }
    }
}
