//! The harness's hold on the helper container, and its way of asking it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::{Answer, Request};
use crate::env::docker::container::{LABEL_WHO, Role, labels};
use crate::env::docker::engine::{Engine, EngineError, api};
use crate::env::docker::images::TOOLS;
use crate::env::docker::launch::PROGRAM;
use crate::env::docker::tempdir::TempDir;

/// Where the folder with the socket is inside of the helper.
const FOLDER: &str = "/run/fencepost";
/// The socket's name in that folder.
const SOCKET: &str = "netns.sock";
/// How long the helper may take to start.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to answer: a busy machine's worst.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end by itself.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What the helper needs to be allowed: to change networks, to enter them, and to find them by their processes.
const RIGHTS: [&str; 4] = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"];

/// Why a network was not changed or looked at.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The helper container could not be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The helper cannot be reached.
    #[error("the network helper does not answer ({0})")]
    Unreachable(io::Error),
    /// It says no.
    #[error("{0}")]
    Failed(String),
}

/// A hold on the helper: it stays while there is one.
#[derive(Clone)]
pub struct Netns {
    socket: PathBuf,
    helper: String,
    _hold: Arc<Hold>,
}

struct Hold {
    _stay: UnixStream,
    /// Of the one who started it.
    _folder: Option<TempDir>,
}

impl Netns {
    /// Starts a helper container under a name that Docker chooses.
    ///
    /// # Errors
    /// It does not start, or says nothing.
    pub async fn start(engine: &Engine) -> Result<Self, NetnsError> {
        Self::start_as(engine, None).await
    }

    /// Starts a helper container; `claim` is its name, which no other may have, and whose it is.
    ///
    /// # Errors
    /// The name is taken, it does not start, or it says nothing.
    pub async fn start_as(engine: &Engine, claim: Option<(&str, &str)>) -> Result<Self, NetnsError> {
        let folder = TempDir::new().map_err(NetnsError::Unreachable)?;
        let program = std::env::current_exe().map_err(NetnsError::Unreachable)?;
        let docker = engine.docker();
        let mut owned = labels(Role::Netns, None, None);
        owned.extend(claim.map(|(_, who)| (LABEL_WHO.to_owned(), who.to_owned())));
        let options = claim.map(|(name, _)| CreateContainerOptionsBuilder::new().name(name).build());
        let body = ContainerCreateBody {
            image: Some(TOOLS.to_owned()),
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            cmd: Some(vec!["netns".to_owned(), "--socket".to_owned(), format!("{FOLDER}/{SOCKET}")]),
            user: Some("0".to_owned()),
            labels: Some(owned),
            host_config: Some(HostConfig {
                binds: Some(vec![
                    format!("{}:{PROGRAM}:ro", program.display()),
                    format!("{}:{FOLDER}", folder.path().display()),
                ]),
                network_mode: Some("none".to_owned()),
                pid_mode: Some("host".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(RIGHTS.map(str::to_owned).to_vec()),
                security_opt: Some(vec!["apparmor=unconfined".to_owned()]),
                auto_remove: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        };
        let helper = docker.create_container(options, body).await.map_err(api("create the network helper"))?.id;
        docker.start_container(&helper, None).await.map_err(api("start the network helper"))?;
        let socket = folder.path().join(SOCKET);
        let started = Instant::now();
        loop {
            match stay(&socket).await {
                Ok(stay) => {
                    let hold = Arc::new(Hold { _stay: stay, _folder: Some(folder) });
                    return Ok(Self { socket, helper, _hold: hold });
                }
                Err(_) if started.elapsed() < START_LIMIT => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => {
                    let said = engine.logs_own(&helper, "the network helper").await.unwrap_or_default();
                    engine.remove_own(&helper, "the network helper").await?;
                    return Err(NetnsError::Unreachable(io::Error::other(format!(
                        "{error}; it said: {}",
                        said.trim()
                    ))));
                }
            }
        }
    }

    /// Holds on to a helper that somebody else has started.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn join(socket: &Path) -> Result<Self, NetnsError> {
        let stay = stay(socket).await.map_err(NetnsError::Unreachable)?;
        let hold = Arc::new(Hold { _stay: stay, _folder: None });
        Ok(Self { socket: socket.to_owned(), helper: String::new(), _hold: hold })
    }

    /// Where others can [`Netns::join`].
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The helper's container, for the one who started it.
    pub fn helper(&self) -> &str {
        &self.helper
    }

    /// Lets go of the helper, as the last who holds on to it, and returns when its container is gone.
    pub async fn end(self, engine: &Engine) {
        let Self { helper, _hold: hold, .. } = self;
        drop(hold);
        let options = WaitContainerOptionsBuilder::new().condition("removed").build();
        let mut gone = engine.docker().wait_container(&helper, Some(options));
        // An error is as good an answer: nobody knows the container any more.
        if tokio::time::timeout(END_LIMIT, gone.next()).await.is_err() {
            let _ = engine.remove_own(&helper, "the network helper").await;
        }
    }

    /// Asks for something; never [`Answer::Failed`].
    ///
    /// # Errors
    /// It could not be done, or the helper is gone.
    pub async fn ask(&self, request: &Request) -> Result<Answer, NetnsError> {
        match ask(&self.socket, request).await {
            Ok((_, Answer::Failed(why))) => Err(NetnsError::Failed(why)),
            Ok((_, answer)) => Ok(answer),
            Err(error) => Err(NetnsError::Unreachable(error)),
        }
    }
}

async fn stay(socket: &Path) -> io::Result<UnixStream> {
    ask(socket, &Request::Stay).await.map(|(stream, _)| stream)
}

async fn ask(socket: &Path, request: &Request) -> io::Result<(UnixStream, Answer)> {
    let exchange = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok((stream.into_inner(), serde_json::from_str(&answer)?))
    };
    tokio::time::timeout(ANSWER_LIMIT, exchange).await.unwrap_or_else(|_| Err(io::Error::other("no answer")))
}
