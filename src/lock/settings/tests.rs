//! The settings of locks: which texts are refused, and what the rest comes to.

use super::*;
use crate::lock::{EtcdSettings, RedisLockSettings, RedlockSettings, ZookeeperSettings};

fn error(text: &str) -> String {
    Settings::parse(text, "lock.toml").expect_err(text).to_string()
}

#[test]
fn a_file_of_etcd_is_read_whole_and_its_mistakes_are_told() {
    let text = "[etcd]\nmembers = \"etcd://a,b:12379\"\nttl = \"3s\"\nprefix = \"/shop\"\nmax-hold = \"none\"\nconnect-timeout = \"1s\"";
    let Ok(Settings::Etcd(table)) = Settings::parse(text, "lock.toml") else { panic!("not read") };
    assert_eq!(table.members.as_ref().map(ToString::to_string).as_deref(), Some("etcd://a:2379,b:12379"));
    let expected = EtcdSettings { prefix: "/shop".to_owned(), ttl: Duration::from_secs(3), max_hold: None };
    assert_eq!((table.behaviour(), table.connect_timeout), (expected, Duration::from_secs(1)));
    let Ok(Settings::Etcd(table)) = Settings::parse("[etcd]\nmembers = \"etcd://a\"", "lock.toml") else {
        panic!("not read")
    };
    assert_eq!(table.behaviour(), EtcdSettings::default());
    for (text, says) in [
        ("[etcd]", "no member is named"),
        ("[etcd]\nmembers = \"a:2379\"", "write `etcd://host:port"),
        ("[etcd]\nmembers = \"etcd://a\"\nttl = \"1500ms\"", "whole seconds"),
        ("[etcd]\nmembers = \"etcd://a\"\nprefix = \"/a/\"", "without a `/` at its end"),
        ("[etcd]\nmembers = \"etcd://a\"\nservers = 3", "unknown field `servers`"),
    ] {
        assert!(error(text).contains(says), "{text}: {}", error(text));
    }
}

#[test]
fn a_file_of_each_kind_is_read_whole() {
    let text = r#"
        [redlock]
        nodes = ["redis://a", "redis://ann:pw@b:7001/2", "unix:///run/redis.sock"]
        password-env = "REDIS_PASSWORD"
        ttl = "5s"
        node-timeout = "100ms"
        retry-delay = "10ms..1s"
        renewal = true
        waiting = "called"
        max-hold = "90s"
        tokens = "quorum"
        key-prefix = "shop:"
        connect-timeout = "1.5s"
    "#;
    let Ok(Settings::Redlock(table)) = Settings::parse(text, "lock.toml") else { panic!("not read") };
    let names: Vec<String> = table.nodes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a:6379", "b:7001/2", "/run/redis.sock"]);
    let expected = RedlockSettings {
        ttl: Duration::from_secs(5),
        node_timeout: Duration::from_millis(100),
        retry_delay_min: Duration::from_millis(10),
        retry_delay_max: Duration::from_secs(1),
        waiting: crate::lock::Waiting::Called,
        renewal: true,
        max_hold: Some(Duration::from_secs(90)),
        tokens: crate::lock::Tokens::Quorum,
        key_prefix: "shop:".to_owned(),
    };
    assert_eq!(table.behaviour(), expected);
    assert_eq!(table.connect_timeout, Duration::from_millis(1_500));
    let text = r#"
        [redis]
        node = "redis://a/1"
        ttl = "2s"
        node-timeout = "200ms"
        retry-delay = "5ms..50ms"
        renewal = true
        max-hold = "none"
        key-prefix = "shop:"
    "#;
    let Ok(Settings::Redis(table)) = Settings::parse(text, "lock.toml") else { panic!("not read") };
    assert_eq!(table.node.as_ref().map(ToString::to_string).as_deref(), Some("a:6379/1"));
    let expected = RedisLockSettings {
        ttl: Duration::from_secs(2),
        node_timeout: Duration::from_millis(200),
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(50),
        waiting: crate::lock::Waiting::Poll,
        renewal: true,
        max_hold: None,
        key_prefix: "shop:".to_owned(),
    };
    assert_eq!(table.behaviour(), expected);
    let text = r#"
        [zookeeper]
        servers = "zk://a,b:2182/shop"
        session-timeout = "4s"
        root = "/locks"
        max-hold = "120s"
        tick = "2s"
        auth-env = "ZK_AUTH"
        connect-timeout = "1s"
    "#;
    let Ok(Settings::Zookeeper(table)) = Settings::parse(text, "lock.toml") else { panic!("not read") };
    assert_eq!(table.servers.as_ref().map(|servers| servers.connect_string()).as_deref(), Some("a:2181,b:2182/shop"));
    assert_eq!(
        table.behaviour(),
        ZookeeperSettings {
            root: "/locks".to_owned(),
            max_hold: Some(Duration::from_secs(120)),
            tick: Some(Duration::from_secs(2)),
        }
    );
    assert_eq!(table.session_timeout, Duration::from_secs(4));
}

#[test]
fn what_is_absent_is_as_the_lock_has_it() {
    let Ok(Settings::Redlock(table)) = Settings::parse("[redlock]\nnodes = [\"redis://a\"]", "lock.toml") else {
        panic!("not read")
    };
    assert_eq!(table.behaviour(), RedlockSettings::default());
    let Ok(Settings::Zookeeper(table)) = Settings::parse("[zookeeper]\nservers = \"zk://a\"", "lock.toml") else {
        panic!("not read")
    };
    assert_eq!(table.behaviour(), ZookeeperSettings::default());
}

#[test]
fn every_mistake_is_shown_with_its_place_and_what_would_be_right() {
    let nodes = "nodes = [\"redis://a\", \"redis://b\", \"redis://c\"]";
    for (text, parts) in [
        ("", &["[redlock]", "[zookeeper]"] as &[&str]),
        ("ttl = \"5s\"", &["line 1, column 1", "unknown field `ttl`"]),
        ("[redlok]", &["line 1, column 2", "expected", "redlock"]),
        (&format!("[redlock]\n{nodes}\nttll = \"5s\""), &["line 3, column 1", "unknown field `ttll`", "`ttl`"]),
        (&format!("[redlock]\n{nodes}\nttl = 5"), &["line 3, column 7", "a duration in quotes"]),
        (&format!("[redlock]\n{nodes}\nttl = \"5\""), &["line 3, column 7", "has no unit", "250ms"]),
        (&format!("[redlock]\n{nodes}\nttl = \"5ms\""), &["redlock.ttl", "at least 10ms"]),
        (&format!("[redlock]\n{nodes}\nttl = \"10.5ms\""), &["redlock.ttl", "whole milliseconds"]),
        (&format!("[redlock]\n{nodes}\nnode-timeout = \"20s\""), &["redlock.node-timeout", "shorter than the ttl"]),
        (&format!("[redlock]\n{nodes}\nretry-delay = \"0s\""), &["redlock.retry-delay"]),
        (&format!("[redlock]\n{nodes}\ntokens = \"some\""), &["line 3, column 10", "quorum"]),
        (&format!("[redlock]\n{nodes}\ntokens = \"quorum\"\nkey-prefix = \"\""), &["redlock.key-prefix", "#"]),
        ("[redlock]\nttl = \"5s\"", &["redlock.nodes", "no node is named"]),
        ("[redlock]\nnodes = [\"redis://a\", \"http://b\"]", &["line 2, column", "http://b", "redis://host:port"]),
        ("[redlock]\nnodes = [\"redis://a\", \"redis://b\"]", &["redlock.nodes", "odd"]),
        ("[redlock]\nnodes = [\"redis://a\", \"redis://a:6379\", \"redis://c\"]", &["redlock.nodes", "twice"]),
        ("[redlock]\nnodes = [\"redis://:x@a\"]\npassword-env = \"P\"", &["redlock.password-env"]),
        ("[redis]\nttl = \"5s\"", &["redis.node", "redis://"]),
        ("[redis]\nnode = \"redis://a\"\nkey-prefix = \"#\"", &["redis.key-prefix"]),
        ("[redis]\nnode = \"redis://a\"\ntokens = \"quorum\"", &["line 3, column 1", "unknown field `tokens`"]),
        ("[zookeeper]\nservers = \"a:2181\"", &["line 2, column 11", "zk://"]),
        ("[zookeeper]\nroot = \"/locks\"", &["zookeeper.servers"]),
        ("[zookeeper]\nservers = \"zk://a\"\nroot = \"locks/\"", &["zookeeper.root", "/fencepost/locks"]),
        ("[zookeeper]\nservers = \"zk://a\"\nsession-timeout = \"1ms\"", &["zookeeper.session-timeout"]),
        ("[zookeeper]\nservers = \"zk://a\"\ntick = \"10s\"", &["zookeeper.tick", "shorter than session-timeout"]),
        ("[zookeeper]\nservers = \"zk://a\"\ntick = \"0s\"", &["zookeeper.tick", "longer than zero"]),
        ("[zookeeper]\nservers = \"zk://a\"\nttl = \"1s\"", &["line 3, column 1", "unknown field `ttl`"]),
        (&format!("[redlock]\n{nodes}\n[zookeeper]\nservers = \"zk://a\""), &["zookeeper", "`[redlock]`", "one lock"]),
    ] {
        let error = error(text);
        for part in parts {
            assert!(error.contains(part), "{text}\n→ {error}\n  lacks {part:?}");
        }
        assert!(error.contains("lock.toml"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named() {
    let text = "[redlock]\nnodes = [\"redis://127.0.0.1:1\"]\npassword-env = \"FENCEPOST_TEST_NO_SUCH_VARIABLE\"";
    let settings = Settings::parse(text, "lock.toml").unwrap();
    let error = settings.connect().await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("redlock.password-env") && error.contains("FENCEPOST_TEST_NO_SUCH_VARIABLE"), "{error}");
}

#[tokio::test]
async fn servers_that_are_not_there_are_told_at_once() {
    // Port 1 of this machine: nobody listens there.
    let text = "[redlock]\nnodes = [\"redis://127.0.0.1:1\"]";
    let error = Settings::parse(text, "lock.toml").unwrap().connect().await.err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("127.0.0.1:1") && error.contains("0 of 1 answer"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let error = Settings::load("/no/such/lock.toml").unwrap_err().to_string();
    assert!(error.contains("/no/such/lock.toml"), "{error}");
}

#[tokio::test]
async fn what_several_hold_is_refused_over_several_masters_with_the_reason() {
    let redlock = "[redlock]\nnodes = [\"redis://a\", \"redis://b\", \"redis://c\"]\n";
    let settings = Settings::parse(redlock, "lock.toml").unwrap();
    let refused = [
        settings.connect_read_write().await.map(drop).unwrap_err(),
        settings.connect_semaphore(std::num::NonZeroU32::MIN).await.map(drop).unwrap_err(),
    ];
    for (error, what) in refused.into_iter().zip(["read-write lock", "semaphore"]) {
        assert!(matches!(error, SettingsError::Config(ConfigError::NotOnRedlock(kind)) if kind == what), "{error}");
        assert!(error.to_string().contains("one holder at a time"), "{error}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_read_and_their_mistakes_are_told() {
    let text = "[redlock]\nnodes = [\"rediss://a\", \"rediss://b\", \"redis://c\"]\ntls = { ca = \"ca.pem\", cert = \"me.pem\", key = \"me.key\" }";
    let Ok(Settings::Redlock(table)) = Settings::parse(text, "lock.toml") else { panic!("not read") };
    let files = table.tls.as_ref().unwrap().files();
    assert_eq!((files.ca, files.identity), (Some("ca.pem".into()), Some(("me.pem".into(), "me.key".into()))));
    let missing = table.nodes().err().unwrap().to_string();
    assert!(missing.contains("`redlock.tls`: ca.pem"), "{missing}");
    for (text, says) in [
        ("[redis]\nnode = \"redis://a\"\ntls = { ca = \"x\" }", "`redis.tls`: no address begins with `rediss://`"),
        ("[redis]\nnode = \"rediss://a\"\ntls = { cert = \"x\" }", "`redis.tls.cert`: needs its private key"),
        ("[redis]\nnode = \"rediss://a\"\ntls = { key = \"x\" }", "`redis.tls.key`: needs its certificate"),
        ("[redis]\nnode = \"rediss://a\"\ntls = { insecure = true }", "unknown field `insecure`"),
        ("[zookeeper]\nservers = \"zk://a\"\ntls = {}", "`zookeeper.tls.ca`: must name a file"),
    ] {
        assert!(error(text).contains(says), "{text}: {}", error(text));
    }
}
