//! Everything that real servers have under some name, whoever put it there: for a harness that looks what is left.
//!
//! Deliberately absent: any knowledge of how a lock names its keys.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use zookeeper_client::{Client, Error};

use super::redis::RedisServer;
use super::zookeeper::{ZookeeperEnsemble, classify};
use crate::lock::backend::Reply;
use crate::lock::error::{NodeError, ZkError};

/// The keys that match the pattern `ARGV[1]`: name, milliseconds left (below zero: for ever), value if it is a string.
/// One step, so that nothing changes meanwhile.
const KEYS: &str = "local found, cursor = {}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local value = ''
    if redis.call('TYPE', key).ok == 'string' then value = redis.call('GET', key) or '' end
    found[#found + 1] = {key, redis.call('PTTL', key), value}
  end
until cursor == '0'
return found";

/// How many requests are on their way at once while an ensemble is walked.
const AT_ONCE: usize = 64;

/// What a Redis key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// How long it lives on; none if for ever.
    pub left: Option<Duration>,
    /// Its value, if it is a string.
    pub value: String,
}

impl RedisServer {
    /// The keys whose names contain `text`.
    ///
    /// # Errors
    /// As for every request.
    pub(crate) fn keys(&self, text: &str) -> Reply<BTreeMap<String, Key>, NodeError> {
        let escaped: String =
            text.chars().flat_map(|c| "*?[]\\^".contains(c).then_some('\\').into_iter().chain([c])).collect();
        let mut command = redis::cmd("EVAL");
        command.arg(KEYS).arg(0).arg(format!("*{escaped}*"));
        self.ask(command, |found: Vec<(String, i64, String)>| {
            let key = |left: i64, value| Key { left: u64::try_from(left).ok().map(Duration::from_millis), value };
            // A scan may show a key twice.
            found.into_iter().map(|(name, left, value)| (name, key(left, value))).collect()
        })
    }
}

impl ZookeeperEnsemble {
    /// The paths of the znodes that contain `text`, with the session that each lives with, or 0. Below a znode that
    /// `enters` refuses nobody looks.
    ///
    /// # Errors
    /// As for every request.
    pub(crate) async fn paths(
        &self,
        text: &str,
        enters: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, i64>, ZkError> {
        let client = self.visit().await?;
        // What others have done by now is to be seen here.
        client.sync("/").await.map_err(classify)?;
        let mut found = BTreeMap::new();
        let mut level = vec![String::new()];
        while !level.is_empty() {
            let mut next = Vec::new();
            for some in level.chunks(AT_ONCE) {
                let looks = some.iter().map(|folder| children(&client, folder, text));
                for look in join_all(looks).await {
                    for (path, owner, has_children) in look.map_err(classify)? {
                        if has_children && enters(&path) {
                            next.push(path.clone());
                        }
                        if path.contains(text) {
                            found.insert(path, owner);
                        }
                    }
                }
            }
            level = next;
        }
        Ok(found)
    }
}

/// The children of a znode: path, session, whether there may be some below.
async fn children(client: &Client, folder: &str, text: &str) -> Result<Vec<(String, i64, bool)>, Error> {
    let names = match client.list_children(if folder.is_empty() { "/" } else { folder }).await {
        Ok(names) => names,
        Err(Error::NoNode) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut children = Vec::new();
    for name in names {
        let path = format!("{folder}/{name}");
        if !path.contains(text) {
            children.push((path, 0, true));
        } else if let Some(stat) = client.check_stat(&path).await? {
            children.push((path, stat.ephemeral_owner, stat.num_children > 0));
        }
    }
    Ok(children)
}
