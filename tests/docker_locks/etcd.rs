//! The etcd lock on three real members: the suite, the bodies for etcd, and what only real members have.

use std::sync::Arc;
use std::time::Duration;

use fencepost::env::docker::backends::talk::http;
use fencepost::ids::LockName;
use fencepost::lock::backend::EtcdCluster;
use fencepost::lock::client::EtcdMembers;
use fencepost::lock::error::EtcdError;
use fencepost::lock::{EtcdLock, EtcdSettings, ReleaseOutcome};
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::lock_suite::{Client, EtcdFixture, Fixture, LONG, SHORTEST_LEASE, SOON, take_away};
use crate::{World, block_on};

struct OnEtcd(World);

impl OnEtcd {
    fn gateway(&self) -> EtcdMembers {
        EtcdMembers::new(format!("etcd://{}", self.0.cluster.etcd).parse().unwrap())
    }
}

impl EtcdFixture for OnEtcd {
    fn members(&self) -> Arc<dyn EtcdCluster> {
        Arc::new(self.gateway())
    }

    fn prefix(&self) -> String {
        format!("/{}", self.0.prefix)
    }

    fn lease(&self) -> i64 {
        (rand::random::<u64>() >> 1).max(1) as i64
    }
}

impl Fixture for OnEtcd {
    fn client(&self, lease: Duration) -> Client {
        let settings =
            EtcdSettings { prefix: self.prefix(), ttl: lease.max(SHORTEST_LEASE), ..EtcdSettings::default() };
        let members = Arc::new(self.gateway());
        self.0.client(|runtime| Arc::new(EtcdLock::new(members, settings, runtime).unwrap()))
    }

    fn crash(&self, client: &Client) {
        self.0.crash(client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        take_away(self, name).boxed_local()
    }

    fn has_leases(&self) -> bool {
        false
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

fn etcd(body: impl AsyncFnOnce(&OnEtcd)) {
    block_on(async {
        body(&OnEtcd(World::new().await)).await;
    });
}

mod any_lock {
    crate::tests_of_any_lock!(super::etcd);
}

mod bodies {
    crate::tests_of_etcd!(super::etcd);
}

#[test]
fn what_etcd_refuses_for_good_is_denied() {
    etcd(async |fixture| {
        assert!(matches!(fixture.members().delete("").await, Err(EtcdError::Denied(_))));
    });
}

#[test]
fn a_member_that_is_not_there_is_passed_over() {
    etcd(async |fixture| {
        let address = format!("etcd://127.0.0.1:1,{}", fixture.0.cluster.etcd);
        let members = EtcdMembers::new(address.parse().unwrap());
        assert!(matches!(members.line("/x").await, Err(EtcdError::Unreachable(_))));
        assert!(members.line("/x").await.is_ok());
    });
}

#[test]
fn whoever_comes_first_by_the_server_s_own_lock_service_is_waited_for() {
    etcd(async |fixture| {
        use base64::Engine as _;
        let (name, members) = (LockName::new("theirs"), fixture.members());
        let id = fixture.lease();
        members.grant(id, Duration::from_secs(30)).await.unwrap();
        let folder = base64::prelude::BASE64_STANDARD.encode(format!("{}/{name}", fixture.prefix()));
        let body = format!("{{\"name\":\"{folder}\",\"lease\":\"{id}\"}}");
        let member = fixture.0.cluster.etcd.split(',').next().unwrap().parse().unwrap();
        http(member, "POST /v3/lock/lock", &body, Duration::from_secs(5)).await.unwrap();
        let client = fixture.client(LONG);
        assert!(client.try_acquire(&name).await.unwrap().is_none(), "theirs");
        members.revoke(id).await.unwrap();
        let held = client.acquire(&name, SOON).await.unwrap();
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    });
}
