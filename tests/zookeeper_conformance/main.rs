//! The model of a ZooKeeper ensemble against a real one, reply by reply:
//! `cargo test --features docker-tests --test zookeeper_conformance -- --nocapture`.
//!
//! Seeded random sequences of three sessions run in lockstep on both, through the same trait that the lock uses. Before
//! a session asks, it comes up to what the others have done (`sync`), so that the replies depend on no timing.
//! `FENCEPOST_TEST_SEED` and `FENCEPOST_TEST_SEQUENCES` choose other sequences; `FENCEPOST_TEST_ZOOKEEPER` another
//! ensemble than the cluster's (`host:port,host:port`). All takes place below a znode of its own.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod model;
mod refusals;
mod sequence;
mod side;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::env::docker::cluster;
use fencepost::env::docker::container::Role;
use fencepost::env::docker::proxy::Proxy;
use fencepost::env::docker::status::status;
use fencepost::ids::LockName;
use fencepost::lock::backend::{ZkConnector, ZkSession};
use fencepost::lock::client::ZookeeperEnsemble;
use fencepost::scenario::Backend;
use fencepost::wire::{Names, Protocol};
use tokio::runtime::Runtime;

use self::conformance::{Compared, Lockstep};
use self::model::Model;
use self::sequence::{Step, draw, shortest};
use self::side::{Disturbed, Side, clear};

const STEPS: usize = 60;
const TIMEOUT: Duration = Duration::from_secs(4);
/// How often a sequence is tried again that the real ensemble could not carry out undisturbed.
const TRIES: usize = 5;

/// The cluster's ZooKeeper servers. A cluster that is there is taken as it is: bringing it up would replace its
/// containers if their images have changed, and revive those that somebody else's trial has stopped.
async fn servers() -> String {
    let start = Instant::now();
    loop {
        let status = status().await.unwrap();
        let zookeeper: Vec<_> =
            status.members.iter().filter(|member| member.role == Role::Server(Backend::Zookeeper)).collect();
        if status.members.iter().all(|member| member.state == "absent") {
            let cluster = cluster::up(&[], &|line| println!("  {line}")).await.unwrap();
            println!("{}", cluster.versions);
        } else if zookeeper.iter().all(|member| matches!(member.answer, Some(Ok(_))))
            && status.leaders(Role::Server(Backend::Zookeeper)).count() == 1
        {
            let published = zookeeper.iter().filter_map(|member| member.published);
            return published.map(|socket| socket.to_string()).collect::<Vec<_>>().join(",");
        }
        assert!(start.elapsed() < Duration::from_secs(120), "the cluster is there and does not answer:\n{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Both ensembles, each with a runtime of its own: the model's time stands still while the real one works.
struct Both {
    real: (Runtime, Arc<dyn ZkConnector>),
    modelled: (Runtime, Arc<dyn ZkConnector>),
    /// The znode below which everything takes place.
    base: String,
    runs: usize,
    disturbed: usize,
    keeper: Arc<dyn ZkSession>,
}

impl Both {
    fn new(is_proxied: bool) -> Self {
        let real = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let servers = std::env::var("FENCEPOST_TEST_ZOOKEEPER").unwrap_or_else(|_| real.block_on(servers()));
        let servers = if is_proxied { real.block_on(doors(&servers)) } else { servers };
        let ensemble: Arc<dyn ZkConnector> = Arc::new(ZookeeperEnsemble::new(servers, TIMEOUT));
        let base = format!("/conformance-{:08x}", rand::random::<u32>());
        let keeper = real.block_on(ensemble.connect()).unwrap();
        let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let model: Arc<dyn ZkConnector> = Arc::new(paused.block_on(Model::start()).ensemble(1, TIMEOUT));
        Self { real: (real, ensemble), modelled: (paused, model), base, runs: 0, disturbed: 0, keeper }
    }

    fn try_compare(&mut self, steps: &[Step]) -> Result<Compared, Disturbed> {
        self.runs += 1;
        let root = format!("{}/{}", self.base, self.runs);
        let mut real = Side::new(Arc::clone(&self.real.1), root.clone());
        let mut model = Side::new(Arc::clone(&self.modelled.1), root);
        let mut replies = 0;
        let mut difference = None;
        for (index, step) in steps.iter().enumerate() {
            let answered = self.real.0.block_on(real.step(step))?;
            let expected = self.modelled.0.block_on(model.step(step)).expect("nothing disturbs the model");
            replies += answered.len();
            if answered != expected {
                difference = Some((index, format!("{expected:?}"), format!("{answered:?}")));
                break;
            }
        }
        Ok(Compared { replies, difference })
    }
}

impl Lockstep for Both {
    type Step = Step;

    fn draw(&self, seed: u64) -> Vec<Step> {
        draw(seed, STEPS)
    }

    fn compare(&mut self, steps: &[Step]) -> Compared {
        for attempt in 1.. {
            match self.try_compare(steps) {
                Ok(compared) => return compared,
                Err(Disturbed(reason)) => {
                    println!("the real ensemble was disturbed, once more: {reason}");
                    self.disturbed += 1;
                    assert!(attempt < TRIES, "the real ensemble does not settle");
                }
            }
        }
        unreachable!()
    }

    fn shortest(&mut self, steps: &[Step]) -> Vec<Step> {
        shortest(steps, |steps| self.compare(steps).difference.is_some())
    }

    fn told(&mut self) -> String {
        format!("{} disturbed", self.disturbed)
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.real.0.block_on(clear(&*self.keeper, &self.base));
    }
}

/// The same servers behind the proxy that reads requests, and strikes none. All that passes is about a lock, by its
/// path.
async fn doors(servers: &str) -> String {
    let servers: Vec<_> = servers.split(',').map(|server| server.parse().expect("an address")).collect();
    let names = Names::new([(LockName::new("conformance"), b"/conformance-".to_vec())]);
    let proxy = Proxy::open(Protocol::Zookeeper, &servers, names, None).await.unwrap();
    proxy.doors.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn random_sequences_get_the_same_replies_from_model_and_server() {
    same_replies(false);
}

#[test]
fn random_sequences_get_the_same_replies_through_the_proxy() {
    same_replies(true);
}

fn same_replies(is_proxied: bool) {
    let usual = if is_proxied { 25 } else { 100 };
    conformance::same_replies(&mut Both::new(is_proxied), usual);
}
