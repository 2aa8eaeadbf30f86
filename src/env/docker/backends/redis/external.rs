//! Redis masters that were there before.

use std::net::SocketAddr;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::env::docker::backends::external::{ExternalError, ExternalServers, LEAVING, PATIENCE, quoted};
use crate::lock::client::{RedisEndpoint, RedisServer};
use crate::lock::{Settings, SettingsError};
use crate::scenario::LockConfig;

/// Redis masters that were there before.
#[derive(Debug)]
pub(super) struct Masters;

impl ExternalServers for Masters {
    fn form(&self) -> &'static str {
        "redis://host:port,redis://host:port,…"
    }

    fn scheme(&self) -> &'static str {
        "redis"
    }

    fn settings_of(&self, word: &str) -> Result<String, String> {
        let masters: Vec<&str> = word.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if masters.is_empty() {
            return Err("it names no server".to_owned());
        }
        for master in &masters {
            // Here, and not in the settings, whose errors show the line with its password.
            master.parse::<RedisEndpoint>().map_err(|error| error.to_string())?;
        }
        let masters: Vec<String> = masters.into_iter().map(quoted).collect();
        Ok(format!("[redlock]\nnodes = [{}]\n", masters.join(", ")))
    }

    fn reachable(&self, settings: &Settings) -> Result<(), (String, String)> {
        match endpoints(settings).into_iter().find(|endpoint| endpoint.host_and_port().is_none()) {
            None => Ok(()),
            Some(endpoint) => {
                Err((endpoint.to_string(), "a socket file is not reached from a client's container".to_owned()))
            }
        }
    }

    fn places(&self, settings: &Settings) -> Vec<(String, u16)> {
        let place = |one: &RedisEndpoint| one.host_and_port().map(|(host, port)| (host.to_owned(), port));
        endpoints(settings).iter().filter_map(place).collect()
    }

    fn word(&self, settings: &Settings) -> Option<String> {
        let all: Vec<String> = endpoints(settings).iter().map(|endpoint| format!("redis://{endpoint}")).collect();
        (!all.is_empty()).then(|| all.join(","))
    }

    fn secret(&self, settings: &Settings) -> Option<String> {
        match settings {
            Settings::Redlock(table) => table.password_env.clone(),
            Settings::Redis(table) => table.password_env.clone(),
            _ => None,
        }
    }

    fn look<'a>(
        &'a self,
        settings: &'a Settings,
        _: &'a [(&'a str, &'a LockConfig)],
    ) -> BoxFuture<'a, Result<(), ExternalError>> {
        async move {
            let absent =
                |server: &RedisEndpoint, problem| ExternalError::Absent { server: server.to_string(), problem };
            let nodes = nodes(settings, None)?;
            let looks = join_all(nodes.iter().map(|node| tokio::time::timeout(PATIENCE, node.ping()))).await;
            for (endpoint, look) in endpoints(settings).iter().zip(looks) {
                match look {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(absent(endpoint, error.to_string())),
                    Err(_) => return Err(absent(endpoint, format!("no answer within {PATIENCE:?}"))),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, settings: &'a Settings, namespace: &'a str) -> BoxFuture<'a, Vec<(String, String)>> {
        async move {
            let Ok(nodes) = nodes(settings, None) else { return Vec::new() };
            let shown = endpoints(settings).into_iter().map(|endpoint| endpoint.to_string());
            let part = format!("{namespace}:");
            let removed = nodes.iter().map(|node| tokio::time::timeout(LEAVING, node.delete_with(&part)));
            let failed = join_all(removed).await.into_iter().zip(shown).filter_map(|(removed, shown)| match removed {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some((shown, error.to_string())),
                Err(_) => Some((shown, format!("not done within {LEAVING:?}"))),
            });
            failed.collect()
        }
        .boxed()
    }

    fn first_door(&self) -> u8 {
        201
    }

    fn may_end_connections(&self) -> bool {
        false
    }
}

/// The masters.
fn endpoints(settings: &Settings) -> Vec<RedisEndpoint> {
    match settings {
        Settings::Redlock(table) => table.nodes.clone(),
        Settings::Redis(table) => table.node.clone().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The masters as clients of this machine, or through `doors`, one for each.
///
/// # Errors
/// The environment variable with the password is not there.
pub fn nodes(settings: &Settings, doors: Option<&[SocketAddr]>) -> Result<Vec<RedisServer>, SettingsError> {
    let reach = |endpoint: RedisEndpoint, at: usize| match doors.and_then(|doors| doors.get(at)) {
        Some(door) => endpoint.reached_at(*door),
        None => endpoint,
    };
    Ok(match settings.clone() {
        Settings::Redlock(mut table) => {
            table.nodes = table.nodes.into_iter().zip(0..).map(|(node, at)| reach(node, at)).collect();
            table.nodes()?
        }
        Settings::Redis(mut table) => {
            table.node = table.node.map(|node| reach(node, 0));
            table.node()?.into_iter().collect()
        }
        _ => Vec::new(),
    })
}
