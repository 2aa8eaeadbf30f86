//! The cluster on a real Docker daemon: `cargo test --features docker-tests --test docker_cluster -- --nocapture`.
//!
//! There is one cluster on a machine, so the tests take turns; each leaves it down. Times are printed, never asserted.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real servers live in real time, and their API has maps"
)]

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
};
use fencepost::env::docker::backends::redis;
use fencepost::env::docker::cluster::{self, Cluster, ClusterError};
use fencepost::env::docker::compose::ComposeError;
use fencepost::env::docker::container::{LABEL_CLUSTER, LABEL_ROLE, Role};
use fencepost::env::docker::engine::{Engine, EngineError};
use fencepost::env::docker::images;
use fencepost::env::docker::settings::Settings;
use fencepost::env::docker::status::status;
use fencepost::scenario::{Backend, Persistence};
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the cluster and starts from nothing.
async fn turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().await;
    cluster::down().await.unwrap();
    turn
}

async fn up() -> Cluster {
    cluster::up(&[], &|line| println!("  {line}")).await.unwrap()
}

/// Starts a container that does nothing.
async fn idle(engine: &Engine, name: &str, labels: &[(&str, &str)]) {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let body = ContainerCreateBody {
        image: Some(images::TOOLS.to_owned()),
        cmd: Some(vec!["sleep".into(), "600".into()]),
        labels: Some(labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()),
        ..Default::default()
    };
    engine.docker().create_container(Some(options), body).await.unwrap();
    engine.docker().start_container(name, None).await.unwrap();
}

async fn exists(engine: &Engine, name: &str) -> bool {
    engine.docker().inspect_container(name, None).await.is_ok()
}

#[tokio::test]
async fn up_from_nothing_then_up_again() {
    let _turn = turn().await;
    let start = Instant::now();
    let cold = up().await;
    println!("cold up: {:?}", start.elapsed());
    let start = Instant::now();
    let warm = up().await;
    println!("warm up: {:?}", start.elapsed());

    assert_eq!((cold.servers(Backend::Redis).len(), cold.servers(Backend::Zookeeper).len()), (5, 3));
    let ids = |cluster: &Cluster| {
        cluster.servers(Backend::Redis).iter().map(|s| s.container.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&cold), ids(&warm), "a cluster that runs is left alone");
    println!("{}", warm.versions);
    assert!(
        warm.versions.of(Backend::Redis).starts_with("8.") && warm.versions.of(Backend::Zookeeper).starts_with("3.9")
    );

    let start = Instant::now();
    let status = status().await.unwrap();
    println!("status: {:?}\n{status}", start.elapsed());
    assert!(status.is_ready());
    assert_eq!(status.leaders(Role::Server(Backend::Zookeeper)).count(), 1);

    let start = Instant::now();
    cluster::down().await.unwrap();
    println!("down: {:?}", start.elapsed());
    assert_eq!(warm.engine.containers().await.unwrap(), []);
}

#[tokio::test]
async fn etcd_is_started_where_it_is_asked_for_and_stays_and_begins_anew_as_a_whole() {
    let _turn = turn().await;
    let without = up().await;
    assert_eq!(without.servers(Backend::Etcd), [], "nobody asked");
    let first = cluster::up(&[Backend::Etcd], &|line| println!("  {line}")).await.unwrap();
    for backend in [Backend::Redis, Backend::Zookeeper] {
        let ids = |cluster: &Cluster| {
            cluster.servers(backend).iter().map(|server| server.container.id().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&without), ids(&first), "those that run are left alone");
    }
    println!("{}", first.versions);
    assert!(first.servers(Backend::Etcd).len() == 3 && first.versions.of(Backend::Etcd).starts_with("3.5"));
    let told = status().await.unwrap();
    assert!(told.is_ready() && told.leaders(Role::Server(Backend::Etcd)).count() == 1, "{told}");
    let ids = |cluster: &Cluster| {
        cluster.servers(Backend::Etcd).iter().map(|s| s.container.id().to_owned()).collect::<Vec<_>>()
    };
    let docker = first.engine.docker();
    docker.kill_container(&ids(&first)[0], None).await.unwrap();
    assert!(!status().await.unwrap().is_ready());
    let again = up().await;
    assert_eq!(ids(&first), ids(&again), "what was there is revived, though nobody asked");
    // A member that is gone has taken its votes along.
    first.engine.remove(&again.servers(Backend::Etcd)[1].container).await.unwrap();
    let anew = up().await;
    assert!(ids(&again).iter().all(|id| !ids(&anew).contains(id)));
    assert!(status().await.unwrap().is_ready());
    cluster::down().await.unwrap();
}

#[tokio::test]
async fn reset_empties_redis_and_touches_no_stranger() {
    let _turn = turn().await;
    let cluster = up().await;
    let engine = &cluster.engine;
    let (stranger, leftover) = ("fencepost-test-stranger", "fencepost-test-client");
    idle(engine, stranger, &[]).await;
    idle(engine, leftover, &[(LABEL_CLUSTER, cluster.network), (LABEL_ROLE, "client")]).await;
    let said = |commands: &'static [&'static str]| {
        let server = cluster.servers(Backend::Redis)[2].published;
        async move { redis::commands(server, commands, Duration::from_secs(5)).await.unwrap() }
    };
    assert!(said(&["SET left behind", "DBSIZE"]).await.contains(":1\r\n"));

    let start = Instant::now();
    cluster::reset(&cluster, Persistence::None).await.unwrap();
    println!("reset: {:?}", start.elapsed());

    assert!(said(&["DBSIZE"]).await.contains(":0\r\n"));
    assert!(!exists(engine, leftover).await, "the client of an earlier run is gone");
    assert!(engine.containers().await.unwrap().iter().all(|own| own.name != stranger));
    assert!(matches!(engine.labelled(stranger).await, Err(EngineError::NotLabelled { .. })));
    cluster::down().await.unwrap();
    let survived = exists(engine, stranger).await;
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    engine.docker().remove_container(stranger, Some(force)).await.unwrap();
    assert!(survived, "down removes only what carries the label");
}

/// Who is killed while Compose replaces a server leaves two of it: the old one under a name that begins with its id.
#[tokio::test]
async fn a_server_that_was_being_replaced_is_neither_healed_nor_in_the_way() {
    let _turn = turn().await;
    let cluster = up().await;
    let engine = &cluster.engine;
    let own = cluster.servers(Backend::Redis).last().unwrap().container.clone();
    let old = format!("{}_{}", &own.id()[..12], own.name);
    engine.docker().stop_container(&own.name, None).await.unwrap();
    let options = RenameContainerOptionsBuilder::new().name(&old).build();
    engine.docker().rename_container(&own.name, options).await.unwrap();
    let heal = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "heal"]).output().unwrap();
    assert!(heal.status.success(), "{}", String::from_utf8_lossy(&heal.stderr));
    let running = engine.docker().inspect_container(&old, None).await.unwrap().state.and_then(|state| state.running);
    assert_eq!(running, Some(false), "it would take its successor's address");
    let again = up().await;
    assert!(!exists(engine, &old).await && exists(engine, &own.name).await);
    assert_eq!(again.servers(Backend::Redis).len(), cluster.servers(Backend::Redis).len());
    cluster::down().await.unwrap();
}

#[tokio::test]
async fn a_stranger_with_a_server_s_name_is_named_with_a_remedy_and_left_there() {
    let _turn = turn().await;
    let engine = up().await.engine;
    cluster::down().await.unwrap();
    let stranger = "fencepost-redis-3";
    idle(&engine, stranger, &[]).await;
    let outcome = cluster::up(&[], &|_| {}).await.map(drop);
    let survived = exists(&engine, stranger).await;
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    engine.docker().remove_container(stranger, Some(force)).await.unwrap();
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("docker rm -f fencepost-redis-3") && error.contains("--cluster"), "{error}");
    assert!(survived, "{error}");
}

#[tokio::test]
async fn a_stranger_in_the_network_is_named_and_left_there() {
    let _turn = turn().await;
    let cluster = up().await;
    let docker = cluster.engine.docker();
    let stranger = "fencepost-test-stranger";
    idle(&cluster.engine, stranger, &[]).await;
    let request = NetworkConnectRequest { container: stranger.into(), ..Default::default() };
    docker.connect_network(cluster.network, request).await.unwrap();
    let outcome = cluster::down().await;
    let survived = exists(&cluster.engine, stranger).await;
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(stranger, Some(force)).await.unwrap();
    cluster::down().await.unwrap();
    let error = outcome.unwrap_err();
    assert!(matches!(&error, ClusterError::NetworkInUse { users } if users == stranger), "{error}");
    assert!(survived, "down removes only what carries the label");
}

#[tokio::test]
async fn frozen_and_dead_servers_are_revived() {
    let _turn = turn().await;
    let before = up().await;
    let docker = before.engine.docker();
    docker.pause_container(before.servers(Backend::Redis)[0].container.id()).await.unwrap();
    docker.kill_container(before.servers(Backend::Redis)[1].container.id(), None).await.unwrap();
    docker.kill_container(before.servers(Backend::Zookeeper)[2].container.id(), None).await.unwrap();
    assert!(!status().await.unwrap().is_ready());

    let start = Instant::now();
    let after = up().await;
    println!("revival: {:?}", start.elapsed());
    for (before, after) in before
        .servers(Backend::Redis)
        .iter()
        .chain(before.servers(Backend::Zookeeper))
        .zip(after.servers(Backend::Redis).iter().chain(after.servers(Backend::Zookeeper)))
    {
        assert_eq!((before.container.id(), before.address), (after.container.id(), after.address));
    }
    assert!(status().await.unwrap().is_ready());

    docker.pause_container(after.servers(Backend::Redis)[0].container.id()).await.unwrap();
    cluster::down().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_starts() {
    let _turn = turn().await;
    let squatter = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = squatter.local_addr().unwrap().port();
    let settings =
        Settings::from_lookup(None, |name| (name == "FENCEPOST_REDIS_4_PORT").then(|| port.to_string())).unwrap();
    let error = cluster::up_with(&settings, &|_| ()).await.unwrap_err();
    assert!(matches!(error, ClusterError::PortTaken { .. }));
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("FENCEPOST_REDIS_4_PORT"), "{text}");
    assert_eq!(Engine::connect().await.unwrap().containers().await.unwrap(), []);
}

#[tokio::test]
async fn a_subnet_in_use_is_named() {
    let _turn = turn().await;
    let engine = Engine::connect().await.unwrap();
    let name = "fencepost-test-squatter";
    let config = IpamConfig { subnet: Some("172.30.59.0/24".into()), ..Default::default() };
    let ipam = Ipam { config: Some(vec![config]), ..Default::default() };
    let request = NetworkCreateRequest { name: name.into(), ipam: Some(ipam), ..Default::default() };
    engine.docker().create_network(request).await.unwrap();
    let chosen = HashMap::from([("FENCEPOST_SUBNET_PREFIX", "172.30.59".to_owned())]);
    let settings = Settings::from_lookup(None, |name| chosen.get(name).cloned()).unwrap();
    let error = cluster::up_with(&settings, &|_| ()).await.unwrap_err();
    engine.docker().remove_network(name).await.unwrap();
    assert!(matches!(error, ClusterError::Compose(ComposeError::SubnetTaken { .. })), "{error}");
}

#[tokio::test]
async fn a_cluster_with_another_subnet_is_not_pulled_from_under_its_user() {
    let _turn = turn().await;
    let cluster = up().await;
    let settings = Settings::from_lookup(None, |name| name.contains("SUBNET").then(|| "172.30.60".to_owned())).unwrap();
    let error = cluster::up_with(&settings, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("fencepost cluster down"), "{error}");
    assert!(status().await.unwrap().is_ready());
    drop(cluster);
    cluster::down().await.unwrap();
}
