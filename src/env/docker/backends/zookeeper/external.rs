//! A ZooKeeper ensemble that was there before.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use crate::env::docker::backends::external::{ExternalError, ExternalServers, LEAVING, PATIENCE, quoted};
use crate::lock::backend::ZkConnector;
use crate::lock::client::{ZkAddress, ZookeeperEnsemble};
use crate::lock::error::ZkError;
use crate::lock::{Settings, SettingsError};
use crate::scenario::LockConfig;

/// A ZooKeeper ensemble that was there before.
#[derive(Debug)]
pub(super) struct Ensemble;

impl ExternalServers for Ensemble {
    fn form(&self) -> &'static str {
        "zk://host:port,host:port/chroot"
    }

    fn scheme(&self) -> &'static str {
        "zk://"
    }

    fn settings_of(&self, word: &str) -> Result<String, String> {
        word.parse::<ZkAddress>().map_err(|error| error.to_string())?;
        Ok(format!("[zookeeper]\nservers = {}\n", quoted(word)))
    }

    fn places(&self, settings: &Settings) -> Vec<(String, u16)> {
        let of_text = |text: &String| {
            let (host, port) = text.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        };
        members(settings).iter().filter_map(of_text).collect()
    }

    fn word(&self, settings: &Settings) -> Option<String> {
        let Settings::Zookeeper(table) = settings else { return None };
        table.servers.as_ref().map(ToString::to_string)
    }

    fn secret(&self, settings: &Settings) -> Option<String> {
        let Settings::Zookeeper(table) = settings else { return None };
        table.auth_env.clone()
    }

    fn look<'a>(
        &'a self,
        settings: &'a Settings,
        locks: &'a [(&'a str, &'a LockConfig)],
    ) -> BoxFuture<'a, Result<(), ExternalError>> {
        async move {
            let shown = members(settings).join(",");
            let absent = |problem| ExternalError::Absent { server: shown.clone(), problem };
            for (name, lock) in locks {
                let LockConfig::Zookeeper(config) = lock else { continue };
                let asked = config.session_timeout;
                let ensemble = ensemble(settings, None, asked)?;
                let granted = match tokio::time::timeout(PATIENCE, ensemble.connect()).await {
                    Ok(Ok(session)) => session.timeout(),
                    Ok(Err(error)) => return Err(absent(error.to_string())),
                    Err(_) => return Err(absent(format!("no session within {PATIENCE:?}"))),
                };
                if granted != asked {
                    return Err(ExternalError::Session { lock: (*name).to_owned(), asked, granted });
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, settings: &'a Settings, namespace: &'a str) -> BoxFuture<'a, Vec<(String, String)>> {
        async move {
            let Ok(ensemble) = ensemble(settings, None, PATIENCE) else { return Vec::new() };
            let path = format!("/{namespace}");
            let why = match tokio::time::timeout(LEAVING, ensemble.delete_below(&path)).await {
                Ok(Ok(_)) | Ok(Err(ZkError::NoNode)) => return Vec::new(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not done within {LEAVING:?}"),
            };
            vec![(members(settings).join(","), why)]
        }
        .boxed()
    }

    fn first_door(&self) -> u8 {
        221
    }

    /// Those of sessions that are over.
    fn may_end_connections(&self) -> bool {
        true
    }
}

/// The servers, each as `host:port`.
fn members(settings: &Settings) -> Vec<String> {
    let Settings::Zookeeper(table) = settings else { return Vec::new() };
    table.servers.as_ref().map(|all| all.servers().to_vec()).unwrap_or_default()
}

/// The tick of an ensemble that is not ours, if its settings say it.
pub(super) fn tick(settings: &Settings) -> Option<Duration> {
    match settings {
        Settings::Zookeeper(table) => table.tick,
        _ => None,
    }
}

/// The ensemble as a client of this machine, or through `doors`, one for each server.
///
/// # Errors
/// There is none, or the environment variable with the credentials is not there.
pub(super) fn ensemble(
    settings: &Settings,
    doors: Option<&[SocketAddr]>,
    session: Duration,
) -> Result<ZookeeperEnsemble, SettingsError> {
    let Settings::Zookeeper(table) = settings else { return Err(SettingsError::NoServer) };
    let mut table = table.clone();
    table.session_timeout = session;
    if let Some(doors) = doors {
        let reached = doors.iter().map(ToString::to_string).collect();
        table.servers = table.servers.map(|servers| servers.reached_at(reached));
    }
    table.ensemble()
}
