//! A ZooKeeper ensemble over the `zookeeper-client` crate.

mod look;
mod nodelay;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;
use zookeeper_client::{Acls, Client, CreateMode, Error, EventType, SessionState as ClientState};

#[cfg(feature = "tls")]
use super::tls::{TlsError, TlsFiles};
use crate::lock::backend::{Reply, SessionState, Watch, WatchEvent, ZkConnector, ZkSession, Znode};
use crate::lock::error::{NodeOutcome, ZkError};
use crate::lock::runtime::tokio_around;

/// A ZooKeeper ensemble by its connect string.
#[derive(Clone)]
pub struct ZookeeperEnsemble {
    servers: String,
    session_timeout: Duration,
    /// `user:password` for the digest scheme.
    digest: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<zookeeper_client::TlsOptions>,
}

struct Session {
    client: Arc<Client>,
    acls: Acls<'static>,
    state: watch::Receiver<SessionState>,
}

impl ZookeeperEnsemble {
    /// The ensemble with these servers (`host:port,host:port`). Sessions ask for `session_timeout`; the ensemble may
    /// grant another one.
    pub fn new(servers: impl Into<String>, session_timeout: Duration) -> Self {
        Self {
            servers: servers.into(),
            session_timeout,
            digest: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The same, as the user of `credentials` (`user:password`, ZooKeeper's digest scheme). Only this user may touch
    /// the znodes that are made then; without a user, anybody may.
    #[must_use]
    pub fn with_digest(mut self, credentials: &str) -> Self {
        self.digest = Some(credentials.to_owned());
        self
    }

    /// The same, by TLS. The authority has to be named: the system's are not asked.
    ///
    /// # Errors
    /// A file is not there or not what it should be, or none names the authority; a server's name can be in no
    /// certificate.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, files: &TlsFiles) -> Result<Self, TlsError> {
        for server in look::servers(&self.servers) {
            super::tls::nameable(&server)?;
        }
        self.tls = Some(super::tls::of_zookeeper(files)?);
        Ok(self)
    }

    /// A session for a short visit, which takes no part in a lock.
    pub(super) async fn visit(&self) -> Result<Client, ZkError> {
        self.open().await.map_err(classify)
    }

    /// A session of the crate's.
    async fn open(&self) -> Result<Client, Error> {
        let mut connector = Client::connector().with_session_timeout(self.session_timeout);
        if let Some(digest) = &self.digest {
            connector = connector.with_auth("digest", digest.as_bytes());
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return connector.with_tls(tls.clone()).secure_connect(&self.servers).await;
        }
        connector.connect(&self.servers).await
    }
}

impl ZkConnector for ZookeeperEnsemble {
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError> {
        let ensemble = self.clone();
        let connecting = async move {
            let acls = if ensemble.digest.is_some() { Acls::creator_all() } else { Acls::anyone_all() };
            let client = ensemble.open().await.map_err(classify)?;
            let (sender, state) = watch::channel(SessionState::Connected);
            let mut watcher = client.state_watcher();
            let named: Arc<[String]> = look::servers(&ensemble.servers).into();
            let _ = tokio::time::timeout(NAMED_WITHIN, set_nodelay(Arc::clone(&named))).await;
            tokio::spawn(async move {
                loop {
                    let state = match watcher.changed().await {
                        ClientState::SyncConnected | ClientState::ConnectedReadOnly => {
                            // Whoever follows the state must not wait for a name server.
                            tokio::spawn(set_nodelay(Arc::clone(&named)));
                            SessionState::Connected
                        }
                        ClientState::Disconnected => SessionState::Disconnected,
                        ended => SessionState::Ended(ended.to_string()),
                    };
                    let ended = matches!(state, SessionState::Ended(_));
                    if sender.send(state).is_err() || ended {
                        break;
                    }
                }
            });
            Ok(Arc::new(Session { client: Arc::new(client), acls, state }) as Arc<dyn ZkSession>)
        };
        async move {
            // The crate needs a runtime around it.
            let around =
                tokio_around().ok_or_else(|| ZkError::Unanswered("the system has no thread to spare".into()))?;
            let ended = |error| ZkError::Unanswered(format!("connecting ended: {error}"));
            around.spawn(connecting).await.unwrap_or_else(|error| Err(ended(error)))
        }
        .boxed()
    }

    fn look(&self) -> Vec<(String, BoxFuture<'static, NodeOutcome>)> {
        // The look is in plain words.
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Vec::new();
        }
        look::servers(&self.servers).into_iter().map(|server| (server.clone(), look::look(server).boxed())).collect()
    }
}

/// How long a new session waits for the name server that tells its connection from others. The client has asked it just
/// before.
const NAMED_WITHIN: Duration = Duration::from_millis(100);

/// Has the connections to these servers send each request at once.
async fn set_nodelay(servers: Arc<[String]>) {
    let mut addresses = Vec::new();
    for server in &*servers {
        addresses.extend(tokio::net::lookup_host(server).await.into_iter().flatten());
    }
    // A program may have many descriptors; without the option it is only slower.
    let _ = tokio::task::spawn_blocking(move || nodelay::set(&addresses)).await;
}

/// Only the ensemble's own refusals mean that nothing happened. In particular `ConnectionLoss` is not the only error
/// of a lost connection: resets and silence come as other ones.
pub(super) fn classify(error: Error) -> ZkError {
    match error {
        Error::NoNode => ZkError::NoNode,
        Error::NodeExists => ZkError::NodeExists,
        Error::SessionExpired | Error::ClientClosed | Error::NoHosts => ZkError::SessionEnded(error.to_string()),
        Error::BadArguments(_)
        | Error::NoAuth
        | Error::AuthFailed
        | Error::BadVersion
        | Error::NoChildrenForEphemerals
        | Error::NotEmpty
        | Error::InvalidAcl
        | Error::NotReadOnly
        | Error::QuotaExceeded
        | Error::Throttled
        | Error::MarshallingError
        | Error::Unimplemented => ZkError::Refused(error.to_string()),
        _ => ZkError::Unanswered(error.to_string()),
    }
}

fn znode(stat: &zookeeper_client::Stat) -> Znode {
    // Transaction ids are never negative on servers that report them (3.5 and later).
    Znode { czxid: stat.czxid.max(0) as u64, ephemeral_owner: stat.ephemeral_owner }
}

impl Session {
    /// Runs `request` with a client and a path of its own. The crate sends a request when its method is called, which
    /// is when the future is first polled.
    fn ask<T: Send + 'static, F>(&self, path: &str, request: impl FnOnce(Arc<Client>, String) -> F) -> Reply<T, ZkError>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        request(Arc::clone(&self.client), path.to_owned()).map(|answer| answer.map_err(classify)).boxed()
    }
}

impl ZkSession for Session {
    fn id(&self) -> i64 {
        self.client.session_id().0
    }

    fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn create_parents(&self, path: &str) -> Reply<(), ZkError> {
        let acls = self.acls;
        self.ask(
            path,
            move |client, path| async move { client.mkdir(&path, &CreateMode::Persistent.with_acls(acls)).await },
        )
    }

    fn create_contender(&self, prefix: &str) -> Reply<(String, Znode), ZkError> {
        let acls = self.acls;
        self.ask(prefix, move |client, prefix| async move {
            let options = CreateMode::EphemeralSequential.with_acls(acls);
            let (stat, sequence) = client.create(&prefix, &[], &options).await?;
            Ok((format!("{prefix}{sequence}"), znode(&stat)))
        })
    }

    fn children(&self, path: &str) -> Reply<Vec<String>, ZkError> {
        self.ask(path, |client, path| async move { client.list_children(&path).await })
    }

    fn stat(&self, path: &str) -> Reply<Option<Znode>, ZkError> {
        self.ask(path, |client, path| async move { Ok(client.check_stat(&path).await?.as_ref().map(znode)) })
    }

    fn watch(&self, path: &str) -> Reply<Option<Watch>, ZkError> {
        self.ask(path, |client, path| async move {
            let (stat, watcher) = client.check_and_watch_stat(&path).await?;
            let event = async move {
                match watcher.changed().await.event_type {
                    EventType::NodeDeleted => WatchEvent::Deleted,
                    EventType::Session => WatchEvent::SessionEnded,
                    _ => WatchEvent::Changed,
                }
            };
            Ok(stat.map(|_| event.boxed()))
        })
    }

    fn delete(&self, path: &str) -> Reply<(), ZkError> {
        self.ask(path, |client, path| async move { client.delete(&path, None).await })
    }

    fn sync(&self, path: &str) -> Reply<(), ZkError> {
        self.ask(path, |client, path| async move { client.sync(&path).await })
    }
}
