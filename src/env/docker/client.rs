//! `fencepost client`: one client of a trial, inside its container.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use rand::Rng;
use tokio::sync::watch;

use super::answers::Answers;
use super::backends::{self, Opening};
use super::control_client::{ControlClient, Reports};
use super::http::HttpResource;
use super::launch::FOLDER;
use super::messages::{ClientClock, ClientPlan, Order, Report, RequestsReport, Speaker};
use super::proxy::Proxy;
use super::steps::Steps;
use crate::adapter::protocol::Capability;
use crate::adapter::{AdapterLock, Gravity, Misdeed, Spec, Witness};
use crate::history::recorder::Record;
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, LockName};
use crate::lock::runtime::{SharedRuntime, TokioRuntime};
use crate::lock::{DistributedLock, PausePoint};
use crate::scenario::{AdapterConfig, LockConfig};
use crate::seed::Seed;
use crate::time::{BootClock, Clock, Nanos};
use crate::trial::Announcer;
use crate::trial::client::{lock_stream, stall, warm_up};
use crate::wire::Names;
use crate::workload::client::{Client, Parts};

/// How often a client looks whether it still runs.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// Runs client `id` until the harness says that the trial is over.
///
/// # Errors
/// The harness is gone, or the lock cannot be used at all.
pub async fn main(socket: &Path, id: ClientId) -> anyhow::Result<()> {
    let mut control = ControlClient::connect(socket, Speaker::Client(id)).await?;
    let mut plan = match control.order().await? {
        Order::Client(plan) => *plan,
        other => bail!("a client was ordered {other:?}"),
    };
    let announcer = {
        let reports = Arc::clone(&control.reports);
        Announcer::new(plan.announce.clone(), move |number, phase| reports.send(Report::Reached { number, phase }))
    };
    let proxy = match plan.proxied {
        false => None,
        true => match doors(&plan, &announcer).await {
            Ok(proxy) => {
                plan.servers.clone_from(&proxy.doors);
                Some(Arc::new(proxy))
            }
            Err(why) => {
                control.close(Report::Failed(why.clone())).await;
                bail!("{why}");
            }
        },
    };
    let answers = Answers::new(id, Arc::clone(&control.reports) as Arc<dyn Record>);
    let lock = build_lock(&plan, &control.reports, &answers).await;
    let lock = match lock {
        Ok(lock) => lock,
        Err(why) => {
            control.close(Report::Failed(why.clone())).await;
            bail!("{why}");
        }
    };
    if let Err(error) = warm_up(&*lock, id, &plan.life).await {
        control.close(Report::Failed(error.to_string())).await;
        return Err(error.into());
    }
    control.reports.send(Report::Ready);
    let end = loop {
        match control.order().await? {
            Order::Begin { end } => break end,
            Order::Stop | Order::Leave => {
                control.close(Report::Done).await;
                return Ok(());
            }
            other => ordered(other, &control.reports, proxy.as_ref()),
        }
    };
    let (stop_sender, stop) = watch::channel(false);
    let parts = Parts {
        lock: Arc::clone(&lock),
        resource: Arc::new(HttpResource::new(plan.resource)),
        record: Arc::new(Heard { reports: Arc::clone(&control.reports), proxy: proxy.clone() }),
        pause_point: Arc::clone(&announcer) as Arc<dyn PausePoint>,
        runtime: Arc::new(TokioRuntime::new(seed_of(&plan))),
        stop,
    };
    let heartbeat = tokio::spawn(heartbeat(id, Arc::clone(&control.reports)));
    let client = Client::new(id, &plan.life, plan.workload, plan.seed, parts);
    let mut client = tokio::spawn(client.run(end));
    loop {
        tokio::select! {
            biased;
            done = &mut client => {
                done?;
                break;
            }
            order = control.order() => match order? {
                Order::Go { number } => announcer.go(number),
                Order::Stop => drop(stop_sender.send(true)),
                other => ordered(other, &control.reports, proxy.as_ref()),
            }
        }
    }
    answers.tell_all();
    control.reports.send(Report::Done);
    loop {
        match control.order().await? {
            Order::Leave => break,
            other => ordered(other, &control.reports, proxy.as_ref()),
        }
    }
    heartbeat.abort();
    // What it leaves at the servers is looked at while it is there: its sessions go with it.
    drop(lock);
    control.close(Report::Done).await;
    Ok(())
}

/// The seed of what its lock draws.
fn seed_of(plan: &ClientPlan) -> Seed {
    Seed(lock_stream(plan.seed, plan.client, plan.life.number()).next_u64())
}

/// What this process's wall clock shows. By the C library, whose clock functions the harness replaces.
fn clock(number: u64) -> ClientClock {
    let before = BootClock.now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let after = BootClock.now();
    ClientClock { number, before, after, wall: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX) }
}

async fn build_lock(
    plan: &ClientPlan,
    reports: &Arc<Reports>,
    answers: &Arc<Answers>,
) -> Result<Arc<dyn DistributedLock>, String> {
    let runtime = Arc::new(TokioRuntime::new(seed_of(plan)));
    if let LockConfig::Adapter(config) = &plan.lock {
        return adapter(plan, config, runtime, reports).await;
    }
    let wall = Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Nanos(since.as_nanos() as u64)
    });
    let backend = plan.lock.backend();
    let external = plan.external.as_ref().map(|servers| servers.settings(backend)).transpose();
    let external = external.map_err(|error| error.to_string())?.flatten();
    let opening = Opening {
        lock: &plan.lock,
        namespace: &plan.namespace,
        servers: &plan.servers,
        external: external.as_ref(),
        answers,
        runtime,
        wall,
    };
    backends::of(backend).open(opening)
}

/// What stands before the names of a trial's locks as a program of others is told them.
pub(super) fn adapter_prefix(namespace: &str) -> String {
    format!("fp-{namespace}-")
}

/// Starts the program of somebody else's lock, beside this process: what strikes one strikes both.
async fn adapter(
    plan: &ClientPlan,
    config: &AdapterConfig,
    runtime: SharedRuntime,
    reports: &Arc<Reports>,
) -> Result<Arc<dyn DistributedLock>, String> {
    let settings = &config.settings;
    let spec = Spec {
        command: settings.command.clone(),
        folder: Some(FOLDER.into()),
        backend: settings.servers.backend.name().to_owned(),
        servers: plan.servers.iter().map(ToString::to_string).collect(),
        lease: config.lease,
        client: plan.client.0,
    };
    let renew = config.lease.filter(|_| settings.renew).map(|lease| lease / 3);
    let told = Told { client: plan.client, reports: Arc::clone(reports) };
    let lock = AdapterLock::open(spec, adapter_prefix(&plan.namespace), renew, runtime, Arc::new(told)).await?;
    let (said, expected) = (&lock.hello().capabilities, &settings.capabilities);
    if said.iter().any(|one| !expected.contains(one)) || expected.iter().any(|one| !said.contains(one)) {
        let names = |list: &[Capability]| list.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "`{}` says that it offers [{}], its settings say [{}]: they must agree",
            settings.command.join(" "),
            names(said),
            names(expected)
        ));
    }
    Ok(Arc::new(lock))
}

/// Tells the harness what a program did that it may not.
struct Told {
    client: ClientId,
    reports: Arc<Reports>,
}

impl Witness for Told {
    fn misdeed(&self, misdeed: Misdeed) {
        let kind = match misdeed.gravity {
            Gravity::Noise => OpType::Ok,
            Gravity::Failure | Gravity::GaveUp => OpType::Info,
            Gravity::Breach => OpType::Fail,
        };
        let mut op = Op::new(BootClock.now(), Process::Monitor, kind, F::Adapter);
        op.client = Some(self.client);
        op.error = Some(misdeed.text.clone());
        self.reports.record(op);
        if misdeed.gravity == Gravity::GaveUp {
            self.reports.send(Report::Failed(misdeed.text));
        }
    }
}

/// Records what the client does, and lets its doors hear of it first: what a request is about is told by the op before
/// it.
struct Heard {
    reports: Arc<Reports>,
    proxy: Option<Arc<Proxy>>,
}

impl Record for Heard {
    fn record(&self, op: Op) {
        if let Some(proxy) = &self.proxy {
            proxy.hear(&op);
        }
        self.reports.record(op);
    }
}

/// Opens the client's doors to its lock servers.
async fn doors(plan: &ClientPlan, announcer: &Arc<Announcer>) -> Result<Proxy, String> {
    let (backend, namespace) = (backends::of(plan.lock.backend()), &plan.namespace);
    let written = |lock: &LockName| match &plan.lock {
        LockConfig::Adapter(_) => format!("{}{lock}", adapter_prefix(namespace)),
        _ => backend.name_in_requests(namespace, lock),
    };
    let names = Names::new(plan.workload.lock_names().map(|lock| (lock.clone(), written(&lock).into_bytes())));
    let needed = backend.replies_needed(plan.servers.len());
    let steps = matches!(plan.lock, LockConfig::Adapter(_)).then(|| Steps::new(Arc::clone(announcer), needed));
    Proxy::open(backend.protocol(), &plan.servers, names, steps)
        .await
        .map_err(|error| format!("cannot listen: {error}"))
}

/// Does what was ordered of a client that runs, if it is nothing of its trial's.
fn ordered(order: Order, reports: &Reports, proxy: Option<&Arc<Proxy>>) {
    match order {
        Order::Clock { number } => reports.send(Report::Clock(clock(number))),
        Order::Requests { number, strike, rule, nodes } => {
            let nodes = proxy.map(|proxy| proxy.set(strike, rule, &nodes)).unwrap_or_default();
            reports.send(Report::Requests(RequestsReport { number, nodes }));
        }
        _ => {}
    }
}

/// Notices, from inside, that the process did not run: the other side of a pause's proof.
async fn heartbeat(id: ClientId, reports: Arc<Reports>) {
    let mut last = BootClock.now();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let now: Nanos = BootClock.now();
        if let Some(op) = stall(id, last, now) {
            reports.record(op);
        }
        last = now;
    }
}
