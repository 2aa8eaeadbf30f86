//! The containers of a trial: their names, addresses and clocks, made before it and removed after it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::future::join_all;

use super::Trial;
use crate::env::docker::clock_page::ClockPage;
use crate::env::docker::cluster_name::cluster;
use crate::env::docker::container::{Container, Role};
use crate::env::docker::external::Doors;
use crate::env::docker::images::TOOLS;
use crate::env::docker::launch::{NewContainer, launch};
use crate::env::docker::messages::{SOCKET, Speaker};
use crate::ids::NodeId;
use crate::scenario::LockConfig;

/// The first host number that trials may use in the cluster's network, and how many each has.
const FIRST_HOST: u8 = 31;
/// Hosts per trial: the resource and up to 20 clients.
const HOSTS: u8 = 21;

impl Trial<'_> {
    /// What the labels of its containers say. A name's beginning would not do: one lock's name may begin another's.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.run, self.case.lock)
    }

    pub(super) fn name(&self, speaker: Speaker) -> String {
        match speaker {
            Speaker::Client(client) => format!("{}-{}-{}-{client}", cluster(), self.run, self.case.lock),
            Speaker::Resource => format!("{}-{}-{}-resource", cluster(), self.run, self.case.lock),
        }
    }

    pub(super) fn address(&self, speaker: Speaker) -> anyhow::Result<Ipv4Addr> {
        let offset = match speaker {
            Speaker::Resource => 0,
            Speaker::Client(client) => u8::try_from(client.0)?,
        };
        let host = FIRST_HOST + self.number * HOSTS + offset;
        Ok(format!("{}.{host}", self.cluster.subnet_prefix).parse()?)
    }

    pub(super) async fn create(&self, speaker: Speaker, sockets: &Path) -> anyhow::Result<(Speaker, Container)> {
        let exe = std::env::current_exe()?;
        let (role, node, command) = match speaker {
            Speaker::Client(client) => (
                Role::Client,
                Some(NodeId(client.0)),
                vec![
                    "client".to_owned(),
                    "--id".to_owned(),
                    client.0.to_string(),
                    "--socket".to_owned(),
                    SOCKET.to_owned(),
                ],
            ),
            Speaker::Resource => {
                (Role::Resource, None, vec!["resource".to_owned(), "--socket".to_owned(), SOCKET.to_owned()])
            }
        };
        let clock = clock_folder(sockets, speaker);
        if let Some(folder) = &clock {
            ClockPage::open(folder).with_context(|| format!("cannot make a clock in {}", folder.display()))?;
        }
        let (image, folder) = match (self.case.config, self.image, speaker) {
            (LockConfig::Adapter(config), Some(image), Speaker::Client(_)) => {
                (image.to_owned(), Some(config.settings.folder.clone()))
            }
            _ => (TOOLS.to_owned(), None),
        };
        let wanted = NewContainer {
            image,
            folder,
            name: self.name(speaker),
            role,
            node,
            trial: self.label(),
            address: self.address(speaker)?,
            program: exe,
            command,
            sockets: sockets.to_owned(),
            clock,
            environment: match speaker {
                Speaker::Client(_) => self.external.map(Doors::secrets).unwrap_or_default(),
                Speaker::Resource => Vec::new(),
            },
        };
        Ok((speaker, launch(&self.cluster.engine, wanted).await?))
    }

    /// Removes the trial's containers; what can't be removed now is removed by the next start.
    pub(super) async fn remove_containers(&self) {
        let label = self.label();
        let containers = self.cluster.engine.containers().await.unwrap_or_default();
        let ours = containers.iter().filter(|container| container.trial.as_ref() == Some(&label));
        join_all(ours.map(|container| self.cluster.engine.remove(container))).await;
    }

    /// Keeps what the containers printed, for whoever looks into a failure. Best effort: the failure itself is
    /// reported.
    pub(super) async fn save_logs(&self, containers: &BTreeMap<Speaker, Container>) {
        let folder = self.folder.join("logs");
        let _ = std::fs::create_dir_all(&folder);
        for container in containers.values() {
            if let Ok(logs) = self.cluster.engine.logs(container).await {
                let _ = std::fs::write(folder.join(format!("{}.log", container.name)), logs);
            }
        }
    }
}

/// Where the page of a client's clock is. The resource's clock is not moved: it has no part in any lock.
pub(super) fn clock_folder(sockets: &Path, speaker: Speaker) -> Option<PathBuf> {
    match speaker {
        Speaker::Client(client) => Some(sockets.join(format!("clock-{client}"))),
        Speaker::Resource => None,
    }
}
