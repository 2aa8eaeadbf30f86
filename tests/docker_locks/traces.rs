//! What the locks tell `tracing`, on a real server.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::client::RedisServer;
use fencepost::lock::runtime::{Runtime, TokioRuntime};
use fencepost::lock::{AcquireOptions, DistributedLock, RedisLock, RedisLockSettings, ReleaseOutcome};
use fencepost::time::Clock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{World, block_on, commands};

/// Writes down each event and what spans come to, as `message field=value …`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &match field.name() {
            "message" => format!("{value:?} "),
            name => format!("{name}={value:?} "),
        };
    }
}

impl Lines {
    fn write(&self, record: impl FnOnce(&mut Line)) {
        let mut line = Line(String::new());
        record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn with(&self, parts: &[&str]) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "fencepost::lock"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(|line| {
            line.0 += "span ";
            span.record(line);
        });
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.write(|line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.write(|line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn what_a_lock_does_is_told_to_tracing() {
    let lines = Lines::default();
    let _told = tracing::subscriber::set_default(lines.clone());
    block_on(async {
        let world = World::new().await;
        let server = world.cluster.redis[0];
        let key_prefix = format!("{}:", world.prefix);
        let settings = RedisLockSettings {
            ttl: Duration::from_millis(600),
            node_timeout: Duration::from_millis(300),
            renewal: true,
            key_prefix: key_prefix.clone(),
            ..RedisLockSettings::default()
        };
        let runtime = Arc::new(TokioRuntime::from_entropy());
        let lock = |settings| RedisLock::new(Arc::new(RedisServer::new(server)), settings, runtime.clone()).unwrap();
        let (first, second) = (lock(settings.clone()), lock(settings.clone()));
        let name = LockName::new("told");
        let options = AcquireOptions::within(Duration::from_secs(10));
        let held = first.acquire(&name, &options).await.unwrap();
        assert_eq!(lines.with(&["span", "algorithm=\"redis\"", "lock=told"]), 1);
        assert_eq!((lines.with(&["outcome=\"granted\""]), lines.with(&["token="])), (1, 1));
        assert!(second.try_acquire(&name).await.unwrap().is_none());
        assert_eq!(lines.with(&["attempt", "lock=told", "held by another client"]), 1);
        assert_eq!(lines.with(&["vote", "node=", "outcome=\"conflict\"", "latency_us="]), 1);
        let limit = runtime.now() + Duration::from_secs(20);
        while lines.with(&["renewal", "owner=", "outcome=\"renewed\""]) == 0 {
            assert!(runtime.now() < limit, "no renewal is told");
            runtime.sleep_until(runtime.now() + Duration::from_millis(20)).await;
        }
        let command = format!("DEL {key_prefix}{name}");
        commands(server, &[&command], Duration::from_secs(5)).await.unwrap();
        held.lost().await;
        assert_eq!(lines.with(&["lost", "lock=told", "reason="]), 1);
        assert_eq!(held.release().await, ReleaseOutcome::AlreadyExpired);
        assert_eq!(lines.with(&["release", "lock=told", "expired before"]), 1);
        // Nothing renews it, so nobody but its holder sees it end.
        let unrenewed = lock(RedisLockSettings { renewal: false, ..settings });
        let name = LockName::new("unrenewed");
        let held = unrenewed.acquire(&name, &options).await.unwrap();
        held.lost().await;
        assert!(!held.is_valid());
        assert_eq!(lines.with(&["lost", "lock=unrenewed", "reason="]), 1);
    });
}
