//! What a program has beside the locks: settings, values that fence, a look at a lock from outside.

use std::sync::Arc;
use std::time::Duration;

use fencepost::ids::{FencingToken, LockName};
use fencepost::inspect;
use fencepost::lock::client::{Fenced, FencedRedis};
use fencepost::lock::{AcquireOptions, DistributedLock, Settings, SettingsError};

use crate::{Cluster, block_on, cluster};

/// Settings for each kind of lock, with keys and znodes of this test's own.
fn settings(cluster: &Cluster, test: &str) -> [(String, String); 3] {
    let unique = format!("{test}-{:08x}", rand::random::<u32>());
    let nodes: Vec<String> = cluster.redis.iter().map(|node| format!("\"redis://{node}\"")).collect();
    let redlock = format!(
        "[redlock]\nnodes = [{}]\ntokens = \"quorum\"\nnode-timeout = \"1s\"\nkey-prefix = \"{unique}:\"\n",
        nodes.join(", ")
    );
    let redis = format!("[redis]\nnode = {}\nnode-timeout = \"1s\"\nkey-prefix = \"{unique}-one:\"\n", nodes[0]);
    let zookeeper = format!(
        "[zookeeper]\nservers = \"zk://{}\"\nsession-timeout = \"4s\"\nroot = \"/{unique}\"\n",
        cluster.zookeeper
    );
    [("redlock", redlock), ("redis", redis), ("zookeeper", zookeeper)].map(|(kind, text)| (kind.to_owned(), text))
}

fn soon() -> AcquireOptions {
    AcquireOptions::within(Duration::from_secs(10))
}

#[test]
fn settings_bring_a_lock_of_each_kind() {
    block_on(async {
        for (kind, text) in settings(&*cluster().await, "settings") {
            let lock = Settings::parse(&text, &kind).unwrap().connect().await.unwrap();
            let name = LockName::new("a lock");
            let first = lock.acquire(&name, &soon()).await.unwrap();
            assert!(lock.try_acquire(&name).await.unwrap().is_none(), "{kind}");
            let before = first.token();
            first.release().await;
            assert!(lock.acquire(&name, &soon()).await.unwrap().token() > before, "{kind}");
        }
    });
}

#[test]
fn a_password_that_is_refused_is_told_when_the_settings_are_used() {
    block_on(async {
        let node = cluster().await.redis[0];
        let text = format!("[redis]\nnode = \"redis://nobody:wrong@{node}\"\n");
        let error = Settings::parse(&text, "lock.toml").unwrap().connect().await.err().unwrap();
        assert!(matches!(error, SettingsError::Servers { .. }), "{error}");
        assert!(error.to_string().contains("WRONGPASS") && !error.to_string().contains("wrong@"), "{error}");
    });
}

#[test]
fn a_database_is_another_place() {
    block_on(async {
        let node = cluster().await.redis[0];
        let key = format!("database-{:08x}", rand::random::<u32>());
        let [zero, one] = ["", "/1"].map(|database| {
            FencedRedis::new(
                format!("redis://{node}{database}").parse::<fencepost::lock::client::RedisEndpoint>().unwrap(),
            )
        });
        one.write(&key, FencingToken(1), "there").await.unwrap();
        assert_eq!(zero.peek(&key).await.unwrap(), None);
        assert_eq!(one.peek(&key).await.unwrap().as_deref(), Some("there"));
    });
}

#[test]
fn a_store_refuses_tokens_below_the_highest_it_has_seen() {
    block_on(async {
        let store = FencedRedis::new(cluster().await.redis[0]);
        let key = format!("fenced-{:08x}", rand::random::<u32>());
        let served = |value: Option<&str>| Fenced::Served(value.map(str::to_owned));
        assert_eq!(store.read(&key, FencingToken(9)).await.unwrap(), served(None));
        assert_eq!(store.write(&key, FencingToken(9), "nine").await.unwrap(), Fenced::Served(()));
        // Longer, so higher, though its first digit is lower; and beyond what Lua's numbers tell apart.
        let high = FencingToken(9_007_199_254_740_993);
        assert_eq!(store.read(&key, FencingToken(10)).await.unwrap(), served(Some("nine")));
        assert_eq!(store.read(&key, high).await.unwrap(), served(Some("nine")));
        // The read has raised the bar: nothing below it is served, neither to read nor to write.
        for stale in [FencingToken(10), FencingToken(high.0 - 1)] {
            assert_eq!(store.write(&key, stale, "late").await.unwrap(), Fenced::Stale { highest: high });
            assert_eq!(store.read(&key, stale).await.unwrap(), Fenced::Stale { highest: high });
        }
        assert_eq!(store.write(&key, high, "high").await.unwrap(), Fenced::Served(()));
        assert_eq!(store.peek(&key).await.unwrap().as_deref(), Some("high"));
    });
}

#[test]
fn a_look_tells_who_holds_and_waits_and_a_release_lets_the_next_in_with_a_higher_token() {
    block_on(async {
        for (kind, text) in settings(&*cluster().await, "look") {
            let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let servers = inspect::servers(&[file.path().display().to_string()], None).unwrap();
            let lock: Arc<dyn DistributedLock> =
                Arc::from(Settings::load(file.path()).unwrap().connect().await.unwrap());
            let name = LockName::new("looked-at");
            assert!(servers.look(&name).await.unwrap().contains("state    free"), "{kind}");
            let held = lock.acquire(&name, &soon()).await.unwrap();
            let token = held.token().unwrap();
            let (waiting, waited_for) = (Arc::clone(&lock), name.clone());
            let waiter = tokio::spawn(async move { waiting.acquire(&waited_for, &soon()).await });
            let seen = loop {
                let seen = servers.look(&name).await.unwrap();
                // A contender in an ensemble is seen as soon as it stands in the line; others are not seen.
                if kind != "zookeeper" || seen.contains("queue    1") {
                    break seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            assert!(seen.contains("state    held by") && seen.contains(&token.to_string()), "{kind}: {seen}");
            let released = servers.release(&name).await.unwrap();
            assert!(released.contains("taken from"), "{kind}: {released}");
            let next = waiter.await.unwrap().unwrap();
            assert!(next.token().unwrap() > token, "{kind}");
            drop(held);
            next.release().await;
            assert!(servers.look(&name).await.unwrap().contains("state    free"), "{kind}");
        }
    });
}

/// At a Redis server all who hold are in one key, which is no string.
#[test]
fn a_look_tells_readers_writers_and_permits_and_a_release_takes_all_of_them() {
    block_on(async {
        let [_, (_, text), _] = settings(&*cluster().await, "shares");
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let servers = inspect::servers(&[file.path().display().to_string()], None).unwrap();
        let settings = Settings::load(file.path()).unwrap();
        let (shelf, desks) = (LockName::new("shelf"), LockName::new("desks"));
        let books = settings.connect_read_write().await.unwrap();
        let _one = books.readers().acquire(&shelf, &soon()).await.unwrap();
        let _other = books.readers().acquire(&shelf, &soon()).await.unwrap();
        let seen = servers.look(&shelf).await.unwrap();
        assert_eq!(seen.matches("reader ").count(), 4, "by server and in sum: {seen}");
        assert!(servers.release(&shelf).await.unwrap().contains("taken from reader "));
        assert!(servers.look(&shelf).await.unwrap().contains("state    free"));
        let _writer = books.writers().acquire(&shelf, &soon()).await.unwrap();
        assert!(servers.look(&shelf).await.unwrap().contains("held by writer "));
        let semaphore = settings.connect_semaphore(2.try_into().unwrap()).await.unwrap();
        let _desk = semaphore.acquire(&desks, &soon()).await.unwrap();
        assert!(servers.look(&desks).await.unwrap().contains("held by permit "));
    });
}
