//! What there is to see of a lock in a ZooKeeper ensemble, without standing in its line.

use zookeeper_client::Error;

use super::zookeeper::{ZookeeperEnsemble, classify};
use crate::ids::LockName;
use crate::lock::error::ZkError;
use crate::lock::zookeeper::contender::{Admission, Place, sequence};
use crate::lock::zookeeper::folder;

/// One contender in a lock's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContenderSeen {
    /// Its znode's path.
    pub path: String,
    /// The transaction that created the znode: the fencing token, if it gets the lock.
    pub czxid: u64,
    /// The session that the znode lives with.
    pub session: i64,
    /// When the znode was created, by the clock of the server that led then: milliseconds since the epoch.
    pub created_ms: i64,
    /// How many contenders stand ahead of it; the holder has none.
    pub ahead: usize,
}

impl ZookeeperEnsemble {
    /// The line for a lock whose znode is below `root`: the path of that znode, and who stands in the line, the holder
    /// first; nobody if there is no such lock. Each call is a session of its own.
    ///
    /// # Errors
    /// The ensemble gave no usable answer.
    pub async fn line(&self, root: &str, name: &LockName) -> Result<(String, Vec<ContenderSeen>), ZkError> {
        let folder = folder(root, name);
        let client = self.visit().await?;
        let names = match client.list_children(&folder).await {
            Err(Error::NoNode) => Vec::new(),
            names => names.map_err(classify)?,
        };
        let mut line = Vec::new();
        for name in &names {
            let Some(own) = sequence(name) else { continue };
            let path = format!("{folder}/{name}");
            // Gone since it was listed.
            let Some(stat) = client.check_stat(&path).await.map_err(classify)? else { continue };
            let ahead = Place::among(own, &names, Admission::ALONE).ahead;
            let czxid = u64::try_from(stat.czxid).unwrap_or_default();
            line.push(ContenderSeen { path, czxid, session: stat.ephemeral_owner, created_ms: stat.ctime, ahead });
        }
        line.sort_by_key(|contender| contender.ahead);
        Ok((folder, line))
    }

    /// Deletes a znode and all below it; how many there were. For whoever has made names that occur nowhere else, and
    /// leaves.
    ///
    /// # Errors
    /// The ensemble gave no usable answer, or refuses. What was deleted until then is deleted.
    #[cfg(feature = "harness")]
    pub(crate) async fn delete_below(&self, root: &str) -> Result<u64, ZkError> {
        let client = self.visit().await?;
        let (mut found, mut at) = (vec![root.to_owned()], 0);
        while let Some(path) = found.get(at).cloned() {
            match client.list_children(&path).await {
                Err(Error::NoNode) => {}
                children => {
                    found.extend(children.map_err(classify)?.into_iter().map(|child| format!("{path}/{child}")));
                }
            }
            at += 1;
        }
        let mut deleted = 0;
        // Children were found after their parents.
        for path in found.iter().rev() {
            match client.delete(path, None).await {
                Ok(()) => deleted += 1,
                Err(Error::NoNode) => {}
                Err(error) => return Err(classify(error)),
            }
        }
        Ok(deleted)
    }

    /// Deletes a contender's znode: whether it was there.
    ///
    /// # Errors
    /// The ensemble gave no usable answer, or refuses.
    pub async fn remove(&self, path: &str) -> Result<bool, ZkError> {
        match self.visit().await?.delete(path, None).await {
            Ok(()) => Ok(true),
            Err(Error::NoNode) => Ok(false),
            Err(error) => Err(classify(error)),
        }
    }
}
