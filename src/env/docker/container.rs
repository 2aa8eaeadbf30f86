//! The project's own containers: their labels, what each is for, what it is doing.
//!
//! Whatever changes a container takes a [`Container`], and only this file makes those, from containers that carry the
//! project's label. So code elsewhere cannot touch a stranger's container by mistake. Deliberately absent: changing one
//! (`engine.rs`).

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

use super::clock_page;
use super::cluster_name::cluster;
use crate::ids::NodeId;
use crate::scenario::Backend;

/// The label that makes a container or a network the project's own; its value is the [`cluster`]'s name.
pub const LABEL_CLUSTER: &str = "io.fencepost.cluster";
/// The label that says what a container is for, a [`Role`].
pub const LABEL_ROLE: &str = "io.fencepost.role";
/// The label with the number of a server or a client.
pub const LABEL_NODE: &str = "io.fencepost.node";
/// The label of a trial's containers with the run and the lock that they belong to, as `RUN/LOCK`.
pub const LABEL_TRIAL: &str = "io.fencepost.trial";
/// The label of a run's network helper that says whose run it is.
pub const LABEL_WHO: &str = "io.fencepost.who";
/// The label of a server with the number of all of its kind, where a scenario may choose that.
pub const LABEL_ENSEMBLE: &str = "io.fencepost.ensemble";
/// What a container of the project is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A lock server.
    Server(Backend),
    /// A page for a person's browser.
    Ui,
    /// A client of the trial.
    Client,
    /// The protected resource.
    Resource,
    /// Forwards connections of a trial's clients to a lock server that is not ours.
    Door,
    /// The run's helper that changes networks. It ends with those who hold on to it.
    Netns,
    /// Anything else that was started for a run.
    Helper,
}

impl Role {
    /// Whether the container outlives a run. All others are removed before the next.
    pub fn outlives_runs(self) -> bool {
        self.is_server() || self == Self::Ui
    }

    /// Whether it is a lock server.
    pub fn is_server(self) -> bool {
        matches!(self, Self::Server(_))
    }

    fn from_label(label: &str) -> Self {
        if let Some(backend) = Backend::ALL.into_iter().find(|backend| backend.name() == label) {
            return Self::Server(backend);
        }
        match label {
            "ui" => Self::Ui,
            "client" => Self::Client,
            "resource" => Self::Resource,
            "door" => Self::Door,
            "netns" => Self::Netns,
            _ => Self::Helper,
        }
    }
}

impl fmt::Display for Role {
    /// The value of [`LABEL_ROLE`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server(backend) => backend.name(),
            Self::Ui => "ui",
            Self::Client => "client",
            Self::Resource => "resource",
            Self::Door => "door",
            Self::Netns => "netns",
            Self::Helper => "helper",
        })
    }
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It does not run, and can be started.
    Stopped,
    /// It is on its way: starting again, stopping, being removed.
    Passing,
}

impl State {
    fn of(summary: &ContainerSummary) -> Self {
        match summary.state {
            Some(ContainerSummaryStateEnum::RUNNING) => Self::Running,
            Some(ContainerSummaryStateEnum::PAUSED) => Self::Paused,
            Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EXITED) => Self::Stopped,
            _ => Self::Passing,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Passing => "in between",
        })
    }
}

/// What a container is doing at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// That.
    pub state: State,
    /// When it was started, in the daemon's words.
    pub started: String,
}

/// One of the project's own containers, as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its number among those of its role, if it has one.
    pub node: Option<NodeId>,
    /// What it is doing.
    pub state: State,
    /// Its address in the cluster's network, while it has one.
    pub address: Option<Ipv4Addr>,
    /// The port that Docker publishes for it on this machine, while it runs.
    pub published: Option<u16>,
    /// The id of its image.
    pub image: String,
    /// The folder with its clock's page, if it has one.
    pub clock: Option<PathBuf>,
    /// For a container of a trial: `RUN/LOCK`, from its label.
    pub trial: Option<String>,
    /// For a run's network helper: whose run it is.
    pub who: Option<String>,
    /// For a server whose number a scenario may choose: how many there are.
    pub ensemble: Option<u8>,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether Compose was about to put another in its place, and was stopped on the way: it gives the old one a name
    /// that begins with its id, creates the new one, and only then removes the old one. It is nobody's server any more,
    /// and its address and port may be taken.
    pub(super) fn is_replaced(&self) -> bool {
        self.id.get(..12).is_some_and(|id| self.name.strip_prefix(id).is_some_and(|rest| rest.starts_with('_')))
    }

    /// `None` for a container without the project's label.
    pub(super) fn ours(summary: ContainerSummary) -> Option<Self> {
        let state = State::of(&summary);
        let labels = summary.labels.filter(is_ours)?;
        let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let mounts = summary.mounts.unwrap_or_default();
        let clock = mounts.into_iter().find(|mount| mount.destination.as_deref() == Some(clock_page::FOLDER));
        let id = summary.id?;
        Some(Self {
            name: summary
                .names
                .unwrap_or_default()
                .first()
                .map_or(&*id, |name| name.trim_start_matches('/'))
                .to_owned(),
            role: labels.get(LABEL_ROLE).map_or(Role::Helper, |label| Role::from_label(label)),
            node: labels.get(LABEL_NODE).and_then(|label| label.parse().ok()).map(NodeId),
            state,
            address: networks.get(cluster()).and_then(|end| end.ip_address.as_ref()?.parse().ok()),
            published: summary.ports.unwrap_or_default().iter().find_map(|port| port.public_port),
            image: summary.image_id.unwrap_or_default(),
            clock: clock.and_then(|mount| mount.source).map(PathBuf::from),
            trial: labels.get(LABEL_TRIAL).cloned(),
            who: labels.get(LABEL_WHO).cloned(),
            ensemble: labels.get(LABEL_ENSEMBLE).and_then(|label| label.parse().ok()),
            id,
        })
    }
}

/// The labels of a container of the project; `trial` for one that belongs to a trial.
pub(super) fn labels(role: Role, node: Option<NodeId>, trial: Option<&str>) -> HashMap<String, String> {
    let mut labels = vec![(LABEL_CLUSTER, cluster().to_owned()), (LABEL_ROLE, role.to_string())];
    labels.extend(node.map(|node| (LABEL_NODE, node.0.to_string())));
    labels.extend(trial.map(|trial| (LABEL_TRIAL, trial.to_owned())));
    labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

fn is_ours(labels: &HashMap<String, String>) -> bool {
    labels.get(LABEL_CLUSTER).is_some_and(|value| value == cluster())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_the_label_is_not_ours() {
        let summary = |labels: &[(&str, &str)]| ContainerSummary {
            id: Some("0123".into()),
            names: Some(vec!["/fencepost-redis-1".into()]),
            labels: Some(labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()),
            ..Default::default()
        };
        assert_eq!(Container::ours(summary(&[])), None);
        assert_eq!(Container::ours(summary(&[(LABEL_CLUSTER, "other")])), None);
        let own = Container::ours(summary(&[(LABEL_CLUSTER, cluster()), (LABEL_ROLE, "redis"), (LABEL_NODE, "1")]));
        let own = own.unwrap();
        assert_eq!(
            (&*own.name, own.role, own.node),
            ("fencepost-redis-1", Role::Server(Backend::Redis), Some(NodeId(1)))
        );
    }

    #[test]
    fn one_that_compose_was_about_to_replace_is_told_by_its_name() {
        let named = |name: &str| {
            let summary = ContainerSummary {
                id: Some("0e6e9bf345910bc1".into()),
                names: Some(vec![format!("/{name}")]),
                labels: Some([(LABEL_CLUSTER.to_owned(), cluster().to_owned())].into()),
                ..Default::default()
            };
            Container::ours(summary).unwrap().is_replaced()
        };
        assert!(named("0e6e9bf34591_fencepost-redis-1"));
        for own in ["fencepost-redis-1", "471e7a545635_fencepost-redis-1", "0e6e9bf34591"] {
            assert!(!named(own), "{own}");
        }
    }

    #[test]
    fn roles_read_back_as_they_print() {
        let others = [Role::Ui, Role::Client, Role::Resource, Role::Door, Role::Netns, Role::Helper];
        for role in Backend::ALL.into_iter().map(Role::Server).chain(others) {
            assert_eq!(Role::from_label(&role.to_string()), role);
        }
    }
}
