//! `list`: scenarios, and locks.

use std::path::Path;

use anyhow::Context;
use fencepost::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use fencepost::plain::plain;
use fencepost::scenario;

use super::console::say;
use super::failure::{BAD_REQUEST, Failure};

pub fn list(folder: &Path) -> Result<u8, Failure> {
    let listed = scenario::list(folder)
        .with_context(|| format!("cannot list {}; name the folder that holds the scenario files", folder.display()))
        .map_err(Failure::bad_request)?;
    let width = listed.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut code = 0;
    for scenario in listed {
        match scenario.title {
            Ok(title) => say(&format!("{:width$}  {}", plain(&scenario.name), plain(&title)))?,
            Err(error) => {
                code = BAD_REQUEST;
                say(&format!("{:width$}  (cannot be read)\n{error}", plain(&scenario.name)))?;
            }
        }
    }
    Ok(code)
}

/// The algorithms that a scenario can name.
pub fn locks() -> String {
    let redlock = RedlockFlaw::ALL.iter().map(|flaw| flaw.about());
    let zookeeper = ZookeeperFlaw::ALL.iter().map(|flaw| flaw.about());
    let canaries =
        redlock.chain(zookeeper).map(|about| format!("{}\n  {}\n  {}", about.name, about.flaw, about.source));
    [
        "redlock\n  Redlock over independent Redis masters.".to_owned(),
        "zookeeper\n  Ephemeral sequential znodes in a ZooKeeper ensemble.".to_owned(),
        "etcd\n  Keys with leases in an etcd cluster.".to_owned(),
        "\nCanaries, which must be caught:".to_owned(),
    ]
    .into_iter()
    .chain(canaries)
    .collect::<Vec<_>>()
    .join("\n")
}
