//! A lock in a ZooKeeper ensemble.
//!
//! Deliberately absent: how many may hold at once, which its znodes do not tell. The first in line is the holder here,
//! also where readers or permits behind it hold as well.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};

use super::{Found, InspectError, Kind, PATIENCE, Servers, in_time, no_address};
use crate::ids::LockName;
use crate::lock::client::{ZkAddress, ZookeeperEnsemble};
use crate::lock::{Settings, ZookeeperSettings};

/// As the command line and settings name them.
pub(super) const KIND: Kind = Kind {
    scheme: "zk://",
    form: "an ensemble, `zk://host:port,host:port`",
    wrong_prefix: |prefix| {
        let problem = || format!("`{prefix}` is no path in an ensemble: write it as /fencepost/locks");
        (!prefix.starts_with('/')).then(problem)
    },
    addressed,
    configured: |settings, prefix| match settings {
        Settings::Zookeeper(table) => {
            let root = prefix.unwrap_or_else(|| table.root.clone());
            let ensemble = table.ensemble().map_err(InspectError::from);
            Some(ensemble.map(|ensemble| Box::new(Line { ensemble, root }) as _))
        }
        _ => None,
    },
};

fn addressed(places: &[String], prefix: Option<String>) -> Found {
    let address: ZkAddress = places.join(",").parse().map_err(|error| no_address(&error))?;
    let ensemble = ZookeeperEnsemble::new(address.connect_string(), PATIENCE);
    Ok(Box::new(Line { ensemble, root: prefix.unwrap_or_else(|| ZookeeperSettings::default().root) }))
}

/// The ensemble, and the path of its locks.
struct Line {
    ensemble: ZookeeperEnsemble,
    root: String,
}

impl Servers for Line {
    fn look<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { ensemble, root } = self;
            let (folder, line) = in_time(ensemble.line(root, name)).await.map_err(InspectError::Servers)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let told = |contender: &crate::lock::client::ContenderSeen| {
                let created = Duration::from_millis(u64::try_from(contender.created_ms).unwrap_or_default());
                // By the ensemble's clock and ours.
                let age = now.saturating_sub(created);
                let token =
                    format!("{} ({}:{})", contender.czxid, contender.czxid >> 32, contender.czxid & 0xffff_ffff);
                let znode = contender.path.rsplit('/').next().unwrap_or_default();
                format!("session 0x{:x}, since {age:?}, token {token}, {znode}", contender.session)
            };
            let mut text = format!("lock     {name} (znode {folder})\n");
            match line.first() {
                None => text += "state    free\n",
                Some(holder) => {
                    let _ = writeln!(text, "state    held by {}\n         until its session ends", told(holder));
                }
            }
            let waiting = line.get(1..).unwrap_or_default();
            let _ = writeln!(
                text,
                "queue    {}",
                if waiting.is_empty() { "nobody waits".to_owned() } else { waiting.len().to_string() }
            );
            for contender in waiting {
                let _ = writeln!(text, "  {:>3}. {}", contender.ahead, told(contender));
            }
            Ok(text)
        }
        .boxed()
    }

    fn release<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { ensemble, root } = self;
            let (folder, line) = in_time(ensemble.line(root, name)).await.map_err(InspectError::Servers)?;
            let Some(holder) = line.first() else { return Ok(format!("lock     {name} (znode {folder})\nnobody held it\n")) };
            in_time(ensemble.remove(&holder.path)).await.map_err(InspectError::Servers)?;
            Ok(format!(
                "lock     {name} (znode {folder})\ntaken from session 0x{:x}, token {}; the next one's token is higher\n",
                holder.session, holder.czxid
            ))
        }
        .boxed()
    }
}
