//! What this machine can do to containers, tried out and not guessed: each fault, by what means, and where a means is
//! missing, why.
//!
//! A run asks before it begins, so that a fault that cannot be made is refused and not merely recorded. Deliberately
//! absent: the state of the cluster (`status.rs`).

use std::fmt;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::stream::StreamExt;

use super::compose;
use super::engine::{Engine, EngineError, Role, State, api, labels};
use super::images::REDIS;
use super::netns::{self, Answer, Netns, NetnsError, Request};
use crate::fault::{Fault, FaultKind, Refusal};

/// Where the clock shim is in a server's image.
const SHIM: &str = "/usr/local/lib/fencepost-clock.so";

/// Why a run cannot take place on this machine.
#[derive(Debug, thiserror::Error)]
#[error("this machine cannot do `{fault}`: {why}; use --env sim")]
pub struct Unable {
    /// The plan's entry.
    pub fault: String,
    /// What is missing.
    pub why: String,
}

/// Whether the kernel can do what faults of links need.
///
/// # Errors
/// The first fault of the plan that it cannot make.
pub async fn require(netns: &Netns, plan: &[Fault]) -> anyhow::Result<()> {
    if !plan.iter().any(|fault| fault.kind.is_of_links()) {
        return Ok(());
    }
    let links = links(netns).await?;
    for fault in plan {
        if let Some(why) = missing(&links, &fault.kind) {
            return Err(Unable { fault: fault.to_string(), why }.into());
        }
    }
    Ok(())
}

async fn links(netns: &Netns) -> Result<netns::Abilities, NetnsError> {
    match netns.ask(&Request::Abilities).await? {
        Answer::Abilities(abilities) => Ok(abilities),
        other => Err(NetnsError::Failed(format!("not abilities: {other:?}"))),
    }
}

/// What the kernel lacks for a fault of this kind.
fn missing(links: &netns::Abilities, kind: &FaultKind) -> Option<String> {
    let needed: &[&Result<(), String>] = match kind {
        FaultKind::Partition { refusal: Refusal::Drop, .. } => &[&links.nftables, &links.set_timeouts],
        FaultKind::Partition { refusal: Refusal::Reset, .. } => &[&links.nftables, &links.set_timeouts, &links.reject],
        FaultKind::Loss { .. } => &[&links.nftables, &links.set_timeouts, &links.numgen],
        FaultKind::Delay { .. } => &[&links.nftables, &links.set_timeouts, &links.queue],
        _ => &[],
    };
    needed.iter().find_map(|ability| ability.as_ref().err().cloned())
}

/// What `fencepost cluster status` says of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Versions, as far as they could be learned.
    pub versions: Vec<(String, String)>,
    /// Each fault and its means; why not, where it cannot be made.
    pub means: Vec<(String, Result<String, String>)>,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "machine: {}", versions.join(", "))?;
        for (what, means) in &self.means {
            match means {
                Ok(means) => writeln!(f, "  {what:<24} yes: {means}")?,
                Err(why) => writeln!(f, "  {what:<24} no: {why}")?,
            }
        }
        Ok(())
    }
}

/// Tries everything out. Starts two containers of its own for a moment, and touches no other.
///
/// # Errors
/// The daemon does not answer, or the images are not there yet.
pub async fn machine() -> anyhow::Result<Machine> {
    let engine = Engine::connect().await?;
    let info = engine.docker().info().await.map_err(api("tell about its machine"))?;
    let said = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let cgroup = info.cgroup_version.map(|version| version.to_string());
    let versions = [
        ("Docker", said(info.server_version)),
        ("Linux", said(info.kernel_version)),
        ("cgroup v", said(cgroup)),
        ("machine", said(info.architecture)),
        ("Compose", compose::version().await.unwrap_or_else(|error| error.to_string())),
    ];
    let netns = Netns::start(&engine).await?;
    let (links, freezer, shim) = tokio::join!(links(&netns), freezer(&engine, &netns), shim(&engine));
    let links = links?;
    let all = |needed: &[&Result<(), String>], means: &str| {
        let failed = needed.iter().find_map(|ability| ability.as_ref().err().cloned());
        failed.map_or_else(|| Ok(means.to_owned()), Err)
    };
    let (nft, timeouts) = (&links.nftables, &links.set_timeouts);
    let netem = match &links.netem {
        Ok(()) => "netem is there too, and not used".to_owned(),
        Err(why) => format!("netem is missing ({why}), and not needed"),
    };
    let means = vec![
        ("pause".to_owned(), freezer.map(|()| "the cgroup freezer, by Docker".to_owned())),
        ("partition".to_owned(), all(&[nft, timeouts], "nftables; its sets' timeouts end a cut by themselves")),
        ("partition, with resets".to_owned(), all(&[nft, timeouts, &links.reject], "nftables, reject")),
        ("loss".to_owned(), all(&[nft, timeouts, &links.numgen], "nftables, numgen")),
        ("delay".to_owned(), all(&[nft, timeouts, &links.queue], &format!("a netfilter queue; {netem}"))),
        ("clocks of containers".to_owned(), shim.map(|()| "a preloaded shim".to_owned())),
    ];
    Ok(Machine { versions: versions.map(|(name, version)| (name.to_owned(), version)).to_vec(), means })
}

/// Freezes and thaws the helper, which is nobody's network at that moment.
async fn freezer(engine: &Engine, netns: &Netns) -> Result<(), String> {
    let trial = async {
        let helper = engine.labelled(netns.helper()).await?;
        engine.pause(&helper).await?;
        let frozen = engine.state(&helper).await;
        engine.unpause(&helper).await?;
        frozen
    };
    match trial.await {
        Ok(State::Paused) => Ok(()),
        Ok(state) => Err(format!("a paused container was {state}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts a program under the clock shim, in a server's image. The loader complains of a library that it cannot load.
async fn shim(engine: &Engine) -> Result<(), String> {
    let trial = async {
        let docker = engine.docker();
        let body = ContainerCreateBody {
            image: Some(REDIS.to_owned()),
            entrypoint: Some(vec!["date".to_owned()]),
            cmd: Some(Vec::new()),
            env: Some(vec![format!("LD_PRELOAD={SHIM}")]),
            labels: Some(labels(Role::Helper, None)),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let id = docker.create_container(None, body).await.map_err(api("try the clock shim"))?.id;
        let run = async {
            docker.start_container(&id, None).await.map_err(api("try the clock shim"))?;
            let _ = docker.wait_container(&id, None::<WaitContainerOptions>).next().await;
            engine.logs_own(&id, "the clock shim's trial").await
        };
        let said = run.await;
        engine.remove_own(&id, "the clock shim's trial").await?;
        said
    };
    let said: Result<String, EngineError> = trial.await;
    match said {
        Ok(said) if said.contains("ld.so") || said.trim().is_empty() => Err(said.trim().to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Direction, PeerGroup, Shape};

    #[test]
    fn a_fault_is_refused_for_what_it_needs_and_nothing_else() {
        let no = || Err("the kernel has none".to_owned());
        let all = || netns::Abilities {
            nftables: Ok(()),
            set_timeouts: Ok(()),
            numgen: Ok(()),
            reject: Ok(()),
            queue: Ok(()),
            netem: no(),
        };
        let (peers, direction) = (|| PeerGroup::Nodes.into(), Direction::Both);
        let cut = |refusal| FaultKind::Partition { peers: peers(), direction, shape: Shape::Isolate, refusal };
        let loss = FaultKind::Loss { peers: peers(), direction, permille: 1 };
        let delay = FaultKind::Delay { peers: peers(), direction, extra: Default::default() };
        for kind in [&cut(Refusal::Drop), &cut(Refusal::Reset), &loss, &delay, &FaultKind::Pause] {
            assert_eq!(missing(&all(), kind), None);
        }
        assert!(missing(&netns::Abilities { queue: no(), ..all() }, &delay).is_some());
        assert!(missing(&netns::Abilities { numgen: no(), ..all() }, &loss).is_some());
        assert!(missing(&netns::Abilities { reject: no(), ..all() }, &cut(Refusal::Reset)).is_some());
        assert!(missing(&netns::Abilities { reject: no(), ..all() }, &cut(Refusal::Drop)).is_none());
        assert!(missing(&netns::Abilities { nftables: no(), ..all() }, &cut(Refusal::Drop)).is_some());
    }
}
