//! The Docker daemon: reaching it, and what it is asked to do to the project's own containers.
//!
//! Deliberately absent: what the containers do (`cluster.rs`) and faults.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::{env, io};

use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::stream::TryStreamExt;

use super::cluster_name::cluster;
use super::container::{Container, LABEL_CLUSTER, Standing, State};
use super::own_requests::OwnRequests;

/// The label of an image with the digest of the files it was built from.
pub const LABEL_DIGEST: &str = "io.fencepost.digest";

/// Seconds after which a request to the daemon is given up. A daemon busy with eight containers takes a second or two.
const TIMEOUT_SECONDS: u64 = 10;

/// Why the daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody is there.
    #[error(
        "no Docker daemon answers at {host} ({why}); start it (`sudo systemctl start docker`, or Docker Desktop), \
         point DOCKER_HOST at one, or use --env sim"
    )]
    NoDaemon {
        /// Where one was looked for.
        host: String,
        /// What the system said.
        why: String,
    },
    /// Somebody is there, who does not talk to us.
    #[error(
        "the Docker daemon at {host} may not be used by this user; join the group `docker` \
         (`sudo usermod -aG docker $USER`, then log in again), or use --env sim"
    )]
    NotAllowed {
        /// The socket.
        host: String,
    },
    /// A kind of address that is not supported.
    #[error("DOCKER_HOST=`{host}` is not supported: give unix:///path or tcp://host:port, or use --env sim")]
    Host {
        /// The address.
        host: String,
    },
    /// A container that is not the project's own.
    #[error(
        "container `{name}` has no label {LABEL_CLUSTER}={own}, so it is not touched: it was not made by fencepost for this \
         cluster", own = cluster()
    )]
    NotLabelled {
        /// Its name.
        name: String,
    },
    /// The page of a container's clock cannot be used.
    #[error("the clock of {name} could not be set right: {source}")]
    Clock {
        /// The container's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon answered with an error.
    #[error("the Docker daemon could not {doing}: {source}")]
    Api {
        /// What it was asked for.
        doing: String,
        /// What it said.
        source: ApiError,
    },
}

impl EngineError {
    /// Whether somebody else has what was asked for: a name.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: ApiError::DockerResponseServerError { status_code: 409, .. }, .. })
    }
}

/// The events that starting a container brings about, thawing, killing and freezing one.
// Docker takes a container that ends off its network, and puts one that starts back on it.
const STARTS: &[&str] = &["start", "connect"];
const THAWS: &[&str] = &["unpause"];
const KILLS: &[&str] = &["kill", "die", "disconnect"];
const PAUSES: &[&str] = &["pause"];

/// A Docker daemon that answers.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    host: String,
    own_requests: Arc<OwnRequests>,
}

impl Engine {
    /// Reaches the daemon at `DOCKER_HOST`, or at the usual sockets.
    pub async fn connect() -> Result<Self, EngineError> {
        let chosen = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        Self::connect_to(&chosen.unwrap_or_else(usual_host)).await
    }

    /// Reaches the daemon at `unix:///path` or `tcp://host:port`.
    pub async fn connect_to(host: &str) -> Result<Self, EngineError> {
        let no_daemon = |why: String| EngineError::NoDaemon { host: host.to_owned(), why };
        let docker = if let Some(path) = host.strip_prefix("unix://") {
            // Tried by hand first, because it tells a daemon that is not there from one that is not for us.
            match tokio::net::UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(EngineError::NotAllowed { host: host.to_owned() });
                }
                Err(error) => return Err(no_daemon(error.to_string())),
                Ok(_) => Docker::connect_with_unix(host, TIMEOUT_SECONDS, API_DEFAULT_VERSION),
            }
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            Docker::connect_with_http(host, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
        } else {
            return Err(EngineError::Host { host: host.to_owned() });
        };
        let docker = docker.map_err(|error| no_daemon(error.to_string()))?;
        docker.ping().await.map_err(|error| no_daemon(error.to_string()))?;
        Ok(Self { docker, host: host.to_owned(), own_requests: Arc::default() })
    }

    /// The bare client, for requests that this type does not offer.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where the daemon was reached, in the form of `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What was asked for here lately, by this and its clones.
    pub(super) fn own_requests(&self) -> &OwnRequests {
        &self.own_requests
    }

    /// All of the project's own containers, by name.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_CLUSTER}={}", cluster())])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await.map_err(api("list containers"))?;
        let mut containers: Vec<_> = listed.into_iter().filter_map(Container::ours).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// The container of this name or id, refused unless it is the project's own.
    pub async fn labelled(&self, name: &str) -> Result<Container, EngineError> {
        let details = self.docker.inspect_container(name, None).await.map_err(api(format!("find container {name}")))?;
        let own = self.containers().await?.into_iter().find(|own| details.id.as_deref() == Some(own.id()));
        own.ok_or_else(|| EngineError::NotLabelled { name: name.to_owned() })
    }

    /// Makes a request of a container that brings about these events, which are then known for our own.
    async fn doing(
        &self,
        container: &Container,
        events: &[&'static str],
        request: impl Future<Output = Result<(), ApiError>>,
    ) -> Result<(), ApiError> {
        self.own_requests.note(container.id(), events);
        let done = request.await;
        if done.is_err() {
            self.own_requests.take_back(container.id(), events);
        }
        done
    }

    /// Starts a stopped container.
    pub async fn start(&self, container: &Container) -> Result<(), EngineError> {
        let started = self.doing(container, STARTS, self.docker.start_container(container.id(), None)).await;
        started.map_err(api(format!("start {}", container.name)))
    }

    /// Ends a container's processes at once, as `kill -9` does, and waits until they have ended.
    pub async fn kill(&self, container: &Container) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        let killed = self.doing(container, KILLS, self.docker.kill_container(container.id(), Some(options))).await;
        killed.map_err(api(format!("kill {}", container.name)))
    }

    /// Freezes a running container.
    pub async fn pause(&self, container: &Container) -> Result<(), EngineError> {
        let paused = self.doing(container, PAUSES, self.docker.pause_container(container.id())).await;
        paused.map_err(api(format!("pause {}", container.name)))
    }

    /// What a container is doing now.
    pub async fn state(&self, container: &Container) -> Result<State, EngineError> {
        self.standing(container).await.map(|standing| standing.state)
    }

    /// What a container is doing now, and since when.
    pub async fn standing(&self, container: &Container) -> Result<Standing, EngineError> {
        let doing = || format!("look at {}", container.name);
        let details = self.docker.inspect_container(container.id(), None).await.map_err(api(doing()))?;
        let state = details.state.unwrap_or_default();
        let doing = match (state.paused, state.running) {
            (Some(true), _) => State::Paused,
            (_, Some(true)) => State::Running,
            _ => State::Stopped,
        };
        Ok(Standing { state: doing, started: state.started_at.map(|at| at.to_string()).unwrap_or_default() })
    }

    /// The number of a container's first process on this machine; `None` while it does not run.
    pub async fn pid(&self, container: &Container) -> Result<Option<i64>, EngineError> {
        let doing = || format!("look at {}", container.name);
        let details = self.docker.inspect_container(container.id(), None).await.map_err(api(doing()))?;
        Ok(details.state.and_then(|state| state.pid).filter(|pid| *pid > 0))
    }

    /// What a container has printed.
    pub async fn logs(&self, container: &Container) -> Result<String, EngineError> {
        self.logs_own(container.id(), &container.name).await
    }

    /// The last lines that a container has printed since `since`, seconds since the epoch; before each stands when the
    /// daemon received it.
    pub async fn logs_since(&self, container: &Container, since: i32) -> Result<String, EngineError> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).since(since).timestamps(true).tail("100");
        let chunks = self.docker.logs(container.id(), Some(options.build())).map_ok(|chunk| chunk.to_string());
        let doing = || format!("read the log of {}", container.name);
        let chunks: Vec<String> = chunks.try_collect().await.map_err(api(doing()))?;
        Ok(chunks.concat())
    }

    /// As [`Engine::logs`], for a container that the caller has just created with the project's label.
    pub(super) async fn logs_own(&self, id: &str, name: &str) -> Result<String, EngineError> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let chunks = self.docker.logs(id, Some(options)).map_ok(|chunk| chunk.to_string());
        let chunks: Vec<String> = chunks.try_collect().await.map_err(api(format!("read the log of {name}")))?;
        Ok(chunks.concat())
    }

    /// Thaws a paused container.
    pub async fn unpause(&self, container: &Container) -> Result<(), EngineError> {
        let thawed = self.doing(container, THAWS, self.docker.unpause_container(container.id())).await;
        thawed.map_err(api(format!("unpause {}", container.name)))
    }

    /// Thaws a container if it is frozen. One that is not, or that is gone, is fine.
    pub async fn thaw(&self, container: &Container) -> Result<(), EngineError> {
        match self.doing(container, THAWS, self.docker.unpause_container(container.id())).await {
            Ok(()) | Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            // By its state, not by the daemon's words for "it is not paused".
            Err(error) => match self.state(container).await {
                Ok(State::Paused) => Err(api(format!("unpause {}", container.name))(error)),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Starts a container if it does not run. One that is gone, or on its way to be, is fine.
    pub async fn revive(&self, container: &Container) -> Result<(), EngineError> {
        match self.doing(container, STARTS, self.docker.start_container(container.id(), None)).await {
            // 404: gone; 409: being removed.
            Err(ApiError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            other => other.map_err(api(format!("start {}", container.name))),
        }
    }

    /// Ends and removes a container with its volumes, whatever it is doing; one that is gone already is fine.
    pub async fn remove(&self, container: &Container) -> Result<(), EngineError> {
        self.remove_own(container.id(), &container.name).await
    }

    /// As [`Engine::remove`], for a container that the caller has just created with the project's label.
    pub(super) async fn remove_own(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            // 404: gone; 409: somebody else is removing it right now.
            Err(ApiError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            other => other.map_err(api(format!("remove {name}"))),
        }
    }
}

/// Wraps what the daemon said with what it was asked for.
pub(super) fn api(doing: impl Into<String>) -> impl FnOnce(ApiError) -> EngineError {
    let doing = doing.into();
    move |source| EngineError::Api { doing, source }
}

/// The first usual socket that exists: the system's, Docker Desktop's, a rootless daemon's.
fn usual_host() -> String {
    const SYSTEM: &str = "/var/run/docker.sock";
    let own = |variable: &str, path: &str| env::var(variable).map(|folder| format!("{folder}/{path}")).ok();
    [Some(SYSTEM.to_owned()), own("HOME", ".docker/run/docker.sock"), own("XDG_RUNTIME_DIR", "docker.sock")]
        .into_iter()
        .flatten()
        .find(|path| Path::new(path).exists())
        .map_or_else(|| format!("unix://{SYSTEM}"), |path| format!("unix://{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_daemon_is_told_with_the_remedies() {
        let error = Engine::connect_to("unix:///nonexistent/docker.sock").await.unwrap_err().to_string();
        assert!(error.contains("unix:///nonexistent/docker.sock") && error.contains("--env sim"), "{error}");
        let error = Engine::connect_to("ssh://somewhere").await.unwrap_err().to_string();
        assert!(error.contains("not supported"), "{error}");
    }
}
