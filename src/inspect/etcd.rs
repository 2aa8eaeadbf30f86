//! A lock in an etcd cluster.

use std::fmt::Write;

use futures_util::future::{BoxFuture, FutureExt};

use super::{Found, InspectError, Kind, Servers, in_time, no_address};
use crate::ids::LockName;
use crate::lock::backend::{EtcdCluster, EtcdKey, EtcdLine};
use crate::lock::client::{EtcdAddressError, EtcdMembers};
use crate::lock::{EtcdSettings, Settings};

/// How many members are asked at most.
const LOOKS: u32 = 3;

/// As the command line and settings name them.
pub(super) const KIND: Kind = Kind {
    scheme: "etcd://",
    form: "etcd, `etcd://host:port,host:port`",
    wrong_prefix: |_| None,
    addressed,
    configured: |settings, prefix| match settings {
        Settings::Etcd(table) => {
            let prefix = prefix.unwrap_or_else(|| table.prefix.clone());
            let members = table.cluster().map_err(InspectError::from);
            Some(members.map(|members| Box::new(Members { members, prefix }) as _))
        }
        _ => None,
    },
};

fn addressed(places: &[String], prefix: Option<String>) -> Found {
    let address = places.join(",").parse().map_err(|error: EtcdAddressError| no_address(&error))?;
    let prefix = prefix.unwrap_or_else(|| EtcdSettings::default().prefix);
    Ok(Box::new(Members { members: EtcdMembers::new(address), prefix }))
}

/// The members, and the prefix of the keys of locks.
struct Members {
    members: EtcdMembers,
    prefix: String,
}

impl Servers for Members {
    fn look<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { members, prefix } = self;
            let (folder, line) = line(members, prefix, name).await?;
            let mut told = Vec::new();
            for EtcdKey { created, lease, .. } in &line.keys {
                let left = match in_time(members.time_left(*lease)).await {
                    Ok(Some(left)) => format!("{left:?} left unless kept alive"),
                    Ok(None) => "which is over".to_owned(),
                    Err(why) => format!("of which nobody says how long it lasts ({why})"),
                };
                told.push(format!("lease {lease:x}, {left}, token {created}"));
            }
            let mut text = format!("lock     {name} (keys {folder})\n");
            match told.first() {
                None => text += "state    free\n",
                Some(holder) => {
                    let _ = writeln!(text, "state    held by {holder}");
                }
            }
            let waiting = told.get(1..).unwrap_or_default();
            let many = if waiting.is_empty() { "nobody waits".to_owned() } else { waiting.len().to_string() };
            let _ = writeln!(text, "queue    {many}");
            for (contender, ahead) in waiting.iter().zip(1..) {
                let _ = writeln!(text, "  {ahead:>3}. {contender}");
            }
            Ok(text)
        }
        .boxed()
    }

    fn release<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { members, prefix } = self;
            let (folder, line) = line(members, prefix, name).await?;
            let Some(holder) = line.keys.first() else {
                return Ok(format!("lock     {name} (keys {folder})\nnobody held it\n"));
            };
            in_time(members.delete(&holder.key)).await.map_err(InspectError::Servers)?;
            Ok(format!(
                "lock     {name} (keys {folder})\ntaken from lease {:x}, token {}; the next one's token is higher\n",
                holder.lease, holder.created
            ))
        }
        .boxed()
    }
}

/// What stands before the keys of all who contend for the lock, and their line. One member that is silent is passed
/// over.
async fn line(members: &EtcdMembers, prefix: &str, name: &LockName) -> Result<(String, EtcdLine), InspectError> {
    let folder = crate::lock::etcd_folder(prefix, name);
    let mut why = String::new();
    for _ in 0..LOOKS {
        match in_time(members.line(&folder)).await {
            Ok(line) => return Ok((folder, line)),
            Err(error) => why = error,
        }
    }
    Err(InspectError::Servers(format!("{}: {why}", members.name())))
}
